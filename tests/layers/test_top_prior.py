import numpy as np
import pytest
import tensorflow as tf

from glow_tf.layers import TopPrior
from glow_tf.parameters import flatten_nest, unflatten_nest
from tests.networks.test_convolution import convolve_by_hand, convolve_sequences_by_tensorflow
from tests.tolerances import assert_close


@pytest.mark.parametrize("shape,convolve", [((3, 4, 2), convolve_by_hand), ((5, 2), convolve_sequences_by_tensorflow)])
@pytest.mark.parametrize("learned,num_classes", [(True, 0), (True, 3), (False, 3)])
def test_mean_and_scale_by_hand(shape, convolve, learned, num_classes):
    rng = np.random.default_rng(0)
    layer = TopPrior(learned=learned, num_classes=num_classes)
    parameters = dict(flatten_nest(layer.parameters(shape, rng)))
    values = {path: 0.3 * rng.standard_normal(parameter.shape) for path, parameter in parameters.items()}
    labels = np.array([2, 0])
    expected = np.zeros([2, *shape[:-1], 4])
    if learned:
        # The official prior convolves zeros, of which only the indicator of the padding has an effect.
        border = convolve(np.zeros([1, *shape[:-1], 0]), values["border/kernel"])
        expected += (border + values["border/bias"]) * np.exp(3 * values["border/logs"])
    if num_classes:
        label_term = (values["label/kernel"][labels] + values["label/bias"]) * np.exp(3 * values["label/logs"])
        expected += label_term.reshape([2, *[1] * (len(shape) - 1), 4])
    mean, log_stddev = expected[..., :2], expected[..., 2:]
    tensors = unflatten_nest({path: tf.constant(value) for path, value in values.items()})
    context = {"labels": tf.constant(labels, tf.int32)} if num_classes else None
    x = rng.standard_normal([2, *shape])
    y, log_det = layer.bijector(shape, tensors, context).forward_and_log_det(tf.constant(x))
    assert_close(y, (x - mean) / np.exp(log_stddev))
    assert_close(log_det, -log_stddev.reshape([2, -1]).sum(1))
