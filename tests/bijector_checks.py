"""Checks that every bijector passes, as functions of a bijector and of points in its domain and range.

Points have shape [*batch, *event]. `b.inverse(b.forward(x))` would prove nothing, as TFP's cache returns `x`; hence the
`tf.identity` in between.
"""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests import tolerances
from tests.tolerances import assert_close, assert_gradient_close

tfb = tfp.bijectors
tfd = tfp.distributions


def batch_shape(bijector: tfb.Bijector, x: tf.Tensor) -> tf.TensorShape:
    return x.shape[: x.shape.rank - bijector.forward_min_event_ndims]


def fresh(x: tf.Tensor) -> tf.Tensor:
    """Returns `x` as a tensor that is in no cache."""
    return tf.identity(x)


def check_round_trip(bijector: tfb.Bijector, x, y, tolerance: float = tolerances.VALUE) -> None:
    """x -> y -> x from points `x`, and y -> x -> y from points `y`."""
    assert_close(bijector.inverse(fresh(bijector.forward(x))), x, tolerance, "inverse(forward(x))")
    assert_close(bijector.forward(fresh(bijector.inverse(y))), y, tolerance, "forward(inverse(y))")


def jacobians(function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, batch_ndims: int) -> np.ndarray:
    """The Jacobian of every example by autodiff: [*batch, D', D].

    Takes one backward pass: examples do not influence each other, so D' copies of the batch, each pulled back from a
    different output, give all rows.
    """
    batch = x.shape[:batch_ndims]
    outputs = int(np.prod(function(x).shape[batch_ndims:]))
    copies = tf.tile(x[tf.newaxis], [outputs] + [1] * x.shape.rank)
    with tf.GradientTape() as tape:
        tape.watch(copies)
        y = function(copies)
    rows = np.eye(outputs).reshape([outputs] + [1] * batch_ndims + list(y.shape[batch_ndims + 1 :]))
    grad = tape.gradient(y, copies, output_gradients=tf.constant(np.broadcast_to(rows, y.shape)))
    return np.moveaxis(grad.numpy().reshape([outputs, *batch, -1]), 0, -2)


def check_log_det(bijector: tfb.Bijector, x, y, tolerance: float = tolerances.LOG_DET) -> None:
    """Compares both log-dets with slogdet of the autodiff Jacobian."""
    ndims = len(batch_shape(bijector, x))
    expected = np.linalg.slogdet(jacobians(bijector.forward, x, ndims))[1]
    assert_close(bijector.forward_log_det_jacobian(fresh(x)), expected, tolerance, "forward log-det")
    expected = np.linalg.slogdet(jacobians(bijector.inverse, y, ndims))[1]
    assert_close(bijector.inverse_log_det_jacobian(fresh(y)), expected, tolerance, "inverse log-det")


def check_log_dets_agree(bijector: tfb.Bijector, x, y, tolerance: float = tolerances.LOG_DET) -> None:
    """The forward log-det at x is minus the inverse log-det at forward(x), and vice versa."""
    forward = bijector.forward_log_det_jacobian(x)
    inverse = bijector.inverse_log_det_jacobian(fresh(bijector.forward(x)))
    assert_close(forward, -inverse, tolerance, "at x")
    inverse = bijector.inverse_log_det_jacobian(y)
    forward = bijector.forward_log_det_jacobian(fresh(bijector.inverse(y)))
    assert_close(inverse, -forward, tolerance, "at y")


def check_jacobian_of_pfor_free_tape(bijector: tfb.Bijector, x, tolerance: float = tolerances.LOG_DET) -> None:
    """`tape.jacobian` without pfor, one output at a time, agrees with the log-det for the first example."""
    x = fresh(tf.reshape(x, [-1, *x.shape[len(batch_shape(bijector, x)) :]])[:1])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = tf.reshape(bijector.forward(x), [-1])
    jacobian = tape.jacobian(y, x, experimental_use_pfor=False)
    expected = np.linalg.slogdet(jacobian.numpy().reshape([y.shape[0], -1]))[1]
    assert_close(bijector.forward_log_det_jacobian(fresh(x))[0], expected, tolerance)


