"""Arrays that stay on disk."""

import zipfile

import numpy as np
import pytest

from glow_tf.data import DataError, array_file
from glow_tf.data.array_file import Rows, open_arrays


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def same(rows, array):
    assert rows.shape == array.shape
    assert rows.dtype == array.dtype
    for index in (0, len(array) // 2, len(array) - 1):
        np.testing.assert_array_equal(rows[index], array[index])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
@pytest.mark.parametrize("shape", [(7,), (7, 3), (5, 4, 6, 3)])
def test_rows_are_read_from_disk(tmp_path, shape, dtype):
    array, other = noise(*shape, dtype=dtype), noise(4, 2)
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", one=array, other=other)
    single, both = open_arrays(str(tmp_path / "x.npy")), open_arrays(str(tmp_path / "x.npz"))
    assert list(both) == ["one", "other"]
    for rows, expected in ((single["arr_0"], array), (both["one"], array), (both["other"], other)):
        assert isinstance(rows, Rows)
        same(rows, expected)
        np.testing.assert_array_equal(rows.whole(), expected)
        same(rows[1:3], expected[1:3])
        same(rows[2:][:2], expected[2:][:2])


def test_rows_end_where_the_array_does(tmp_path):
    np.save(tmp_path / "x.npy", noise(5, 2))
    rows = open_arrays(str(tmp_path / "x.npy"))["arr_0"]
    assert len(rows[3:99]) == 2
    for bad in (5, -1):
        with pytest.raises(IndexError):
            rows[bad]
    with pytest.raises(IndexError):
        rows[:2][2]


def test_a_file_that_is_cut_off_later_is_named(tmp_path):
    np.save(tmp_path / "x.npy", noise(50, 40))
    rows = open_arrays(str(tmp_path / "x.npy"))["arr_0"]
    with open(tmp_path / "x.npy", "r+b") as file:
        file.truncate(400)
    with pytest.raises(OSError, match="x.npy.*cut off"):
        rows[49]


def test_a_file_that_is_cut_off_is_named(tmp_path):
    np.save(tmp_path / "x.npy", noise(50, 40))
    with open(tmp_path / "x.npy", "r+b") as file:
        file.truncate(400)
    with pytest.raises(DataError, match="cut off"):
        open_arrays(str(tmp_path / "x.npy"))


@pytest.mark.parametrize("save", [np.savez_compressed, np.savez])
def test_what_can_only_be_read_whole_is_read_whole_up_to_a_limit(tmp_path, save, monkeypatch):
    array = noise(6, 4, 4, 3)
    if save is np.savez:
        array = np.asfortranarray(array)
    save(tmp_path / "x.npz", images=array)
    np.testing.assert_array_equal(open_arrays(str(tmp_path / "x.npz"))["images"], array)
    monkeypatch.setattr(array_file, "_LARGEST_IN_MEMORY", 200)
    with pytest.raises(DataError, match="images in .*np.savez or np.save, uncompressed"):
        open_arrays(str(tmp_path / "x.npz"))


def test_archives_of_other_programs(tmp_path):
    """A comment, an extra field in the local header and a name without .npy move nothing."""
    array = noise(6, 4)
    np.save(tmp_path / "x.npy", array)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.comment = b"made by hand"
        info = zipfile.ZipInfo("images.npy")
        info.extra = b"\x99\x99\x04\x00abcd"
        archive.writestr(info, (tmp_path / "x.npy").read_bytes())
    same(open_arrays(str(tmp_path / "x.npz"))["images"], array)
