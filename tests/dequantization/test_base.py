"""The base class of dequantizers."""

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.dequantization import Dequantizer
from tests.tolerances import assert_close

IMAGES = tf.constant(np.arange(24).reshape([2, 2, 2, 3]), tf.float64)
UNIFORM = 12 * 8 * np.log(2)


@pytest.mark.parametrize(
    ("log_density", "added"),
    [
        (0.0, 0),
        (0, 0),
        (1.5, 18),
        (2, 24),
        (np.float64(0.25), 3),
        (np.array([0.5, 1.0, 1.5]), 12),
        (tf.constant(-0.5, tf.float64), -6),
        (tf.Variable([1.0, 2.0, 3.0], dtype=tf.float64), 24),
    ],
    ids=repr,
)
def test_a_log_density_of_any_kind_is_added(log_density, added):
    _, log_q = Dequantizer().within_bins(IMAGES, tf.zeros_like(IMAGES), log_density)
    assert_close(log_q, np.full(2, UNIFORM + added))
