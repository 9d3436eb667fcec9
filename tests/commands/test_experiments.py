"""The command lines that train models to compare them, and the one that measures memory."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import glow_tf
from glow_tf.commands.startup import megabytes
from glow_tf.transforms import Additive
from tests.commands.driver import run_commands

SMALL = ["--image_size=8", "--L=2", "--train_batch_size=8", "--eval_every=2", "--n_bits=5"]
ABLATION = ["ablation", *SMALL, "--K=1", "--width=4", "--seeds=2", "--coupling=additive", "--output=ablation"]
BOTH = ["--permutation=reverse", "--permutation=conv1x1"]
COMPARE = ["compare", *SMALL, "--K=1", "--parameters=30000", "--blocks=1", "--seeds=1", "--steps=4", "--output=compare"]
SEMI = ["semi_supervised", *SMALL, "--K=1", "--width=4", "--steps=4", "--labels_per_class=0,2", "--output=semi"]
DAMAGED = [*ABLATION[:-1], "--dataset=folder", "--data_dir=photos", "--permutation=reverse", "--steps=2"]
# The allocator only counts blocks of at least 256 KB.
MEMORY = ["memory", "--L=1", "--width=16", "--image_size=32", "--train_batch_size=32", "--timed_steps=1"]
COMMANDS = {
    "one permutation": [*ABLATION, "--permutation=reverse", "--steps=4"],
    "another one too": [*ABLATION, *BOTH, "--steps=4"],
    "all there": [*ABLATION, *BOTH, "--steps=4"],
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
    "memory of no image": ["memory", "--L=3", "--image_size=12", "--depths=1"],
}
# The commands train fifteen models.
pytestmark = pytest.mark.slow


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
    return directory, run_commands(directory, COMMANDS)


def trained(out):
    return re.findall(r"^Run \d+ of \d+: (\w+)$", out, re.MULTILINE)


def last_test(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "test"][-1]


def test_what_is_missing_is_trained_and_nothing_else(work):
    _, results = work
    reverse, conv = ([f"{p}_additive_seed{seed}" for seed in (0, 1)] for p in ("reverse", "conv1x1"))
    assert [results[name][0] for name in list(COMMANDS)[:3]] == [0] * 3, results["one permutation"][2]
    assert trained(results["one permutation"][1]) == reverse
    assert trained(results["another one too"][1]) == conv
    assert trained(results["all there"][1]) == []
    assert "4 runs of 4 steps, 2 of them finished." in results["another one too"][1]


def test_a_run_is_finished_though_a_held_out_picture_is_damaged(work):
    directory, results = work
    assert results["a damaged picture"][0] == 0, results["a damaged picture"][2]
    assert trained(results["a damaged picture"][1]) == ["reverse_additive_seed0", "reverse_additive_seed1"]
    assert last_test(directory / "damaged" / "reverse_additive_seed0")["images"] == 8
    assert trained(results["a damaged picture, again"][1]) == []


def test_it_says_how_long_it_will_take_before_it_starts(work):
    out = work[1]["one permutation"][1]
    said = re.search(r"2 runs to train will take about \d+ (s|min)", out)
    assert said and said.start() < out.index("Run 1 of 2")
    assert "will take" not in work[1]["all there"][1]


def test_the_table_has_the_means_over_seeds(work):
    directory, _ = work
    text = (directory / "ablation" / "ablation.md").read_text()
    for permutation in ("reverse", "conv1x1"):
        runs = [last_test(directory / "ablation" / f"{permutation}_additive_seed{seed}") for seed in (0, 1)]
        assert [run["step"] for run in runs] == [4, 4]
        values = np.array([run["bits_per_dim"] for run in runs])
        assert f"| {permutation} | {values.mean():.3f} +- {values.std(ddof=1):.3f} |" in text
    assert "114 held-out images" in text and "4 updates of 8 images" in text
    with Image.open(directory / "ablation" / "ablation.png") as file:
        assert np.asarray(file.convert("L")).std() > 5


def test_every_run_is_a_model_directory(work):
    flow = glow_tf.load(work[0] / "ablation" / "conv1x1_additive_seed1")
    assert flow.config.image_shape == (8, 8, 3) and flow.config.layers[1].coupling == Additive()


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


def test_a_size_no_model_can_have(work):
    code, _, err = work[1]["too few parameters"]
    assert code == 1
    assert "--parameters=1,000 is too few" in err


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
    assert [record["identity"]["train images"] for record in records] == [894, 12, 894]
    assert [record["labels_per_class"] for record in records] == [2, 0, 0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("numbers of labels that are none", "--labels_per_class=1,few must be numbers"),
        ("a negative number of labels", "--labels_per_class=-1 must be whole numbers from 0"),
        ("more labels than there are", "of class 'yellow' people has 149 training image(s)"),
        ("labels that do not count", "--label_loss_weight=0 learns no labels"),
    ],
)
def test_labels_that_cannot_be_compared(work, name, message):
    code, out, err = work[1][name]
    assert code == 1
    assert message in err and err.count("\n") == 1 and "Run" not in out


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
        ("memory of no depth", "--depths=few must be numbers"),
        ("memory of half a step", "--depths=1.5 must be whole numbers of at least 1"),
        ("memory of no image", "8"),
    ):
        code, out, err = results[name]
        assert (code, out, err.count("\n")) == (1, "", 1) and message in err


def test_sizes_for_people():
    sizes = {0: "-", 21_340: "0.021 MB", 1_234_567_890: "1,234.6 MB", -5: "-"}
    assert {size: megabytes(size) for size in sizes} == sizes
