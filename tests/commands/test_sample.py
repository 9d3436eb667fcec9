"""The command line that draws samples."""

import numpy as np
import pytest
from PIL import Image

import glow_tf
from tests.commands.driver import run_commands

CONFIGS = {
    "plain": glow_tf.glow((8, 8, 3), K=1, L=1, width=4),
    "five": glow_tf.glow((8, 8, 3), K=1, L=1, width=4, n_bits=5),
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
COMMANDS |= {
    "files": ["--model_dir=five", "--num=3", "--seed=3", "--output=drawn/"],
    "enlarged files": ["--model_dir=five", "--num=3", "--seed=3", "--scale=2", "--output=large/"],
    "arrays": ["--model_dir=five", "--num=3", "--seed=3", "--temperature=0.5", "--output=drawn.npz"],
    "arrays over it": ["--model_dir=conditional", "--num=4", "--output=drawn_twice.npz"],
    "images": ["--model_dir=five", "--num=3", "--seed=3", "--output=drawn.npy"],
    "jpeg": ["--model_dir=five", "--num=4", "--scale=4", "--output=drawn.JPG"],
}
ERRORS = {
    "unknown suffix": (["--model_dir=nowhere", "--output=a.webp"], "--output=a.webp must end with .png, .jpg, .jpeg"),
    "over notes": (["--model_dir=nowhere", "--output=notes.png"], "--output=notes.png is there and is no .png file"),
    "over a data set": (["--model_dir=nowhere", "--output=data.npz"], "--output=data.npz is there and is no .npz file"),
    "over a file": (["--model_dir=nowhere", "--output=notes.png/"], "--output=notes.png/ is there and is not a folder"),
    "columns of an array": (["--model_dir=nowhere", "--columns=2", "--output=a.npy"], "--columns=2 is for a grid"),
    "scale of an array": (["--model_dir=nowhere", "--scale=2", "--output=a.npz"], "--scale=2 is for pictures"),
    "no model": (["--model_dir=nowhere"], "nowhere"),
    "no labels": (["--model_dir=plain", "--label=1"], "--label is for conditional models"),
    "no such label": (["--model_dir=conditional", "--label=3"], "--label=3 must be less than 3"),
    "no picture": (["--model_dir=flat"], "flat vectors"),
    "no picture of sequences": (["--model_dir=sequences"], "model of sequences, which have no picture"),
    "no folder": (["--model_dir=plain", "--output=plain/config.json/a.png"], "config.json"),
}
OUT_OF_RANGE = ["--num=0", "--temperature=-1", "--weights=best", "--scale=0", "--seed=-1", "--seed=2147483648"]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The directory the commands ran in, and for each of them its exit code, stdout and stderr."""
    directory = tmp_path_factory.mktemp("work")
    for name, config in CONFIGS.items():
        glow_tf.save(glow_tf.Flow(config, seed=1), directory / name)
    (directory / "notes.png").write_text("milk, eggs")
    np.savez(directory / "data.npz", images=np.zeros([2, 8, 8, 3], np.uint8))
    commands = (
        COMMANDS
        | {"again": COMMANDS["arrays over it"]}
        | {name: ["--num=1", "--output=none.png", *arguments] for name, (arguments, _) in ERRORS.items()}
    )
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
        # Compilation may change the order of additions, which can move a value across the edge of its bin.
        assert np.abs(part - expected[i, ..., 0]).max() <= 1


def test_single_files_at_the_spread_levels(work):
    directory, results = work
    assert results["files"][:2] == (0, "drawn/\n")
    files = sorted((directory / "drawn").iterdir())
    assert [file.name for file in files] == [f"sample_{i:04}.png" for i in range(3)]
    found = np.stack([np.asarray(Image.open(file)) for file in files])
    levels = np.load(directory / "drawn.npy") // 8
    assert found.shape == (3, 8, 8, 3)
    np.testing.assert_array_equal(found, np.round(levels * (255 / 31)).astype(np.uint8))
    large = np.stack([np.asarray(Image.open(directory / "large" / file.name)) for file in files])
    np.testing.assert_array_equal(large, np.kron(found, np.ones([1, 2, 2, 1], np.uint8)))


def test_arrays_are_images_and_what_they_were_drawn_from(work):
    directory, results = work
    assert results["arrays"][0] == results["again"][0] == 0
    with np.load(directory / "drawn.npz") as file:
        assert set(file) == {"images", "latents", "temperature", "seed"}
        assert (file["temperature"], file["seed"]) == (0.5, 3)
        decoded = glow_tf.load(directory / "five").decode(file["latents"]).numpy().astype(int)
        assert file["images"].dtype == np.uint8
        assert np.abs(decoded - file["images"]).max() <= 8 and np.mean(decoded != file["images"]) < 0.01
    with np.load(directory / "drawn_twice.npz") as file:
        assert file["labels"].tolist() == [0, 1, 2, 0]
        assert (file["images"].shape, file["latents"].shape) == ((4, 8, 8, 1), (4, 64))


def test_a_grid_as_jpeg(work):
    with Image.open(work[0] / "drawn.JPG") as file:
        assert (file.format, file.mode, file.size) == ("JPEG", "RGB", (4 * 19, 4 * 19))


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
