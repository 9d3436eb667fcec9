"""Weights copied from another model."""

import numpy as np
import tensorflow as tf

import glow_tf
from glow_tf.models import storage
from glow_tf.training.init_from import copy_weights

CONFIG = glow_tf.glow((4, 4, 1), K=1, L=1, width=2)


def test_dropout_may_differ(tmp_path):
    def jet(dropout):
        return glow_tf.jet((4, 4, 1), K=1, width=4, blocks=1, heads=2, patch_size=2, dropout=dropout)

    before, flow = glow_tf.Flow(jet(0.5), seed=1), glow_tf.Flow(jet(0.0), seed=2)
    storage.save(before, tmp_path)
    copy_weights(str(tmp_path), flow)
    for path, variable in flow.named_variables().items():
        np.testing.assert_array_equal(variable, before.named_variables()[path], err_msg=path)


def test_weights_of_float64_are_rounded(tmp_path):
    double = glow_tf.Flow(CONFIG, seed=1, dtype=tf.float64)
    storage.save(double, tmp_path)
    flow = glow_tf.Flow(CONFIG, seed=2)
    copy_weights(str(tmp_path), flow)
    for path, variable in flow.named_variables().items():
        exact = double.named_variables()[path].numpy()
        np.testing.assert_array_equal(variable, exact.astype(variable.dtype.as_numpy_dtype), err_msg=path)
