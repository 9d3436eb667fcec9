"""Products with explicit precision."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.runtime import devices, products


def random(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape)


def derivatives(product, a, b):
    """Returns a product and first and second derivatives of functions of it that are nonlinear in `a` and `b`."""
    with tf.GradientTape() as outer:
        outer.watch([a, b])
        with tf.GradientTape() as inner:
            inner.watch([a, b])
            y = product(a, b)
            loss = tf.reduce_sum(y**3)
        first = inner.gradient(loss, [a, b])
        norm = tf.linalg.global_norm(first) ** 2
    return [y, *first, *outer.gradient(norm, [a, b])]


MATMULS = {
    f"matmul, transposed {ta} {tb}": (
        lambda a, b, ta=ta, tb=tb, **kw: products.matmul(a, b, transpose_a=ta, transpose_b=tb, **kw),
        random(2, *((5, 3) if ta else (3, 5))),
        random(2, *((4, 5) if tb else (5, 4))),
    )
    for ta, tb in itertools.product([False, True], repeat=2)
}
MATMULS |= {
    f"matmul by a matrix, transposed {ta} {tb}": (
        lambda a, b, ta=ta, tb=tb, **kw: products.matmul(a, b, transpose_a=ta, transpose_b=tb, **kw),
        random(2, 3, *((5, 3) if ta else (3, 5))),
        random(*((4, 5) if tb else (5, 4))),
    )
    for ta, tb in ((False, False), (True, True))
}
CONVOLUTIONS = {
    f"conv2d, {padding}": (
        lambda x, kernel, padding=padding, **kw: products.conv2d(x, kernel, padding, **kw),
        random(2, 5, 4, 3),
        random(3, 3, 3, 2),
    )
    for padding in ("SAME", "VALID")
}
PRODUCTS = {**MATMULS, **CONVOLUTIONS}


@pytest.mark.parametrize("name", PRODUCTS)
def test_what_is_made_for_a_gpu_is_the_product_and_its_derivatives(name):
    product, a, b = PRODUCTS[name]
    expected = derivatives(product, tf.constant(a), tf.constant(b))
    with devices.made_for("GPU"):
        found = derivatives(product, tf.constant(a, tf.float32), tf.constant(b, tf.float32))
    for value, exact in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, exact, atol=2e-6 * np.abs(exact).max())


@pytest.mark.parametrize("name", PRODUCTS)
def test_tf32_is_the_product_of_rounded_operands(name):
    product, a, b = PRODUCTS[name]
    rounded = [products.round_to_tf32(tf.constant(t, tf.float32)) for t in (a, b)]
    expected = product(*(tf.cast(t, tf.float64) for t in rounded)).numpy()
    found = product(tf.constant(a, tf.float32), tf.constant(b, tf.float32), precision="tf32")
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
    assert np.abs(found - product(tf.constant(a), tf.constant(b)).numpy()).max() > 1e-5


def test_rounding_keeps_eleven_bits():
    ulp = 2.0**-10
    x = [1.0, 1 + ulp / 2, 1 + 0.49 * ulp, 1 + 0.51 * ulp, -1 - ulp / 2, 3e38, 0.0, -0.0, np.inf, -np.inf, np.nan]
    expected = [1.0, 1 + ulp, 1.0, 1 + ulp, -1 - ulp, 3e38, 0.0, -0.0, np.inf, -np.inf, np.nan]
    found = products.round_to_tf32(tf.constant(x)).numpy()
    np.testing.assert_allclose(found, np.float32(expected), rtol=2**-11)
    np.testing.assert_array_equal(found[:5], np.float32(expected[:5]))
    # The NaN of CUDA: adding to its bits would turn it into zero.
    assert np.isnan(products.round_to_tf32(tf.bitcast(tf.constant([0x7FFFFFFF], tf.int32), tf.float32))[0])


def test_a_product_by_a_matrix_is_that_of_each_position():
    a, b = random(2, 3, 4, 5), random(5, 2)
    expected = np.einsum("...i,ij->...j", a, b)
    np.testing.assert_allclose(products.matmul(a, b), expected, rtol=1e-12)
    spec = [tf.TensorSpec([None, None, 4, 5], tf.float64), tf.TensorSpec([5, 2], tf.float64)]
    matmul = tf.function(products.matmul, input_signature=spec, autograph=False)
    np.testing.assert_allclose(matmul(a, b), expected, rtol=1e-12)
    assert matmul.get_concrete_function().output_shapes == [None, None, 4, 2] and matmul(a[:0], b).shape == (0, 3, 4, 2)


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_what_is_not_finite_stays_so(precision):
    """The training guard relies on it."""
    for bad in (np.nan, np.inf):
        a, b = tf.constant([[bad, 1.0]]), tf.ones([2, 1])
        with devices.made_for("GPU"):
            assert not np.isfinite(products.matmul(a, b, precision))


def test_other_dtypes_are_left_alone():
    a, b = PRODUCTS["matmul, transposed False False"][1:]
    with devices.made_for("GPU"):
        np.testing.assert_array_equal(products.matmul(a, b, "tf32"), tf.matmul(a, b))


def test_an_unknown_precision():
    with pytest.raises(ValueError, match="precision='float16' is not one of 'float32', 'tf32', 'bfloat16'"):
        products.matmul(tf.ones([1, 1]), tf.ones([1, 1]), "float16")


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_convolution_of_no_images_has_the_shape_of_others(name):
    product, x, kernel = CONVOLUTIONS[name]
    some, kernel = tf.constant(x, tf.float32), tf.Variable(kernel, dtype=tf.float32)
    with tf.GradientTape() as tape:
        found = product(some[:0], kernel)
    assert found.shape == [0, *product(some, kernel).shape[1:]]
    np.testing.assert_array_equal(tape.gradient(found, kernel), np.zeros(kernel.shape))
