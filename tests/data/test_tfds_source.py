"""Sources from TensorFlow Datasets: real builders, which prepare small files here."""

import io
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from glow_tf.data import DataError, attributed_batches, labelled_rows, load_attributes, load_source, train_batches
from glow_tf.data import test_batches as batches_of_test


def values(dataset):
    return [int(image[0, 0, 0]) for image, _ in dataset]


def centres(dataset):
    return [int(image[16, 16, 0]) for image, _ in dataset]


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


@pytest.fixture(scope="module")
def celeb_dir(tmp_path_factory):
    """A data directory with the manual download of celeb_a_hq/256: forty images; image i is painted with i."""
    root = tmp_path_factory.mktemp("tfds")
    manual = root / "downloads" / "manual"
    manual.mkdir(parents=True)
    with tarfile.open(manual / "data256x256.tar", "w") as archive:
        for i in range(40):
            data = png(np.full((256, 256, 3), i, np.uint8))
            member = tarfile.TarInfo(f"{i:05d}.png")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(root)


@pytest.fixture(scope="module")
def celeb(celeb_dir):
    return load_source("celeb_a_hq", data_dir=celeb_dir)


def test_celeb_a_hq_is_prepared_from_its_archive(celeb):
    assert celeb.image_shape == (256, 256, 3)
    assert celeb.num_classes == 0
    assert dict(celeb.sizes) == {"train": 38, "test": 2}
    train, test = values(celeb.examples("train")), values(celeb.examples("test"))
    assert sorted(train + test) == list(range(40))


def test_the_cpu_can_still_be_split_after_a_data_set_was_prepared(celeb_dir, tmp_path):
    """Preparing it initialises TensorFlow, after which devices cannot be configured."""
    shutil.copytree(f"{celeb_dir}/downloads", tmp_path / "downloads")
    code = (
        "import sys; from glow_tf.data import load_source; from glow_tf.training.devices import make_strategy; "
        "print(dict(load_source('celeb_a_hq', data_dir=sys.argv[1]).sizes)); "
        "print(make_strategy('mirrored', 2).num_replicas_in_sync)"
    )
    result = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-2:] == ["{'train': 38, 'test': 2}", "2"]


def test_errors_of_preparing_are_the_same_in_a_process_of_its_own(tmp_path):
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    (manual / "cifar-10-binary.tar.gz").write_bytes(b"something else")
    code = "import sys; from glow_tf.data import load_source; load_source('cifar10', data_dir=sys.argv[1])"
    result = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert "DataError: cifar10 is not prepared" in result.stderr and "wrong checksum" in result.stderr


def test_shuffled_epochs_are_complete_and_differ(celeb):
    stream = values(celeb.examples("train", seed=1).take(76))
    assert sorted(stream[:38]) == sorted(stream[38:]) == sorted(values(celeb.examples("train")))
    assert stream[:38] != stream[38:]
    assert stream[:38] != values(celeb.examples("train", seed=2).take(38))


@pytest.mark.parametrize("start", [1, 4, 9])
def test_resuming_equals_going_on(celeb, start):
    def batches(first, count):
        dataset = train_batches(celeb, batch_size=10, seed=3, start_step=first)
        return np.concatenate([batch["images"][:, 0, 0, 0] for batch in dataset.take(count)])

    np.testing.assert_array_equal(batches(0, start + 3)[10 * start :], batches(start, 3))


def test_order_depends_neither_on_the_global_seed_nor_on_who_iterated_before(celeb):
    dataset = celeb.examples("train", seed=5).take(20)
    order = values(dataset)
    assert values(dataset) == order
    try:
        for seed in (0, 1, 1234):
            tf.random.set_seed(seed)
            assert values(celeb.examples("train", seed=5).take(20)) == order
    finally:
        tf.random.set_seed(0)


def test_opening_a_stream_leaves_the_global_seed_alone(celeb):
    tf.random.set_seed(11)
    expected = tf.random.uniform([4]).numpy()
    tf.random.set_seed(11)
    celeb.examples("train", seed=5)
    np.testing.assert_array_equal(tf.random.uniform([4]).numpy(), expected)


def test_resize_and_grey(celeb_dir):
    source = load_source("celeb_a_hq/256", data_dir=celeb_dir, image_size=64, channels=1)
    assert source.image_shape == (64, 64, 1)
    (batch,) = batches_of_test(source, batch_size=5)
    assert batch["images"].shape == (2, 64, 64, 1)


def test_test_share_and_number(celeb_dir):
    assert load_source("celeb_a_hq", data_dir=celeb_dir, test_fraction=0.5).sizes["test"] == 20
    assert load_source("celeb_a_hq", data_dir=celeb_dir, test_size=7).sizes["train"] == 33


