"""Import of checkpoints of the official code, for all combinations of its flags, against tests/reference_glow.py."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.models import openai_checkpoint
from tests import reference_glow

# Every combination of the official flags; depth, levels, width, bits, channels and seed vary along with it.
MATRIX = list(
    enumerate(
        itertools.product(
            ("reverse", "shuffle", "conv1x1", "conv1x1_dense"), ("additive", "affine"), (True, False), (True, False)
        )
    )
)


def write_checkpoint(path, variables):
    """Writes a checkpoint in the format of tf.compat.v1.train.Saver and returns its path."""
    names = sorted(variables)
    tensors = [tf.constant(variables[name]) for name in names]
    tf.raw_ops.SaveV2(prefix=str(path), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
    return str(path)


def write_with_saver(path, variables):
    """Like `write_checkpoint`, with the v1 Saver itself."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in variables.items():
            tf.compat.v1.get_variable(name, initializer=value, use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer())
        return tf.compat.v1.train.Saver().save(session, str(path))


def with_slots(variables):
    """Adds what the official trainer saves besides the weights: Adamax slots and counters, under default names."""
    slots = [np.zeros_like(value) for value in variables.values() if value.dtype == np.float32 for _ in range(2)]
    extra = {f"Variable_{i}" if i else "Variable": value for i, value in enumerate([np.float32(3), *slots])}
    return {**variables, **extra}


def averages_only(variables):
    """Renames weights to moving averages; shuffle indices, which are not trained, have none."""
    return {n if "shuffle" in n else f"{n}/ExponentialMovingAverage": v for n, v in variables.items()}


