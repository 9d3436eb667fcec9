"""The run that a model directory belongs to, and what may change when it is continued."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import glow_tf
from glow_tf import networks
from glow_tf.data import DataError, Source, arrays_in_memory, load_source
from glow_tf.dequantization import Uniform
from glow_tf.models import storage
from glow_tf.training import model_directory
from glow_tf.training.config import TrainingConfig
from tests.training import helpers

ARGUMENTS = {"name": "people", "image_size": 8}
DATA = "people: 8x8x3, no labels, 40 train + 10 test images"


def source(name="people"):
    return Source(
        name=name,
        image_shape=(8, 8, 3),
        stored_shape=(8, 8, 3),
        num_classes=0,
        class_names=(),
        sizes={"train": 40, "test": 10},
        arguments=ARGUMENTS,
    )


@pytest.fixture
def claimed(tmp_path):
    """A directory of a run with the default settings."""
    directory = tmp_path / "runs" / "model"
    model_directory.write_metadata(directory, helpers.CONFIG, TrainingConfig(), source())
    return directory


def check(directory, config=helpers.CONFIG, data="people", **fields):
    return model_directory.check(directory, config, TrainingConfig(**fields), source(data))


def test_a_new_directory_is_free_and_not_made(tmp_path):
    assert check(tmp_path / "new") == []
    assert not (tmp_path / "new").exists()


def test_the_same_run_goes_on_without_a_word(claimed):
    assert check(claimed) == []
    assert storage.load_config(claimed) == helpers.CONFIG
    written = json.loads((claimed / "training.json").read_text())
    assert (written["batch_size"], written["optimizer"], written["data"]) == (64, "adamax", DATA)
    model_directory.write_metadata(claimed, helpers.CONFIG, TrainingConfig(), source())
    assert {file.name for file in claimed.iterdir()} == {"config.json", "training.json"}


def test_it_tells_how_to_load_the_data_again(claimed, tmp_path):
    assert model_directory.source_arguments(claimed) == ARGUMENTS
    assert model_directory.source_arguments(tmp_path) == {}


def test_it_tells_what_the_labels_were(claimed, tmp_path):
    assert model_directory.class_names(claimed) == model_directory.class_names(tmp_path / "nowhere") == []
    labelled = dataclasses.replace(source(), num_classes=2, class_names=("cat", "dog"))
    model_directory.write_metadata(tmp_path / "labelled", helpers.CONFIG, TrainingConfig(), labelled)
    assert model_directory.class_names(tmp_path / "labelled") == ["cat", "dog"]


def test_labels_are_numbered_by_the_names_that_the_model_knows(claimed, tmp_path):
    def data(names):
        return arrays_in_memory(np.zeros([30, 8, 8, 3], np.uint8), np.resize(names, 30) if names else None)

    model_directory.write_metadata(tmp_path / "run", helpers.CONFIG, TrainingConfig(), data(["bird", "caf\xe9", "dog"]))
    for names, numbers in {("bird", "caf\xe9", "dog"): {0, 1, 2}, ("cafe\u0301", "dog"): {1, 2}, (): set()}.items():
        found = model_directory.with_classes(tmp_path / "run", data(list(names)))
        assert {int(label) for _, label in found.examples("train")} == (numbers or {0})
        assert found.num_classes == (3 if names else 0)
    with pytest.raises(DataError, match="does not know: horse, pig. .*name them as there: bird, café, dog"):
        model_directory.with_classes(tmp_path / "run", data(["dog", "horse", "pig"]))
    # A model whose classes are not known; and data that is read from start to end.
    assert model_directory.with_classes(claimed, data(["pig"])).class_names == ("pig",)
    stream = dataclasses.replace(source(), num_classes=1, class_names=("dog",))
    with pytest.raises(DataError, match="people has 1 of the 3 classes .* cannot be relabelled"):
        model_directory.with_classes(tmp_path / "run", stream)


@pytest.mark.parametrize(
    ("arguments", "side"),
    [
        (ARGUMENTS, None),
        ({"name": "folder", "data_dir": "photos", "image_size": 64, "crop_from": 96}, 96),
        ({"name": "lsun/bedroom"}, 96),
        ({"name": "lsun/bedroom", "image_size": [64, 64]}, 96),
        ({"name": "lsun/bedroom", "crop_from": 80}, 80),
        # The recipe is for 64x64.
        ({"name": "lsun/bedroom", "image_size": 32}, None),
    ],
)
def test_it_tells_what_pictures_were_cropped_from(tmp_path, arguments, side):
    of_run = dataclasses.replace(source(), arguments=arguments)
    model_directory.write_metadata(tmp_path, helpers.CONFIG, TrainingConfig(), of_run)
    assert model_directory.crop_from(tmp_path) == side
    assert model_directory.crop_from(tmp_path / "nowhere") is None


def test_it_tells_how_large_pictures_could_be(claimed, tmp_path):
    assert model_directory.max_megapixels(claimed) is model_directory.max_megapixels(tmp_path / "nowhere") is None
    model_directory.write_metadata(claimed, helpers.CONFIG, TrainingConfig(), source(), {"max_megapixels": 200.0})
    assert model_directory.max_megapixels(claimed) == 200


def test_it_belongs_to_one_model(claimed):
    layers = list(helpers.CONFIG.layers)
    layers[1] = dataclasses.replace(layers[1], network=networks.Cnn(width=64))
    with pytest.raises(ValueError) as error:
        check(claimed, dataclasses.replace(helpers.CONFIG, layers=tuple(layers), dequantizer=Uniform()))
    message = str(error.value)
    assert "another model" in message and "--model_dir" in message
    assert "dequantizer.n_bits: 5 vs. 8" in message
    assert "layers[1].network.width: 4 vs. 64" in message
    assert "gradient:" not in message
    assert storage.load_config(claimed) == helpers.CONFIG


def test_how_the_gradient_is_computed_may_change(claimed):
    stored = dataclasses.replace(helpers.CONFIG, gradient="stored")
    assert check(claimed, stored) == []
    with pytest.raises(ValueError) as error:
        check(claimed, dataclasses.replace(stored, dequantizer=Uniform()))
    assert "gradient:" not in str(error.value)


def test_another_dropout_gives_a_notice(tmp_path):
    def plus_plus(dropout, width=4):
        couplings = ((0, 1), (1, 1))
        return glow_tf.flow_plus_plus((8, 8, 3), couplings, width=width, blocks=1, heads=2, dropout=dropout)

    model_directory.write_metadata(tmp_path, plus_plus(0.2), TrainingConfig(), source())
    assert check(tmp_path, plus_plus(0.2)) == []
    assert check(tmp_path, plus_plus(0.0)) == ["dropout: 0.2 -> 0.0"]
    with pytest.raises(ValueError, match="another model") as error:
        check(tmp_path, plus_plus(0.0, width=6))
    assert ".dropout:" not in str(error.value)
    # What is reported as one run's result is of one dropout.
    lines = model_directory.differences_from_run(tmp_path, plus_plus(0.0), TrainingConfig(), source())
    assert "layers[1].network.dropout: 0.2 vs. 0.0" in lines


@pytest.mark.parametrize(
    ("before", "fields", "line"),
    [
        ({}, {"optimizer": "adam"}, "optimizer: adamax vs. adam"),
        ({}, {"ema_decay": 0.0}, "ema_decay: 0.999 vs. 0.0"),
        ({"ema_decay": 0.0}, {"ema_decay": 0.5}, "ema_decay: 0.0 vs. 0.5"),
    ],
)
def test_an_optimizer_with_other_state_is_refused(tmp_path, before, fields, line):
    model_directory.write_metadata(tmp_path, helpers.CONFIG, TrainingConfig(**before), source())
    with pytest.raises(ValueError, match="a run with another optimizer") as error:
        check(tmp_path, **fields)
    assert [listed.strip() for listed in str(error.value).splitlines()[1:]] == [line]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"learning_rate": 5e-4}, "learning_rate: 0.001 -> 0.0005"),
        ({"ema_decay": 0.5}, "ema_decay: 0.999 -> 0.5"),
        ({"batch_size": 32}, "batch_size: 64 -> 32"),
        ({"seed": 3}, "seed: 0 -> 3"),
        ({"network_precision": "tf32"}, "network_precision: float32 -> tf32"),
        ({"xla": True}, "xla: False -> True"),
        ({"label_loss_weight": 0.1}, "label_loss_weight: 0.0 -> 0.1"),
        ({"max_skipped": 9}, "max_skipped: 5 -> 9"),
    ],
)
def test_what_changes_the_weights_to_come_gives_a_notice(claimed, fields, line):
    assert check(claimed, **fields) == [line]


def test_other_labels_give_a_notice(tmp_path):
    few = {"label_loss_weight": 0.1, "labels_per_class": 4}
    assert check_after(few, tmp_path / "a", **few) == []
    assert check_after(few, tmp_path / "b", **few, seed=1) == ["seed: 0 -> 1"]
    more = {**few, "labels_per_class": 5}
    assert check_after(few, tmp_path / "c", **more) == ["labels_per_class: 4 -> 5"]


def test_the_number_of_steps_gives_a_notice_where_the_learning_rate_goes_by_it(tmp_path):
    assert check_after({"steps": 2000}, tmp_path / "a", steps=3000) == []
    decaying = {"lr_schedule": "cosine", "steps": 2000}
    assert check_after(decaying, tmp_path / "b", **decaying) == []
    assert check_after(decaying, tmp_path / "c", **{**decaying, "steps": 3000}) == ["steps: 2000 -> 3000"]


def check_after(before, directory, **fields):
    model_directory.write_metadata(directory, helpers.CONFIG, TrainingConfig(**before), source())
    return check(directory, **fields)


def test_runs_of_versions_that_knew_fewer_settings_go_on(claimed):
    file = claimed / "training.json"
    fields = json.loads(file.read_text())
    for name in ("lr_schedule", "beta1", "beta2", "epsilon", "weight_decay", "labels_per_class", "labelled_only"):
        del fields[name]
    file.write_text(json.dumps(fields))
    assert check(claimed) == []
    assert check(claimed, lr_schedule="linear") == ["lr_schedule: constant -> linear"]


OTHERS = {
    "another name": ({"name": "others"}, ["data set: people vs. others"]),
    "more images": ({"sizes": {"train": 41, "test": 10}}, ["train images: 40 vs. 41"]),
    "labels": (
        {"num_classes": 2, "class_names": ("cat", "dog")},
        ["classes: no labels vs. 2: cat, dog"],
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_data_is_refused_unless_it_is_meant(claimed, name):
    changes, lines = OTHERS[name]
    other = dataclasses.replace(source(), **changes)
    with pytest.raises(ValueError, match="holds a run on other data.*") as error:
        model_directory.check(claimed, helpers.CONFIG, TrainingConfig(), other)
    _, *listed, way_out = str(error.value).splitlines()
    assert [line.strip() for line in listed] == lines
    assert "--other_data" in way_out
    notices = model_directory.check(claimed, helpers.CONFIG, TrainingConfig(), other, other_data=True)
    assert notices == [f"data: {DATA} -> {other.describe()}"]
    # From then on it is the run's data.
    model_directory.write_metadata(claimed, helpers.CONFIG, TrainingConfig(), other)
    assert model_directory.check(claimed, helpers.CONFIG, TrainingConfig(), other) == []


def test_some_is_refused_before_the_data_is_loaded(claimed, tmp_path):
    """Data from TensorFlow Datasets would otherwise be downloaded first."""
    early = model_directory.check_before_loading
    assert early(claimed, "people", "adamax", 0.5) is None
    assert early(claimed, "lsun/bedroom", "adamax", 0.5, other_data=True) is None
    assert early(tmp_path / "new", "lsun/bedroom", "adam", 0.5) is None
    with pytest.raises(ValueError, match="data.*\n  data set: people vs. lsun/bedroom\n.*--other_data"):
        early(claimed, "lsun/bedroom", "adamax", 0.5)
    with pytest.raises(ValueError, match="another optimizer.*\n  optimizer: adamax vs. adam$"):
        early(claimed, "people", "adam", 0.5)


def differences(directory, config=helpers.CONFIG, other=None, **fields):
    return model_directory.differences_from_run(directory, config, TrainingConfig(**fields), other or source())


def test_a_run_does_not_differ_from_itself_and_nothing_differs_from_a_new_directory(claimed, tmp_path):
    assert differences(claimed) == []
    assert differences(tmp_path / "new", learning_rate=5e-4) == []


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ({"learning_rate": 5e-4}, ["learning_rate: 0.001 vs. 0.0005"]),
        ({"optimizer": "adam", "seed": 3}, ["optimizer: adamax vs. adam", "seed: 0 vs. 3"]),
        ({"steps": 7, "eval_every": 3, "checkpoint_every": 3, "log_every": 3, "samples": 3}, []),
        # Of another device.
        ({"xla": True}, []),
        (
            {"lr_schedule": "cosine", "steps": 2000},
            ["steps: 100000 vs. 2000", "lr_schedule: constant vs. cosine"],
        ),
    ],
)
def test_a_run_with_other_settings_differs(claimed, fields, lines):
    assert differences(claimed, **fields) == lines


def test_a_run_of_another_model_or_on_other_data_differs(claimed):
    config = dataclasses.replace(helpers.CONFIG, dequantizer=Uniform(), gradient="stored")
    other = dataclasses.replace(source(), sizes={"train": 41, "test": 10})
    lines = ["dequantizer.n_bits: 5 vs. 8", "train images: 40 vs. 41"]
    assert differences(claimed, config, other) == lines
    # Older versions recorded a description of the data and nothing else of it.
    file = claimed / "training.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "identity": None}))
    assert differences(claimed, other=other) == [f"data: {DATA} vs. {other.describe()}"]


def folder_of_images(path, values, names="{}.png"):
    path.mkdir()
    for number, value in enumerate(values):
        Image.fromarray(np.full([8, 8, 3], value, np.uint8)).save(path / names.format(number))
    return load_source("folder", data_dir=str(path), image_size=8)


def test_another_folder_of_as_many_images_is_other_data(tmp_path):
    cats = folder_of_images(tmp_path / "cats", range(20))
    dogs = folder_of_images(tmp_path / "dogs", range(20), "dog_{}.png")
    model_directory.write_metadata(tmp_path / "run", helpers.CONFIG, TrainingConfig(), cats)
    with pytest.raises(ValueError) as error:
        model_directory.check(tmp_path / "run", helpers.CONFIG, TrainingConfig(), dogs)
    assert f"data_dir: {tmp_path / 'cats'} vs. {tmp_path / 'dogs'}" in str(error.value)
    assert "images: others" in str(error.value)
    # The same images may have moved.
    moved = load_source("folder", data_dir=str((tmp_path / "cats").rename(tmp_path / "elsewhere")), image_size=8)
    assert model_directory.check(tmp_path / "run", helpers.CONFIG, TrainingConfig(), moved) == []


def test_another_array_of_as_many_images_is_other_data(tmp_path):
    rng = np.random.default_rng(0)
    sources = []
    for name in ("cats", "dogs", "cats again"):
        images = np.zeros([40, 8, 8, 3], np.uint8) if "cats" in name else rng.integers(0, 256, [40, 8, 8, 3], np.uint8)
        np.save(tmp_path / f"{name}.npy", images)
        sources.append(load_source("arrays", data_dir=str(tmp_path / f"{name}.npy")))
    cats, dogs, again = sources
    model_directory.write_metadata(tmp_path / "run", helpers.CONFIG, TrainingConfig(), cats)
    with pytest.raises(ValueError, match="images: others"):
        model_directory.check(tmp_path / "run", helpers.CONFIG, TrainingConfig(), dogs)
    assert model_directory.check(tmp_path / "run", helpers.CONFIG, TrainingConfig(), again) == []


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("people", None, "glow"), "runs/people_glow"),
        (("imagenet_resized/32x32", None, "glow"), "runs/imagenet_resized_32x32_glow"),
        (("folder", "photos/cats", "glow"), "runs/cats_glow"),
        (("folder", "photos/cats [2]/", "nice"), "runs/cats_2__nice"),
        (("folder", "data/v1.0", "glow"), "runs/v1.0_glow"),
        (("arrays", "my cats.npz", "glow"), "runs/my_cats_glow"),
        (("folder", None, "glow"), "runs/folder_glow"),
    ],
)
def test_the_default_is_named_after_the_data(arguments, path):
    assert str(model_directory.default_path(*arguments)) == path


def test_several_notices(claimed):
    assert len(check(claimed, learning_rate=1.0, flip=True, shift=2, steps=7)) == 3


def test_reporting_may_change_without_a_word(claimed):
    reporting = {
        **{"steps": 7, "steps_per_call": 3, "log_every": 3, "eval_every": 3, "eval_images": 3, "sample_every": 3},
        **{"samples": 3, "temperature": 0.3, "checkpoint_every": 3, "checkpoint_minutes": 3.0},
        **{"keep_checkpoints": 2, "keep_every_hours": 3.0},
    }
    assert check(claimed, **reporting) == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", "{}", '{"optimizer": "adam"}', '{"optimizer": "ad', b"\xff\xfe\x00"]
)
def test_a_damaged_record_is_no_obstacle(claimed, text):
    file = claimed / "training.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert check(claimed, optimizer="adam") == []
    model_directory.write_metadata(claimed, helpers.CONFIG, TrainingConfig(optimizer="adam"), source())
    assert check(claimed, optimizer="adam") == []


@pytest.mark.parametrize(
    "fields",
    [{"ema_decay": "0.9"}, {"optimizer": None}, {"source": 3}, {"identity": "people"}, {"ema_decay": [1]}],
)
def test_a_record_of_other_types_is_none(claimed, fields):
    file = claimed / "training.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
    assert check(claimed) == []
    assert model_directory.source_arguments(claimed) == {}


@pytest.mark.parametrize("source", [{"nme": "people"}, {"name": 5}, {"name": "folder", "data_dir": 5}, {}])
def test_data_that_no_source_takes_is_not_known(claimed, source):
    file = claimed / "training.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "source": source}))
    assert model_directory.source_arguments(claimed) == {}


def test_a_record_of_an_older_version_lacks_fields(claimed):
    file = claimed / "training.json"
    fields = json.loads(file.read_text())
    del fields["shift"]
    file.write_text(json.dumps(fields))
    assert check(claimed) == ["shift: None -> 0"]


def test_a_damaged_config_is_named(claimed):
    (claimed / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json"):
        check(claimed)
