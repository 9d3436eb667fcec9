"""Emulation, on a CPU, of a GPU that computes the products of saved graphs in TF32."""

import pathlib
import shutil

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

# Indices of the operands of each kind of product.
OPERANDS = {
    "MatMul": (0, 1),
    "BatchMatMulV2": (0, 1),
    "BatchMatMulV3": (0, 1),
    "Einsum": (0, 1),
    "Conv2D": (0, 1),
    "Conv2DBackpropInput": (1, 2),
    "Conv2DBackpropFilter": (0, 2),
}
FLOAT, UINT32 = tf.float32.as_datatype_enum, tf.uint32.as_datatype_enum


def on_a_gpu(source, destination):
    """Copies a SavedModel to one that computes as on a GPU: it takes the branch for GPUs, and rounds to TF32.

    Each operand of a float32 product is rounded to 11 significant bits. Returns the number of products.
    """
    shutil.copytree(source, destination)
    path = pathlib.Path(destination) / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    products = 0
    for graph in (meta.graph_def for meta in model.meta_graphs):
        products += _rounded(graph.node, in_function=False)
        products += sum(_rounded(function.node_def, in_function=True) for function in graph.library.function)
    path.write_bytes(model.SerializeToString())
    return products


def _rounded(nodes, *, in_function):
    products = [node for node in nodes if node.op in OPERANDS and node.attr["T"].type == FLOAT]
    for node in products:
        for i in OPERANDS[node.op]:
            node.input[i] = _round(nodes, node.input[i], f"{node.name}_tf32_{i}", in_function)
    for node in nodes:
        if node.op == "DeviceIndex":
            node.op = "Const"
            index = list(node.attr["device_names"].list.s).index(b"GPU")
            node.attr.clear()
            node.attr["dtype"].type = tf.int32.as_datatype_enum
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(index, tf.int32))
            for other in nodes:
                inputs = [source.replace(f"{node.name}:index:0", f"{node.name}:output:0") for source in other.input]
                other.input[:] = inputs
    return len(products)


def _round(nodes, value, name, in_function):
    def add(op, suffix, inputs, output, **types):
        node = nodes.add(op=op, name=f"{name}_{suffix}", input=inputs)
        for key, dtype in types.items():
            node.attr[key].type = dtype
        return f"{node.name}:{output}:0" if in_function else f"{node.name}:0"

    def constant(suffix, number):
        result = add("Const", suffix, [], "output", dtype=UINT32)
        nodes[-1].attr["value"].tensor.CopyFrom(tf.make_tensor_proto(number, tf.uint32))
        return result

    bits = add("Bitcast", "bits", [value], "output", T=FLOAT, type=UINT32)
    bits = add("AddV2", "up", [bits, constant("half", 1 << 12)], "z", T=UINT32)
    bits = add("BitwiseAnd", "cut", [bits, constant("mask", 2**32 - 2**13)], "z", T=UINT32)
    return add("Bitcast", "float", [bits], "output", T=UINT32, type=FLOAT)
