"""`glow train --resume`: a run continues with the settings that its directory records."""

import dataclasses
import json
import os
import pathlib
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver
from PIL import Image

import glow_tf
from glow_tf import main as program
from glow_tf import options, run_flags, shared_flags
from glow_tf.data import load_source
from glow_tf.models import storage
from glow_tf.training import loop, model_directory
from glow_tf.training.loop import Trainer
from tests.extending.my_parts import ScaleAndShift
from tests.training import runs

# Everything that must be restored has a non-default value.
RUN = [
    *("--model=nice", "--K=2", "--blocks=1", "--width=4", "--n_bits=5", "--batch_size=8", "--samples=4", "--flip"),
    *("--warmup_steps=1", "--learning_rate=0.01", "--seed=3", "--strategy=one_device", "--noexport"),
    *("--dataset=arrays", "--data_dir=data/images.npz", "--test_size=11", "--image_size=4"),
]

pytestmark = pytest.mark.usefixtures("untraced")


@pytest.fixture(scope="module")
def glow():
    """Runs `glow train` in this process, in a folder; returns its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_SECONDS_TO_TIME_THE_PIPELINE", 0.01)
        patch.delenv("TF_CONFIG", raising=False)

        def glow(folder, *arguments):
            saved, before = flagsaver.save_flag_values(), os.getcwd()
            os.chdir(folder)
            try:
                program.main(shared_flags.parse_command_line(["main", *map(str, arguments)]))
                return 0
            except SystemExit as stop:
                return stop.code
            finally:
                os.chdir(before)
                flagsaver.restore_flag_values(saved)

        yield glow


@pytest.fixture(scope="module")
def folder(tmp_path_factory, glow):
    """A folder with a data set and two runs that differ only in length, of two and of four steps."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "data").mkdir()
    rng = np.random.default_rng(0)
    np.savez(folder / "data" / "images.npz", images=rng.integers(0, 256, [51, 4, 4, 3], np.uint8))
    for steps in (2, 4):
        assert glow(folder, *RUN, f"--steps={steps}", f"--model_dir=runs/{steps}") == 0
    return folder


def copied(folder, name):
    return pathlib.Path(shutil.copytree(folder / "runs" / "2", folder / "runs" / name))


def record(directory):
    return json.loads((directory / "training.json").read_text())


def weights(directory):
    reader = tf.train.load_checkpoint(str(directory / "checkpoints"))
    # Without the results of evaluations, of which a run that was continued has one more.
    of_training = ("flow/", "optimizer/", "ema/", "run/step/")
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith(of_training)]
    return {name: reader.get_tensor(name) for name in names}


def assert_same(directory, other):
    expected = weights(other)
    found = weights(directory)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_it_is_the_same_run_to_the_last_bit(folder, glow, capsys):
    directory = copied(folder, "resumed")
    assert glow(folder, "--model_dir=runs/resumed", "--resume", "--steps=4") == 0
    assert "Changed setting" not in capsys.readouterr().err
    assert_same(directory, folder / "runs" / "4")
    assert record(directory) == record(folder / "runs" / "4")


def test_a_command_that_names_the_run_alone_goes_on_with_it(folder, glow):
    directory = copied(folder, "more")
    assert glow(folder, "--model_dir=runs/more", "--steps=4") == 0
    assert_same(directory, folder / "runs" / "4")


def test_the_flagfile_repeats_the_run(folder, glow):
    assert glow(folder.parent, f"--flagfile={folder}/runs/4/run.flags", f"--model_dir={folder}/runs/repeated") == 0
    repeated = folder / "runs" / "repeated"
    assert_same(repeated, folder / "runs" / "4")
    assert (repeated / "config.json").read_bytes() == (folder / "runs" / "4" / "config.json").read_bytes()
    lines = [(directory / "run.flags").read_text().splitlines()[2:] for directory in (repeated, folder / "runs" / "4")]
    assert lines[0] == lines[1]
    assert {"--model=nice", "--flip", "--steps=4", f"--data_dir={folder}/data/images.npz"} <= set(lines[0])
    absent = ("--model_dir", "--ema_decay", "--weight_decay", "--xla", "--noxla")
    assert not any(line.startswith(absent) for line in lines[0])


