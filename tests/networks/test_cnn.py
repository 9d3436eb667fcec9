import numpy as np
import pytest
import tensorflow as tf

from glow_tf.networks import Cnn
from tests.networks.random_networks import initial_values, random_values, slices
from tests.networks.test_convolution import convolve_by_hand, convolve_sequences_by_tensorflow
from tests.tolerances import assert_close


@pytest.mark.parametrize("kernels", [(3, 1, 3), (3, 1, 1), (1, 5, 3)])
@pytest.mark.parametrize("positions", [(1, 1), (2, 5), (4, 4), (5, 4), (1,), (7,)])
def test_by_hand(positions, kernels):
    convolve_by = convolve_by_hand if len(positions) == 2 else convolve_sequences_by_tensorflow
    rng = np.random.default_rng(0)
    network = Cnn(width=5, kernels=kernels)
    p = random_values(network, 2, 3, 4, positions=positions)
    x = rng.standard_normal([2, *positions, 3])
    h = x
    for conv, norm in (("conv1", "actnorm1"), ("conv2", "actnorm2")):
        h = convolve_by(h, p[conv]["kernel"][1])
        h = np.maximum((h + p[norm]["bias"][1]) * np.exp(3 * p[norm]["logs"][1]), 0)
    h = convolve_by(h, p["conv3"]["kernel"][1])
    h = (h + p["conv3"]["bias"][1]) * np.exp(3 * p["conv3"]["logs"][1])
    assert_close(network.apply(slices(network, p, 1), tf.constant(x)), h)


def test_initial_weights():
    p = initial_values(Cnn(width=64).parameters(np.random.default_rng(0), 4, 6, 12, (8, 8, 12)))
    assert p["conv1"]["kernel"].shape == (4, 3, 3, 7, 64)
    assert p["conv2"]["kernel"].shape == (4, 1, 1, 64, 64)
    assert p["conv3"]["kernel"].shape == (4, 3, 3, 65, 12)
    for name in ("conv1", "conv2"):
        assert abs(p[name]["kernel"].std() - 0.05) < 1e-3
        assert abs(p[name]["kernel"].mean()) < 1e-3


@pytest.mark.parametrize(
    "kernels, message",
    [
        ((3, 1), "three kernels"),
        ((3, 1, 2), r"kernels\[2\]=2 must be odd"),
        ((3, 1, 0), r"kernels\[2\]=0 must be an integer of at least 1"),
        ((3, "1", 3), r"kernels\[1\]='1' must be"),
    ],
)
def test_other_kernels_are_refused(kernels, message):
    with pytest.raises(ValueError, match=message):
        Cnn(width=5, kernels=kernels)


def test_labels_shift_every_position_of_a_sequence():
    network = Cnn(width=5, num_classes=3)
    p = random_values(network, 1, 2, 4, positions=(6,))
    x = np.random.default_rng(1).standard_normal([2, 6, 2])
    tensors, labels = slices(network, p, 0), {"labels": tf.constant([2, 0])}
    # The bias of a label, before the first ReLU, is equivalent to a change of the bias of the actnorm.
    for i, label in enumerate([2, 0]):
        moved = {**p, "actnorm1": dict(p["actnorm1"]), "label": {"kernel": 0 * p["label"]["kernel"]}}
        scale = np.exp(3 * p["actnorm1"]["logs"])
        moved["actnorm1"]["bias"] = p["actnorm1"]["bias"] + p["label"]["kernel"][:, label] / scale
        expected = network.apply(slices(network, moved, 0), tf.constant(x[i : i + 1]), {"labels": tf.constant([0])})
        assert_close(network.apply(tensors, tf.constant(x), labels)[i], expected[0])
