"""The command line that imports checkpoints from the official code."""

import pathlib

import numpy as np
import pytest

import glow_tf
from tests.commands.driver import run_commands

pytestmark = pytest.mark.slow

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "openai_glow_affine"
IMPORT = ["import_openai", f"--checkpoint={GOLDEN / 'model.ckpt'}", "--image_size=16", "--n_bits=5"]
COMMANDS = {
    "import": [*IMPORT, "--model_dir=official"],
    "dense": [*IMPORT, "--dense", "--model_dir=dense"],
    "sample": ["sample", "--model_dir=official", "--num=2", "--output=samples.png"],
    "manipulate": ["reconstruct", "--model_dir=official", "--dataset=people", "--num=2", "--output=r.png", "--label=1"],
    "twice": [*IMPORT, "--model_dir=official"],
    "over the one that comes along": [*IMPORT, "--model_dir=pretrained"],
    "no size": [*IMPORT[:2], "--model_dir=new"],
    "no checkpoint": ["import_openai", "--checkpoint=nowhere.ckpt", "--image_size=16", "--model_dir=new"],
}
ERRORS = {
    "twice": "--model_dir=official holds a model already",
    "over the one that comes along": "--model_dir=pretrained is the name of a model that ships",
    "no size": "--checkpoint and --image_size are needed",
    "no checkpoint": "nowhere.ckpt is not a readable TensorFlow checkpoint",
}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The directory the commands ran in, and for each of them its exit code, stdout and stderr."""
    directory = tmp_path_factory.mktemp("work")
    return directory, run_commands(directory, COMMANDS)


@pytest.mark.parametrize("name", ["official", "dense"])
def test_the_directory_holds_the_official_model(work, name):
    """It decodes the golden latents to the same images as the official code."""
    directory, results = work
    assert results["import"][0] == results["dense"][0] == 0, results
    flow = glow_tf.load(directory / name)
    assert (flow.config.layers[1].permutation == "conv1x1_dense") == (name == "dense")
    with np.load(GOLDEN / "io.npz") as golden:
        decoded = flow.decode(golden["eps"], golden["labels"]).numpy()
        np.testing.assert_array_equal(decoded, golden["decoded"])


def test_it_is_used_like_any_other(work):
    assert [work[1][name][0] for name in ("sample", "manipulate")] == [0, 0], work[1]


@pytest.mark.parametrize("name", ERRORS)
def test_what_is_wrong_is_one_line(work, name):
    code, _, err = work[1][name]
    assert code == 1
    assert err.startswith("error: ") and ERRORS[name] in err and err.count("\n") == 1
    assert not (work[0] / "new").exists()