def case(index, permutation, coupling, learntop, ycond):
    """The official flags and our equivalent config, which includes the image shape."""
    official = reference_glow.Flags(
        permutation=permutation.removesuffix("_dense"),
        coupling=coupling,
        learntop=learntop,
        ycond=ycond,
        depth=1 + index % 3,
        n_levels=1 + (index // 2) % 3,
        width=(4, 7, 12)[(index // 3) % 3],
        n_bits_x=(8, 5, 3, 1)[(index // 5) % 4],
        n_y=3 + index % 2,
    )
    shape = [(8, 8, 3), (16, 8, 3), (8, 8, 1)][(index // 4) % 3]
    config = glow_tf.glow(
        shape,
        K=official.depth,
        L=official.n_levels,
        width=official.width,
        coupling=coupling,
        permutation=permutation,
        n_bits=official.n_bits_x,
        learn_top=learntop,
        num_classes=official.n_y if ycond else 0,
    )
    return official, config


@pytest.mark.parametrize(("index", "flags"), MATRIX, ids=["-".join(map(str, flags)) for _, flags in MATRIX])
def test_every_combination_of_flags(tmp_path, index, flags):
    official, config = case(index, *flags)
    variables = reference_glow.random_variables(official, config.image_shape, seed=index)
    saved = averages_only(variables) if index % 4 == 3 else with_slots(variables)
    path = write_checkpoint(tmp_path / "model.ckpt", saved)
    flow = glow_tf.import_openai_checkpoint(path, config)
    assert flow.initialized
    kept = flags[0] if "conv1x1" in flags[0] else "conv1x1"
    read_off = openai_checkpoint.openai_config(path, config.image_shape[:2], official.n_bits_x, permutation=kept)
    assert read_off == config

    rng = np.random.default_rng(1000 + index)
    images = rng.integers(0, 256, [3, *config.image_shape], np.uint8)
    labels = rng.integers(0, official.n_y, 3) if official.ycond else None
    x = reference_glow.quantized(images, official.n_bits_x)
    x = (x + rng.uniform(0, 2.0**-official.n_bits_x, x.shape)).astype(np.float32)
    bits, eps = reference_glow.forward(variables, x, official, labels)
    distribution = flow.distribution(labels)
    found = official.n_bits_x - distribution.log_prob(x) / (config.dimensions * np.log(2))
    np.testing.assert_allclose(found, bits, atol=1e-5)
    np.testing.assert_allclose(flow.bijector(labels).forward(x), eps, atol=2e-5)


OFFICIAL, CONFIG = case(0, "conv1x1_dense", "affine", True, True)


@pytest.fixture
def variables():
    return reference_glow.random_variables(OFFICIAL, CONFIG.image_shape, seed=0)


def test_a_checkpoint_of_the_v1_saver(tmp_path, variables):
    path = write_with_saver(tmp_path / "model_best_loss.ckpt", with_slots(variables))
    imported = glow_tf.import_openai_checkpoint(path, CONFIG).named_variables()
    direct = openai_checkpoint.flow_from_arrays(variables, CONFIG).named_variables()
    for name, variable in imported.items():
        np.testing.assert_array_equal(variable, direct[name], err_msg=name)


def test_weights_are_preferred_to_their_averages(tmp_path, variables):
    averages = {f"{name}/ExponentialMovingAverage": np.zeros_like(value) for name, value in variables.items()}
    path = write_checkpoint(tmp_path / "model.ckpt", {**variables, **averages})
    flow = glow_tf.import_openai_checkpoint(path, CONFIG)
    weight = flow.named_variables()["layers/01_steps/conv1x1/weight"]
    np.testing.assert_array_equal(weight[0], variables["model/0/0/invconv/W"])


def test_classifier(tmp_path):
    official = reference_glow.Flags("conv1x1", "affine", True, True, 1, 1, 4, n_y=3, classifier=True)
    config = glow_tf.glow((8, 8, 3), K=1, L=1, width=4, num_classes=3, classifier=True, permutation="conv1x1")
    variables = reference_glow.random_variables(official, (8, 8, 3), seed=0)
    path = write_checkpoint(tmp_path / "model.ckpt", variables)
    assert openai_checkpoint.openai_config(path, 8) == config
    flow = glow_tf.import_openai_checkpoint(path, config)
    x = np.random.default_rng(0).uniform(-0.5, 0.5, [4, 8, 8, 3]).astype(np.float32)
    float64 = {name: value.astype(np.float64) for name, value in variables.items()}
    top, _ = reference_glow.flow_step(float64, "model/0/0", reference_glow.squeeze2d(x), official)
    expected = reference_glow.class_logits(variables, top)
    for labels in ([0, 0, 0, 0], [2, 1, 0, 1]):
        logits = flow.class_logits(flow.bijector(labels).forward(x), labels)
        np.testing.assert_allclose(logits, expected, atol=1e-6)


def test_missing_variables_are_named(tmp_path, variables):
    del variables["model/0/0/f1/l_2/W"], variables["model/prior/y_emb/b"]
    path = write_checkpoint(tmp_path / "model.ckpt", variables)
    with pytest.raises(ValueError, match=r"(?s)missing: model/0/0/f1/l_2/W.*missing: model/prior/y_emb/b"):
        glow_tf.import_openai_checkpoint(path, CONFIG)


def test_another_depth_is_told_by_its_missing_steps(tmp_path, variables):
    path = write_checkpoint(tmp_path / "model.ckpt", variables)
    deeper = glow_tf.glow(CONFIG.image_shape, K=40, L=1, width=OFFICIAL.width, num_classes=OFFICIAL.n_y)
    with pytest.raises(ValueError, match=r"(?s)missing: model/0/1/actnorm_center/b.*and \d+ more") as error:
        glow_tf.import_openai_checkpoint(path, deeper)
    assert len(str(error.value).splitlines()) < 25


@pytest.mark.parametrize("permutation", ["conv1x1", "conv1x1_dense"])
def test_other_shapes_are_named(tmp_path, variables, permutation):
    path = write_checkpoint(tmp_path / "model.ckpt", variables)
    wider = glow_tf.glow(
        CONFIG.image_shape, K=1, L=1, width=5, num_classes=OFFICIAL.n_y, permutation=permutation, n_bits=8
    )
    message = r"network/conv2/kernel: \(1, 1, 1, 4, 4\) in the checkpoint, \(1, 1, 1, 5, 5\) in the model"
    with pytest.raises(ValueError, match=message):
        glow_tf.import_openai_checkpoint(path, wider)


def test_steps_of_different_shapes_are_named(tmp_path):
    official, config = case(1, "conv1x1", "affine", True, False)
    variables = reference_glow.random_variables(official, config.image_shape, seed=0)
    variables["model/0/1/f1/l_1/W"] = variables["model/0/1/f1/l_1/W"][..., 1:]
    path = write_checkpoint(tmp_path / "model.ckpt", variables)
    with pytest.raises(ValueError, match="network/conv1/kernel: the steps' shapes differ"):
        glow_tf.import_openai_checkpoint(path, config)


@pytest.mark.parametrize("content", [None, b"", b"this is not a checkpoint"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "model.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="not a readable TensorFlow checkpoint"):
        glow_tf.import_openai_checkpoint(str(path), CONFIG)
    with pytest.raises(ValueError, match="not a readable TensorFlow checkpoint"):
        openai_checkpoint.openai_config(str(path), 8)


def test_a_configuration_can_be_read_off_a_glow_alone(tmp_path):
    path = write_checkpoint(tmp_path / "model.ckpt", {"dense/kernel": np.zeros([2, 2], np.float32)})
    with pytest.raises(ValueError, match=r"no variable model/0/0/f1/l_1/W. It begins with dense/kernel"):
        openai_checkpoint.openai_config(path, 8)


def test_a_damaged_checkpoint_is_refused(tmp_path, variables):
    path = write_checkpoint(tmp_path / "model.ckpt", variables)
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(ValueError, match="damaged, model/0/0/.* cannot be read"):
        glow_tf.import_openai_checkpoint(path, CONFIG)


@pytest.mark.parametrize("config", [glow_tf.real_nvp((8, 8, 3), width=4, blocks=1), glow_tf.nice((8, 8, 3), width=4)])
def test_other_models_are_refused(tmp_path, variables, config):
    path = write_checkpoint(tmp_path / "model.ckpt", variables)
    with pytest.raises(ValueError, match="Only glow_tf.glow|missing: model/"):
        glow_tf.import_openai_checkpoint(path, config)
