import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf import bijectors
from glow_tf.bijectors import base
from tests.tolerances import assert_close

tfb = tfp.bijectors
tfd = tfp.distributions


class Doubling(bijectors.Bijector):
    """y = 2 x; records every call."""

    def __init__(self, **kwargs):
        super().__init__(event_ndims=1, **kwargs)
        self.calls = self._no_dependency([])

    def forward_and_log_det(self, x):
        self.calls.append(("forward", x.shape.rank))
        return 2 * x, tf.fill(tf.shape(x)[:1], tf.cast(x.shape[1] * np.log(2), x.dtype))

    def inverse_and_log_det(self, y):
        self.calls.append(("inverse", y.shape.rank))
        return y / 2, tf.fill(tf.shape(y)[:1], tf.cast(-y.shape[1] * np.log(2), y.dtype))


def test_a_subclass_without_mathematics_says_so():
    bijector = bijectors.Bijector(event_ndims=1)
    for direction in ("forward", "inverse"):
        with pytest.raises(NotImplementedError, match=f"{direction}_and_log_det"):
            getattr(bijector, direction)(tf.zeros([2, 3]))


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
def test_a_layer_sees_one_batch_axis(batch):
    bijector = Doubling()
    x = tf.ones([*batch, 4], tf.float64)
    y, log_det = bijector.forward(x), bijector.forward_log_det_jacobian(x)
    assert bijector.calls == [("forward", 2)]
    assert_close(y, 2 * np.ones([*batch, 4]))
    assert_close(log_det, np.full(batch, 4 * np.log(2)))


def test_value_and_log_det_of_one_tensor_are_one_evaluation():
    bijector = Doubling()
    x = tf.ones([2, 3], tf.float64)
    y = bijector.forward(x)
    bijector.forward_log_det_jacobian(x)
    assert bijector.inverse(y) is x
    bijector.inverse_log_det_jacobian(y)
    assert bijector.calls == [("forward", 2)]
    bijector.inverse(tf.identity(y))
    assert bijector.calls == [("forward", 2), ("inverse", 2)]


def test_bijectors_do_not_share_results():
    first, second = Doubling(), Doubling()
    x = tf.ones([2, 3], tf.float64)
    y = first.forward(x)
    second.forward(x)
    second.inverse(y)
    assert second.calls == [("forward", 2), ("inverse", 2)]


def test_too_few_dimensions():
    with pytest.raises(ValueError, match=r"needs at least 1 dimensions; it gets shape \(\)"):
        Doubling().forward(tf.constant(1.0))


def test_validate_args_finds_what_is_not_finite():
    x = tf.constant([[1.0, np.inf]])
    assert np.isinf(Doubling().forward(x).numpy()[0, 1])
    with pytest.raises(tf.errors.InvalidArgumentError, match="doubling is not finite"):
        Doubling(validate_args=True).forward(x)


def test_validate_args_finds_a_log_det_that_is_not_finite():
    class Singular(Doubling):
        def forward_and_log_det(self, x):
            y, log_det = super().forward_and_log_det(x)
            return y, log_det - np.inf

    x = tf.ones([1, 2])
    assert Singular().forward_log_det_jacobian(x).numpy() == [-np.inf]
    for method in ("forward", "forward_log_det_jacobian"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="log-det of singular is not finite"):
            getattr(Singular(validate_args=True), method)(x)


def test_event_of_events():
    """If TFP's event is larger than the bijector's, the log-dets of its parts are added up."""
    base_distribution = tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1), sample_shape=[5, 3])
    distribution = tfd.TransformedDistribution(base_distribution, Doubling())
    assert distribution.event_shape == [5, 3]
    x = np.random.default_rng(0).standard_normal([2, 5, 3])
    expected = np.sum(-0.5 * (x / 2) ** 2 - 0.5 * np.log(2 * np.pi) - np.log(2), axis=(1, 2))
    assert_close(distribution.log_prob(x), expected)


def test_adapter_of_equal_bijectors_forgets_what_was_computed_without_a_tape():
    """TFP's cache is shared by equal bijectors and would return a result that the tape has not recorded."""
    x = tf.constant([[1.0, 2.0]], tf.float64)

    def adapter():
        return bijectors.Adapter(tfb.Scale(tf.constant(3.0, tf.float64)), event_ndims=1)

    before = adapter().forward(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = adapter().forward(x)
    assert_close(y, before)
    assert_close(tape.gradient(y, x), [[3.0, 3.0]])


def test_adapter_by_hand():
    scale = np.array([0.5, 3.0])
    adapter = bijectors.Adapter(tfb.Scale(tf.constant(scale)), event_ndims=1)
    x = np.array([[1.0, -2.0], [0.25, 4.0], [0.0, 0.0]])
    assert_close(adapter.forward(x), x * scale)
    assert_close(adapter.inverse(tf.constant(x)), x / scale)
    assert_close(adapter.forward_log_det_jacobian(tf.constant(x)), np.full(3, np.log(1.5)))
    assert adapter.name == "scale"


def test_helpers():
    x = tf.zeros([2, 4, 5, 3], tf.float64)
    assert base.positions(x).numpy() == 20 and base.positions(x).dtype == tf.float64
    assert base.positions(tf.zeros([2, 3])).numpy() == 1
    assert_close(base.sum_event(tf.ones([2, 4, 5])), [20.0, 20.0])
    assert_close(base.broadcast_log_det(tf.constant(1.5, tf.float32), x), [1.5, 1.5])
