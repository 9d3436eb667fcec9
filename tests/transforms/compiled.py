"""Checks that functions of batches of elements are the same however TensorFlow runs them."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tests.tolerances import assert_close


def assert_same_compiled(
    function: Callable[..., Sequence[tf.Tensor]], y: tf.Tensor, h: tf.Tensor, tolerance: float
) -> None:
    """Runs `function(y, h)` eagerly, compiled by XLA and traced for batches of unknown size, and that with none too."""
    y, h = tf.convert_to_tensor(y), tf.convert_to_tensor(h)
    expected = function(y, h)
    unknown = [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in (y, h)]
    of_unknown = tf.function(function, input_signature=unknown)
    for compiled in (tf.function(function, jit_compile=True), of_unknown):
        for actual, wanted in zip(compiled(y, h), expected, strict=True):
            assert_close(actual, wanted, tolerance)
    assert [t.shape for t in of_unknown(y[:0], h[:0])] == [(0, *t.shape[1:]) for t in expected]