def test_a_config_has_to_be_named_where_there_are_several():
    with pytest.raises(DataError, match="8x8, 16x16, 32x32, 64x64"):
        load_source("imagenet_resized")
    with pytest.raises(DataError, match="no config '31x31'.*8x8, 16x16, 32x32, 64x64"):
        load_source("imagenet_resized/31x31")
    # TFDS's form is name/config:version.
    with pytest.raises(DataError, match="--dataset=imagenet_resized/8x8:0.1.0"):
        load_source("imagenet_resized:0.1.0")


def test_a_version_comes_after_the_config(celeb_dir):
    assert load_source("celeb_a_hq:2.0.0", data_dir=celeb_dir).sizes == load_source("celeb_a_hq", celeb_dir).sizes
    with pytest.raises(DataError, match="'config': '256', 'version': '7.0.0'"):
        load_source("celeb_a_hq:7.0.0", data_dir=celeb_dir)


def store(root, name, features, splits):
    """Stores a data set as TensorFlow Datasets does; `splits` maps names to examples."""
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="3.0.1",
        features=tfds.features.FeaturesDict(features),
        split_datasets={split: list(enumerate(rows)) for split, rows in splits.items()},
        data_dir=str(root),
    )
    return str(root)


def digits(count, offset=0):
    return [{"image": np.full((28, 28, 1), offset + i, np.uint8), "label": i % 10} for i in range(count)]


DIGITS = {
    "image": tfds.features.Image(shape=(28, 28, 1)),
    "label": tfds.features.ClassLabel(num_classes=10),
}


def test_mnist_with_its_own_test_split(tmp_path):
    root = store(tmp_path, "mnist", DIGITS, {"train": digits(12), "test": digits(4, offset=100)})
    source = load_source("mnist", data_dir=root)
    assert source.num_classes == 10
    assert source.class_names == tuple("0123456789")
    assert dict(source.sizes) == {"train": 12, "test": 4}
    with pytest.raises(DataError, match="mnist has a test split of its own; leave out test_fraction=0.5"):
        load_source("mnist", data_dir=root, test_fraction=0.5)
    assert sorted(centres(source.examples("test"))) == [100, 101, 102, 103]
    for image, label in source.examples("train", seed=0).take(24):
        assert int(image[16, 16, 0]) % 10 == int(label)
        assert label.dtype == tf.int32
    colour = load_source("mnist", data_dir=root, channels=3)
    assert next(iter(colour.examples("train")))[0].shape == (32, 32, 3)


def test_few_labels_of_shuffled_examples(tmp_path):
    """Each image keeps its own label or has none, whatever the order."""
    root = store(tmp_path, "few_digits", DIGITS, {"train": digits(40), "test": digits(4)})
    source = load_source("few_digits", data_dir=root)
    rows = labelled_rows(source, 2, seed=0)
    few = source.with_labels_of(rows)
    fixed = values(source.examples("train"))
    labels = {fixed[row]: fixed[row] % 10 for row in rows}
    assert len(labels) == 20
    for examples in (few.examples("train"), few.examples("train", seed=1).take(80)):
        assert all(int(label) == labels.get(int(image[14, 14, 0]), -1) for image, label in examples)
    np.testing.assert_array_equal(few.row_labels("train"), [labels.get(value, -1) for value in fixed])
    assert values(few.examples("train", seed=1).take(80)) == values(source.examples("train", seed=1).take(80))
    assert sorted(int(label) for _, label in few.examples("test")) == [0, 1, 2, 3]
    alone = source.reduced_to(rows)
    assert alone.sizes == {"train": 20, "test": 4} and alone.identity() != source.identity()
    assert values(alone.examples("train")) == [fixed[row] for row in rows]
    assert [int(label) for _, label in alone.examples("train")] == [fixed[row] % 10 for row in rows]
    assert alone.row_labels("train").tolist() == [fixed[row] % 10 for row in rows]
    assert list(alone.row_names("train")) == [str(row) for row in range(20)]
    shuffled = values(alone.examples("train", seed=1).take(40))
    assert sorted(shuffled[:20]) == sorted(shuffled[20:]) == sorted(fixed[row] for row in rows)
    assert shuffled[:20] != shuffled[20:]
    assert values(alone.examples("train", seed=1, start=13).take(20)) == shuffled[13:33]
    fewer = few.reduced_to(range(5, 40)).reduced_to(range(15))
    kept = [fixed[row] for row in range(5, 20)]
    assert values(fewer.examples("train")) == kept
    assert [int(label) for _, label in fewer.examples("train")] == [labels.get(value, -1) for value in kept]
    assert values(alone.examples("test")) == values(source.examples("test"))


def test_validation_stands_in_for_a_test_split_without_labels(tmp_path):
    hidden = [{**row, "label": -1} for row in digits(3)]
    root = store(
        tmp_path,
        "hidden_labels",
        DIGITS,
        {"train": digits(5), "test": hidden, "validation": digits(2, offset=50)},
    )
    source = load_source("hidden_labels", data_dir=root)
    assert sorted(values(source.examples("test"))) == [50, 51]