def check_batch_shapes(bijector: tfb.Bijector, x) -> None:
    """Batches of shape [], [B] and [A, B], and an empty one, give the results of the examples one by one."""
    event = list(x.shape[len(batch_shape(bijector, x)) :])
    examples = tf.reshape(x, [-1, *event])[:4]
    one_by_one = [bijector.forward(fresh(example)) for example in examples]
    log_dets = [bijector.forward_log_det_jacobian(fresh(example)) for example in examples]
    y, log_det = tf.stack(one_by_one), tf.stack(log_dets)
    for batch in ([4], [2, 2], [1, 4, 1]):
        points = tf.reshape(examples, [*batch, *event])
        outputs = tf.reshape(y, [*batch, *y.shape[1:]])
        assert_close(bijector.forward(points), outputs, message=f"forward, batch {batch}")
        assert_close(bijector.forward_log_det_jacobian(fresh(points)), tf.reshape(log_det, batch))
        assert_close(bijector.inverse(fresh(outputs)), points, message=f"inverse, batch {batch}")
        assert_close(bijector.inverse_log_det_jacobian(fresh(outputs)), -tf.reshape(log_det, batch))
    assert_close(bijector.inverse(fresh(y[0])), examples[0], message="inverse, batch []")
    empty = bijector.forward(tf.zeros([0, *event], x.dtype))
    assert empty.shape == (0, *y.shape[1:])
    assert bijector.forward_log_det_jacobian(tf.zeros([0, *event], x.dtype)).shape == (0,)


def check_event_shapes(bijector: tfb.Bijector, x) -> None:
    """The event shapes reported to TFP, static and as tensors, are the actual ones, also for events of higher rank."""
    y = bijector.forward(x)
    event = x.shape[x.shape.rank - bijector.forward_min_event_ndims :].as_list()
    latent = y.shape[y.shape.rank - bijector.inverse_min_event_ndims :].as_list()
    for more in ([], [5]):
        assert bijector.forward_event_shape(tf.TensorShape(more + event)).as_list() == more + latent
        assert bijector.inverse_event_shape(tf.TensorShape(more + latent)).as_list() == more + event
        assert bijector.forward_event_shape_tensor(tf.constant(more + event)).numpy().tolist() == more + latent
        assert bijector.inverse_event_shape_tensor(tf.constant(more + latent)).numpy().tolist() == more + event


def check_in_graph(bijector_of: Callable[[], tfb.Bijector], x, y) -> None:
    """In a tf.function, with a static and with an unknown batch size, results are the same as in eager mode."""
    bijector = bijector_of()
    names = ("forward", "forward_log_det_jacobian", "inverse", "inverse_log_det_jacobian")
    points = (x, x, y, y)
    expected = [getattr(bijector, name)(fresh(point)) for name, point in zip(names, points, strict=True)]

    def all_four(x, y):
        inside = bijector_of()
        results = [getattr(inside, name)(point) for name, point in zip(names, (x, x, y, y), strict=True)]
        # Subsequent layers may need the static event shape.
        assert results[0].shape[1:] == y.shape[1:] and results[2].shape[1:] == x.shape[1:]
        return results

    unknown = [tf.TensorSpec([None, *point.shape[1:]], point.dtype) for point in (x, y)]
    for compiled in (tf.function(all_four), tf.function(all_four, input_signature=unknown)):
        for name, actual, wanted in zip(names, compiled(x, y), expected, strict=True):
            assert_close(actual, wanted, message=f"{name} in tf.function")


def check_extremes(bijector: tfb.Bijector, x, y, scales: tuple[float, ...]) -> None:
    """Results are finite and the round trip still holds for inputs multiplied by each of `scales`."""
    for scale in scales:
        for direction, back, point in (("forward", "inverse", x * scale), ("inverse", "forward", y * scale)):
            there = getattr(bijector, direction)(point)
            log_det = getattr(bijector, f"{direction}_log_det_jacobian")(point)
            assert np.all(np.isfinite(there)), f"{direction} at {scale}"
            assert np.all(np.isfinite(log_det)), f"{direction} log-det at {scale}"
            again = getattr(bijector, back)(fresh(there))
            assert_close(again, point, message=f"{back}({direction}) at {scale}")


