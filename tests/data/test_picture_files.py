"""Limits on the size of pictures, and on how many are decoded at a time."""

import contextlib
import io
import os
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from glow_tf.data import images, load_source, picture_files

MEGAPIXELS = 0.01


@pytest.fixture(autouse=True)
def small_limit():
    """Limits pictures to 10,000 pixels."""
    picture_files.limit(MEGAPIXELS)
    yield
    picture_files.limit(picture_files.DEFAULT_MEGAPIXELS)


def save(path, height, width, **options):
    Image.fromarray(np.full([height, width, 3], 90, np.uint8)).save(path, **options)
    return str(path)


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "bmp", "webp", "tiff", "ppm"])
def test_larger_pictures_are_not_decoded(tmp_path, ending, monkeypatch):
    path = save(tmp_path / f"a.{ending}", 100, 100)
    assert images.decode_file(path, (8, 8, 3)).shape == (8, 8, 3)
    path = save(tmp_path / f"b.{ending}", 101, 100)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    with pytest.raises(picture_files.TooLarge, match=r"101x100 pixels.*--max_megapixels=0\.01"):
        images.decode_file(path, (8, 8, 3))


def test_an_icon_is_as_large_as_what_is_in_it(tmp_path):
    """The directory in the file claims 16x16."""
    file = io.BytesIO()
    Image.new("RGB", (200, 200)).save(file, "PNG")
    directory = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(file.getvalue()), 22)
    (tmp_path / "a.ico").write_bytes(directory + file.getvalue())
    with pytest.raises(picture_files.TooLarge, match="200x200"):
        images.decode_file(str(tmp_path / "a.ico"), (8, 8, 3))
    assert picture_files.upright_size(str(tmp_path / "a.ico")) == (200, 200)


def test_a_header_that_lies_is_believed(tmp_path):
    """A file of 1 kB claims to have 13,300 x 13,300 pixels."""
    header = struct.pack(">IIBBBBB", 13_300, 13_300, 8, 2, 0, 0, 0)
    chunks = [(b"vpAg", b"x" * 9), (b"IHDR", header), (b"IDAT", zlib.compress(bytes(10**6))), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    (tmp_path / "a.png").write_bytes(content)
    # The error alone reports it: there is no warning.
    with warnings.catch_warnings(), pytest.raises(picture_files.TooLarge, match="13300x13300"):
        warnings.simplefilter("error")
        images.decode_file(str(tmp_path / "a.png"), (8, 8, 3))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [None, 1, 4, 5, 8])
def test_the_size_is_that_of_the_upright_picture(kind, orientation):
    exif, file = Image.Exif(), io.BytesIO()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", (30, 20)).save(file, kind, exif=exif)
    file.seek(0)
    assert picture_files.upright_size(file) == images_size(file)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage!!!", b"Exif\0\0II*\0", b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01"])
def test_a_picture_with_malformed_exif_data_is_upright(exif):
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, "JPEG", exif=exif)
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert picture_files.upright_size(file) == images_size(file) == (20, 30)


def images_size(file):
    with picture_files.opened(file) as image:
        return image.height, image.width


def test_a_folder_leaves_them_out_and_says_so(tmp_path):
    for i in range(4):
        save(tmp_path / f"{i}.png", 20, 20)
    save(tmp_path / "large.png", 200, 200)
    source = load_source("folder", data_dir=str(tmp_path), image_size=8)
    read = [image for split in ("train", "test") for image in _all(source, split)]
    assert len(read) == 4
    assert "--max_megapixels" in source.skipped["large.png"]


def _all(source, split):
    readers = source.readers[split]
    return [found for i in range(source.sizes[split]) if (found := readers(i)) is not None]


def test_as_many_pixels_are_decoded_at_a_time(tmp_path):
    """Each of eight pictures takes two thirds of the limit, so no two are in memory together."""
    path = save(tmp_path / "a.png", 80, 80)
    together, most, lock = 0, 0, threading.Lock()
    begin, meeting = threading.Barrier(8), threading.Barrier(2)

    def read():
        nonlocal together, most
        begin.wait()
        with picture_files.opened(path):
            with lock:
                together += 1
                most = max(most, together)
            # The first waits long enough for another to meet it here, if one could.
            with contextlib.suppress(threading.BrokenBarrierError):
                meeting.wait(0.5)
            with lock:
                together -= 1

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_failure_leaves_room_for_the_next(tmp_path):
    path = save(tmp_path / "a.png", 90, 90)
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(content[: len(content) // 2])
    for _ in range(3):
        with pytest.raises(OSError):
            images.decode_file(str(tmp_path / "broken.png"), (8, 8, 3))
    assert images.decode_file(path, (8, 8, 3)).shape == (8, 8, 3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for path in (tmp_path / "a.png", "/dev/zero"):
        with pytest.raises(ValueError, match="not a regular file"):
            images.decode_file(str(path), (8, 8, 3))
        with pytest.raises(ValueError, match="not a regular file"):
            picture_files.upright_size(str(path))


@pytest.mark.parametrize("megapixels", [0, -1, float("nan"), float("inf")])
def test_a_limit_must_leave_something(megapixels):
    with pytest.raises(ValueError, match="finite number of megapixels above 0"):
        picture_files.limit(megapixels)
