"""The training program from the outside: its output, files and exit codes."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).parent.parent
LAST_LINE = re.compile(r"test bits/dim: \d+\.\d{3} \+- \d+\.\d{3} \(\d+ images\)")
SMALL = [
    *("--model=nice", "--image_size=8", "--K=2", "--blocks=1", "--width=4"),
    *("--batch_size=8", "--samples=4", "--warmup_steps=1"),
]


def main(*arguments, module="glow_tf.main", cwd=None):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=280)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two runs in one directory: two steps with an export that takes small files, and two more without one."""
    cwd = tmp_path_factory.mktemp("work")
    return cwd, [
        main(*SMALL, *more, cwd=cwd) for more in (["--steps=2", "--max_megapixels=0.0003"], ["--steps=4", "--noexport"])
    ]


def test_the_last_line_is_the_result(run):
    _, runs = run
    for done in runs:
        assert done.returncode == 0, done.stderr[-3000:]
        assert LAST_LINE.fullmatch(done.stdout.splitlines()[-1])
        assert "Traceback" not in done.stderr


def test_a_second_run_continues(run):
    _, (first, second) = run
    assert "Continuing at step" not in first.stderr
    assert "Continuing at step 2 from" in second.stderr


def test_everything_is_written_to_the_model_directory(run):
    cwd, (first, _) = run
    assert [path.name for path in cwd.iterdir()] == ["runs"]
    directory = cwd / "runs" / "people_nice"
    kept = ("config.json", "metrics.jsonl", "tensorboard", "checkpoints", "saved_model/saved_model.pb")
    for name in (*kept, "training.json", "run.json", "run.flags", "README.md"):
        assert (directory / name).exists(), name
    assert sorted(file.name for file in (directory / "samples").iterdir()) == ["step_0000002.png", "step_0000004.png"]
    assert "people: 8x8x3" in first.stdout
    assert {file.name for file in (directory / "best").iterdir()} >= {"config.json", "checkpoints"}


def test_what_was_done_is_summed_up_before_the_result(run):
    for done, steps in zip(run[1], (2, 4), strict=True):
        *_, result = done.stdout.splitlines()
        summary = dict(line.split(": ", 1) for line in done.stdout.splitlines()[2:-1])
        assert re.match(rf"{steps} \(0 skipped\)", summary["steps"])
        assert re.match(r"\d+\.\d{3} test bits/dim at step \d", summary["best"])
        assert summary["checkpoints"] == "runs/people_nice/checkpoints"
        assert summary["model card"] == "runs/people_nice/README.md"
        assert summary["samples"] == f"runs/people_nice/samples/step_000000{steps}.png"
        assert ("SavedModel" in summary) == (steps == 2)
        assert summary.get("SavedModel", "runs/people_nice/saved_model") == "runs/people_nice/saved_model"
        command = "glow demo --saved_model=runs/people_nice/saved_model"
        assert summary.get("in the browser", command).endswith(command)
        assert summary["metrics"].startswith("runs/people_nice/metrics.jsonl")
        assert "--logdir=runs/people_nice" in summary["metrics"]
        assert LAST_LINE.fullmatch(result)


@pytest.mark.slow
def test_a_trained_model_is_evaluated_to_the_same_figure(run):
    """It is evaluated on the data set that its directory records, and with the same noise."""
    cwd, (_, last) = run
    done = main("--model_dir=runs/people_nice", module="tools.evaluate", cwd=cwd)
    assert done.returncode == 0, done.stderr[-3000:]
    trained = float(re.search(r"test bits/dim: (\S+)", last.stdout)[1])
    evaluated = float(re.search(r"^bits/dim: (\S+) .*\(114 images\)", done.stdout, re.MULTILINE)[1])
    assert "\ntest split, ema weights\n" in done.stdout
    # One is printed to three decimals, the other to four.
    assert abs(evaluated - trained) <= 0.00051


