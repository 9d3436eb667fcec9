"""Checks that functions of batches return the same values eagerly, traced and compiled."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tests.tolerances import assert_close


def assert_same_compiled(
    function: Callable[..., Sequence[tf.Tensor]], y: tf.Tensor, h: tf.Tensor, tolerance: float
) -> None:
    """Compares `function(y, h)`, compiled by XLA and traced with an unknown batch size, with its eager values.

    The traced function is also run on an empty batch.
    """
    y, h = tf.convert_to_tensor(y), tf.convert_to_tensor(h)
    expected = function(y, h)
    unknown = [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in (y, h)]
    traced = tf.function(function, input_signature=unknown)
    for compiled in (tf.function(function, jit_compile=True), traced):
        for actual, wanted in zip(compiled(y, h), expected, strict=True):
            assert_close(actual, wanted, tolerance)
    assert [t.shape for t in traced(y[:0], h[:0])] == [(0, *t.shape[1:]) for t in expected]
