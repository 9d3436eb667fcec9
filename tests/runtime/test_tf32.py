"""A flow is exact on a GPU that multiplies in TF32, in processes that do not turn TF32 off."""

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.export import export_saved_model
from glow_tf.runtime import devices
from tests.marks import slow
from tests.models.flows import random_images, randomise
from tests.runtime import tf32

CONFIGS = {
    "shallow glow": glow_tf.glow((8, 8, 3), K=2, L=1, width=8),
    "glow": glow_tf.glow((16, 16, 3), K=8, L=2, width=24),
    "real_nvp": glow_tf.real_nvp((8, 8, 3), L=1, width=8, blocks=1),
    "nice": glow_tf.nice((8, 8, 1), width=16, blocks=2),
    "flow_plus_plus": glow_tf.flow_plus_plus((8, 8, 3), ((0, 2), (2, 1)), width=8, blocks=1),
    "jet": glow_tf.jet((8, 8, 3), K=6, width=8, blocks=1, patch_size=2),
}


def distance(gradients, others):
    """Returns the norm of the difference of two gradients, relative to the second.

    A unit whose input is nearly zero may be active in one and inactive in the other, whatever the precision; that
    amounts to some thousandths of the norm.
    """
    return float(
        tf.linalg.global_norm([a - b for a, b in zip(gradients, others, strict=True)]) / tf.linalg.global_norm(others)
    )


@pytest.fixture(scope="module", params=[slow("glow"), slow("real_nvp")])
def exported(request, tmp_path_factory):
    """A flow, images, its SavedModel, and the SavedModel as computed on a GPU."""
    flow = randomise(glow_tf.Flow(CONFIGS[request.param]), scale=0.02)
    folder = tmp_path_factory.mktemp("exported")
    export_saved_model(flow, folder / "plain")
    assert tf32.on_a_gpu(folder / "plain", folder / "gpu")
    return flow, random_images(flow.config, 8), *(tf.saved_model.load(str(folder / name)) for name in ("plain", "gpu"))


def test_a_saved_model_gives_images_back(exported):
    _, images, _, model = exported
    latents = model.encode(images)["latents"]
    np.testing.assert_array_equal(model.decode(latents)["images"], images)
    np.testing.assert_array_equal(model.reconstruct(images)["images"], images)


def test_a_saved_model_gives_the_same_likelihood_latents_and_samples(exported):
    flow, images, plain, model = exported
    expected = flow.bits_per_dim(images)
    np.testing.assert_allclose(plain.log_prob(images)["bits_per_dim"], expected, rtol=1e-6)
    np.testing.assert_allclose(model.log_prob(images)["bits_per_dim"], expected, rtol=1e-6)
    np.testing.assert_allclose(model.encode(images)["latents"], flow.encode(images), atol=1e-4)
    samples = [m.sample(4, temperature=0.7)["images"].numpy().astype(int) for m in (plain, model)]
    # A value next to the edge of a bin may fall to either side.
    assert np.abs(samples[0] - samples[1]).max() <= 1


def test_a_saved_model_has_the_same_gradients(exported):
    _, images, plain, model = exported
    gradients = []
    for m in (plain, model):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(m.log_prob(images)["bits_per_dim"])
        gradients.append(tape.gradient(loss, m.trainable_variables))
    assert distance(*gradients) < 5e-3


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        slow(("shallow glow", "float32")),
        *(slow((name, precision)) for name in ("glow", "real_nvp", "jet") for precision in ("float32", "tf32")),
        slow(("flow_plus_plus", "float32")),
        *(slow(("nice", precision)) for precision in ("float32", "tf32")),
    ],
)
def test_what_is_made_for_a_gpu_is_exact_there(tmp_path, name, precision):
    """Training too, with coupling networks in float32 or TF32: the GPU changes nothing but the order of sums."""
    flow = randomise(glow_tf.Flow(CONFIGS[name]), scale=0.02)
    x = flow.dequantize(random_images(flow.config, 4), seed=[0, 0], per_image=False)[0]
    variables = list(flow.trainable_variables)

    def evaluate(x):
        with tf.GradientTape() as tape:
            log_prob = flow.distribution(network_precision=precision).log_prob(x)
        bijector = flow.bijector(network_precision=precision)
        again = bijector.inverse(tf.identity(bijector.forward(x)))
        # The noise's own variables do not affect the density.
        return log_prob, again, tape.gradient(log_prob, variables, unconnected_gradients="zero")

    expected, _, expected_gradients = tf.function(evaluate, autograph=False)(x)
    module = tf.Module()
    module.flow = flow
    with devices.made_for("GPU"):
        module.evaluate = tf.function(evaluate, [tf.TensorSpec(x.shape, x.dtype)], autograph=False)
        tf.saved_model.save(module, str(tmp_path / "plain"))
    assert tf32.on_a_gpu(tmp_path / "plain", tmp_path / "gpu")
    loaded = tf.saved_model.load(str(tmp_path / "gpu"))
    log_prob, again, gradients = loaded.evaluate(x)
    # TF32 rounds values beside the edge of a step to either side, as sums are taken in another order.
    bits_per_dim = np.abs(log_prob - expected) / (flow.config.dimensions * np.log(2))
    assert bits_per_dim.max() < (3e-6 if precision == "float32" else 1e-4)
    assert np.abs(again - x).max() < (2e-5 if precision == "float32" else 5e-4)
    assert distance(gradients, expected_gradients) < (5e-3 if precision == "float32" else 5e-2)


@pytest.mark.slow
def test_without_care_a_gpu_loses_images(tmp_path):
    """Shows that the tests above can fail: a graph made for a CPU does not restore images in TF32."""
    flow = randomise(glow_tf.Flow(CONFIGS["glow"]), scale=0.02)
    images = random_images(flow.config, 8)
    module = tf.Module()
    module.flow = flow
    spec = tf.TensorSpec(images.shape, images.dtype)
    module.again = tf.function(lambda images: flow.decode(flow.encode(images)), [spec], autograph=False)
    tf.saved_model.save(module, str(tmp_path / "plain"))
    tf32.on_a_gpu(tmp_path / "plain", tmp_path / "gpu")
    models = [tf.saved_model.load(str(tmp_path / name)) for name in ("gpu", "plain")]
    changed, same = (model.again(images) for model in models)
    assert np.mean(changed == images) < 0.9
    assert np.mean(same == images) == 1