def test_the_export_takes_files_of_the_size_that_training_takes(run):
    exported = tf.saved_model.load(run[0] / "runs" / "people_nice" / "saved_model")
    small, large = (tf.io.encode_png(np.zeros([side, side, 3], np.uint8)) for side in (17, 18))
    # 289 and 324 pixels.
    assert exported.encode_bytes([small])["latents"].shape == (1, 192)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 300 pixels"):
        exported.encode_bytes([large])


def test_the_export_has_the_averages_of_the_weights(run):
    directory = run[0] / "runs" / "people_nice"
    reader = tf.train.load_checkpoint(str(directory / "checkpoints" / "ckpt-2"))
    names = sorted(name for name in reader.get_variable_to_shape_map() if name.startswith("ema/"))
    averages = [reader.get_tensor(name) for name in names]
    exported = tf.train.load_checkpoint(str(directory / "saved_model" / "variables" / "variables"))
    values = [exported.get_tensor(name) for name in exported.get_variable_to_shape_map() if "VARIABLE" in name]
    assert averages
    for name, average in zip(names, averages, strict=True):
        assert any(np.array_equal(average, value) for value in values), name
        assert np.any(average != reader.get_tensor(name.replace("ema/", "flow/", 1).replace(".S", "/"))), name


def test_output_that_is_no_terminal_has_no_control_characters(run):
    for done in run[1]:
        assert "\r" not in done.stdout + done.stderr
        assert "\x1b" not in done.stdout + done.stderr


def test_stderr_has_no_messages_of_tensorflow(run):
    for done in run[1]:
        assert not re.search(r"\.(cc|h|py):\d+|InitializeLog|WARNING", done.stderr), done.stderr


NOWHERE = ["--dataset=arrays", "--data_dir=nowhere.npz"]
# Run in one process, as each start of TensorFlow takes seconds.
IN_PROCESS = {
    "a flag of another model": ([*NOWHERE, "--model=nice", "--L=2"], "--L does not apply to --model=nice"),
    "a size that cannot be squeezed": (["--image_size=20", "--L=3"], "24x24 would do"),
    "no labels": (["--dataset=arrays", "--data_dir={arrays}", "--conditional"], "labels are needed"),
    "few labels that nothing uses": (["--labels_per_class=4"], "labels_per_class=4 needs a label_loss_weight"),
    "a classifier that is given the labels": (
        [*NOWHERE, "--label_loss_weight=0.1", "--conditional_couplings"],
        "would give it the labels that it is to find: leave out this flag or --conditional_couplings",
    ),
    "few labels of a model that is given all": (
        [*NOWHERE, "--labels_per_class=4", "--label_loss_weight=0.1", "--conditional"],
        "--labels_per_class=4 is for models that guess labels",
    ),
    "more labels than there are": (
        ["--labels_per_class=400", "--label_loss_weight=0.1"],
        "--labels_per_class=400: of class 'yellow' people has 149 training image(s). Ask for 149 at most",
    ),
    "no data_dir": (["--dataset=folder", "--image_size=8"], "--data_dir"),
    "a file that is not there": (["--dataset=arrays", "--data_dir=nowhere.npz"], "nowhere.npz"),
    "a wrong image size": (["--image_size=8x8"], "--image_size=8x8"),
    "a value out of range": (["--steps=0"], "steps=0"),
    "no end to the size of pictures": (["--max_megapixels=inf"], "finite number of megapixels"),
    "an average that never moves": (["--ema_decay=1"], "ema_decay=1"),
    # These are found before the data is looked for.
    "a permutation of another model": ([*NOWHERE, "--permutation=none"], "permutation='none' is not one of 'conv1x1'"),
    "a dropout of everything": ([*NOWHERE, "--model=jet", "--dropout=1"], "dropout=1.0 must be at least 0 and less"),
    "networks of noise that has none": (
        [*NOWHERE, "--dequantization=uniform", "--dequantization_depth=2"],
        "--dequantization_depth is for --dequantization=variational, not uniform",
    ),
    "images to initialise nothing from": (
        [*NOWHERE, "--model=jet", "--init_images=8"],
        "--init_images=8 does not apply to --model=jet as it is: nothing in it is initialised from images",
    ),
    "no intervals": ([*NOWHERE, "--log_every=0"], "log_every=0"),
    "a decay within the warm-up": (
        [*NOWHERE, "--lr_schedule=cosine", "--steps=1000"],
        "begins after warmup_steps=1000",
    ),
    "adamw without decay": ([*NOWHERE, "--optimizer=adamw", "--weight_decay=0"], "needs a weight_decay above 0"),
    "no evaluations": ([*NOWHERE, "--early_stop=3", "--eval_every=0"], "early_stop=3 goes by evaluations"),
    "a seed that is too large": ([*NOWHERE, "--seed=3000000000"], "seed=3000000000 must be at most 2147483647"),
    "no end to the gradient": ([*NOWHERE, "--clip_norm=inf"], "clip_norm=inf must be a finite number"),
    "replicas of one device": (
        [*NOWHERE, "--strategy=one_device", "--num_replicas=2"],
        "--num_replicas=2 does not apply",
    ),
    "workers without a cluster": (["--strategy=multi_worker"], "needs the environment variable TF_CONFIG"),
    "a cluster without SLURM": (["--cluster=slurm"], "SLURM_PROCID not found in environment"),
    "a cluster of one machine": (
        ["--cluster=slurm", "--strategy=mirrored"],
        "for which --strategy=mirrored is not made",
    ),
    "a tracker that is not known": (["--tracker=neptune"], "'neptune', which is not one of wandb, mlflow"),
    "no TPU": (["--strategy=tpu"], "--strategy=tpu finds no TPU"),
    "a batch that cannot be shared out": (
        ["--image_size=8", "--batch_size=6", "--accumulate_steps=4"],
        "batch_size=6 must be a multiple of accumulate_steps=4",
    ),
}


