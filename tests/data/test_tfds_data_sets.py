"""The data sets of the papers, end to end from the files that their authors distribute.

Small archives in the original formats are placed where TensorFlow Datasets looks for manually downloaded files, with
matching checksums, and its own builders prepare them. Only LSUN, whose builder needs a package for another TensorFlow
version, is stored in prepared form; so are the two that need SciPy, in the test that does without it.
"""

import contextlib
import gzip
import importlib
import io
import tarfile
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from glow_tf.data import attributed_batches, load_attributes, load_source, recipe, recipes, train_batches
from glow_tf.data import test_batches as batches_of_test


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def encoded(pixels, kind="jpeg"):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def tar(files, mode="w"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def zipped(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def mat(**arrays):
    scipy_io = pytest.importorskip("scipy.io", reason="the builder reads MATLAB files with SciPy")
    stream = io.BytesIO()
    scipy_io.savemat(stream, arrays)
    return stream.getvalue()


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Places files where manual downloads belong, and registers them as the ones that a builder expects."""

    def put(name, files):
        manual = tmp_path / "downloads" / "manual"
        manual.mkdir(parents=True, exist_ok=True)
        expected = tfds.builder_cls(name).url_infos
        urls = {info.filename: url for url, info in expected.items()}
        for file, content in files.items():
            (manual / file).write_bytes(content)
            if file in urls:
                known = tfds.download.checksums.compute_url_info(manual / file)
                monkeypatch.setitem(expected, urls[file], known)
        return str(tmp_path)

    return put


def check(name, root, image_shape, classes, sizes, **options):
    """Loads a data set as a user would, and checks a batch of each split."""
    source = load_source(name, data_dir=root, **options)
    assert source.image_shape == image_shape
    assert source.num_classes == len(source.class_names) == classes
    assert dict(source.sizes) == sizes
    kinds = recipe(name)
    for batch in (
        next(iter(train_batches(source, 4, seed=0, flip=kinds.flip, shift=kinds.shift))),
        next(iter(batches_of_test(source, 2))),
    ):
        assert batch["images"].dtype == np.uint8
        assert batch["images"].shape[1:] == image_shape
        assert np.all(batch["labels"] < max(classes, 1))
    return source


def test_cifar10(fetched):
    def batch(seed):
        rng = np.random.default_rng(seed)
        # A row: the label, then the red, green and blue planes.
        return np.concatenate([[[i] for i in range(4)], rng.integers(0, 256, (4, 3072))], axis=1).astype(np.uint8)

    files = {f"data_batch_{i}.bin": batch(i).tobytes() for i in range(1, 6)}
    files |= {"test_batch.bin": batch(0).tobytes(), "batches.meta.txt": b"".join(b"kind %d\n" % i for i in range(10))}
    archive = tar({f"cifar-10-batches-bin/{name}": content for name, content in files.items()}, "w:gz")
    root = fetched("cifar10", {"cifar-10-binary.tar.gz": archive})
    source = check("cifar10", root, (32, 32, 3), 10, {"train": 20, "test": 4})
    assert source.class_names[3] == "kind 3"
    images = {int(label): image.numpy() for image, label in source.examples("test")}
    np.testing.assert_array_equal(images[2], batch(0)[2, 1:].reshape(3, 32, 32).transpose(1, 2, 0))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist_is_padded_to_32(fetched, monkeypatch, name):
    module = importlib.import_module("tensorflow_datasets.image_classification.mnist")
    # The module has the numbers of images as constants.
    monkeypatch.setattr(module, "_TRAIN_EXAMPLES", 12)
    monkeypatch.setattr(module, "_TEST_EXAMPLES", 5)
    files, pixels = {}, {"train": noise(12, 28, 28), "t10k": noise(5, 28, 28)}
    for split, images in pixels.items():
        files[f"{split}-images-idx3-ubyte.gz"] = gzip.compress(bytes(16) + images.tobytes())
        labels = np.arange(len(images), dtype=np.uint8) % 10
        files[f"{split}-labels-idx1-ubyte.gz"] = gzip.compress(bytes(8) + labels.tobytes())
    root = fetched(name, files)
    source = check(name, root, (32, 32, 1), 10, {"train": 12, "test": 5})
    for image, label in source.examples("test"):
        np.testing.assert_array_equal(image[2:30, 2:30, 0], pixels["t10k"][int(label)])
        assert np.sum(image) == np.sum(image[2:30, 2:30])
    whole = check(name, root, (28, 28, 1), 10, {"train": 12, "test": 5}, image_size=28)
    for image, label in whole.examples("test"):
        np.testing.assert_array_equal(image[..., 0], pixels["t10k"][int(label)])


def test_celeb_a_is_cut_to_its_centre(fetched):
    pictures = {}
    for i in range(8):
        # White except for the central square of 148, whose colour identifies the picture.
        pixels = np.full((218, 178, 3), 255, np.uint8)
        pixels[35:183, 15:163] = 20 * i
        pictures[f"{i:06d}.jpg"] = encoded(pixels)

    def table(columns, cells_of):
        rows = (f"{name} {cells_of(i)}" for i, name in enumerate(pictures))
        return "\n".join([str(len(pictures)), columns, *rows, ""]).encode()

    def attributes_of(i):
        return " ".join("1" if i >> (column % 3) & 1 else "-1" for column in range(40))

    module = importlib.import_module(tfds.builder_cls("celeb_a").__module__)
    splits = [0, 0, 0, 0, 0, 1, 2, 2]
    root = fetched(
        "celeb_a",
        {
            "img_align_celeba.zip": zipped({f"img_align_celeba/{name}": data for name, data in pictures.items()}),
            "list_eval_partition.txt": "".join(
                f"{name} {i}\n" for name, i in zip(pictures, splits, strict=True)
            ).encode(),
            "list_attr_celeba.txt": table(" ".join(module.ATTR_HEADINGS), attributes_of),
            "list_landmarks_align_celeba.txt": table(
                " ".join(module.LANDMARK_HEADINGS), lambda i: " ".join(["1"] * 10)
            ),
            "identity_CelebA.txt": "".join(f"{name} 1\n" for name in pictures).encode(),
        },
    )
    source = check("celeb_a", root, (64, 64, 3), 0, {"train": 5, "test": 2})
    images = sorted((image.numpy() for image, _ in source.examples("test")), key=np.mean)
    for image, value in zip(images, (120, 140), strict=True):
        np.testing.assert_allclose(image[3:-3, 3:-3], value, atol=3)
    attributes = load_attributes(source, "train")
    assert attributes.names == tuple(module.ATTR_HEADINGS)
    for batch in attributed_batches(source, "train", 2, attributes):
        for image, row in zip(batch["images"], batch["attributes"], strict=True):
            picture = round(image[32, 32, 0] / 20)
            assert row.tolist() == [picture >> (column % 3) & 1 for column in range(40)]


def test_celeb_a_hq_from_the_archive_that_is_made_by_hand(fetched):
    files = {f"./{i:05d}.png": encoded(np.full((256, 256, 3), i, np.uint8), "png") for i in range(20)}
    root = fetched("celeb_a_hq", {"data256x256.tar": tar(files)})
    check("celeb_a_hq", root, (256, 256, 3), 0, {"train": 19, "test": 1})
    check("celeb_a_hq/256", root, (64, 64, 3), 0, {"train": 19, "test": 1}, image_size=64)


def test_as_many_are_held_out_as_the_recipe_says_if_there_are_many_more(fetched, monkeypatch):
    files = {f"{i:05d}.png": encoded(np.full((256, 256, 3), i, np.uint8), "png") for i in range(20)}
    root = fetched("celeb_a_hq", {"data256x256.tar": tar(files)})
    for usual, held_out in ((3, 3), (9, 9), (10, 1), (3000, 1)):
        monkeypatch.setitem(recipes._RECIPES, "celeb_a_hq", recipes.Recipe(test_size=usual))
        assert load_source("celeb_a_hq", data_dir=root).sizes["test"] == held_out
    monkeypatch.setitem(recipes._RECIPES, "celeb_a_hq", recipes.Recipe(test_size=3))
    assert load_source("celeb_a_hq", data_dir=root, test_size=5).sizes["test"] == 5
    assert load_source("celeb_a_hq", data_dir=root, test_fraction=0.5).sizes["test"] == 10


@pytest.mark.parametrize(("size", "parts"), [(32, ["train"]), (64, ["train_part1", "train_part2"])])
def test_imagenet_resized(fetched, size, parts):
    images = noise(6, 3 * size**2)

    def split(name):
        return zipped({f"{name}.npz": npz(data=images, labels=np.arange(1, 7))})

    files = {f"Imagenet{size}_{part}_npz.zip": split(part) for part in [*parts, "val"]}
    root = fetched("imagenet_resized", files)
    name = f"imagenet_resized/{size}x{size}"
    source = check(name, root, (size, size, 3), 1000, {"train": 6 * len(parts), "test": 6})
    for image, label in source.examples("test"):
        expected = images[int(label)].reshape(3, size, size).transpose(1, 2, 0)
        np.testing.assert_array_equal(image, expected)


def test_svhn_cropped(fetched):
    def split(count):
        return mat(X=np.moveaxis(noise(count, 32, 32, 3), 0, -1), y=np.arange(1, count + 1)[:, np.newaxis])

    files = {"train_32x32.mat": split(8), "test_32x32.mat": split(4), "extra_32x32.mat": split(2)}
    root = fetched("svhn_cropped", files)
    source = check("svhn_cropped", root, (32, 32, 3), 10, {"train": 8, "test": 4})
    for image, label in source.examples("test"):
        np.testing.assert_array_equal(image, noise(4, 32, 32, 3)[int(label) - 1])


def test_oxford_flowers102(fetched):
    pictures = {f"jpg/image_{i:05d}.jpg": encoded(noise(60 + 10 * i, 150, 3)) for i in range(1, 9)}
    files = {
        "102flowers.tgz": tar(pictures, "w:gz"),
        "imagelabels.mat": mat(labels=np.arange(1, 9)),
        "setid.mat": mat(trnid=np.array([1, 3, 5, 7]), valid=np.array([8]), tstid=np.array([2, 4, 6])),
    }
    root = fetched("oxford_flowers102", files)
    source = check("oxford_flowers102", root, (64, 64, 3), 102, {"train": 4, "test": 3})
    assert sorted(int(label) for _, label in source.examples("train")) == [0, 2, 4, 6]


def store(root, name, splits):
    """Stores a data set, {split: examples}, in prepared form with the features that its builder declares."""
    name, _, config = name.partition("/")
    builder = tfds.builder_cls(name)(config=config or None, data_dir=str(root))
    with contextlib.redirect_stdout(None):
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            config=config or None,
            version=str(builder.version),
            features=builder.info.features,
            split_datasets={split: list(enumerate(rows)) for split, rows in splits.items()},
            data_dir=str(root),
        )
    return str(root)


@pytest.mark.parametrize("category", ["bedroom", "tower", "church_outdoor"])
def test_lsun_is_cropped_from_96(tmp_path, category):
    def rows(count):
        return [{"id": str(i), "image": io.BytesIO(encoded(noise(256, 300 + i, 3)))} for i in range(count)]

    name = f"lsun/{category}"
    root = store(tmp_path, name, {"train": rows(7), "validation": rows(3)})
    source = check(name, root, (64, 64, 3), 0, {"train": 7, "test": 3})
    assert source.stored_shape == (96, 96, 3)
    # At any other size images are whole, as in Glow's qualitative experiments.
    assert check(name, root, (128, 128, 3), 0, {"train": 7, "test": 3}, image_size=128).stored_shape == (128, 128, 3)
    assert load_source(name, data_dir=root, crop_from=80).stored_shape == (80, 80, 3)


@pytest.mark.parametrize(
    ("name", "row", "image_shape", "classes"),
    [
        ("svhn_cropped", {"id": "a", "label": 3, "image": noise(32, 32, 3)}, (32, 32, 3), 10),
        ("oxford_flowers102", {"file_name": "a", "label": 7, "image": noise(90, 120, 3)}, (64, 64, 3), 102),
    ],
)
def test_data_prepared_elsewhere_needs_no_scipy(tmp_path, name, row, image_shape, classes):
    root = store(tmp_path, name, {"train": [row] * 5, "test": [row] * 2})
    check(name, root, image_shape, classes, {"train": 5, "test": 2})
