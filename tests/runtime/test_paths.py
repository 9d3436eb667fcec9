"""Paths as users write them."""

import pathlib

import numpy as np
import pytest
from PIL import Image

import glow_tf
from glow_tf.analysis.attributes import Directions
from glow_tf.data import load_source
from glow_tf.export import export_saved_model
from glow_tf.runtime import paths
from tests import saved_models
from tests.commands.driver import run_commands

# TensorFlow finds files of these names.
UNUSUAL = ["with space", "Größe", "it's", 'a "b"', "#1", "100%", "a,b", "x" * 120, "日本", "a=b", "{b}", "(b)", "~b"]
PATTERNS = ["runs/glow [K=2]", "a*", "what?", "back\\slash", "glow[v1]/1"]
ADDRESSES = ["gs://bucket/x", "s3://bucket/x", "http://x/y", "gs:/bucket/x", "hdfs://a"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_the_home_folder_is_meant_by_a_tilde(home):
    assert paths.local("~/a/b") == str(home / "a" / "b")
    assert paths.local(pathlib.Path("~")) == str(home)
    assert paths.local("a/~/b") == "a/~/b"


@pytest.mark.parametrize("path", ADDRESSES)
@pytest.mark.parametrize("read", [paths.local, paths.for_tensorflow])
def test_addresses_are_refused(read, path):
    for given in (path, pathlib.Path(path)):
        with pytest.raises(ValueError, match="--model_dir=.* is an address"):
            read(given, "--model_dir")


@pytest.mark.parametrize("path", PATTERNS)
def test_what_tensorflow_takes_for_a_pattern_is_refused_where_it_reads(path):
    assert paths.local(path) == path
    with pytest.raises(ValueError, match="choose another name"):
        paths.for_tensorflow(path)


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_no_path(path):
    with pytest.raises(ValueError, match="must be a file or folder"):
        paths.local(path)


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_names_are_names(tmp_path, name):
    """A model directory is written and read, and so is its list of checkpoints, one of which is kept."""
    flow, images = saved_models.flow("nice"), np.zeros([2, 8, 8, 1], np.uint8)
    for step in (1, 2, 3):
        glow_tf.save(flow, tmp_path / name, step=step)
    assert [path.name for path in (tmp_path / name / "checkpoints").glob("*.index")] == ["ckpt-3.index"]
    loaded = glow_tf.load(str(tmp_path / name))
    np.testing.assert_array_equal(loaded.bits_per_dim(images, seed=0), flow.bits_per_dim(images, seed=0))


@pytest.mark.parametrize("name", PATTERNS)
def test_the_api_refuses_patterns_before_it_writes(tmp_path, name):
    flow = saved_models.flow("nice")
    for write in (glow_tf.save, export_saved_model):
        with pytest.raises(ValueError, match="choose another name"):
            write(flow, tmp_path / name)
    with pytest.raises(ValueError, match="choose another name"):
        glow_tf.load(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_the_api_knows_the_home_folder(home):
    flow = saved_models.flow("nice")
    glow_tf.save(flow, "~/m")
    assert (home / "m" / "config.json").is_file()
    assert glow_tf.load("~/m").config == flow.config
    np.save(home / "a.npy", np.zeros([4, 8, 8, 1], np.uint8))
    assert load_source("arrays", data_dir="~/a.npy").arguments["data_dir"] == str(home / "a.npy")
    counts = np.array([1])
    Directions(("a",), np.zeros([1, 64], np.float32), counts, counts).save("~/d.npz")
    assert Directions.load("~/d.npz").names == ("a",)
    assert sorted(path.name for path in home.parent.iterdir()) == ["home"]


@pytest.mark.slow
def test_every_tool_knows_it_too(home):
    Image.new("RGB", (80, 80), "red").save(home / "a,b.png")
    results = run_commands(
        home.parent,
        {
            "sample": ["sample", "--num=1", "--output=~/x.png"],
            "comma": ["reconstruct", "--images=~/a,b.png", "--output=~/y.png"],
            "address": ["sample", "--output=gs://bucket/x.png"],
            "pattern": ["export", "--output=models/glow[v1]/1"],
            "pattern read": ["sample", "--model_dir=runs/glow [K=2]"],
        },
    )
    assert results["sample"][0] == 0 and (home / "x.png").is_file(), results["sample"]
    assert results["comma"][0] == 0 and (home / "y.png").is_file(), results["comma"]
    assert results["address"][0] == "IllegalFlagValueError"
    assert results["pattern"][0] == 1 and "choose another name" in results["pattern"][2]
    assert results["pattern read"][0] == "IllegalFlagValueError"
    assert not (home.parent / "gs:").exists() and not (home.parent / "models").exists()
