"""Valid and invalid arrays in .npz and .npy files."""

import numpy as np
import pytest

from glow_tf.data import DataError, arrays_in_memory, load_source


def numbered(count, shape=(4, 4, 3)):
    """Images; image i is filled with i."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8).reshape(-1, *[1] * len(shape)), (count, *shape))


def save(tmp_path, **arrays):
    path = tmp_path / "x.npz"
    np.savez(path, **arrays)
    return str(path)


def load(path, **options):
    return load_source("arrays", data_dir=str(path), **options)


def values(source, split):
    return [int(image[0, 0, 0]) for image, _ in source.examples(split)]


def labels(source, split):
    return [int(label) for _, label in source.examples(split)]


def test_the_last_tenth_is_held_out_with_its_labels(tmp_path):
    source = load(save(tmp_path, images=numbered(20), labels=np.arange(20) % 5))
    assert values(source, "train") == list(range(18))
    assert values(source, "test") == [18, 19]
    assert labels(source, "test") == [3, 4]
    assert labels(source, "train") == [i % 5 for i in range(18)]
    assert (source.num_classes, source.class_names) == (5, ("0", "1", "2", "3", "4"))


def test_held_out_share_and_number(tmp_path):
    path = save(tmp_path, images=numbered(20))
    assert load(path, test_fraction=0.5).sizes["test"] == 10
    assert values(load(path, test_size=3), "test") == [17, 18, 19]
    with pytest.raises(DataError, match="test_size"):
        load(path, test_size=20)


def test_test_arrays_are_the_test_split(tmp_path):
    path = save(
        tmp_path,
        images=numbered(5),
        labels=np.zeros(5, int),
        test_images=numbered(3) + np.uint8(100),
        test_labels=np.array([0, 1, 2]),
    )
    source = load(path)
    assert values(source, "train") == [0, 1, 2, 3, 4]
    assert values(source, "test") == [100, 101, 102]
    assert labels(source, "test") == [0, 1, 2]
    assert source.num_classes == 3


def test_npy_is_read_from_disk_and_shuffled(tmp_path):
    np.save(tmp_path / "x.npy", numbered(20))
    source = load(tmp_path / "x.npy")
    epoch = [int(image[0, 0, 0]) for image, _ in source.examples("train", seed=1).take(18)]
    assert sorted(epoch) == list(range(18)) != epoch


def test_npy_is_not_copied(tmp_path):
    """Opening a sparse file of a gigabyte, and reading an example from it, takes a few megabytes."""
    import resource

    path = tmp_path / "big.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(350_000, 32, 32, 3)).flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    source = load(path)
    next(iter(source.examples("train", seed=0)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_grey_images_without_a_channel_axis(tmp_path):
    assert load(save(tmp_path, images=numbered(4, (6, 5)))).image_shape == (6, 5, 1)


def test_a_single_array_of_any_name(tmp_path):
    assert load(save(tmp_path, arr_0=numbered(4))).sizes["train"] == 3


def test_rgba_goes_on_white(tmp_path):
    source = load(save(tmp_path, images=np.zeros((4, 4, 4, 4), np.uint8)))
    assert source.image_shape == (4, 4, 3)
    assert values(source, "train") == [255, 255, 255]


def test_resize_and_channels(tmp_path):
    source = load(save(tmp_path, images=numbered(4, (8, 12, 3))), image_size=4, channels=1)
    assert source.image_shape == (4, 4, 1)
    assert values(source, "train") == [0, 1, 2]


def test_whole_number_labels_of_other_types(tmp_path):
    path = save(tmp_path, images=numbered(4), labels=np.array([[0.0], [1.0], [2.0], [1.0]]))
    assert labels(load(path), "train") == [0, 1, 2]
    path = save(tmp_path, images=numbered(4), labels=np.array([False, True, True, False]))
    assert labels(load(path), "train") == [0, 1, 1]


@pytest.mark.parametrize("dtype", [object, np.dtypes.StringDType()])
def test_texts_of_other_types(dtype):
    source = arrays_in_memory(numbered(4), np.array(["dog", "cat", "dog", "größe"], dtype))
    assert source.class_names == ("cat", "dog", "größe")
    assert labels(source, "train") + labels(source, "test") == [1, 0, 1, 2]


@pytest.mark.parametrize("other", [None, float("nan"), 1, b"cat"])
def test_other_objects_are_no_labels(other):
    with pytest.raises(DataError, match=rf"label 1 is {other!r}; they must all be texts, or whole numbers"):
        arrays_in_memory(numbered(4), np.array(["dog", other, "dog", "cat"], object))


IMAGES = np.zeros((4, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES.astype(complex)}, "complex128.*uint8.*convert them"),
        ({"images": IMAGES[0, 0]}, r"\(8, 3\)"),
        ({"images": IMAGES[0]}, r"\(8, 8, 3\), that of a single image .*np.stack"),
        ({"images": IMAGES.transpose(0, 3, 1, 2)}, "Channels first"),
        ({"images": IMAGES[:0]}, r"\(0, 8, 8, 3\)"),
        ({"images": IMAGES[:1]}, "at least 2"),
        ({"a": IMAGES, "b": np.zeros(4)}, "it has a, b"),
        ({"x_test": IMAGES, "y_test": np.zeros(4)}, "it has x_test, y_test"),
        ({"x": IMAGES, "data": IMAGES}, "x and data, of which one can be the images"),
        ({"images": IMAGES, "labels": np.array([0, 1, np.nan, 1])}, "label 2 is nan"),
        ({"images": IMAGES, "labels": np.array([0, 1, 2, -1])}, "label 3 is -1"),
        ({"images": IMAGES, "labels": np.array([0, 1.5, 2, 1])}, "label 1 is 1.5"),
        ({"images": IMAGES, "labels": np.zeros(3, int)}, r"\(3,\).*4 images"),
        ({"images": IMAGES, "labels": np.zeros((4, 10), int)}, r"\(4, 10\).*np.argmax\(labels, axis=1\)"),
        ({"images": IMAGES, "labels": np.array([b"a", b"b", b"a", b"b"])}, "S1.*whole numbers or texts"),
        ({"images": IMAGES, "labels": np.array(["a", "b", "c", "\ud800"])}, "invalid text"),
        ({"images": IMAGES, "labels": np.zeros(4, int), "test_images": IMAGES}, "test_labels"),
        ({"images": IMAGES, "test_images": IMAGES[:, :4, :4]}, "--image_size"),
        ({"images": np.array([{}, {}])}, "object"),
    ],
)
def test_unfit_arrays_are_named(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        load(save(tmp_path, **arrays))


@pytest.mark.parametrize(
    ("images", "way_out"),
    [
        (IMAGES + np.linspace(0, 1, 8, dtype=np.float32).reshape(8, 1, 1), r"np.round\(images \* 255\)"),
        (IMAGES + np.linspace(-1, 1, 8).reshape(8, 1, 1), r"np.round\(\(images \+ 1\) \* 127.5\)"),
        (IMAGES + np.linspace(-0.5, 0.5, 8).reshape(8, 1, 1), r"np.round\(\(images \+ 0.5\) \* 255\)"),
        (IMAGES + np.linspace(-0.4, 0.6, 8).reshape(8, 1, 1), r"np.round\(\(images \+ 1\) \* 127.5\)"),
        (IMAGES + np.linspace(0, 255, 8).reshape(8, 1, 1), r"np.round\(images\)"),
        (IMAGES + np.arange(8).reshape(8, 1, 1) * 36, r"write images.astype"),
        (IMAGES + np.arange(8, dtype=np.uint16).reshape(8, 1, 1) * 146, r"\(images / 4\)"),
        (IMAGES + np.arange(8, dtype=np.uint16).reshape(8, 1, 1) * 585, r"\(images / 16\)"),
        (IMAGES + np.arange(8, dtype=np.uint16).reshape(8, 1, 1) * 9362, r"\(images / 256\)"),
        (IMAGES.astype(bool), r"images.astype\(np.uint8\) \* 255"),
        (IMAGES + np.array([0, 1, np.nan]), "not finite"),
        (IMAGES + np.array([0, 1e6, -3]), "from -3 to 1e\\+06: scale them"),
    ],
)
def test_other_types_are_named_with_the_line_that_converts_them(tmp_path, images, way_out):
    with pytest.raises(DataError, match=rf"{images.dtype}; they must be uint8.*{way_out}"):
        load(save(tmp_path, images=images))


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X_train", "Y_train", "X_val", "Y_val"),
        ("trainX", "trainY", "testX", "testY"),
        ("train_data", "train_targets", "test_data", "test_targets"),
        ("images", "label", "validation_images", "validation_label"),
        ("train", "labels", "test", "test_labels"),
    ],
)
@pytest.mark.parametrize("label_type", [str, int])
def test_usual_names_of_others(tmp_path, caplog, names, label_type):
    """The names used by Keras for MNIST, by MedMNIST and by others; labels may be a column."""
    arrays = [numbered(40), np.arange(40)[:, None], numbered(4) + np.uint8(100), np.arange(4)]
    arrays[1], arrays[3] = arrays[1].astype(label_type), arrays[3].astype(label_type)
    source = load(save(tmp_path, **dict(zip(names, arrays, strict=True))))
    assert values(source, "train") == labels(source, "train") == list(range(40))
    assert (values(source, "test"), labels(source, "test")) == ([100, 101, 102, 103], [0, 1, 2, 3])
    assert not caplog.records


def test_arrays_that_are_not_used_are_named(tmp_path, caplog):
    arrays = {f"{split}_images": numbered(n) + np.uint8(n) for split, n in (("train", 40), ("val", 5), ("test", 6))}
    source = load(save(tmp_path, **arrays, lables=np.arange(40)))
    assert (source.sizes["train"], values(source, "test"), source.num_classes) == (40, [6, 7, 8, 9, 10, 11], 0)
    (record,) = caplog.records
    assert "not used are val_images, lables; used are train_images as images, test_images" in record.getMessage()


def test_the_own_names_go_before_those_of_others(tmp_path):
    assert values(load(save(tmp_path, x=numbered(8)[::-1], images=numbered(8))), "train") == list(range(7))


@pytest.mark.parametrize(
    ("given", "names", "numbers"),
    [
        ([900, 3, 3, 900], ("3", "900"), [1, 0, 0, 1]),
        ([10, 2, 2**40, 10], ("2", "10", str(2**40)), [1, 0, 2, 1]),
        (["dog", "cat", "eel", "dog"], ("cat", "dog", "eel"), [1, 0, 2, 1]),
        (["10", "9", "8", "8"], ("8", "9", "10"), [2, 1, 0, 0]),
        ([1.0, 2.0, 1.0, 2.0], ("1", "2"), [0, 1, 0, 1]),
    ],
)
def test_labels_with_gaps_are_numbered_which_is_said(tmp_path, caplog, given, names, numbers):
    source = load(save(tmp_path, images=numbered(4) + np.uint8(99), labels=np.array(given)))
    assert (source.num_classes, source.class_names) == (len(names), names)
    assert labels(source, "train") + labels(source, "test") == numbers
    (record,) = caplog.records
    assert f"labels {', '.join(names)} are numbered" in record.getMessage()


def test_a_class_may_be_missing_in_one_split(tmp_path, caplog):
    arrays = {"images": numbered(40), "labels": np.arange(40) % 2 * 2, "test_images": numbered(2)}
    source = load(save(tmp_path, **arrays, test_labels=np.array([1, 1])))
    assert (source.class_names, labels(source, "test"), labels(source, "train")[:3]) == (
        ("0", "1", "2"),
        [1, 1],
        [0, 2, 0],
    )
    assert not caplog.records
    with pytest.raises(DataError, match="numbers for labels in one split and texts in the other"):
        load(save(tmp_path, **arrays, test_labels=np.array(["1", "1"])))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match="--data_dir"):
        load_source("arrays")
    with pytest.raises(DataError, match="nowhere.npz"):
        load(tmp_path / "nowhere.npz")
    with pytest.raises(DataError, match="a folder"):
        load(tmp_path)
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(DataError, match="x.npz"):
        load(tmp_path / "x.npz")
    (tmp_path / "x.npy").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="x.npy"):
        load(tmp_path / "x.npy")
