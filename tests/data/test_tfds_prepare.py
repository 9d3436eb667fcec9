"""Step-by-step instructions for data that is not prepared."""

import importlib
import importlib.util
import socket
import subprocess

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from glow_tf.data import DataError, load_source, tfds_prepare


@pytest.fixture
def offline(monkeypatch):
    def fail(host, *args, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(tfds_prepare.urllib.request, "getproxies", dict)


def refusal(name, root):
    with pytest.raises(DataError) as caught:
        load_source(name, data_dir=str(root))
    return str(caught.value)


def test_celeb_a_hq_can_be_made_by_following_the_steps(tmp_path):
    root, images = tmp_path / "tfds", tmp_path / "images"
    message = refusal("celeb_a_hq", root)
    assert "celeb_a_hq/256 is not prepared" in message
    assert "256x256 as png" in message
    assert f"{root}/downloads/manual/data256x256.tar" in message
    assert f"tfds.builder('celeb_a_hq/256', data_dir='{root}').download_and_prepare()" in message
    assert "--dataset=folder" in message
    images.mkdir()
    for i in range(4):
        Image.fromarray(np.full((256, 256, 3), i, np.uint8)).save(images / f"{i}.png")
    (pack,) = (line.split("Pack them: ")[1] for line in message.splitlines() if "Pack them: " in line)
    subprocess.run(pack.replace("IMAGES", str(images)), shell=True, check=True)
    assert sum(load_source("celeb_a_hq", data_dir=str(root)).sizes.values()) == 4


@pytest.mark.parametrize(
    ("name", "version", "host", "files"),
    [
        ("cifar10", "cifar10/3.0.2", "www.cs.toronto.edu", ["cifar-10-binary.tar.gz"]),
        (
            "imagenet_resized/32x32",
            "imagenet_resized/32x32/0.1.0",
            "www.image-net.org",
            ["Imagenet32_train_npz.zip", "Imagenet32_val_npz.zip"],
        ),
    ],
)
def test_without_a_network_the_steps_lead_round_it(tmp_path, offline, name, version, host, files):
    message = refusal(name, tmp_path)
    assert f"{host} cannot be reached" in message
    assert f"tfds.builder('{name}', data_dir='DIR').download_and_prepare()" in message
    assert f"Copy DIR/{version} from there to {tmp_path}/{version}" in message
    assert f"{tmp_path}/downloads/manual" in message
    assert all(f"{file} from http" in message for file in files)
    assert "Imagenet64" not in message and "Imagenet8" not in message


@pytest.mark.parametrize("name", ["svhn_cropped", "oxford_flowers102"])
def test_a_package_that_is_needed_is_named_before_anything_is_downloaded(tmp_path, monkeypatch, name):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == "scipy" else find(module))
    message = refusal(name, tmp_path)
    assert "pip install scipy" in message
    assert not (tmp_path / "downloads").exists()


def test_lsun_says_what_its_package_needs(tmp_path):
    message = refusal("lsun/bedroom", tmp_path)
    assert "tensorflow-io" in message
    assert "--dataset=folder with image_size 64 and crop_from 96" in message


def test_a_package_that_only_the_builder_knows_of_is_found_out(tmp_path, monkeypatch):
    def fail(error):
        def prepare(*_, **__):
            raise error

        monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", prepare)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])

    fail(chained_import_error())
    assert "pip install no_such_package" in refusal("cifar10", tmp_path)
    fail(OSError("disk full"))
    message = refusal("cifar10", tmp_path)
    assert "disk full" in message and "pip install" not in message


def chained_import_error():
    """Returns an import error as TFDS raises it: raised again without the name, then wrapped."""
    try:
        try:
            try:
                importlib.import_module("no_such_package.part")
            except ImportError as error:
                raise ModuleNotFoundError(f"{error}\nFailed importing no_such_package.") from error
        except ImportError as error:
            raise RuntimeError("while generating examples") from error
    except RuntimeError as error:
        return error


def test_files_that_are_there_are_tried_without_a_network(tmp_path, offline):
    """TFDS gets to see the files, and refuses one that is not the expected one."""
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    (manual / "cifar-10-binary.tar.gz").write_bytes(b"something else")
    assert "wrong checksum" in refusal("cifar10", tmp_path)
