"""Memory does not grow with depth, but for weights, gradients and optimizer slots."""

import pytest

from tools import fresh


def weights_and_peak(depth, gradient):
    """Bytes, of a step with Adamax and a moving average; of a fresh allocator."""
    start = fresh.measure(K=depth, L=3, width=128, image_size=64, batch_size=16, gradient=gradient, steps=1)
    return start.weights, start.peak


@pytest.mark.slow
def test_the_reversible_gradient_keeps_no_activations_of_the_steps():
    (few_weights, few), (many_weights, many) = (weights_and_peak(depth, "reversible") for depth in (4, 64))
    # Weights, their gradients, Adamax's two slots and the moving average.
    assert many - few <= 1.05 * 5 * (many_weights - few_weights)


@pytest.mark.slow
def test_the_stored_gradient_keeps_them():
    (_, few), (_, many) = (weights_and_peak(depth, "stored") for depth in (4, 16))
    assert many > 3 * few
