"""The model of the paper on a GPU: images are restored, and their likelihood is that on a CPU."""

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.analysis.codec import Codec
from glow_tf.analysis.likelihood import Scorer, round_trips
from glow_tf.runtime import devices
from glow_tf.runtime.runtime import Runtime
from tests.gpu import sizes
from tests.gpu.patience import within
from tests.models.flows import randomise

CONFIG = glow_tf.glow(**sizes.LARGE)
IMAGES = np.random.default_rng(0).integers(0, 256, [sizes.LARGE_IMAGES, *CONFIG.image_shape], np.uint8)
BATCHES = [{"images": IMAGES, "labels": np.zeros([sizes.LARGE_IMAGES], np.int32)}]


@pytest.fixture(scope="module")
def random_flow():
    # With larger perturbations of the weights, values would overflow through so many steps.
    flow = within(lambda: randomise(glow_tf.Flow(CONFIG), scale=0.003))
    assert all(sizes.DEVICE in variable.device for variable in flow.trainable_variables)
    return flow


@pytest.fixture(scope="module", params=[True, False], ids=["xla", "plain"])
def flow(request, random_flow):
    random_flow.runtime = Runtime.detect(xla=request.param)
    return random_flow


@pytest.fixture(scope="module")
def bits_of_a_cpu(random_flow):
    with tf.device("CPU:0"), devices.made_for("CPU"):
        twin = glow_tf.Flow(CONFIG, runtime=Runtime.detect(xla=False))
        for path, variable in twin.named_variables().items():
            variable.assign(random_flow.named_variables()[path])
        return Scorer(twin)(BATCHES).bits_per_dim


def test_every_pixel_comes_back(flow):
    codec = Codec(flow)
    np.testing.assert_array_equal(within(lambda: codec.decode(codec.encode(IMAGES))), IMAGES)


def test_the_inverse_is_exact(flow):
    """The error is 1e-5 of the pixel range if operands are not rounded; if rounded to TF32, images are lost."""
    assert within(lambda: round_trips(flow, BATCHES)).max() < 1e-4


def test_the_likelihood_is_that_of_a_cpu(flow, bits_of_a_cpu):
    """A log-density of about 20,000 nats in float32 has a resolution of 1e-6 bits/dim."""
    found = within(lambda: Scorer(flow)(BATCHES).bits_per_dim)
    np.testing.assert_allclose(found, bits_of_a_cpu, rtol=0, atol=1e-5)
