"""Model directories: saving and loading, and errors that describe what is wrong with one."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.export.saved_model import export_saved_model
from glow_tf.models import storage
from tests import saved_models
from tests.marks import mostly_slow
from tests.models.flows import moved_flow
from tests.syncs import record_syncs

CONFIGS = {
    "glow": glow_tf.glow((8, 8, 3), K=2, L=2, width=4, n_bits=5, num_classes=3, classifier=True),
    "glow_dense": glow_tf.glow((8, 8, 1), K=1, L=1, width=4, permutation="conv1x1_dense", learn_top=False),
    "glow_shuffle": glow_tf.glow((8, 8, 3), K=2, L=1, width=4, permutation="shuffle", coupling="additive"),
    "real_nvp": glow_tf.real_nvp((8, 8, 3), L=1, width=4, blocks=1),
    "nice": glow_tf.nice((8, 8, 1), K=2, width=8, blocks=1),
}


def images_of(config, count=3):
    return np.random.default_rng(1).integers(0, 256, [count, *config.image_shape], np.uint8)


@pytest.mark.parametrize("name", CONFIGS)
def test_round_trip_gives_identical_bits(tmp_path, name):
    config = CONFIGS[name]
    flow = moved_flow(config)
    flow.initialized.assign(True)
    storage.save(flow, tmp_path / "new" / "model")
    loaded = storage.load(tmp_path / "new" / "model")
    assert loaded.config == config
    assert loaded.initialized
    images = images_of(config)
    labels = [0, 2, 1] if config.conditional else None
    np.testing.assert_array_equal(flow.bits_per_dim(images, labels), loaded.bits_per_dim(images, labels))
    for path, variable in flow.named_variables().items():
        np.testing.assert_array_equal(variable, loaded.named_variables()[path], err_msg=path)


@pytest.mark.parametrize("name", ["glow", "glow_shuffle"])
def test_checkpoints_of_the_first_version_are_read(tmp_path, name):
    """They store the indices of permutations as int32."""
    flow = moved_flow(CONFIGS[name])
    storage.save(flow, tmp_path)
    (prefix,) = storage.checkpoint_paths(tmp_path).values()
    reader = tf.train.load_checkpoint(prefix)
    tensors = {name: tf.constant(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()}
    indices = [name for name in tensors if "/permutation/" in name or "/indices/" in name]
    assert indices
    tensors.update({name: tf.cast(tensors[name], tf.int32) for name in indices})
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    loaded = storage.load(tmp_path)
    for path, variable in flow.named_variables().items():
        np.testing.assert_array_equal(variable, loaded.named_variables()[path], err_msg=path)


def test_paths_may_be_strings_and_an_uninitialised_flow_stays_so(tmp_path):
    glow_tf.save(moved_flow(CONFIGS["nice"]), str(tmp_path))
    assert not glow_tf.load(str(tmp_path)).initialized


def test_saving_again_replaces_the_weights(tmp_path):
    config = CONFIGS["nice"]
    storage.save(moved_flow(config, 0), tmp_path)
    flow = moved_flow(config, 1)
    storage.save(flow, tmp_path)
    images = images_of(config)
    np.testing.assert_array_equal(storage.load(tmp_path).bits_per_dim(images), flow.bits_per_dim(images))


def test_the_weights_are_on_the_disk_before_earlier_ones_are_deleted(tmp_path, monkeypatch):
    flow = moved_flow(CONFIGS["nice"])
    storage.save(flow, tmp_path)
    synced = record_syncs(monkeypatch, tmp_path)
    storage.save(flow, tmp_path, step=2)
    (data,) = {name for name, _ in synced if ".data-" in name}
    assert {"ckpt-2.index", data, "checkpoints"} <= {name for name, _ in synced}
    assert all("ckpt-1.index" in there for _, there in synced)
    assert list(storage.checkpoint_paths(tmp_path)) == [2]


def contents(directory):
    return {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def test_a_run_and_a_saved_model_are_not_replaced(tmp_path):
    flow = moved_flow(CONFIGS["nice"])
    run, exported = tmp_path / "run", tmp_path / "exported"
    tf.train.Checkpoint(flow=flow, run={"step": tf.Variable(5)}).write(str(run / "checkpoints" / "ckpt-5"))
    exported.mkdir()
    (exported / "saved_model.pb").write_bytes(b"a model")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="run holds a training run, which is not overwritten: choose another"):
        storage.save(flow, run)
    with pytest.raises(ValueError, match="exported is a SavedModel: choose another directory"):
        storage.save(flow, exported)
    assert contents(tmp_path) == before


def save_with_averages(flow, averages, directory, updates=7):
    """Writes a model directory as a training run does: weights, and moving averages keyed by path."""
    storage.save_config(flow.config, directory)
    averages = {path: tf.Variable(v) for path, v in averages.items()}
    optimizer = {"adamax_000": tf.Variable(updates, dtype=tf.int64)}
    checkpoint = tf.train.Checkpoint(flow=flow, ema=averages, optimizer=optimizer)
    tf.train.CheckpointManager(checkpoint, str(directory / storage.CHECKPOINTS), max_to_keep=1).save()


def test_moving_averages_are_loaded_unless_raw_weights_are_asked_for(tmp_path):
    flow = moved_flow(CONFIGS["glow"])
    averages = {path: v.numpy() + 1 for path, v in flow.named_variables(trainable=True).items()}
    save_with_averages(flow, averages, tmp_path)
    assert storage.has_averages(tmp_path)
    raw = storage.load(tmp_path, weights="raw").named_variables()
    ema = storage.load(tmp_path, weights="ema").named_variables()
    default = storage.load(tmp_path).named_variables()
    for path, variable in flow.named_variables().items():
        expected = averages.get(path, variable)
        np.testing.assert_array_equal(raw[path], variable, err_msg=path)
        np.testing.assert_array_equal(ema[path], expected, err_msg=path)
        np.testing.assert_array_equal(default[path], expected, err_msg=path)


def test_averages_of_no_update_are_not_loaded(tmp_path):
    """Earlier versions stored zeros in checkpoints of runs that were stopped before their first update."""
    flow = moved_flow(CONFIGS["nice"])
    save_with_averages(flow, {path: 0 * v for path, v in flow.named_variables(trainable=True).items()}, tmp_path, 0)
    assert not storage.has_averages(tmp_path)
    loaded = storage.load(tmp_path).named_variables()
    for path, variable in flow.named_variables().items():
        np.testing.assert_array_equal(variable, loaded[path], err_msg=path)


def test_without_averages_both_are_the_weights(tmp_path):
    flow = moved_flow(CONFIGS["nice"])
    storage.save(flow, tmp_path)
    assert not storage.has_averages(tmp_path)
    for weights in ("ema", "raw"):
        loaded = storage.load(tmp_path, weights=weights).named_variables()
        for path, variable in flow.named_variables().items():
            np.testing.assert_array_equal(variable, loaded[path])
    with pytest.raises(ValueError, match="weights='best'"):
        storage.load(tmp_path, weights="best")


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.*config.json"):
        storage.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="config.json"):
        storage.load(tmp_path)


def test_a_directory_without_a_checkpoint(tmp_path):
    storage.save_config(CONFIGS["nice"], tmp_path)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        storage.load(tmp_path)


@pytest.mark.parametrize("suffix", ["data-00000-of-00001", "index"])
@pytest.mark.parametrize("damage", ["truncated", "missing", "garbage"])
def test_damaged_checkpoints(tmp_path, suffix, damage):
    storage.save(moved_flow(CONFIGS["glow"]), tmp_path)
    (file,) = (tmp_path / storage.CHECKPOINTS).glob(f"*.{suffix}")
    content = file.read_bytes()
    if damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "garbage":
        file.write_bytes(bytes(255 - byte for byte in content))
    else:
        file.unlink()
    with pytest.raises((ValueError, FileNotFoundError), match="checkpoint"):
        storage.load(tmp_path)


def edit_config(directory, edit):
    file = directory / storage.CONFIG_FILE
    fields = json.loads(file.read_text())
    edit(fields)
    file.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    "field",
    [
        ("network", {"network": "Cnn", "width": 5}),
        ("depth", 3),
        ("coupling", {"transform": "Additive"}),
        ("permutation", "reverse"),
    ],
)
def test_a_config_that_does_not_fit_the_checkpoint(tmp_path, field):
    storage.save(moved_flow(CONFIGS["glow"]), tmp_path)
    name, value = field
    edit_config(tmp_path, lambda fields: fields["layers"][1].update({name: value}))
    with pytest.raises(ValueError, match="cannot be read into the model") as error:
        storage.load(tmp_path)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda fields: fields["dequantizer"].update(n_bits=9), "dequantizer.n_bits=9"),
        (lambda fields: fields.pop("layers"), "layers"),
        (lambda fields: fields.update(unheard_of=1), "unheard_of"),
        (lambda fields: fields["layers"][0].update(layer="Stretch"), "Stretch"),
        (lambda fields: fields["layers"][1].update(depth=0), "depth=0"),
        (
            lambda fields: fields["layers"].insert(0, {"layer": "Squeeze"}) or fields.update(image_shape=[6, 6, 3]),
            "even",
        ),
    ],
)
def test_an_invalid_config_is_told_with_its_file(tmp_path, edit, message):
    storage.save_config(CONFIGS["glow"], tmp_path)
    edit_config(tmp_path, edit)
    with pytest.raises(ValueError, match=message) as error:
        storage.load(tmp_path)
    assert storage.CONFIG_FILE in str(error.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"glow"', '{"layers": 3}', '{"layers": ["Squeeze"]}'])
def test_a_config_that_is_none(tmp_path, content):
    (tmp_path / storage.CONFIG_FILE).write_text(content)
    with pytest.raises(ValueError, match=storage.CONFIG_FILE):
        storage.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("glow", lambda fields: fields["layers"][1].update(depth=10**9), r"actnorm/bias has the shape \[2, 12\] in it"),
        ("glow", lambda fields: fields["layers"][1]["network"].update(width=10**9), "conv1/kernel has the shape"),
        ("glow", lambda fields: fields.update(image_shape=[10**6, 10**6, 3]), r"image_shape=\(1000000, 1000000, 3\)"),
        (
            "conditional",
            lambda fields: fields.update(num_classes=10**9) or fields["layers"][-1].update(num_classes=10**9),
            "label/kernel has the shape",
        ),
        ("conditional", lambda fields: fields.update(num_classes=10**9), "is conditioned on 3 labels"),
        ("glow", lambda fields: fields["layers"].extend([fields["layers"][1]] * 2000), "has no layers/05_steps"),
        ("glow", lambda fields: fields["layers"].pop(), "it also holds layers/04_topprior/"),
    ],
)
@pytest.mark.parametrize("exported", [False, True])
def test_a_config_of_another_size_is_told_before_any_memory_is_taken(tmp_path, name, edit, message, exported):
    if exported:
        shutil.copytree(saved_models.saved(name), tmp_path, dirs_exist_ok=True)
    else:
        storage.save(saved_models.flow(name), tmp_path)
    edit_config(tmp_path / "assets" if exported else tmp_path, edit)
    with pytest.raises(ValueError, match=message) as error:
        storage.load(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xe9", "byte 0xe9 at position 0 is not UTF-8"),
        (b'{"name": "caf\xe9"}', "byte 0xe9 at position 13"),
        (b"\0" * 100, "is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"n_bits": 5, "n_bits": 8}', "'n_bits' is repeated in one object"),
        (b'{"n_bits": NaN}', "NaN is not a number"),
        (b'{"n_bits": 1e400}', "1e400 is not a number"),
        (b'{"n_bits": %b}' % (b"9" * 5000), "is not JSON"),
        (b"[1]", "must hold an object"),
        (b" " * (2**20 + 1), "1,048,577 bytes"),
    ],
    ids=range(10),
)
def test_a_config_that_was_spoilt(tmp_path, content, message):
    (tmp_path / storage.CONFIG_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        storage.load(tmp_path)
    assert str(tmp_path / storage.CONFIG_FILE) in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("name", mostly_slow(saved_models.CONFIGS, ["glow", "flat"]))
def test_saved_models_of_every_kind_are_read(name):
    flow, loaded = saved_models.flow(name), storage.load(saved_models.saved(name))
    for path, variable in flow.named_variables().items():
        np.testing.assert_array_equal(variable, loaded.named_variables()[path], err_msg=path)


def test_a_config_too_large_is_not_read(tmp_path):
    with (tmp_path / storage.CONFIG_FILE).open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"config\.json has 1,099,511,627,776 bytes"):
        storage.load(tmp_path)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_config_that_is_no_file(tmp_path, make):
    make(tmp_path / storage.CONFIG_FILE)
    with pytest.raises(OSError, match=r"it has no config\.json"):
        storage.load(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_an_editor_may_have_marked_the_encoding(tmp_path, encoding):
    (tmp_path / storage.CONFIG_FILE).write_text(CONFIGS["nice"].to_json(), encoding=encoding)
    assert storage.load_config(tmp_path) == CONFIGS["nice"]


def test_a_checkpoint_that_has_lost_its_index_is_named(tmp_path):
    flow = moved_flow(CONFIGS["nice"])
    storage.save(flow, tmp_path, step=3)
    folder = tmp_path / storage.CHECKPOINTS
    (folder / "ckpt-3.index").unlink()
    with pytest.raises(ValueError, match=r"ckpt-3\.index"):
        storage.load(tmp_path)
    for file in ("ckpt-2.index", "ckpt-2.data-00000-of-00001"):
        (folder / file).write_bytes(b"older")
    with pytest.raises(ValueError, match=r"ckpt-3\.index"):
        storage.load(tmp_path)
    # The data of a checkpoint older than the existing ones is ignored: TensorFlow was deleting its files.
    (folder / "ckpt-3.data-00000-of-00001").rename(folder / "ckpt-1.data-00000-of-00001")
    assert storage.paths_without_index(tmp_path) == {}


@pytest.mark.parametrize("name", ["glow", "nice"])
@pytest.mark.parametrize("write", mostly_slow([storage.save, export_saved_model], [storage.save]))
def test_weights_of_float64_keep_their_precision(tmp_path, name, write):
    flow = glow_tf.Flow(CONFIGS[name], dtype=tf.float64)
    rng = np.random.default_rng(0)
    for variable in flow.trainable_variables:
        variable.assign_add(rng.normal(0, 0.05, variable.shape))
    write(flow, tmp_path / "model")
    loaded = glow_tf.load(tmp_path / "model")
    assert loaded.dtype == tf.float64
    for path, variable in flow.named_variables().items():
        np.testing.assert_array_equal(variable, loaded.named_variables()[path], err_msg=path)


@pytest.mark.parametrize(
    ("name", "dtype", "message"),
    [
        ("kernel", tf.float64, "bias is float32 in it, and float64 is read"),
        ("bias", tf.float64, "bias is float64 in it, and float32 is read"),
        ("kernel", tf.float16, "kernel is float16 in it, and float32 is read"),
    ],
)
def test_weights_of_another_precision(tmp_path, name, dtype, message):
    storage.save(glow_tf.Flow(CONFIGS["nice"]), tmp_path)
    (prefix,) = storage.checkpoint_paths(tmp_path).values()
    reader = tf.train.load_checkpoint(prefix)
    tensors = {name: tf.constant(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()}
    (key,) = [key for key in tensors if key.startswith(f"flow/layers/01_steps/network/dense0/{name}/")]
    tensors[key] = tf.cast(tensors[key], dtype)
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    with pytest.raises(ValueError, match=message):
        storage.load(tmp_path)


def test_configs_are_written_whole(tmp_path):
    storage.save_config(CONFIGS["glow"], tmp_path)
    storage.save_config(CONFIGS["nice"], tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [storage.CONFIG_FILE]
    assert storage.load_config(tmp_path) == CONFIGS["nice"]


def test_what_an_unfinished_write_left_is_removed(tmp_path):
    flow = moved_flow(CONFIGS["nice"])
    glow_tf.save(flow, tmp_path / "model")
    folder = tmp_path / "model" / "checkpoints"
    there = {file.name for file in folder.iterdir()}
    (folder / "ckpt-3_temp").mkdir()
    (folder / "ckpt-3_temp" / "part-00000-of-00001.data-00000-of-00001.tempstate123").write_text("half")
    (folder / "ckpt-2.data-00000-of-00001").write_text("without its index")
    glow_tf.save(flow, tmp_path / "model")
    assert {file.name for file in folder.iterdir()} == there


@pytest.mark.parametrize(
    "name",
    [
        "ckpt-2.data-00000-of-00001.bak",
        "ckpt-2.data-00000-of-00001.damaged",
        "ckpt-2-old.data-00000-of-00001",
        "ckpt-2 (copy).data-00000-of-00001",
        "ckpt-.data-00000-of-00001",
    ],
)
def test_files_that_were_put_aside_are_kept(tmp_path, name):
    flow = moved_flow(CONFIGS["nice"])
    glow_tf.save(flow, tmp_path)
    (tmp_path / "checkpoints" / name).write_text("to be kept")
    glow_tf.save(flow, tmp_path)
    assert (tmp_path / "checkpoints" / name).read_text() == "to be kept"


@pytest.mark.parametrize("path", ["./pretrained", pathlib.Path("./pretrained"), "../{}/pretrained"], ids=str)
def test_a_directory_called_like_a_bundled_model_is_read_itself(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    path = path.format(tmp_path.name) if isinstance(path, str) else path
    flow = moved_flow(CONFIGS["nice"])
    glow_tf.save(flow, path)
    loaded = glow_tf.load(path)
    assert loaded.config == flow.config == storage.load_config(path)
    for name, variable in flow.named_variables().items():
        np.testing.assert_array_equal(variable, loaded.named_variables()[name])
    assert glow_tf.load("pretrained").config.image_shape == (16, 16, 3)


@pytest.mark.parametrize("name", storage.PRETRAINED)
@pytest.mark.parametrize("write", [glow_tf.save, export_saved_model])
def test_a_model_is_not_written_under_the_name_of_a_bundled_one(tmp_path, monkeypatch, name, write):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"path={name} is the name of a model .* or \./{name}\."):
        write(moved_flow(CONFIGS["nice"]), name)
    assert not list(tmp_path.iterdir())