def test_the_flagfile_has_only_flags_that_apply(folder):
    data = load_source("arrays", data_dir=str(folder / "data" / "images.npz"), test_size=11)
    saved, lines = flagsaver.save_flag_values(), {}
    try:
        for model in ("jet", "nice"):
            shared_flags.parse_command_line(["main", f"--model={model}"])
            config, training = options.model_config((8, 8, 3), 0), runs.training(init_images=7)
            lines[model] = run_flags.flagfile(None, config, training, data)
    finally:
        flagsaver.restore_flag_values(saved)
    assert "--init_images=7" in lines["nice"] and "--model=jet" in lines["jet"]
    assert not any(line.startswith("--init_images") for line in lines["jet"])


def test_every_start_is_recorded_and_the_card_is_of_the_last(folder, glow):
    directory = copied(folder, "card")
    assert glow(folder, "--model_dir=runs/card", "--resume", "--steps=3") == 0
    starts = json.loads((directory / "run.json").read_text())["starts"]
    assert [(start["from_step"], start["to_step"]) for start in starts] == [(0, 2), (2, 3)]
    text = (directory / "README.md").read_text(encoding="utf-8")
    assert "# `card`" in text and "samples/step_0000003.png" in text and "started 2 times" in text
    assert "--steps=3\n" in (directory / "run.flags").read_text()


def test_the_best_weights_are_a_whole_model_directory(folder, glow, capsys):
    best = folder / "runs" / "4" / "best"
    assert model_directory.source_arguments(best) == model_directory.source_arguments(folder / "runs" / "4")
    assert glow(folder, *RUN, f"--init_from={best}", "--model_dir=runs/from_best", "--steps=2") == 0
    assert f"Beginning with the weights of {best}" in capsys.readouterr().err
    # A run that continues keeps its beginning, and takes no other.
    assert glow(folder, *RUN, "--model_dir=runs/from_best", "--steps=3") == 0
    assert record(folder / "runs" / "from_best")["init_from"] == str(best)
    assert f"--init_from={best}\n" in (folder / "runs" / "from_best" / "run.flags").read_text()
    again = ["--model_dir=runs/from_best", "--resume", "--steps=3"]
    assert glow(folder, *again, "--init_from=runs/4/best") == 0
    capsys.readouterr()
    for path in ("runs/2", "pretrained"):
        assert glow(folder, *again, f"--init_from={path}") == 0
        assert f"--init_from={path} is for a new run" in capsys.readouterr().err
        assert record(folder / "runs" / "from_best")["init_from"] == str(best)
    for more in (["--resume"], RUN):
        assert glow(folder, *more, f"--model_dir={best}") == 1
        assert "holds the weights of a model and no run to go on with. To begin one" in (
            error := capsys.readouterr().err
        )
        assert f"--init_from={best}" in error


