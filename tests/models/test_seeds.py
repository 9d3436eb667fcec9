"""Seeds: their forms, and which of them a flow takes."""

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.models.seeds import stateless_seed
from tests.models.flows import CONFIGS, moved_flow, random_images


@pytest.mark.parametrize(
    "seed", [3, np.int64(3), np.array(3), tf.constant(3), tf.constant(3, tf.int64), [0, 3], (0, 3)]
)
def test_one_seed_in_any_form(seed):
    found = stateless_seed(seed)
    assert found.dtype == tf.int32
    np.testing.assert_array_equal(found, [0, 3])


@pytest.fixture(scope="module")
def flow():
    return moved_flow(CONFIGS["nice-flat"])


def test_noise_takes_a_seed_for_each_example(flow):
    images = random_images(flow.config, 4)
    same = flow.dequantize(images, seed=[[0, 1]] * 4)[0] - flow.config.dequantizer.quantize(images)
    np.testing.assert_allclose(same, np.broadcast_to(same[:1], same.shape), atol=1e-6)
    assert flow.dequantize(images[:0], seed=tf.zeros([0, 2], tf.int32))[0].shape == (0, 7)
    np.testing.assert_array_equal(flow.dequantize(images, seed=tf.constant(3))[0], flow.dequantize(images, seed=3)[0])
    for shape in ([3], [3, 2], [1, 2], [4, 1], [4, 2, 1]):
        for call in (flow.dequantize, flow.bits_per_dim, flow.likelihood):
            with pytest.raises(
                ValueError, match=r"A seed must be an int, or have shape \[2\] or \[4, 2\]; this one has"
            ):
                call(images, seed=tf.zeros(shape, tf.int32))


def test_other_draws_take_one_seed(flow):
    images = random_images(flow.config, 4)
    for call in (flow.sample, lambda count, seed: flow.value_and_gradients(images, seed=seed)):
        with pytest.raises(ValueError, match=r"A seed must be an int, or have shape \[2\]; this one has \(4, 2\)"):
            call(4, seed=tf.zeros([4, 2], tf.int32))