def test_tensorflow_has_not_begun_to_work_when_the_data_is_known(tmp_path):
    """Its threads can then still be configured, depending on the data."""
    root = store(tmp_path, "labelled_digits", DIGITS, {"train": digits(5), "test": digits(3)})
    code = (
        "import tensorflow as tf\n"
        "from glow_tf.data import load_source\n"
        f"source = load_source('labelled_digits', data_dir={str(root)!r})\n"
        "tf.config.threading.set_intra_op_parallelism_threads(1)\n"
        "print(dict(source.sizes))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "{'train': 5, 'test': 3}"


def test_images_of_different_sizes_need_a_size(tmp_path):
    rows = [{"picture": np.full((9 + i, 12, 3), i, np.uint8)} for i in range(6)]
    features = {"picture": tfds.features.Image(shape=(None, None, 3))}
    root = store(tmp_path, "any_size", features, {"train": rows})
    with pytest.raises(DataError, match="--image_size"):
        load_source("any_size", data_dir=root)
    source = load_source("any_size", data_dir=root, image_size=8)
    assert dict(source.sizes) == {"train": 5, "test": 1}
    assert sorted(values(source.examples("train")) + values(source.examples("test"))) == [
        0, 1, 2, 3, 4, 5,
    ]  # fmt: skip
    assert values(load_source("any_size", data_dir=root, image_size=10).examples("train"))
    with pytest.raises(DataError, match="any_size differ in size.*--noupscale"):
        load_source("any_size", data_dir=root, image_size=10, upscale=False)


def test_images_of_one_size_are_enlarged_unless_that_is_refused(tmp_path):
    rows = [{"picture": np.full((8, 12, 3), i, np.uint8)} for i in range(6)]
    root = store(tmp_path, "one_size", {"picture": tfds.features.Image(shape=(8, 12, 3))}, {"train": rows})
    assert values(load_source("one_size", data_dir=root, image_size=10).examples("train"))
    assert load_source("one_size", data_dir=root, image_size=8, upscale=False).image_shape == (8, 8, 3)
    with pytest.raises(DataError, match="one_size: the images are 8x12, smaller than 10x10; --upscale"):
        load_source("one_size", data_dir=root, image_size=10, upscale=False)


@pytest.mark.parametrize(
    ("name", "features", "row", "message"),
    [
        ("no_images", {"x": tfds.features.Scalar(np.int64)}, {"x": 1}, "none"),
        (
            "two_images",
            {"a": tfds.features.Image(shape=(4, 4, 3)), "b": tfds.features.Image(shape=(4, 4, 3))},
            {"a": np.zeros((4, 4, 3), np.uint8), "b": np.zeros((4, 4, 3), np.uint8)},
            "several: a, b",
        ),
        (
            "deep_images",
            {"image": tfds.features.Image(shape=(4, 4, 1), dtype=np.uint16)},
            {"image": np.zeros((4, 4, 1), np.uint16)},
            "uint16",
        ),
    ],
)
def test_data_sets_without_usable_images_are_named(tmp_path, name, features, row, message):
    root = store(tmp_path, name, features, {"train": [row, row]})
    with pytest.raises(DataError, match=message):
        load_source(name, data_dir=root)


class TinyFaces(tfds.core.GeneratorBasedBuilder):
    """A data set defined in code, as users do for their own data."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(6, 6, 3)),
                    "label": tfds.features.ClassLabel(names=["glad", "sad"]),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(20):
            yield i, {"image": np.full((6, 6, 3), i, np.uint8), "label": i % 2}


def test_a_data_set_of_ones_own(tmp_path):
    source = load_source("tiny_faces", data_dir=str(tmp_path))
    assert source.class_names == ("glad", "sad")
    assert dict(source.sizes) == {"train": 19, "test": 1}
    assert all(int(image[0, 0, 0]) % 2 == int(label) for image, label in source.examples("train"))


def test_images_go_by_the_names_of_their_files(celeb, tmp_path):
    """celeb_a_hq has no attributes of its own; a table keyed by the names in its archive provides them."""
    table = tmp_path / "table.csv"
    table.write_text("image,bright\n" + "".join(f"{i:05d}.png,{int(i > 12)}\n" for i in range(40)))
    attributes = load_attributes(celeb, "train", str(table))
    for batch in attributed_batches(celeb, "train", 8, attributes):
        np.testing.assert_array_equal(batch["attributes"][:, 0], batch["images"][:, 0, 0, 0] > 12)
    # Without random access, evenly spaced images are the first ones.
    (batch,) = attributed_batches(celeb, "train", 8, attributes, limit=5, spaced=True)
    assert batch["rows"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(batch["images"][:, 0, 0, 0], values(celeb.examples("train").take(5)))
