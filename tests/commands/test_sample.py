"""The command line that draws samples."""

import numpy as np
import pytest
from PIL import Image

import glow_tf
from tests.commands.driver import run_commands

CONFIGS = {
    "plain": glow_tf.glow((8, 8, 3), K=1, L=1, width=4),
    "conditional": glow_tf.glow((8, 8, 1), K=1, L=1, width=4, num_classes=3),
    "flat": glow_tf.nice((16,), K=2, width=4, blocks=1),
    "sequences": glow_tf.glow_1d((8, 1), K=1, L=1, width=4),
}
COMMANDS = {
    "grid": ["--model_dir=plain", "--num=5", "--columns=3", "--scale=2", "--output=new/grid.png"],
    "enlarged": ["--model_dir=plain", "--num=1", "--output=enlarged.png"],
    "a": ["--model_dir=plain", "--num=2", "--seed=3", "--output=a.png"],
    "b": ["--model_dir=plain", "--num=2", "--seed=3", "--output=b.png"],
    "c": ["--model_dir=plain", "--num=2", "--seed=4", "--output=c.png"],
    "labelled": [
        "--model_dir=conditional",
        "--num=3",
        "--columns=3",
        "--scale=1",
        "--temperature=0.5",
        "--seed=2",
        "--label=1",
        "--output=labelled.png",
    ],
}
ERRORS = {
    "no model": (["--model_dir=nowhere"], "nowhere"),
    "no labels": (["--model_dir=plain", "--label=1"], "--label is for conditional models"),
    "no such label": (["--model_dir=conditional", "--label=3"], "--label=3 must be less than 3"),
    "no picture": (["--model_dir=flat"], "flat vectors"),
    "no picture of sequences": (["--model_dir=sequences"], "model of sequences, which have no picture"),
    "no folder": (["--model_dir=plain", "--output=plain/config.json/a.png"], "config.json"),
}
OUT_OF_RANGE = ["--num=0", "--temperature=-1", "--weights=best", "--scale=0"]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The directory the commands ran in, and for each of them its exit code, stdout and stderr."""
    directory = tmp_path_factory.mktemp("work")
    for name, config in CONFIGS.items():
        glow_tf.save(glow_tf.Flow(config, seed=1), directory / name)
    commands = COMMANDS | {
        name: ["--num=1", "--output=none.png", *arguments] for name, (arguments, _) in ERRORS.items()
    }
    commands |= {argument: [argument] for argument in OUT_OF_RANGE}
    return directory, run_commands(directory, {name: ["sample", *arguments] for name, arguments in commands.items()})


def test_a_grid_of_the_right_size(work):
    directory, results = work
    assert results["grid"][:2] == (0, "new/grid.png\n")
    with Image.open(directory / "new" / "grid.png") as file:
        assert (file.format, file.mode, file.size) == ("PNG", "RGB", (2 * (3 * 9 + 1), 2 * (2 * 9 + 1)))


def test_small_images_are_enlarged(work):
    with Image.open(work[0] / "enlarged.png") as file:
        assert file.size == (80, 80)


def test_the_seed_determines_the_file(work):
    a, b, c = ((work[0] / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_it_shows_what_the_flow_samples(work):
    expected = glow_tf.load(work[0] / "conditional").sample(3, 0.5, [1, 1, 1], seed=2).numpy()
    with Image.open(work[0] / "labelled.png") as file:
        picture = np.asarray(file)
    for i in range(3):
        part = picture[1:9, 1 + 9 * i : 9 + 9 * i].astype(int)
        # Compiled or not, additions may come in another order and move a value across the edge of its bin.
        assert np.abs(part - expected[i, ..., 0]).max() <= 1


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_one_line(work, name):
    directory, results = work
    code, out, err = results[name]
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert ERRORS[name][1] in err
    assert err.count("\n") == 1
    assert not (directory / "none.png").exists()


@pytest.mark.parametrize("argument", OUT_OF_RANGE)
def test_values_out_of_range(work, argument):
    assert work[1][argument][0] == "IllegalFlagValueError"
