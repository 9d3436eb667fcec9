import numpy as np
import pytest
import tensorflow as tf

from glow_tf.layers import Split
from glow_tf.parameters import flatten_nest, unflatten_nest
from tests.networks.test_convolution import convolve_by_hand, convolve_sequences_by_tensorflow
from tests.tolerances import assert_close


@pytest.mark.parametrize(
    "shape,convolve,kernel",
    [((3, 4, 6), convolve_by_hand, (3, 3, 4, 6)), ((5, 6), convolve_sequences_by_tensorflow, (3, 4, 6))],
)
def test_the_prior_by_hand(shape, convolve, kernel):
    rng = np.random.default_rng(0)
    layer = Split()
    parameters = dict(flatten_nest(layer.parameters(shape, rng)))
    assert parameters["kernel"].shape == kernel and not parameters["kernel"].initial().any()
    values = {name: 0.3 * rng.standard_normal(parameter.shape) for name, parameter in parameters.items()}
    x = rng.standard_normal([2, *shape])
    tensors = unflatten_nest({name: tf.constant(value) for name, value in values.items()})
    y, log_det = layer.bijector(shape, tensors).forward_and_log_det(x)
    h = (convolve(x[..., :3], values["kernel"]) + values["bias"]) * np.exp(3 * values["logs"])
    mean, log_stddev = h[..., 0::2], h[..., 1::2]
    assert_close(y, np.concatenate([x[..., :3], (x[..., 3:] - mean) / np.exp(log_stddev)], axis=-1))
    assert_close(log_det, -log_stddev.reshape([2, -1]).sum(1))


def test_without_a_prior_it_takes_flat_vectors():
    assert Split(learned=False).output_shape((6,)) == (3,)
