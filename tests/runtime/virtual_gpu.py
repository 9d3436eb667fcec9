"""TensorFlow's graph transformations for a GPU, on a machine without one.

A graph is lowered as for execution, and TensorFlow's layout optimizer, which only works on graphs for GPUs, is run on
it for a GPU that is merely described. The result can be inspected, and run on two CPU devices: CPU:0 in place of the
host, CPU:1 in place of the GPU.
"""

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2
from tensorflow.core.protobuf.device_properties_pb2 import DeviceProperties, NamedDevice
from tensorflow.python.eager import context
from tensorflow.python.eager.polymorphic_function import concrete_function
from tensorflow.python.framework import func_graph, importer
from tensorflow.python.grappler import cluster, tf_optimizer

GPU = "/job:localhost/replica:0/task:0/device:GPU:0"
# Operations with a layout: the inputs that are images, and whether the output is one.
LAID_OUT = {
    "Conv2D": ([0], True),
    "Conv2DBackpropInput": ([2], True),
    "Conv2DBackpropFilter": ([0, 2], False),
    "BiasAdd": ([0], True),
    "BiasAddGrad": ([0], False),
}
CONTROL_FLOW = ("Enter", "Merge", "Switch", "Exit", "NextIteration", "Identity")


def lowered_graphs(run):
    """Returns the graphs of the functions that `run()` calls, inlined and with loops as Enter, Merge, Switch etc."""
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    context.context().enable_graph_collection()
    try:
        run()
        return [g.post_optimization_graph for g in context.context().export_run_metadata().function_graphs]
    finally:
        context.context().disable_graph_collection()
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False, **before})


def laid_out(graph, architecture="9.0"):
    """Returns the graph, placed on a GPU, after the layout optimizer; unchanged if that fails, as in training.

    From architecture 8.0 on the optimizer changes only training graphs, before that all of them.
    """
    meta = meta_graph_pb2.MetaGraphDef()
    meta.graph_def.CopyFrom(graph)
    for node in meta.graph_def.node:
        if node.op not in ("_Arg", "_Retval"):
            node.device = GPU
    fetched = [node.name for node in graph.node if node.op == "_Retval"]
    meta.collection_def["train_op"].node_list.value.extend(fetched)
    config = config_pb2.ConfigProto()
    rewrite = config.graph_options.rewrite_options
    rewrite.min_graph_nodes = -1
    rewrite.optimizers.append("layout")
    rewrite.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    gpu = DeviceProperties(type="GPU", frequency=1000, num_cores=132, environment={"architecture": architecture})
    devices = cluster.Cluster(devices=[NamedDevice(name=GPU, properties=gpu)])
    return tf_optimizer.OptimizeGraph(config, meta, cluster=devices)


def loops(graph):
    """Returns the number of loops."""
    return sum(node.op == "LoopCond" for node in graph.node)


def transposed(graph):
    """Returns the operations that the layout optimizer changed to NCHW."""
    return [node.name for node in graph.node if _is_nchw(node)]


def _is_nchw(node):
    # Reading a missing attribute would create it.
    return "data_format" in node.attr and node.attr["data_format"].s == b"NCHW"


def delayed_loops(graph):
    """Returns the loops that are entered through an operation other than Enter, which TensorFlow may never leave."""
    kinds = {node.name: node.op for node in graph.node}
    found = []
    for node in graph.node:
        sources = sorted(kinds[source.split(":")[0]] for source in node.input if not source.startswith("^"))
        if node.op == "Merge" and "NextIteration" in sources and sources != ["Enter", "NextIteration"]:
            found.append(node.name)
    return found


def run_on_two_devices(graph, arguments):
    """Runs a graph on `arguments`: int32 inputs and their control flow on CPU:0, all else on CPU:1.

    TensorFlow leaves an integer that is passed to a function, such as a number of steps, and the control flow of the
    loop that it ends to the host, while the rest is on the GPU.
    """
    graph = _without_nchw(graph)
    nodes = {node.name: node for node in graph.node}

    def source(name):
        return nodes[name.lstrip("^").split(":")[0]]

    host = {node.name for node in graph.node if node.op == "_Arg" and node.attr["T"].type == tf.int32.as_datatype_enum}
    for _ in range(8):
        host |= {
            node.name
            for node in graph.node
            if node.op in CONTROL_FLOW
            and "T" in node.attr
            and node.attr["T"].type == tf.int32.as_datatype_enum
            and source(node.input[0]).name in host
        }
    placed = graph_pb2.GraphDef(versions=graph.versions, library=graph.library)
    inputs, outputs = {}, {}
    for node in graph.node:
        if node.op == "_Arg":
            inputs[node.name] = node.attr["index"].i
            continue
        copy = placed.node.add()
        copy.CopyFrom(node)
        copy.device = "/device:CPU:0" if node.name in host else "/device:CPU:1"
        copy.attr.pop("_output_shapes", None)
        copy.attr.pop("_class", None)
        if node.op == "_Retval":
            outputs[node.attr["index"].i] = node.name
            copy.op = "Identity"
            del copy.attr["index"]
    used = {source.split(":")[0] for node in placed.node for source in node.input}
    function = func_graph.FuncGraph("on_two_devices")
    with function.as_default():
        given = [tf.compat.v1.placeholder(argument.dtype, argument.shape) for argument in arguments]
        results = importer.import_graph_def(
            placed,
            input_map={f"{name}:0": given[i] for name, i in inputs.items() if name in used},
            return_elements=[f"{outputs[i]}:0" for i in sorted(outputs)],
            name="",
        )
    function.inputs, function.outputs, function.structured_outputs = given, results, results
    called = concrete_function.ConcreteFunction.from_func_graph(function, None, {})
    return called._inference_function.call_preflattened(list(arguments))


def _without_nchw(graph):
    """Returns the graph with NCHW operations in NHWC between transpositions, as CPUs lack some of them."""
    result = graph_pb2.GraphDef(versions=graph.versions, library=graph.library)
    for node in graph.node:
        if not _is_nchw(node):
            result.node.add().CopyFrom(node)
            continue
        images, is_image = LAID_OUT[node.op]
        inner = result.node.add()
        inner.CopyFrom(node)
        inner.attr["data_format"].s = b"NHWC"
        if is_image:
            inner.name = f"{node.name}/nhwc"
        for i in images:
            inner.input[i] = _transposed(result, node.input[i], f"{node.name}/in{i}", [0, 2, 3, 1], node.attr["T"])
        if node.op == "Conv2DBackpropInput":
            sizes = result.node.add(op="DataFormatVecPermute", name=f"{node.name}/sizes", input=[node.input[0]])
            sizes.attr["T"].type = tf.int32.as_datatype_enum
            sizes.attr["src_format"].s, sizes.attr["dst_format"].s = b"NCHW", b"NHWC"
            inner.input[0] = sizes.name
        if is_image:
            _transposed(result, inner.name, node.name, [0, 3, 1, 2], node.attr["T"])
    return result


def _transposed(graph, value, name, permutation, dtype):
    order = graph.node.add(op="Const", name=f"{name}/order", input=[f"^{value.split(':')[0]}"])
    order.attr["dtype"].type = tf.int32.as_datatype_enum
    order.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(permutation, tf.int32))
    node = graph.node.add(op="Transpose", name=name, input=[value, order.name])
    node.attr["T"].CopyFrom(dtype)
    node.attr["Tperm"].type = tf.int32.as_datatype_enum
    return name