def test_it_goes_on_from_another_folder_and_where_everything_was_moved(folder, glow, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    hidden = folder / "data" / "images.npz"
    hidden.rename(folder / "data" / "hidden.npz")
    try:
        assert glow(tmp_path, "--model_dir=moved/runs/2", "--resume", "--steps=4") == 0
    finally:
        (folder / "data" / "hidden.npz").rename(hidden)
    assert_same(moved / "runs" / "2", folder / "runs" / "4")
    assert record(moved / "runs" / "2")["source"]["data_dir"] == str(moved / "data" / "images.npz")


def test_what_may_change_changes(folder, glow, capsys):
    directory = copied(folder, "changed")
    changes = ["--steps=3", "--learning_rate=0.02", "--eval_every=1", "--gradient=stored", "--mixed_precision"]
    assert glow(folder, "--model_dir=runs/changed", "--resume", *changes) == 0
    text = capsys.readouterr().err
    assert "Changed setting: learning_rate: 0.01 -> 0.02." in text
    assert "Changed setting: network_precision: float32 -> bfloat16." in text
    assert text.count("Changed setting") == 2
    assert storage.load_config(directory).gradient == "stored"
    # The changes hold from then on.
    assert glow(folder, "--model_dir=runs/changed", "--resume", "--steps=4") == 0
    assert "Changed setting" not in capsys.readouterr().err
    assert (record(directory)["learning_rate"], record(directory)["steps"]) == (0.02, 4)


def test_flags_that_say_the_same_again_are_no_change(folder, glow, capsys):
    copied(folder, "same")
    assert glow(folder, *RUN, "--model_dir=runs/same", "--resume", "--steps=2") == 0
    assert "Changed setting" not in capsys.readouterr().err


def restored(folder, name, changes, *arguments):
    """Returns the flags of a run with a changed record that is resumed with further arguments."""
    directory = copied(folder, name)
    fields = record(directory)
    flags = {**fields["flags"], **changes.pop("flags", {})}
    (directory / "training.json").write_text(json.dumps({**fields, **changes, "flags": flags}))
    saved = flagsaver.save_flag_values()
    try:
        shared_flags.parse_command_line(["main", f"--model_dir={directory}", "--resume", *arguments])
        run_flags.restore(directory)
        return {name: options.FLAGS[name].value for name in run_flags._names()} | options.strategy_arguments()
    finally:
        flagsaver.restore_flag_values(saved)


def test_the_decay_of_the_weights_is_kept_when_the_optimizer_is_named_again(folder):
    run = {"optimizer": "adamw", "weight_decay": 0.1}
    assert restored(folder, "decay", dict(run), "--optimizer=adamw")["weight_decay"] == 0.1
    assert restored(folder, "decay_too", dict(run), "--weight_decay=0.2")["weight_decay"] == 0.2


def test_another_strategy_does_without_the_settings_of_the_one_before(folder):
    slurm = {"flags": {"strategy": "mirrored", "cluster": "slurm", "cluster_port": 13000, "num_replicas": 2}}
    kept = restored(folder, "slurm", dict(slurm))
    assert (kept["name"], kept["cluster"], kept["cluster_port"], kept["num_replicas"]) == (
        *("multi_worker", "slurm", 13000, 2),
    )
    one = restored(folder, "no_slurm", dict(slurm), "--strategy=one_device")
    assert (one["name"], one["cluster"], one["cluster_port"], one["num_replicas"]) == ("one_device", None, None, None)
    cluster = restored(folder, "to_slurm", {}, "--cluster=slurm")
    assert (cluster["name"], cluster["strategy"]) == ("multi_worker", "mirrored")


def test_xla_is_kept_where_it_was_given(folder):
    """By default the device decides, which can be another one now."""
    assert restored(folder, "xla", {"xla": True})["xla"] is None
    assert restored(folder, "xla_given", {"xla": True, "flags": {"xla": True}})["xla"] is True
    assert restored(folder, "xla_again", {"xla": True, "flags": {"xla": True}}, "--noxla")["xla"] is False


def test_ctrl_c_in_the_export_says_that_the_training_is_finished(folder, glow, capsys, monkeypatch):
    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    copied(folder, "export")
    monkeypatch.setattr(program, "export_saved_model", interrupted)
    assert glow(folder, "--model_dir=runs/export", "--resume", "--export") == 130
    error = capsys.readouterr().err
    assert "before the training began" not in error
    assert "export --model_dir=runs/export --output=runs/export/saved_model\n" in error


REFUSED = {
    "another depth": (["--K=4"], ["holds another model", "layers[1].depth: 2 vs. 4"]),
    "another family": (["--model=glow", "--L=1"], ["--blocks does not apply to --model=glow"]),
    "another size": (["--image_size=8"], ["holds another model", "image_shape: [4, 4, 3] vs. [8, 8, 3]"]),
    "a classifier": (["--label_loss_weight=1"], ["--label_loss_weight"]),
    "another optimizer": (["--optimizer=adamw"], ["another optimizer", "optimizer: adamax vs. adamw"]),
    "no averages": (["--ema_decay=0"], ["another optimizer", "ema_decay: 0.999 vs. 0.0"]),
    "other data": (["--dataset=people"], ["run on other data", "data set: arrays vs. people", "--other_data"]),
    "other images held out": (["--test_size=12"], ["run on other data", "test images: 11 vs. 12"]),
    "data that is not there": (["--data_dir=nowhere.npz"], ["nowhere.npz"]),
    "a value out of range": (["--steps=0"], ["steps=0"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_not_change_is_refused_by_name(folder, glow, capsys, name):
    arguments, parts = REFUSED[name]
    before = record(folder / "runs" / "2")
    assert glow(folder, "--model_dir=runs/2", "--resume", *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    for part in parts:
        assert part in error
    assert record(folder / "runs" / "2") == before


def test_a_run_that_was_started_inside_of_its_folder_of_pictures_goes_on(tmp_path, glow, capsys):
    for i, picture in enumerate(np.random.default_rng(1).integers(0, 256, [30, 4, 4, 3], np.uint8)):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    pictures = ["--dataset=folder", "--data_dir=.", "--image_size=4"]
    assert glow(tmp_path, *RUN[:-4], *pictures, "--steps=1", "--model_dir=runs/inside") == 0
    assert list((tmp_path / "runs" / "inside" / "samples").glob("*.png"))
    assert glow(tmp_path, "--model_dir=runs/inside", "--resume", "--steps=2") == 0
    assert "Continuing at step 1" in capsys.readouterr().err


def test_what_may_not_change_may_with_other_data(folder, glow):
    copied(folder, "other")
    assert glow(folder, "--model_dir=runs/other", "--resume", "--test_size=12", "--other_data", "--steps=3") == 0
    assert record(folder / "runs" / "other")["identity"]["test images"] == 12


def test_a_recorded_share_to_hold_out_gives_way_to_a_test_split(folder, glow, capsys):
    images = np.load(folder / "data" / "images.npz")["images"]
    np.savez(folder / "data" / "split.npz", images=images[:40], test_images=images[40:])
    other = ["--model_dir=runs/split", "--resume", "--data_dir=data/split.npz", "--other_data", "--steps=3"]
    directory = copied(folder, "split")
    assert glow(folder, *other, "--test_size=11") == 1
    assert "has a test split of its own; leave out test_size=11" in capsys.readouterr().err
    assert glow(folder, *other) == 0
    assert "test_size" not in record(directory)["source"]
    assert "--test_size" not in (directory / "run.flags").read_text()


def test_a_recorded_number_to_hold_out_gives_way_to_fewer_images(folder, glow, capsys):
    images = np.load(folder / "data" / "images.npz")["images"]
    np.savez(folder / "data" / "few.npz", images=images[:11])
    other = ["--model_dir=runs/few", "--resume", "--data_dir=data/few.npz", "--other_data", "--steps=3"]
    directory = copied(folder, "few")
    assert glow(folder, *other, "--test_size=11") == 1
    assert "test_size must be between 1 and 10" in capsys.readouterr().err
    assert glow(folder, *other) == 0
    # A tenth, which is the default.
    assert record(directory)["identity"]["test images"] == 1


def test_labels_of_other_data_keep_their_meaning(folder, glow, capsys, monkeypatch):
    images = np.load(folder / "data" / "images.npz")["images"]
    classes = {"pets": ("bird", "cat", "dog"), "mammals": ("cat", "dog"), "horses": ("cat", "horse")}
    for name, labels in classes.items():
        np.savez(folder / "data" / f"{name}.npz", images=images, labels=np.resize(labels, len(images)))
    pets = load_source("arrays", data_dir=str(folder / "data" / "pets.npz"))
    config = glow_tf.glow((4, 4, 3), K=1, L=1, width=4, num_classes=3)
    model_directory.write_metadata(folder / "runs" / "pets", config, runs.training(steps=2), pets)
    trained_on = []
    monkeypatch.setattr(
        program, "Trainer", lambda _, __, source, *___, **____: trained_on.append(source) or sys.exit(3)
    )
    again = ["--model=glow", "--K=1", "--L=1", "--width=4", "--dataset=arrays", "--conditional"]
    for flags in (["--resume"], again):
        assert glow(folder, *flags, "--model_dir=runs/pets", "--data_dir=data/mammals.npz", "--other_data") == 3
        assert trained_on[-1].class_names == ("bird", "cat", "dog")
        assert set(trained_on[-1].row_labels("train").tolist()) == {1, 2}
        assert glow(folder, *flags, "--model_dir=runs/pets", "--data_dir=data/horses.npz", "--other_data") == 1
        assert "arrays has classes that the model in runs/pets does not know: horse." in capsys.readouterr().err


def test_a_run_on_other_data_with_fewer_classes_goes_on(folder, glow, capsys):
    images = np.load(folder / "data" / "images.npz")["images"]
    for name, labels in {"three": "abc", "two": "bc", "others": "bd"}.items():
        np.savez(folder / "data" / f"{name}.npz", images=images, labels=np.resize(list(labels), len(images)))
    three, two = (
        load_source("arrays", data_dir=str(folder / "data" / f"{name}.npz"), test_size=11) for name in ("three", "two")
    )
    config, directory = glow_tf.glow((4, 4, 3), K=1, L=1, width=4, num_classes=3), folder / "runs" / "fewer"
    # As left by a start on three classes, and one with --other_data on two of them.
    for source in (three, two.with_classes(three.class_names)):
        model_directory.write_metadata(directory, config, runs.training(steps=1), source, {"strategy": "one_device"})
    resume = ["--model_dir=runs/fewer", "--resume", "--noexport"]
    assert glow(folder, *resume) == 0
    assert model_directory.class_names(directory) == ["a", "b", "c"]
    capsys.readouterr()
    assert glow(folder, *resume, "--data_dir=data/others.npz") == 1
    assert "holds a run on other data" in capsys.readouterr().err


def test_the_name_of_a_bundled_model_is_no_directory(tmp_path, glow, capsys):
    assert glow(tmp_path, "--model_dir=pretrained") == 1
    assert "--model_dir=pretrained is the name of a model that ships with the package" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_where_there_is_no_run_it_says_so(folder, glow, capsys):
    assert glow(folder, "--model_dir=runs/nothing", "--resume") == 1
    assert capsys.readouterr().err == (
        "error: runs/nothing holds no run to go on with. Set the --model_dir of one, or leave out --resume to begin.\n"
    )
    assert not (folder / "runs" / "nothing").exists()
    # The default directory has the same name as for a new run.
    assert glow(folder, "--resume") == 1
    assert "runs/people_glow holds no run" in capsys.readouterr().err
    glow_tf.save(glow_tf.load(folder / "runs" / "2"), folder / "runs" / "weights")
    assert glow(folder, "--model_dir=runs/weights", "--resume") == 1
    assert "no training.json" in (error := capsys.readouterr().err) and "--init_from=runs/weights" in error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": "many"}, "training.json: steps='many' must be of type int"),
        ({"beta1": 2.0}, "training.json: beta1=2.0 must be at least 0 and less than 1"),
        ({"optimizer": None}, "training.json: optimizer=None must be of type str"),
        ({"flags": []}, "training.json: flags=[] must be an object"),
        ({"flags": {"model": "vae"}}, "training.json: flags.model='vae'"),
        ({"flags": {"strategy": 3}}, "training.json: flags.strategy=3"),
    ],
)
def test_a_damaged_record_is_named(folder, glow, capsys, tmp_path, changes, message):
    directory = tmp_path / "run"
    shutil.copytree(folder / "runs" / "2", directory)
    (directory / "training.json").write_text(json.dumps({**record(directory), **changes}))
    assert glow(folder, f"--model_dir={directory}", "--noexport", "--resume") == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_fields_of_versions_to_come_are_no_obstacle(folder, glow, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(folder / "runs" / "2", directory)
    fields = record(directory)
    del fields["max_rollbacks"], fields["data_dir_from_here"]
    fields["flags"]["color"] = "red"
    (directory / "training.json").write_text(json.dumps({**fields, "color": "red"}))
    assert glow(folder, f"--model_dir={directory}", "--noexport", "--resume") == 0


def begun_in_python(folder, config, *, known=True):
    data = load_source("arrays", data_dir=str(folder / "data" / "images.npz"), test_size=11)
    if not known:
        data = dataclasses.replace(data, arguments={})
    directory = folder / "runs" / "python"
    shutil.rmtree(directory, ignore_errors=True)
    Trainer(config, runs.training(steps=2), data, directory, runs.ONE_DEVICE).run()
    return directory


def test_a_run_that_went_on_in_python_keeps_its_flags(folder, glow):
    directory = copied(folder, "python_between")
    before = record(directory)["flags"]
    assert before["K"] == 2 and before["strategy"] == "one_device"
    data = load_source("arrays", data_dir=str(folder / "data" / "images.npz"), test_size=11)
    fields = {"steps": 3, "learning_rate": 0.005, "strategy": tf.distribute.MirroredStrategy(["CPU:0"])}
    glow_tf.fit(glow_tf.load(directory), data, model_dir=directory, **fields, quiet=True)
    assert record(directory)["flags"] == {name: value for name, value in before.items() if name != "strategy"}
    # It would repeat the run with the settings before.
    assert not (directory / "run.flags").exists()
    assert "run.flags" not in (directory / "README.md").read_text(encoding="utf-8")
    # The same depth again is no other model.
    assert glow(folder, "--model_dir=runs/python_between", "--resume", "--K=2", "--steps=4") == 0
    lines = (directory / "run.flags").read_text().splitlines()
    assert {"--model=nice", "--learning_rate=0.005", "--K=2"} <= set(lines)


def test_a_run_begun_in_python_goes_on_by_the_command(folder, glow, capsys):
    nice = glow_tf.nice((4, 4, 3), K=2, width=8, blocks=1, n_bits=5)
    own = glow_tf.ModelConfig(name="own", image_shape=(4, 4, 3), layers=(ScaleAndShift(initial=2.0), *nice.layers))
    directory = begun_in_python(folder, own)
    assert glow(folder, f"--model_dir={directory}", "--noexport", "--resume", "--steps=3") == 0
    text = capsys.readouterr().err
    assert "Continuing at step 2" in text and "Changed setting" not in text
    assert storage.load_config(directory) == own
    assert record(directory)["flags"] == {"strategy": "one_device", "export": False}
    assert glow(folder, f"--model_dir={directory}", "--noexport", "--resume", "--K=4", "--width=3") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: --K, --width: {directory} holds a model that is not made by flags")
    # The module of its layer no longer exists.
    file = directory / "config.json"
    file.write_text(file.read_text().replace("tests.extending.my_parts", "nowhere.my_parts"))
    assert glow(folder, f"--model_dir={directory}", "--noexport", "--resume") == 1
    assert "nowhere.my_parts cannot be imported" in (error := capsys.readouterr().err) and error.count("\n") == 1
    # The flag names the module that the layer is in now.
    assert glow(folder, f"--model_dir={directory}", "--noexport", "--resume", "--plugins=tests.extending.my_parts") == 0


def test_data_that_a_program_loaded_is_asked_for(folder, glow, capsys):
    nice = glow_tf.nice((4, 4, 3), K=2, width=8, blocks=1, n_bits=5)
    directory = begun_in_python(folder, nice, known=False)
    assert glow(folder, f"--model_dir={directory}", "--noexport", "--resume") == 1
    assert "does not say how its data is loaded; set --dataset" in capsys.readouterr().err
    data = ["--dataset=arrays", "--data_dir=data/images.npz", "--test_size=11"]
    assert glow(folder, f"--model_dir={directory}", "--noexport", "--resume", *data) == 0


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("/data/two words", "--data_dir=/data/two words"),
        ("/data/# no comment", "--data_dir=/data/# no comment"),
        ("/data/ends in a space ", None),
        ("/data/two\nlines", None),
        ("/data/two\r--steps=9", None),
    ],
)
def test_names_in_a_flagfile_stand_for_themselves(tmp_path, value, line):
    written = run_flags._line("data_dir", value)
    (tmp_path / "run.flags").write_bytes(f"{written}\n".encode())
    assert shared_flags._lines(str(tmp_path / "run.flags")) == ([line] if line else [])