def check_gradients(
    build: Callable[[Mapping[str, tf.Tensor]], tfb.Bijector], parameters: Mapping[str, tf.Tensor], x, y
) -> None:
    """Gradients reach every parameter and the input, in both directions, and equal central differences."""
    rng = np.random.default_rng(7)
    for direction, point in (("forward", x), ("inverse", y)):

        def outputs(everything, direction=direction):
            bijector = build({name: everything[name] for name in parameters})
            point = everything["input"]
            return getattr(bijector, direction)(point), getattr(bijector, f"{direction}_log_det_jacobian")(point)

        everything = {**parameters, "input": point}
        weights = [tf.constant(rng.standard_normal(t.shape)) for t in outputs(everything)]

        def loss_of(everything, outputs=outputs, weights=weights):
            """A scalar that depends on every output and every log-det."""
            return sum(tf.reduce_sum(t * weight) for t, weight in zip(outputs(everything), weights, strict=True))

        with tf.GradientTape() as tape:
            tape.watch(everything)
            loss = loss_of(everything)
        grads = tape.gradient(loss, everything)
        for name, grad in grads.items():
            assert grad is not None, f"{direction}: no gradient reaches {name}"
            assert np.abs(grad).max() > 0, f"{direction}: the gradient of {name} is zero"
        along = {name: tf.constant(rng.standard_normal(t.shape)) for name, t in everything.items()}
        step = 1e-6

        ahead, behind = (
            loss_of({name: t + sign * step * along[name] for name, t in everything.items()}) for sign in (1, -1)
        )
        difference = (ahead - behind) / (2 * step)
        slope = sum(np.sum(grads[name] * along[name]) for name in everything)
        assert_close(slope, difference, tolerances.FINITE_DIFFERENCE, f"{direction}: slope along a random direction")


def check_inverse_and_vjp(
    build: Callable[[Mapping[str, tf.Tensor]], tfb.Bijector],
    parameters: Mapping[str, tf.Tensor],
    sources: tuple[str, ...],
    x,
) -> None:
    """`inverse_and_vjp` rebuilds the input, and its gradients are those of autodiff through the forward direction."""
    rng = np.random.default_rng(8)
    bijector = build(parameters)
    tensors = [parameters[name] for name in sources]
    with tf.GradientTape() as tape:
        tape.watch([x, *tensors])
        y, log_det = bijector.forward_and_log_det(x)
    dy, dlog_det = (tf.constant(rng.standard_normal(t.shape)) for t in (y, log_det))
    expected = tape.gradient((y, log_det), [x, *tensors], output_gradients=[dy, dlog_det])
    rebuilt, dx, dsources = bijector.inverse_and_vjp(y, dy, dlog_det, tensors)
    assert_close(rebuilt, x, message="rebuilt input")
    assert_gradient_close(dx, expected[0], message="gradient of the input")
    for name, actual, wanted in zip(sources, dsources, expected[1:], strict=True):
        assert (actual is None) == (wanted is None), f"gradient of {name}: {actual} and {wanted}"
        if wanted is not None:
            assert_gradient_close(actual, wanted, message=f"gradient of {name}")


def normal_log_density(z: np.ndarray, batch_ndims: int) -> np.ndarray:
    """log N(z; 0, I) summed over the event."""
    z = np.asarray(z)
    return np.sum(-0.5 * z**2 - 0.5 * np.log(2 * np.pi), axis=tuple(range(batch_ndims, z.ndim)))


def check_in_tfp(bijector: tfb.Bijector, x) -> None:
    """The bijector works in TFP's own classes: TransformedDistribution, directly and wrapped in Invert, and Chain."""
    batch = batch_shape(bijector, x)
    z = bijector.forward(x)
    base = tfd.Sample(tfd.Normal(tf.zeros(batch, x.dtype), 1), sample_shape=z.shape[len(batch) :])
    data = tfd.TransformedDistribution(base, tfb.Invert(bijector))
    expected = normal_log_density(z, len(batch)) + bijector.forward_log_det_jacobian(fresh(x)).numpy()
    assert_close(data.log_prob(fresh(x)), expected, message="log_prob under Invert")
    draw = data.sample(3, seed=1)
    assert draw.shape == (3, *x.shape) and np.all(np.isfinite(draw))

    base = tfd.Sample(tfd.Normal(tf.zeros(batch, x.dtype), 1), sample_shape=x.shape[len(batch) :])
    pushed = tfd.TransformedDistribution(base, bijector)
    expected = normal_log_density(x, len(batch)) - bijector.forward_log_det_jacobian(fresh(x)).numpy()
    assert_close(pushed.log_prob(fresh(z)), expected, tolerances.LOG_DET, message="log_prob of what it pushes forward")

    shifted = tfb.Chain([tfb.Shift(tf.constant(1.5, x.dtype)), bijector])
    assert_close(shifted.forward(fresh(x)), z.numpy() + 1.5, message="in a Chain")
    ndims = bijector.forward_min_event_ndims
    log_det = shifted.forward_log_det_jacobian(fresh(x), event_ndims=ndims)
    assert_close(log_det, bijector.forward_log_det_jacobian(fresh(x)), message="log-det in a Chain")
    there_and_back = tfb.Chain([tfb.Invert(bijector), bijector])
    assert_close(there_and_back.inverse(fresh(x)), x, message="Chain with its inverse")
