"""Memory does not grow with depth, except for weights, gradients and optimizer slots."""

import pytest

from glow_tf.commands import startup
from glow_tf.runtime.cores import cores


def weights_and_peak(depth, gradient, batch_size=16):
    """Returns weights and peak, in bytes, of a step with Adamax and a moving average, in a new process."""
    start = startup.measure(K=depth, L=3, width=128, image_size=64, batch_size=batch_size, gradient=gradient, steps=1)
    return start.weights, start.peak


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "gradients"), [(3, 1), (16, 1 + cores())], ids=["whole", "in parts"])
def test_the_reversible_gradient_keeps_no_activations_of_the_steps(batch_size, gradients):
    """Each part of a batch, at most one per core, has its own gradients, and so has their sum."""
    (few_weights, few), (many_weights, many) = (weights_and_peak(depth, "reversible", batch_size) for depth in (4, 64))
    # Besides gradients: weights, Adamax's two slots and the moving average.
    assert many - few <= 1.05 * (4 + gradients) * (many_weights - few_weights)


@pytest.mark.slow
def test_the_stored_gradient_keeps_them():
    (_, few), (_, many) = (weights_and_peak(depth, "stored") for depth in (4, 16))
    assert many > 3 * few