@pytest.fixture
def refused(capsys, monkeypatch):
    """Runs the program in this process, in a folder, until it exits with 1; returns what it wrote to stderr."""
    from absl import flags
    from absl.testing import flagsaver

    from glow_tf import main as program

    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("TPU_NAME", raising=False)
    monkeypatch.delenv("SLURM_PROCID", raising=False)

    def refused(folder, *arguments):
        monkeypatch.chdir(folder)
        saved = flagsaver.save_flag_values()
        try:
            flags.FLAGS(["main", *arguments])
            with pytest.raises(SystemExit) as stop:
                program.main(["main"])
        finally:
            flagsaver.restore_flag_values(saved)
        assert stop.value.code == 1
        return capsys.readouterr().err

    return refused


@pytest.mark.parametrize("name", IN_PROCESS)
def test_wrong_flags_give_one_line(tmp_path, refused, name):
    np.savez(tmp_path / "arrays.npz", images=np.zeros([8, 8, 8, 3], np.uint8))
    arguments, message = IN_PROCESS[name]
    error = refused(tmp_path, *(a.format(arrays=tmp_path / "arrays.npz") for a in arguments))
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_another_model_in_the_same_directory_is_refused(run, refused):
    error = refused(run[0], *SMALL, "--width=5", "--steps=6", "--strategy=one_device")
    assert error.startswith("error: runs/people_nice holds another model")
    assert "layers[1].network.width: 4 vs. 5" in error


@pytest.mark.slow
def test_a_wrong_flag_from_outside(tmp_path):
    done = main("--image_size=20", "--L=3", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert re.search(r"^error: .*20x20 cannot be squeezed 3 times", done.stderr, re.MULTILINE)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_helpfull_lists_every_flag():
    done = main("--helpfull")
    assert "Trains a normalizing flow" in done.stdout
    for flag in (
        *("--dataset", "--K", "--[no]conditional", "--steps", "--ema_decay", "--strategy", "--num_replicas"),
        *("--[no]mixed_precision", "--accumulate_steps", "--checkpoint_minutes", "--max_skipped"),
    ):
        assert flag in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_stray_arguments_and_unknown_flags(tmp_path):
    done = main("--unheard_of=3", cwd=tmp_path)
    assert done.returncode != 0
    assert "unheard_of" in done.stderr
    assert "Traceback" not in done.stderr
