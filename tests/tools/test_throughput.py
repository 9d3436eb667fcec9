"""Timing of functions and matrix products: the order of calls, and the figures derived from it."""

import collections

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.flops import Product
from tools.throughput import Timing, alternate, alternate_with_products, bound, passes, peak_product


def test_functions_take_turns_after_a_first_call_that_does_not_count(monkeypatch):
    calls, clock = [], [0.0]
    costs = {"a": [100.0, 1.0, 5.0, 2.0], "b": [130.0, 30.0, 10.0, 20.0]}

    def function(name):
        def run():
            clock[0] += costs[name][calls.count(name)]
            calls.append(name)

        return run

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    found = alternate({name: function(name) for name in costs}, 3)
    assert found == {"a": Timing(100.0, 2.0), "b": Timing(130.0, 20.0)}
    assert found["b"].compile == 110.0
    assert calls == ["a", "b"] * 4


def test_the_bound_is_the_sum_of_the_products():
    small, large = Product(2, 3, 4), Product(20, 30, 40)
    assert bound(collections.Counter({small: 3, large: 2}), {small: 0.5, large: 10.0}) == 21.5


@pytest.mark.slow
def test_products_are_computed_and_not_left_out():
    # 64 times the operations: if TensorFlow removed the product from the loop, both would take the same time.
    small, large, peak = Product(256, 256, 256), Product(1024, 1024, 1024), peak_product()
    calls = []
    products = [(product, "float32") for product in (small, large, peak)]
    timings, seconds = alternate_with_products({"a": lambda: calls.append(1)}, products, repeats=5)
    assert seconds[large, "float32"] > 8 * seconds[small, "float32"] > 0
    assert peak.flops / seconds[peak, "float32"] > 1e9
    assert timings.keys() == {"a"} and len(calls) == 6


def test_a_product_is_timed_in_each_precision_and_the_process_keeps_its_own():
    product = Product(64, 32, 16)
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    try:
        for enabled in (False, True):
            tf.config.experimental.enable_tensor_float_32_execution(enabled)
            pairs = [(product, precision) for precision in ("float32", "tf32", "bfloat16")]
            _, seconds = alternate_with_products({}, pairs, repeats=1)
            assert set(seconds) == set(pairs) and all(value > 0 for value in seconds.values())
            assert tf.config.experimental.tensor_float_32_execution_enabled() == enabled
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
    with pytest.raises(ValueError, match="precision='float16' is not one of 'float32'"):
        alternate_with_products({}, [(product, "float16")], repeats=1)


@pytest.mark.parametrize("num_classes", [0, 3])
def test_passes_do_their_work(num_classes):
    config = glow_tf.glow((8, 8, 3), K=1, L=1, width=4, num_classes=num_classes)
    found = passes(config, 2)
    assert found.keys() == {"likelihood", "sample"}
    bits_per_dim, images = found["likelihood"](), found["sample"]()
    assert bits_per_dim.shape == (2,) and np.isfinite(bits_per_dim).all()
    assert images.shape == (2, 8, 8, 3) and images.dtype == np.uint8
