"""All tolerances of the mathematical tests, in one place. They may be tightened, but not loosened.

They are for float64, as |a - b| <= tolerance * (1 + |b|), unless a comment says otherwise. Measured differences are at
most a tenth of them.
"""

import numpy as np

# A forward or inverse value of a single layer or a whole model.
VALUE = 1e-10
# A log-det against slogdet of the autodiff Jacobian, in up to a hundred dimensions.
LOG_DET = 1e-10
# A gradient against another exact gradient, relative to the largest entry of the tensor.
GRADIENT = 1e-10
# A gradient against central differences with a step of 1e-6: the rounding of a loss of order 10, about 1e-15, is
# divided by that step, and the third derivative adds 1e-12 times its size.
FINITE_DIFFERENCE = 1e-7

EXCEPTIONS = {
    # The trapezium rule on a grid over the plane, for a density with kinks, cut off at its edge.
    "integral of a density": 1e-4,
    # float32 has 24 bits, and a log-density is a sum over all dimensions.
    "float32": 5e-6,
    # Every input that the reversible gradient rebuilds carries the rounding of the 32 steps above it, in float32.
    "reversible gradient in float32": 1e-4,
}


def assert_close(actual, expected, tolerance: float = VALUE, message: str = "") -> None:
    """|actual - expected| <= tolerance * (1 + |expected|) everywhere, in equal shapes."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{message}: shapes {actual.shape} and {expected.shape}"
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance, err_msg=message)


def assert_gradient_close(actual, expected, tolerance: float = GRADIENT, message: str = "") -> None:
    """|actual - expected| <= tolerance * max|expected|: the rounding of large entries affects the small ones."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    scale = max(np.abs(expected).max(initial=0), 1e-12)
    assert actual.shape == expected.shape, f"{message}: shapes {actual.shape} and {expected.shape}"
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale, err_msg=message)
