"""The flow against one run of the official code: see tests/golden/README.md.

Tolerances are about ten times the differences measured between float32 here and float32 in the official run.
"""

import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.dequantization import Uniform
from glow_tf.models import openai_checkpoint
from glow_tf.training.loss import losses
from tests import reference_glow
from tests.marks import mostly_slow

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "openai_glow_affine"
K, L = 2, 3
PERMUTATIONS = ("conv1x1_dense", "conv1x1")
# Official names within a step, keyed by our path within the stack of a level.
STEP_NAMES = {
    "actnorm/bias": "actnorm_center/b",
    "actnorm/logs": "actnorm_scale/logs",
    "conv1x1/weight": "invconv/W",
    "network/conv1/kernel": "f1/l_1/W",
    "network/actnorm1/bias": "f1/l_1/actnorm_center/b",
    "network/actnorm1/logs": "f1/l_1/actnorm_scale/logs",
    "network/conv2/kernel": "f1/l_2/W",
    "network/actnorm2/bias": "f1/l_2/actnorm_center/b",
    "network/actnorm2/logs": "f1/l_2/actnorm_scale/logs",
    "network/conv3/kernel": "f1/l_last/W",
    "network/conv3/bias": "f1/l_last/b",
    "network/conv3/logs": "f1/l_last/logs",
}
# Official names of everything outside of steps, keyed by our path.
OTHER_NAMES = {
    "layers/02_split": "model/pool0/conv",
    "layers/05_split": "model/pool1/conv",
    "layers/08_topprior/border": "model/prior/p",
    "layers/08_topprior/label": "model/prior/y_emb",
    "classifier": "model/classifier",
}


