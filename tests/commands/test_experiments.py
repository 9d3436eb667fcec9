"""The runs of experiments, the command lines that train models to compare them, and the one that measures memory."""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

import glow_tf
from glow_tf.commands import experiments
from glow_tf.commands.sizes import MODELS, Sizes
from glow_tf.commands.startup import megabytes
from glow_tf.data import load_source
from glow_tf.layers import Steps
from glow_tf.training import model_directory
from glow_tf.transforms import Additive
from tests.commands.driver import run_commands
from tests.data.test_tfds_source import DIGITS, digits, store
from tests.training import helpers

SMALL = ["--image_size=8", "--L=2", "--train_batch_size=8", "--eval_every=2", "--n_bits=5"]
ABLATION = ["ablation", *SMALL, "--K=1", "--width=4", "--seeds=2", "--coupling=additive", "--output=ablation"]
BOTH = ["--permutation=reverse", "--permutation=conv1x1"]
COMPARE = ["compare", *SMALL, "--K=1", "--parameters=30000", "--blocks=1", "--seeds=1", "--steps=4", "--output=compare"]
SEMI = ["semi_supervised", *SMALL, "--K=1", "--width=4", "--steps=4", "--labels_per_class=0,2", "--output=semi"]
ONE_SEED = [*ABLATION[:-1], "--permutation=reverse", "--seeds=1", "--steps=5"]
DAMAGED = [*ABLATION[:-1], "--dataset=folder", "--data_dir=photos", "--permutation=reverse", "--steps=2"]
# The allocator only counts blocks of at least 256 KB, which a batch too small to split over cores has on any machine.
MEMORY = ["memory", "--L=1", "--width=64", "--image_size=64", "--train_batch_size=2", "--timed_steps=1"]
COMMANDS = {
    "one permutation": [*ABLATION, "--permutation=reverse", "--steps=4"],
    "another one too": [*ABLATION, *BOTH, "--steps=4"],
    "all there": [*ABLATION, *BOTH, "--steps=4"],
    "another model": [*ABLATION, *BOTH, "--steps=4", "--K=2", "--width=8"],
    "another learning rate": [*ABLATION, *BOTH, "--steps=4", "--learning_rate=2e-3", "--seeds=3"],
    "other data": [*ABLATION, *BOTH, "--steps=4", "--dataset=folder", "--data_dir=photos"],
    "fewer steps": [*ABLATION, *BOTH, "--steps=3"],
    "one seed": [*ONE_SEED, "--output=longer"],
    "more steps, seeds and evaluations": [
        *(*ONE_SEED, "--steps=8", "--seeds=2", "--eval_every=3", "--output=longer"),
    ],
    "a picture that cannot be written": [*ONE_SEED, "--output=unwritable"],
    "compare": COMPARE,
    "too few parameters": [*COMPARE, "--parameters=1000", "--output=few"],
    "semi-supervised": [*SEMI, "--seeds=2"],
    "semi-supervised, all there": [*SEMI, "--seeds=2"],
    "numbers of labels that are none": [*SEMI, "--labels_per_class=1,few"],
    "a negative number of labels": [*SEMI, "--labels_per_class=-1"],
    "more labels than there are": [*SEMI, "--labels_per_class=150"],
    "labels that do not count": [*SEMI, "--label_loss_weight=0"],
    "a damaged picture": [*DAMAGED, "--output=damaged"],
    "a damaged picture, again": [*DAMAGED, "--output=damaged"],
    "memory": [*MEMORY, "--depths=1,8", "--output=memory.png"],
    "memory of no depth": [*MEMORY, "--depths=few"],
    "memory of half a step": [*MEMORY, "--depths=1.5"],
    "memory of no end": [*MEMORY, "--depths=4,inf"],
    "memory of levels of Jet": [*MEMORY, "--model=jet"],
    "memory of no image": ["memory", "--L=3", "--image_size=12", "--depths=1"],
}
# Prints whether TensorFlow is still uninitialised when an experiment asks for its devices, and ends it there.
UNTIL_DEVICES = """
import tensorflow as tf
from glow_tf.commands import experiments
from tests.commands import driver

def make_strategy(name):
    threads = tf.config.threading.get_inter_op_parallelism_threads()
    try:
        tf.config.threading.set_inter_op_parallelism_threads(threads + 1)
    except RuntimeError as error:
        raise SystemExit(str(error)) from None
    raise SystemExit("uninitialised")

experiments.make_strategy = make_strategy
driver.main()
"""
# The commands train eighteen models.
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The directory the commands ran in, and for each of them its exit code, stdout and stderr."""
    directory = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 8)):
        (directory / "photos" / split).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(directory / "photos" / split / f"{i}.png")
    (directory / "photos" / "test" / "damaged.png").write_bytes(b"no picture")
    (directory / "unwritable" / "ablation.png").mkdir(parents=True)
    return directory, run_commands(directory, COMMANDS)


def trained(out):
    return re.findall(r"^Run \d+ of \d+: (\w+)$", out, re.MULTILINE)


def last_test(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "test"][-1]


@slow
def test_what_is_missing_is_trained_and_nothing_else(work):
    _, results = work
    reverse, conv = ([f"{p}_additive_seed{seed}" for seed in (0, 1)] for p in ("reverse", "conv1x1"))
    assert [results[name][0] for name in list(COMMANDS)[:3]] == [0] * 3, results["one permutation"][2]
    assert trained(results["one permutation"][1]) == reverse
    assert trained(results["another one too"][1]) == conv
    assert trained(results["all there"][1]) == []
    assert "4 runs of 4 steps, 2 of them finished." in results["another one too"][1]


@slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("another model", "layers[1].depth: 1 vs. 2; layers[1].network.width: 4 vs. 8"),
        ("another learning rate", "learning_rate: 0.001 vs. 0.002"),
        ("other data", "data set: people vs. folder"),
        ("fewer steps", "steps: 4 vs. 3"),
    ],
)
def test_runs_are_not_reported_under_other_flags(work, name, message):
    code, out, err = work[1][name]
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "reverse_additive_seed0" in err and message in err and "--output" in err


@slow
def test_runs_go_on_to_more_steps_with_more_seeds_and_other_evaluations(work):
    directory, results = work
    code, out, err = results["more steps, seeds and evaluations"]
    assert code == 0, err
    assert trained(out) == ["reverse_additive_seed0", "reverse_additive_seed1"]
    runs = [last_test(directory / "longer" / f"reverse_additive_seed{seed}") for seed in (0, 1)]
    assert [run["step"] for run in runs] == [8, 8]
    values = np.array([run["bits_per_dim"] for run in runs])
    assert f"| reverse | {values.mean():.3f} +- {values.std(ddof=1):.3f} |" in out
    assert (directory / "longer" / "ablation.png").is_file()


@slow
def test_the_table_is_there_if_the_picture_cannot_be_written(work):
    directory, results = work
    code, out, err = results["a picture that cannot be written"]
    assert code == 1 and "ablation.png" in err
    table = (directory / "unwritable" / "ablation.md").read_text()
    bits_per_dim = last_test(directory / "unwritable" / "reverse_additive_seed0")["bits_per_dim"]
    assert f"| reverse | {bits_per_dim:.3f} +- " in table and table in out


@slow
def test_a_run_is_finished_though_a_held_out_picture_is_damaged(work):
    directory, results = work
    assert results["a damaged picture"][0] == 0, results["a damaged picture"][2]
    assert trained(results["a damaged picture"][1]) == ["reverse_additive_seed0", "reverse_additive_seed1"]
    assert last_test(directory / "damaged" / "reverse_additive_seed0")["images"] == 8
    assert trained(results["a damaged picture, again"][1]) == []


@slow
def test_it_says_how_long_it_will_take_before_it_starts(work):
    out = work[1]["one permutation"][1]
    said = re.search(r"2 runs to train will take about \d+ (s|min)", out)
    assert said and said.start() < out.index("Run 1 of 2")
    assert "will take" not in work[1]["all there"][1]


@slow
def test_the_table_has_the_means_over_seeds(work):
    directory, _ = work
    text = (directory / "ablation" / "ablation.md").read_text()
    for permutation in ("reverse", "conv1x1"):
        runs = [last_test(directory / "ablation" / f"{permutation}_additive_seed{seed}") for seed in (0, 1)]
        assert [run["step"] for run in runs] == [4, 4]
        values = np.array([run["bits_per_dim"] for run in runs])
        # Each seed is a run of its own.
        assert np.ptp(values) > 0
        assert f"| {permutation} | {values.mean():.3f} +- {values.std(ddof=1):.3f} |" in text
    assert "114 held-out images" in text and "4 updates of 8 images" in text
    with Image.open(directory / "ablation" / "ablation.png") as file:
        assert np.asarray(file.convert("L")).std() > 5


@slow
def test_every_run_is_a_model_directory(work):
    flow = glow_tf.load(work[0] / "ablation" / "conv1x1_additive_seed1")
    assert flow.config.image_shape == (8, 8, 3) and flow.config.layers[1].coupling == Additive()


@slow
def test_models_are_compared_at_one_size(work):
    directory, results = work
    code, out, err = results["compare"]
    assert code == 0, err
    sizes = []
    for name, published in (("nice", "4.48"), ("real_nvp", "3.49"), ("glow", "3.35")):
        row = re.search(rf"^\| {name} \| ([\d,]+) \| (\d+) \| ([\d.]+) \+- .* \| {published} ", out, re.MULTILINE)
        flow = glow_tf.load(directory / "compare" / f"{name}_seed0")
        size = sum(int(np.prod(v.shape)) for v in flow.trainable_variables)
        assert size == int(row[1].replace(",", ""))
        sizes.append(size)
        assert float(row[3]) == pytest.approx(
            last_test(directory / "compare" / f"{name}_seed0")["bits_per_dim"], abs=1e-3
        )
    assert max(sizes) < 1.05 * min(sizes) and abs(sizes[1] - 30_000) < 10_000
    assert (directory / "compare" / "compare.md").read_text().splitlines()[-1] in out
    assert "nan" not in out


@slow
def test_a_size_no_model_can_have(work):
    code, _, err = work[1]["too few parameters"]
    assert code == 1
    assert "--parameters=1,000 is too few" in err


@slow
def test_accuracy_with_and_without_unlabelled_images(work):
    """With all labels there is one kind of run, as no image is unlabelled."""
    directory, results = work
    code, out, err = results["semi-supervised"]
    assert code == 0, err
    kinds = ("labels_2_all", "labels_2_labelled", "labels_of_all")
    assert trained(out) == [f"{kind}_seed{seed}" for seed in (0, 1) for kind in kinds]
    cells = {}
    for kind in kinds:
        runs = [last_test(directory / "semi" / f"{kind}_seed{seed}") for seed in (0, 1)]
        accuracy = np.array([100 - 100 * run["label_error"] for run in runs])
        bits = np.array([run["bits_per_dim"] for run in runs])
        spread = accuracy.std(ddof=1), bits.std(ddof=1)
        cells[kind] = f"{accuracy.mean():.1f} +- {spread[0]:.1f} % | {bits.mean():.3f} +- {spread[1]:.3f}"
    text = (directory / "semi" / "semi_supervised.md").read_text()
    assert text.splitlines()[-2:] == [
        f"| 2 | {cells['labels_2_all']} | {cells['labels_2_labelled']} |",
        f"| all | {cells['labels_of_all']} | {cells['labels_of_all']} |",
    ]
    with Image.open(directory / "semi" / "semi_supervised.png") as file:
        assert np.asarray(file.convert("L")).std() > 5
    assert trained(results["semi-supervised, all there"][1]) == []
    records = [json.loads((directory / "semi" / f"{kind}_seed1" / "training.json").read_text()) for kind in kinds]
    assert [record["labels_per_class"] for record in records] == [2, 2, 0]
    assert [record["labelled_only"] for record in records] == [False, True, False]


@slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("numbers of labels that are none", "--labels_per_class=1,few must be finite numbers"),
        ("a negative number of labels", "--labels_per_class=-1 must be whole numbers from 0"),
        ("more labels than there are", "of class 'yellow' people has 149 training image(s)"),
        ("labels that do not count", "--label_loss_weight=0 learns no labels"),
    ],
)
def test_labels_that_cannot_be_compared(work, name, message):
    code, out, err = work[1][name]
    assert code == 1
    assert message in err and err.count("\n") == 1 and "Run" not in out


@slow
def test_memory_is_a_row_for_each_measurement(work):
    directory, results = work
    code, out, err = results["memory"]
    assert code == 0, err
    size = r"([\d,.-]+) MB"
    row = rf"^\| (\d+) \| (\w+) \| {size} \| {size} \| {size} \| {size} \| ([\d.]+) \|$"
    rows = re.findall(row, out, re.MULTILINE)
    assert [(row[0], row[1]) for row in rows] == [(k, g) for g in ("reversible", "stored") for k in ("1", "8")]
    peaks = {(row[1], row[0]): float(row[3].replace(",", "")) for row in rows}
    growth = {g: peaks[g, "8"] - peaks[g, "1"] for g in ("reversible", "stored")}
    assert growth["stored"] > 2 * growth["reversible"]
    with Image.open(directory / "memory.png") as file:
        assert np.asarray(file.convert("L")).std() > 5
    for name, message in (
        ("memory of no depth", "--depths=few must be finite numbers"),
        ("memory of no end", "--depths=4,inf must be finite numbers"),
        ("memory of levels of Jet", "--L is for models of several levels; --model=jet has one"),
        ("memory of half a step", "--depths=1.5 must be whole numbers of at least 1"),
        ("memory of no image", "8"),
    ):
        code, out, err = results[name]
        assert (code, out, err.count("\n")) == (1, "", 1) and message in err


@pytest.mark.parametrize("model", MODELS)
def test_every_model_whose_memory_is_measured_has_the_depth_that_is_asked_for(model):
    few, many = (Sizes(model=model, K=K, L=2, width=8, image_size=16, batch_size=1).config("stored") for K in (1, 5))
    assert many.name == model and many.gradient == "stored"
    depths = [[layer.depth for layer in config.layers if isinstance(layer, Steps)] for config in (few, many)]
    assert depths[1] == [5 * depth for depth in depths[0]]


def test_sizes_for_people():
    sizes = {0: "-", 21_340: "0.021 MB", 1_234_567_890: "1,234.6 MB", -5: "-"}
    assert {size: megabytes(size) for size in sizes} == sizes


@slow
def test_devices_are_set_up_before_tensorflow_is_initialised(tmp_path):
    """Afterwards neither GPUs nor cores can be configured."""
    rows = {"train": digits(40), "test": digits(10)}
    root = store(tmp_path / "tfds", "mnist", DIGITS, rows)
    commands = {
        "ablation": [*ABLATION, "--steps=2"],
        "compare": COMPARE,
        "density": ["density", "--image_size=8", "--L=2"],
        "semi_supervised": [*SEMI, "--dataset=mnist", f"--data_dir={root}", "--train_on=all"],
    }
    results = run_commands(tmp_path, commands, ("-c", UNTIL_DEVICES))
    assert {name: code for name, (code, _, _) in results.items()} == dict.fromkeys(commands, "uninitialised")


def test_a_batch_is_divided_among_the_devices_before_time_is_spent(monkeypatch):
    monkeypatch.setattr(experiments, "make_strategy", lambda name: helpers.two_replicas())
    with pytest.raises(ValueError, match="--train_batch_size=3 .* must be a multiple of 2"):
        experiments.prepare_devices([helpers.CONFIG], 3)
    strategy, runtime = experiments.prepare_devices([helpers.CONFIG], 2)
    assert strategy.num_replicas_in_sync == 2 and runtime.shards == 1


def test_a_run_beyond_the_last_step_is_another_one(tmp_path):
    source = load_source("people", image_size=8)
    run = experiments.Run("glow", helpers.CONFIG, helpers.training(steps=500), tmp_path / "glow_seed0")
    experiments.check_runs([run], source)
    model_directory.write_metadata(run.directory, run.config, run.training, source)
    (run.directory / "checkpoints").mkdir()
    (run.directory / "checkpoints" / "ckpt-200.index").touch()
    for steps in (200, 500, 600):
        experiments.check_runs([dataclasses.replace(run, training=helpers.training(steps=steps))], source)
    shorter = dataclasses.replace(run, training=helpers.training(steps=199))
    with pytest.raises(ValueError, match=r"glow_seed0 .*steps: 200 vs. 199.*--output"):
        experiments.check_runs([run, shorter], source)
    # On a part of the images.
    with pytest.raises(ValueError, match="train images: 894 vs. 12"):
        experiments.check_runs([run], source.reduced_to(range(12)))


def test_runs_are_drawn_at_the_steps_that_all_were_evaluated_at():
    def curve(*steps):
        values = np.array(steps, np.float64)
        return experiments.Curve(np.array(steps), values / 100, values, values, values)

    steps, bits_per_dim = experiments.common_evaluations([curve(2, 4, 5, 6, 8), curve(3, 6, 8)])
    assert steps.tolist() == [6, 8]
    np.testing.assert_allclose(bits_per_dim, [[0.06, 0.08]] * 2)
    assert experiments.common_evaluations([curve(2, 4)])[1].shape == (1, 2)
