"""The same checks for every public bijector."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf import bijectors
from tests import bijector_checks as checks
from tests.bijectors import registry
from tests.marks import mostly_slow, slow
from tests.tolerances import assert_close

tfb = tfp.bijectors
tfd = tfp.distributions


def cases(having=lambda case: True):
    """Parametrizes a test by the cases for which `having` is true; those with `slow` run with the slow tests."""
    found = [case for case in registry.CASES if having(case)]
    quick = [case for case in found if not case.slow]
    return pytest.mark.parametrize("case", mostly_slow(found, quick), ids=lambda case: case.name)


every_case = cases()


def test_every_public_bijector_is_registered():
    covered = {case.covers.__name__ for case in registry.CASES}
    # The base class has no mathematics of its own; tests/bijectors/test_base.py has its tests.
    missing = set(bijectors.__all__) - covered - {"Bijector"}
    assert not missing, f"Add a case to tests/bijectors/registry.py for {sorted(missing)}."


def test_case_names_are_unique():
    names = [case.name for case in registry.CASES]
    assert len(set(names)) == len(names)


@every_case
def test_case_is_what_it_says(case):
    bijector = case.build(case.parameters())
    assert type(bijector) is case.covers
    assert bijector.forward_min_event_ndims == len(case.event)
    assert bijector.inverse_min_event_ndims == len(case.latent or case.event)


@every_case
def test_round_trip(case):
    checks.check_round_trip(case.build(case.parameters()), *case.points())


@every_case
def test_log_det_is_that_of_the_jacobian(case):
    checks.check_log_det(case.build(case.parameters()), *case.points((2,)))


@every_case
def test_forward_log_det_is_minus_the_inverse_one(case):
    checks.check_log_dets_agree(case.build(case.parameters()), *case.points())


@pytest.mark.parametrize("name", ["Coupling-affine-channel-swap0-3d", "Stack-reversible", slow("Stack-stored")])
def test_tape_jacobian(name):
    case = next(case for case in registry.CASES if case.name == name)
    checks.check_jacobian_of_pfor_free_tape(case.build(case.parameters()), case.points()[0])


@cases(lambda case: not case.labels)
def test_batch_shapes(case):
    checks.check_batch_shapes(case.build(case.parameters()), case.points()[0])


@every_case
def test_event_shapes(case):
    checks.check_event_shapes(case.build(case.parameters()), case.points()[0])


@every_case
def test_in_graph(case):
    parameters = case.parameters()
    checks.check_in_graph(lambda: case.build(parameters), *case.points())


@every_case
def test_extremes(case):
    checks.check_extremes(case.build(case.parameters()), *case.points(), case.scales)


@every_case
def test_gradients(case):
    checks.check_gradients(case.build, case.parameters(), *case.points((2,)))


@every_case
def test_inverse_and_vjp(case):
    sources = tuple(name for name in case.shapes if name not in case.derived)
    checks.check_inverse_and_vjp(case.build, case.parameters(), sources, case.points((2,))[0])


@every_case
def test_stands_alone_in_tfp(case):
    x, _ = case.points()
    checks.check_in_tfp(case.build(case.parameters()), x)


@cases(lambda case: case.network_calls)
def test_network_is_evaluated_once(case):
    calls = []

    def watch(network):
        def counted(x):
            calls.append(1)
            return network(x)

        return counted

    bijector = case.build(case.parameters(), watch)
    x, y = case.points()
    latent = case.latent or case.event
    distribution = tfd.TransformedDistribution(
        tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1), sample_shape=latent), tfb.Invert(bijector)
    )
    calls.clear()
    distribution.log_prob(x)
    assert len(calls) == case.network_calls, "log_prob"
    calls.clear()
    bijector.forward(y if case.latent is None else tf.identity(x) + 0.1)
    assert len(calls) == case.network_calls, "forward"
    calls.clear()
    draw = distribution.sample(2, seed=0)
    assert len(calls) == case.network_calls, "sample"
    calls.clear()
    distribution.log_prob(draw)
    assert not calls, "log_prob of a sample, which the cache answers"


@cases(lambda case: case.shapes)
def test_variables_are_read_when_it_is_used(case):
    """A bijector built once from variables follows them and has gradients, even if results are cached."""
    precomputed = () if case.covers is bijectors.InvertibleConv1x1 else case.derived
    values = case.parameters()
    variables = {name: value if name in precomputed else tf.Variable(value) for name, value in values.items()}
    x, y = case.points()
    kept = case.build(variables)
    names = ("forward", "forward_log_det_jacobian", "inverse", "inverse_log_det_jacobian")
    # TFP does not know that a network, which may be any function, reads variables; such cases get new points.
    point_of = checks.fresh if case.network_calls else lambda point: point
    points = (x, x, y, y)
    before = [getattr(kept, name)(point_of(point)) for name, point in zip(names, points, strict=True)]
    for name, variable in variables.items():
        if name not in precomputed:
            values[name] = 0.9 * values[name]
            variable.assign(values[name])
    changing = [variable for name, variable in variables.items() if name not in precomputed]
    with tf.GradientTape() as tape:
        after = [getattr(kept, name)(point_of(point)) for name, point in zip(names, points, strict=True)]
    assert all(gradient is not None for gradient in tape.gradient(after, changing))
    rebuilt = case.build(values)
    for name, point, new in zip(names, points, after, strict=True):
        assert_close(new, getattr(rebuilt, name)(checks.fresh(point)), message=name)
    assert np.abs(after[0] - before[0]).max() > 0