def config(permutation="conv1x1_dense", gradient="reversible"):
    return glow_tf.glow(
        (16, 16, 3),
        K=K,
        L=L,
        width=16,
        n_bits=5,
        num_classes=5,
        classifier=True,
        permutation=permutation,
        gradient=gradient,
    )


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "io.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def weights():
    reader = tf.train.load_checkpoint(str(GOLDEN / "model.ckpt"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.fixture(scope="module")
def flows():
    return {p: glow_tf.import_openai_checkpoint(str(GOLDEN / "model.ckpt"), config(p)) for p in PERMUTATIONS}


@pytest.fixture(scope="module")
def x(golden):
    return Uniform(n_bits=5).quantize(golden["images"]) + tf.reshape(
        tf.cast(golden["dequantization_noise"], tf.float32), golden["images"].shape
    )


def batch(golden, x):
    log_q = np.full(len(x), 16 * 16 * 3 * 5 * np.log(2), np.float32)
    return {"x": x, "log_q": log_q, "labels": tf.constant(golden["labels"], tf.int32)}


def by_official_name(values):
    """Converts values keyed by our paths, stacked over the steps, to one array per official name."""
    named = {}
    for path, value in values.items():
        layer, _, rest = path.removeprefix("layers/").partition("/")
        if layer.endswith("_steps"):
            level = int(layer[:2]) // 3
            for k in range(K):
                named[f"model/{level}/{k}/{STEP_NAMES.get(rest, rest)}"] = np.asarray(value[k])
        else:
            prefix, _, leaf = path.rpartition("/")
            named[f"{OTHER_NAMES[prefix]}/{ {'kernel': 'W', 'bias': 'b', 'logs': 'logs'}[leaf] }"] = np.asarray(value)
    return named


def kept(name, value):
    """The part of an official array that has a counterpart here, without the axes of size 1."""
    value = value[:, :, -1:] if name == "model/prior/p/W" else value
    return value if name.endswith("/W") else value.ravel()


@pytest.mark.parametrize("permutation", PERMUTATIONS)
def test_losses(flows, golden, x, permutation):
    parts = losses(flows[permutation], batch(golden, x), 0.01)
    means = [float(tf.reduce_mean(parts[n])) for n in ("loss", "bits_per_dim", "label_bits", "label_error")]
    np.testing.assert_allclose(means, golden["stats"].ravel(), atol=5e-6)


@pytest.mark.parametrize("permutation", PERMUTATIONS)
def test_latents(flows, golden, x, permutation):
    eps = flows[permutation].bijector(golden["labels"]).forward(x)
    np.testing.assert_allclose(eps, golden["eps"], atol=4e-5)


@pytest.mark.parametrize("permutation", PERMUTATIONS)
@pytest.mark.parametrize(("temperature", "name"), [(1.0, "decoded"), (0.7, "decoded_eps_times_0_7")])
def test_decoded_images_are_equal(flows, golden, permutation, temperature, name):
    images = flows[permutation].decode(np.float32(temperature) * golden["eps"], golden["labels"])
    assert images.dtype == tf.uint8
    np.testing.assert_array_equal(images, golden[name])


@pytest.mark.parametrize(
    ("permutation", "gradient"),
    mostly_slow(
        [(permutation, gradient) for permutation in PERMUTATIONS for gradient in ("reversible", "stored")],
        [("conv1x1", "reversible"), ("conv1x1_dense", "stored")],
    ),
)
def test_gradients(golden, x, permutation, gradient):
    flow = glow_tf.import_openai_checkpoint(str(GOLDEN / "model.ckpt"), config(permutation, gradient))
    variables = flow.named_variables(trainable=True)

    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(losses(flow, batch(golden, x), 0.01)["loss"])
    ours = by_official_name({path: value.numpy() for path, value in tape.gradient(loss, variables).items()})
    official = {name.removeprefix("grad/"): value for name, value in golden.items() if name.startswith("grad/")}
    expected = {name: kept(name, value) for name, value in official.items()}
    if permutation == "conv1x1":
        values = by_official_name({path: v.numpy() for path, v in flow.named_variables().items()})
        for step in (f"model/{level}/{k}" for level in range(L) for k in range(K)):
            factors = {n: values[f"{step}/conv1x1/{n}"] for n in PLU}
            for name, value in plu_gradients(expected.pop(f"{step}/invconv/W"), **factors).items():
                expected[f"{step}/conv1x1/{name}"] = value
    assert ours.keys() == expected.keys()
    errors = {n: np.linalg.norm(ours[n] - expected[n]) / np.linalg.norm(expected[n]) for n in expected}
    worst = max(errors, key=errors.get)
    assert errors[worst] < 2e-5, worst


PLU = ("permutation", "sign", "lower", "upper", "log_diagonal")


def plu_gradients(weight_gradient, permutation, sign, lower, upper, log_diagonal):
    """Gradients of the PLU factors from that of W = P L U, by the chain rule."""
    size = len(sign)
    lower = np.tril(lower, -1) + np.eye(size)
    diagonal = sign * np.exp(log_diagonal)
    upper = np.triu(upper, 1) + np.diag(diagonal)
    product_gradient = np.eye(size)[permutation].T @ weight_gradient
    upper_gradient = lower.T @ product_gradient
    return {
        "lower": np.tril(product_gradient @ upper.T, -1),
        "upper": np.triu(upper_gradient, 1),
        "log_diagonal": np.diag(upper_gradient) * diagonal,
    }


def test_the_part_of_the_official_prior_that_is_left_out_has_no_gradient(golden):
    """Its kernel also covers channels that are zero everywhere: only the border indicator has an effect."""
    gradient = golden["grad/model/prior/p/W"]
    assert not gradient[:, :, :-1].any()
    assert gradient[:, :, -1].any()


@pytest.mark.parametrize("permutation", PERMUTATIONS)
def test_data_dependent_initialisation(golden, x, permutation):
    after = {n.removeprefix("after_init/"): v for n, v in golden.items() if n.startswith("after_init/")}
    before = {name: np.zeros_like(value) if "/actnorm_" in name else value for name, value in after.items()}
    flow = openai_checkpoint.flow_from_arrays(before, config(permutation))
    flow.initialize_from(x)
    ours = by_official_name({path: v.numpy() for path, v in flow.named_variables().items()})
    actnorms = [name for name in after if "/actnorm_" in name]
    assert len(actnorms) == L * K * 6
    for name in actnorms:
        np.testing.assert_allclose(ours[name], after[name].ravel(), atol=5e-5, err_msg=name)
    unchanged = [n for n in after if n not in actnorms and (permutation == "conv1x1_dense" or "invconv" not in n)]
    for name in unchanged:
        np.testing.assert_array_equal(ours[name], kept(name, after[name]), err_msg=name)

    parts = losses(flow, batch(golden, x), 0.01)
    means = [float(tf.reduce_mean(parts[n])) for n in ("loss", "bits_per_dim", "label_bits", "label_error")]
    np.testing.assert_allclose(means, golden["stats_after_init"].ravel(), atol=1e-5)


def test_the_reference_implementation_agrees(golden, weights):
    """The reference for other configurations, tests/reference_glow.py, is tested against the official run."""
    flags = reference_glow.Flags("conv1x1", "affine", True, True, K, L, 16, n_bits_x=5, n_y=5)
    x = reference_glow.quantized(golden["images"], 5)
    x = x + golden["dequantization_noise"].reshape(x.shape)
    official = {name: value for name, value in weights.items() if name.startswith("model/")}
    bits, eps = reference_glow.forward(official, x, flags, golden["labels"])
    np.testing.assert_allclose(bits.mean(), golden["stats"].ravel()[1], atol=5e-6)
    np.testing.assert_allclose(eps, golden["eps"], atol=4e-5)


def test_encode_takes_the_centres_of_the_bins(flows, golden):
    flow = flows["conv1x1"]
    z = flow.encode(golden["images"], golden["labels"])
    centres = reference_glow.quantized(golden["images"], 5) + 0.5 / 32
    np.testing.assert_allclose(z, flow.bijector(golden["labels"]).forward(np.float32(centres)), atol=1e-6)
    np.testing.assert_array_equal(flow.decode(z, golden["labels"]), golden["images"] // 8 * 8)


def test_bits_per_dim_is_the_official_figure_up_to_the_noise(flows, golden):
    flow = flows["conv1x1"]
    draws = [flow.bits_per_dim(golden["images"], golden["labels"], seed=seed).numpy().mean() for seed in range(8)]
    official = golden["stats"].ravel()[1]
    assert abs(np.mean(draws) - official) < 6 * np.std(draws, ddof=1) * math.sqrt(1 + 1 / 8)
