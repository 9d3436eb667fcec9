"""Everything that runs on a GPU has a kernel there, according to TensorFlow's registry, which needs no GPU.

Where a kernel is missing, TensorFlow silently falls back to the CPU, and copies activations there and back.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels, op_def_registry
from tensorflow.python.ops import handle_data_util

import glow_tf
from glow_tf.analysis.codec import Codec
from glow_tf.analysis.likelihood import Scorer, round_trips
from glow_tf.analysis.sampling import Sampler
from glow_tf.runtime import devices
from glow_tf.runtime.runtime import Runtime
from glow_tf.training.devices import training_runtime
from glow_tf.training.evaluation import Evaluator
from glow_tf.training.optimizer import make_optimizer
from glow_tf.training.step import make_train_function
from tests.marks import mostly_slow
from tests.runtime import test_layout, virtual_gpu
from tests.training import helpers

# The dtypes of images, activations, the bits that are rounded to TF32, and masks.
FLOATS = (tf.float32, tf.bfloat16, tf.float64)
CHECKED = (*FLOATS, tf.uint32, tf.uint8, tf.bool)
# Decomposes the matrices of dense 1x1 convolutions, which are small, once per step. XLA does it on the GPU.
ON_THE_HOST = ("Qr",)
GLOW = functools.partial(glow_tf.glow, (8, 8, 3), K=2, L=1, width=4, n_bits=5)
# Small, as each is traced.
MODELS = {
    "conv1x1": GLOW(),
    "conv1x1_dense": GLOW(permutation="conv1x1_dense"),
    "shuffle": GLOW(permutation="shuffle", coupling="additive"),
    "mixture_logistic": GLOW(coupling="mixture_logistic"),
    "spline": GLOW(coupling="spline"),
    "reverse": GLOW(permutation="reverse"),
    "stored": GLOW(gradient="stored"),
    "two levels": GLOW(L=2),
    "labels": GLOW(num_classes=3, classifier=True),
    "real_nvp": test_layout.MODELS["real_nvp"],
    **{name: test_layout.MODELS[name] for name in ("nice", "flow_plus_plus", "jet")},
}

pytestmark = pytest.mark.skipif(
    not any(kernel.device_type == "GPU" for kernel in kernels.get_registered_kernels_for_op("Conv2D").kernel),
    reason="this build of TensorFlow has no kernels for GPUs",
)


@functools.cache
def gpu_kernels(op):
    """Returns the kernels of an operation that a GPU can run."""
    return [k for k in kernels.get_registered_kernels_for_op(op).kernel if k.device_type in ("GPU", "DEFAULT")]


def kernel_of(node):
    """Returns the kernel that a GPU runs for a node, or None."""

    def fits(constraint):
        value = node.attr[constraint.name]
        types = value.list.type if value.WhichOneof("value") == "list" else [value.type]
        return set(types) <= set(constraint.allowed_values.list.type)

    found = [k for k in gpu_kernels(node.op) if not k.label and all(fits(c) for c in k.constraint)]
    return max(found, key=lambda k: (k.device_type == "GPU", k.priority), default=None)


def typed(arguments, node):
    """Yields name and dtype of each input or output of a node, as `arguments` of its definition declare them."""
    for argument in arguments:
        if argument.type_list_attr:
            types = node.attr[argument.type_list_attr].list.type
        else:
            count = node.attr[argument.number_attr].i if argument.number_attr else 1
            types = [node.attr[argument.type_attr].type if argument.type_attr else argument.type] * count
        yield from ((argument.name, tf.as_dtype(dtype)) for dtype in types)


def misplaced(graph):
    """Returns the nodes of a graph that cannot stay on a GPU, and why.

    They have `CHECKED` dtypes and no kernel there, or a kernel with such data, other than masks, in host memory. A
    kernel may require a constant scalar there, such as the value to pad with.
    """
    nodes = {node.name: node for node in graph.node}
    functions = {function.signature.name for function in graph.library.function}

    def is_constant_number(source):
        node = nodes[source.split(":")[0]]
        return node.op == "Const" and not node.attr["value"].tensor.tensor_shape.dim

    found = set()
    for node in graph.node:
        # A function call, whose body was inlined or is compiled.
        if node.op in functions:
            continue
        definition = op_def_registry.get(node.op)
        inputs, outputs = list(typed(definition.input_arg, node)), list(typed(definition.output_arg, node))
        dtypes = {dtype for _, dtype in (*inputs, *outputs)}
        kernel = kernel_of(node)
        if kernel is None:
            if dtypes & set(CHECKED):
                found.add((node.op, *sorted(dtype.name for dtype in dtypes), "no kernel", node.name))
            continue
        sources = [source for source in node.input if not source.startswith("^")]
        read = [(name, dtype) for (name, dtype), s in zip(inputs, sources, strict=True) if not is_constant_number(s)]
        for name, dtype in (*read, *outputs):
            on_host = name in kernel.host_memory_arg and node.op not in ON_THE_HOST
            if on_host and dtype in (*FLOATS, tf.uint32, tf.uint8):
                found.add((node.op, dtype.name, f"{name} on the host", node.name))
    return found


def assert_stays(run, *dtypes):
    """Asserts that the graphs of the functions that `run` calls stay on a GPU, and have products of `dtypes`."""
    with devices.made_for("GPU"):
        graphs = virtual_gpu.lowered_graphs(run)
    # Neither input pipelines, which belong on the host, nor eager operations, one graph each, have loops.
    graphs = [graph for graph in graphs if virtual_gpu.loops(graph)]
    assert graphs
    products = [n for graph in graphs for n in graph.node if n.op in ("Conv2D", "MatMul", "BatchMatMulV2", "Bitcast")]
    # Otherwise the graphs were not made for a GPU, and the test shows nothing.
    assert {tf.as_dtype(node.attr["T"].type) for node in products} >= set(dtypes)
    assert set().union(*map(misplaced, graphs)) == set()


# Most are slow: each takes seconds to trace.
TRAINING = mostly_slow(
    [(model, precision) for model in MODELS for precision in ("float32", "bfloat16", "tf32")],
    [("conv1x1", "float32"), ("nice", "bfloat16")],
)


@pytest.mark.parametrize(("model", "precision"), TRAINING)
def test_training_stays_on_the_gpu(model, precision):
    train, arguments = test_layout.train_step(MODELS[model], helpers.one_device(), network_precision=precision)
    network_dtype = tf.bfloat16 if precision == "bfloat16" else tf.uint32
    # The products are those of networks, and of 1x1 convolutions.
    dtypes = {network_dtype} if model in ("nice", "real_nvp", "jet") else {network_dtype, tf.float32, tf.uint32}
    assert_stays(lambda: train(*arguments), *dtypes)


@pytest.mark.parametrize("model", mostly_slow(MODELS, ["conv1x1"]))
def test_likelihoods_latents_and_samples_stay_on_the_gpu(model):
    with devices.made_for("GPU"):
        functions = test_layout.functions(MODELS[model])
    for function in functions.values():
        assert_stays(function, tf.float32, tf.uint32)


def test_what_does_not_stay_is_found():
    """Shows that the tests above can fail: GPUs lack the first operation, and read the padding value on the host."""

    def body(i, x):
        smallest = tf.raw_ops.NthElement(input=x, n=0)
        return i + 1, tf.pad(x[1:], [[1, 0], [0, 0]], constant_values=smallest[0])

    run = tf.function(lambda x: tf.while_loop(lambda i, _: i < 2, body, (0, x)), autograph=False)
    (graph,) = (g for g in virtual_gpu.lowered_graphs(lambda: run(tf.ones([8, 8]))) if virtual_gpu.loops(g))
    found = {(op, why) for op, *_, why, _ in misplaced(graph)}
    assert found == {("NthElement", "no kernel"), ("PadV2", "constant_values on the host")}


@pytest.fixture
def compiled(monkeypatch):
    """Records the functions that XLA is to compile, but leaves them uncompiled: tracing them is enough."""
    found = []
    function = tf.function

    def watched(*arguments, jit_compile=None, **options):
        made = function(*arguments, **options)
        if jit_compile:
            found.append(made)
        return made

    monkeypatch.setattr(tf, "function", watched)
    return found


def dtypes_of_variables(functions):
    """Returns the dtypes of the variables that functions read or write, as far as they have been traced."""
    traced = [concrete for function in functions for concrete in function._list_all_concrete_functions()]
    inputs = [t for concrete in traced for t in concrete.graph.inputs if t.dtype == tf.resource]
    parts = [part for t in inputs for part in handle_data_util.get_resource_handle_data(t).shape_and_type]
    assert len(parts) == len(inputs) and traced
    return {tf.as_dtype(part.dtype) for part in parts}


# XLA cannot read an int32 variable on a GPU, as TensorFlow keeps it in host memory.
@pytest.mark.parametrize("model", mostly_slow(MODELS, ["conv1x1", "nice"]))
def test_training_compiled_by_xla_has_no_variables_of_int32(compiled, model):
    config, training = MODELS[model], helpers.training(batch_size=4, xla=True)
    with devices.made_for("GPU"):
        flow = glow_tf.Flow(config, runtime=training_runtime(training))
        optimizer = make_optimizer(training, list(flow.named_variables(trainable=True).values()))
        train = make_train_function(flow, optimizer, helpers.one_device(), training)
        train.get_concrete_function(test_layout.Batches(config), tf.constant(2), tf.constant(True))
    # The gradients and the update; the number of updates is int64.
    assert len(compiled) == 2
    assert dtypes_of_variables(compiled) == {tf.float32, tf.int64}


def of_images(config):
    """Returns the other computations that XLA compiles, as functions to call."""
    flow = glow_tf.Flow(config, runtime=Runtime(device=devices.target(), xla=True))
    images, labels = helpers.random_images(4, config), np.zeros([4], np.int32)
    given = labels if config.conditional else None
    codec, batches = Codec(flow), [{"images": images, "labels": labels}]
    latents = np.zeros([4, config.dimensions], np.float32)
    return [
        lambda: codec.encode(images, given),
        lambda: codec.decode(latents, given),
        lambda: Scorer(flow)(batches),
        lambda: round_trips(flow, batches),
        Sampler(flow, 4),
        lambda: Evaluator(flow, helpers.one_device(), batch_size=4)(helpers.batches(1, 4, config)),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_what_else_xla_compiles_has_no_variables_of_int32(compiled, model):
    with devices.made_for("GPU"):
        functions = of_images(MODELS[model])
        for function in functions:
            compiled.clear()
            function()
            assert dtypes_of_variables(compiled) <= {tf.float32, tf.int64}
