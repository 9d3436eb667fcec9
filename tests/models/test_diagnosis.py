"""`first_nonfinite` names the first layer with non-finite values, in the forward and in the backward pass."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from glow_tf import glow, nice
from glow_tf.models.diagnosis import first_nonfinite
from tests.marks import mostly_slow
from tests.models.flows import CONFIGS, random_flow, random_inputs, random_labels, with_gradient

GRADIENTS = ("reversible", "stored")
TWO_LEVELS = glow((8, 8, 1), K=2, L=2, width=4, num_classes=3)


@functools.cache
def flow_and_inputs(config):
    """A float32 flow, inputs and labels, shared by the tests; `make` restores the weights after each."""
    return random_flow(config, tf.float32), tf.cast(random_inputs(config), tf.float32), random_labels(config)


@pytest.fixture
def make():
    """A function that returns a flow with some weights replaced, {path: (index, value)}, until the test ends."""
    before = []

    def make(config, broken=None):
        flow, x, labels = flow_and_inputs(config)
        for path, (index, value) in (broken or {}).items():
            variable = flow.named_variables()[path]
            numbers = variable.numpy()
            before.append((variable, numbers.copy()))
            numbers[index] = value
            variable.assign(numbers)
        return flow, x, labels

    yield make
    for variable, numbers in before:
        variable.assign(numbers)


@pytest.mark.parametrize(
    ("name", "gradient"),
    mostly_slow(
        [
            (name, gradient)
            for name in ("glow-labels", "glow-conv1x1_dense-additive", "glow-shuffle-affine", "real_nvp", "nice")
            for gradient in GRADIENTS
        ],
        [("glow-labels", "reversible"), ("glow-conv1x1_dense-additive", "stored"), ("nice", "reversible")],
    ),
)
def test_nothing_is_named_where_all_is_finite(make, name, gradient):
    flow, x, labels = make(with_gradient(CONFIGS[name], gradient))
    assert first_nonfinite(flow, x, labels) is None
    assert first_nonfinite(flow, x, labels, network_precision="bfloat16") is None


def test_the_batch_itself(make):
    flow, x, labels = make(TWO_LEVELS)
    x = x.numpy()
    x[1, 2, 3, 0] = np.nan
    assert first_nonfinite(flow, tf.constant(x), labels) == "the batch itself, before the first layer"


# Keyed by what is broken: the path, index and value of a number to replace, and the expected result.
FORWARD = {
    "actnorm, NaN": ("layers/01_steps/actnorm/bias", (1, 0), np.nan, "level 1, step 2 of 2, actnorm: its output"),
    "actnorm, huge": ("layers/04_steps/actnorm/logs", (1, 0), 60.0, "level 2, step 2 of 2, actnorm: its output"),
    "1x1 convolution": (
        "layers/04_steps/conv1x1/upper",
        (0, 0, 1),
        np.inf,
        "level 2, step 1 of 2, invertible_conv1x1: its output",
    ),
    "coupling": (
        "layers/01_steps/network/conv1/kernel",
        (0, 1, 1, 0, 0),
        np.nan,
        "level 1, step 1 of 2, coupling: its output",
    ),
    "split": ("layers/02_split/kernel", (1, 1, 0, 0), np.nan, "level 1, split: its output"),
    "top prior": ("layers/05_topprior/border/bias", (0,), np.nan, "level 2, diagonal_prior: its output"),
    "label": ("layers/05_topprior/label/kernel", (1, 0), np.inf, "level 2, diagonal_prior: its output"),
}


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("kind", FORWARD)
def test_outputs(make, kind, gradient):
    path, index, value, where = FORWARD[kind]
    flow, x, labels = make(with_gradient(TWO_LEVELS, gradient), {path: (index, value)})
    assert first_nonfinite(flow, x, labels) == where


def test_the_first_of_two_is_named(make):
    nan = ((0, 0), np.nan)
    flow, x, labels = make(TWO_LEVELS, {f"layers/{i}_steps/actnorm/bias": nan for i in ("04", "01")})
    assert first_nonfinite(flow, x, labels).startswith("level 1, step 1 of 2, actnorm")


@pytest.mark.parametrize("name", ["nice", "real_nvp"])
def test_other_families(make, name):
    config = CONFIGS[name]
    flow, _, _ = flow_and_inputs(config)
    if name == "nice":
        cases = {
            "log_scale": "level 1, scale: its output",
            "bias": "level 1, step 1 of 4, coupling: its output",
        }
    else:
        cases = {"bias": "level 1, step 1 of 3, "}
    for ending, where in cases.items():
        path = next(path for path in flow.named_variables(trainable=True) if path.endswith(ending))
        first = (0,) * len(flow.named_variables()[path].shape)
        broken, x, labels = make(config, {path: (first, np.nan)})
        assert first_nonfinite(broken, x, labels).startswith(where), path


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_gradient_of_a_weight(make, gradient):
    """A coupling adds 1e21, and latents are Gaussian: the gradient of its log-scale is of the order of 1e40."""
    config = glow((4, 4, 1), K=2, L=1, width=4, coupling="additive", learn_top=False, gradient=gradient)
    flow, x, _ = make(config, {"layers/01_steps/network/conv3/bias": ((1, 0), 1e21)})
    assert np.isfinite(flow.bijector().forward(x)).all()
    assert first_nonfinite(flow, x) == "level 1, step 2 of 2, coupling: the gradient of network/conv3/log_scale"


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_gradient_of_an_input(make, gradient):
    """A factor of exp(48) = 7e20 on Gaussian latents: the gradient with respect to its input contains its square."""
    config = nice((4, 4, 1), K=2, width=4, blocks=1, base="normal", gradient=gradient)
    flow, x, _ = make(config, {"layers/02_scale/log_scale": ((3,), 48.0)})
    assert np.isfinite(flow.bijector().forward(x)).all()
    assert first_nonfinite(flow, x) == "level 1, scale: the gradient of its input"


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_an_input_that_cannot_be_rebuilt(make, gradient):
    """exp(-100) has no finite inverse in float32, which only the reversible gradient needs."""
    path = "layers/04_steps/conv1x1/log_diagonal"
    flow, x, labels = make(with_gradient(TWO_LEVELS, gradient), {path: ((0, 2), -100.0)})
    where = first_nonfinite(flow, x, labels)
    rebuilt = "level 2, step 1 of 2, invertible_conv1x1: its input, rebuilt from its output"
    assert where == (rebuilt if gradient == "reversible" else None)
