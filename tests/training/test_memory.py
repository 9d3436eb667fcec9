"""Memory does not grow with depth, but for weights, gradients and optimizer slots."""

import pytest

from glow_tf.commands import startup
from glow_tf.runtime.cores import cores


def weights_and_peak(depth, gradient, batch_size=16):
    """Bytes, of a step with Adamax and a moving average; of a fresh allocator."""
    start = startup.measure(K=depth, L=3, width=128, image_size=64, batch_size=batch_size, gradient=gradient, steps=1)
    return start.weights, start.peak


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "gradients"), [(3, 1), (16, 1 + cores())], ids=["whole", "in parts"])
def test_the_reversible_gradient_keeps_no_activations_of_the_steps(batch_size, gradients):
    """Parts of a batch, one for each core at most, have gradients of their own, and so has the sum of them."""
    (few_weights, few), (many_weights, many) = (weights_and_peak(depth, "reversible", batch_size) for depth in (4, 64))
    # Beside them weights, Adamax's two slots and the moving average.
    assert many - few <= 1.05 * (4 + gradients) * (many_weights - few_weights)


@pytest.mark.slow
def test_the_stored_gradient_keeps_them():
    (_, few), (_, many) = (weights_and_peak(depth, "stored") for depth in (4, 16))
    assert many > 3 * few
