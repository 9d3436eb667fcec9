"""Arrays that stay on disk."""

import os
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
    """An archive comment and an extra field in the local header do not move the data."""
    array = noise(6, 4)
    np.save(tmp_path / "x.npy", array)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.comment = b"made by hand"
        info = zipfile.ZipInfo("images.npy")
        info.extra = b"\x99\x99\x04\x00abcd"
        archive.writestr(info, (tmp_path / "x.npy").read_bytes())
    same(open_arrays(str(tmp_path / "x.npz"))["images"], array)


def npy(header, data=b"", version=(1, 0)):
    """Returns a file in .npy format with an arbitrary header."""
    length = len(header).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + header + data


def described(shape, descr="'|u1'"):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read as a NumPy file"),
        (b"PK\x03\x04 and no more", "damaged or cut off"),
        (npy(described("(4, 8, 8)")), "cut off"),
        (npy(described(f"({10**12}, 8, 8)")), "cut off: the array needs 64,000,000,000,000"),
        (npy(described("(-4, 8)"), b"x" * 99), r"\(-4, 8\)"),
        (npy(described("(2, 0)", "'<U0'"), b"x" * 99), "not read"),
        (npy(described("(4,)", "[('a', '<i4'), ('b', '<i4')]"), b"x" * 99), "not read"),
        (npy(described("(4,)", "('<i4', (2,))"), b"x" * 99), "not read"),
        (npy(described("(4,)", "'|O'"), b"x" * 99), "Python objects"),
        (npy(described("(4,)"), b"x" * 99, version=(9, 0)), "unknown format 9.0"),
        (npy(described("(" * 100), b"x" * 99), "cannot be read as a NumPy file"),
        (npy(b"-" * 9000 + b"1\n"), "cannot be read as a NumPy file"),
        (npy(b"{}\n"), "cannot be read as a NumPy file"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x3f" + b" " * 50_000, "cannot be read as a NumPy file"),
    ],
)
def test_a_damaged_npy_file_is_named_in_one_line(tmp_path, content, reason):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(DataError, match=f"x.npy .*{reason}") as raised:
        open_arrays(str(tmp_path / "x.npy"))
    assert "\n" not in str(raised.value)


def zipped(path, content, name="images.npy", compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(name, content)
    return str(path)


def with_directory(path, offset, value):
    """Overwrites four bytes of the archive's central directory, `offset` bytes into its only entry."""
    content = bytearray(path.read_bytes())
    start = content.rindex(b"PK\x01\x02") + offset
    content[start : start + 4] = value.to_bytes(4, "little")
    path.write_bytes(content)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_is_no_larger_than_what_it_is_stored_in(tmp_path, compression):
    """Two kilobytes claim to be 4.8 TB in their own header, and 4 GB in the archive's directory."""
    path = tmp_path / "x.npz"
    zipped(path, npy(described("(200000000000, 24)"), bytes(2000)), compression=compression)
    with pytest.raises(DataError, match="x.npz is cut off: images needs 4,800,000,000,000 bytes"):
        open_arrays(str(path))
    with_directory(path, 24, 4_000_000_000)
    with pytest.raises(DataError, match="x.npz is damaged: images claims 4,000,000,000 bytes"):
        open_arrays(str(path))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_checksum_is_compared(tmp_path, compression):
    path = tmp_path / "x.npz"
    zipped(path, npy(described("(300, 100)"), bytes(30_000)), compression=compression)
    with_directory(path, 16, 12345)
    with pytest.raises(DataError, match="x.npz cannot be read .*CRC"):
        open_arrays(str(path))


def test_damaged_archives_are_named(tmp_path):
    path, content = tmp_path / "x.npz", npy(described("(4, 2)"), bytes(8))
    zipped(path, b"no array")
    with pytest.raises(DataError, match="x.npz cannot be read"):
        open_arrays(str(path))
    zipped(path, content)
    with_directory(path, 8, 1 + (zipfile.ZIP_DEFLATED << 16))
    with pytest.raises(DataError, match="encrypted"):
        open_arrays(str(path))
    zipped(path, content)
    with_directory(path, 42, 17)
    with pytest.raises(DataError, match="x.npz cannot be read"):
        open_arrays(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", content)
        archive.writestr("images", content)
    with pytest.raises(DataError, match="two arrays of the name 'images'"):
        open_arrays(str(path))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="x.npz .*cut off"):
        open_arrays(str(path))


def test_what_is_not_asked_for_is_not_read(tmp_path):
    """The archive also has members that cannot be read at all."""
    path = tmp_path / "x.npz"
    np.savez(path, images=noise(4, 2), notes=np.array([{}]))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "no array")
        archive.writestr("folder/", "")
    assert array_file.array_names(str(path)) == ["images", "notes", "readme.txt"]
    assert list(open_arrays(str(path), ["images"])) == ["images"]
    with pytest.raises(DataError, match="notes in .*x.npz holds Python objects"):
        open_arrays(str(path))


def test_text_and_other_byte_orders_are_read(tmp_path):
    names, numbers = np.array(["cat", "dög"]), np.arange(5, dtype=">i8")
    np.savez(tmp_path / "x.npz", names=names, numbers=numbers, one=np.int32(7))
    arrays = open_arrays(str(tmp_path / "x.npz"))
    np.testing.assert_array_equal(arrays["names"].whole(), names)
    np.testing.assert_array_equal(arrays["numbers"].whole(), np.arange(5))
    assert arrays["one"] == 7


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_no_array_file(tmp_path):
    os.mkfifo(tmp_path / "x.npz")
    for path in (tmp_path / "x.npz", "/dev/zero", tmp_path):
        with pytest.raises(DataError, match="not a regular file"):
            open_arrays(str(path))


def test_an_array_that_is_too_large_to_keep_is_not_read_whole(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", noise(300))
    rows = open_arrays(str(tmp_path / "x.npy"))["arr_0"]
    monkeypatch.setattr(array_file, "_LARGEST_IN_MEMORY", 200)
    with pytest.raises(DataError, match="x.npy has an array of .* GiB, too much"):
        rows.whole()
    assert len(rows[:100].whole()) == 100
