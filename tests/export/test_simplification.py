"""Simplified SavedModels do the same as before, with fewer nodes."""

import collections
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from glow_tf.export.simplification import simplify
from tests import saved_models

VECTOR = tf.TensorSpec([None], tf.float32)


class Model(tf.Module):
    """Functions that call each other, with equal nodes that are the same and equal nodes that are not."""

    def __init__(self):
        super().__init__()
        self.count = tf.Variable(0.0)
        self.weight = tf.Variable(3.0)

    @tf.function(input_signature=[VECTOR])
    def polynomial(self, x):
        with tf.control_dependencies([tf.debugging.Assert(tf.size(x) > 1, ["too short"])]):
            return (x + tf.constant(2.0)) * (x + tf.constant(2.0)) + self.weight * tf.reduce_sum(x, axis=0)

    @tf.function(input_signature=[VECTOR])
    def passed_on(self, x):
        return self.polynomial(x)

    @tf.function(input_signature=[VECTOR])
    def twice_passed_on(self, x):
        return tf.negative(self.passed_on(x))

    @tf.function(input_signature=[VECTOR, VECTOR])
    def difference(self, a, b):
        return {"first": a - b, "second": b + 1.0}

    @tf.function(input_signature=[VECTOR, VECTOR])
    def swapped(self, a, b):
        found = self.difference(b, a)
        return {"first": found["second"], "second": found["first"]}

    @tf.function(input_signature=[])
    def counted(self):
        self.count.assign_add(tf.constant(1.0))
        self.count.assign_add(tf.constant(1.0))
        return self.count.read_value()

    @tf.function(input_signature=[])
    def drawn(self):
        return tf.stack([tf.random.uniform([]), tf.random.uniform([])])

    @tf.function(input_signature=[VECTOR])
    def with_gradients_of_its_own(self, x):
        @tf.custom_gradient
        def cube(x):
            shifted, captured = x + tf.constant(2.0), x + tf.constant(2.0)
            return x**3 + shifted, lambda dy: captured * dy

        return cube(x) + cube(x)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    before = tmp_path_factory.mktemp("before") / "1"
    model = Model()
    signatures = {"serving_default": model.twice_passed_on, "swapped": model.swapped}
    tf.saved_model.save(model, str(before), signatures=signatures)
    after = shutil.copytree(before, tmp_path_factory.mktemp("after") / "1")
    simplify(after / "saved_model.pb")
    return before, after


@pytest.fixture(scope="module")
def loaded(paths):
    return tf.saved_model.load(str(paths[1]))


def functions_of(path):
    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    return {function.signature.name: function for function in model.meta_graphs[0].graph_def.library.function}


def test_results_are_the_same(loaded):
    x = tf.constant([1.0, 2.0])
    np.testing.assert_array_equal(loaded.polynomial(x), [18.0, 25.0])
    np.testing.assert_array_equal(loaded.twice_passed_on(x), [-18.0, -25.0])
    np.testing.assert_array_equal(loaded.signatures["serving_default"](x=x)["output_0"], [-18.0, -25.0])
    swapped = loaded.signatures["swapped"](a=x, b=tf.constant([5.0, 7.0]))
    np.testing.assert_array_equal(swapped["first"], [2.0, 3.0])
    np.testing.assert_array_equal(swapped["second"], [4.0, 5.0])


def test_errors_are_still_raised(loaded):
    for function in (loaded.polynomial, loaded.passed_on, loaded.twice_passed_on):
        with pytest.raises(tf.errors.InvalidArgumentError, match="too short"):
            function(tf.constant([1.0]))


def test_side_effects_and_random_numbers_are_not_merged(loaded):
    assert float(loaded.counted()) == 2.0
    assert float(loaded.counted()) == 4.0
    first, second = loaded.drawn().numpy()
    assert first != second


def test_gradients_are_the_same(loaded):
    x = tf.constant([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = loaded.twice_passed_on(x)
    dx, dweight = tape.gradient(y, [x, loaded.weight])
    # -(2 (x + 2) + 2 weight), and -2 sum(x).
    np.testing.assert_array_equal(dx, [-12.0, -14.0])
    assert float(dweight) == -6.0
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = loaded.with_gradients_of_its_own(x)
    np.testing.assert_array_equal(tape.gradient(y, x), [6.0, 8.0])


def test_equal_nodes_are_merged(paths):
    before, after = (functions_of(path) for path in paths)
    name = next(name for name in after if "polynomial" in name)
    operations = [collections.Counter(node.op for node in functions[name].node_def) for functions in (before, after)]
    assert [counts["AddV2"] for counts in operations] == [3, 2]


def test_functions_of_a_saved_flow_have_no_equal_constants():
    for name, function in functions_of(saved_models.saved("grey")).items():
        constants = [
            (tuple(node.input), node.device, node.attr["value"].SerializeToString(deterministic=True))
            for node in function.node_def
            if node.op == "Const" and "_class" not in node.attr
        ]
        assert len(constants) == len(set(constants)), name


def test_a_saved_flow_has_one_function_for_a_signature_and_one_to_call():
    path = saved_models.saved("grey")
    callers = collections.defaultdict(set)
    for name, function in functions_of(path).items():
        for node in function.node_def:
            callers[node.attr["f"].func.name].add(name)
    (inverse,) = (name for name in callers if "inverse_pass" in name)
    reaching, pending = set(), [inverse]
    while pending:
        found = callers[pending.pop()] - reaching
        reaching |= found
        pending += found
    signatures = tf.saved_model.load(str(path)).signatures
    of_latents = {"decode", "sample", "reconstruct", "interpolate", "manipulate"}
    decoding = [name for name in signatures if name.removesuffix("_exact").removesuffix("_bytes") in of_latents]
    assert len(decoding) == 13
    assert len(reaching) == 2 * len(decoding)
