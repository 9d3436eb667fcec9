"""Large data sets start at once and are never held in memory."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]


def stream(name, path, size, images):
    """Returns the seconds to the first batch and the MiB that streaming takes, measured in a new process."""
    command = [sys.executable, "-m", "tests.data.memory_of_streaming", name, str(path), str(size), str(images)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, mebibytes = done.stdout.split()[-2:]
    return float(seconds), float(mebibytes)


def write_bitmaps(folder, count):
    """Writes 8x8 images, a hundred per folder; each bitmap is the same header followed by the pixels."""
    from PIL import Image

    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "one.bmp")
    header = (folder / "one.bmp").read_bytes()[:-192]
    (folder / "one.bmp").unlink()
    for i in range(count):
        if i % 100 == 0:
            part = folder / f"{i // 100:03d}"
            part.mkdir()
        (part / f"{i:05d}.bmp").write_bytes(header + i.to_bytes(3, "big") * 64)


@pytest.mark.slow
def test_an_uncompressed_archive_of_150_mb_is_not_held_in_memory(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((50_000, 32, 32, 3), np.uint8), labels=np.arange(50_000) % 10)
    _, mebibytes = stream("arrays", tmp_path / "x.npz", 32, 50_000)
    assert mebibytes < 60


@pytest.mark.slow
def test_two_thousand_files_start_in_a_second(tmp_path):
    write_bitmaps(tmp_path, 2_000)
    seconds, mebibytes = stream("folder", tmp_path, 8, 2_000)
    assert seconds < 2
    assert mebibytes < 60


@pytest.mark.slow
def test_fifty_thousand_files(tmp_path):
    write_bitmaps(tmp_path, 50_000)
    seconds, mebibytes = stream("folder", tmp_path, 8, 50_000)
    assert seconds < 10
    assert mebibytes < 100


@pytest.mark.slow
@pytest.mark.parametrize("side", [32, 256])
def test_an_array_of_two_gigabytes(tmp_path, side):
    """A sparse file, which takes no disk space, is read once."""
    count = 2**31 // (3 * side**2)
    np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.uint8, shape=(count, side, side, 3)).flush()
    _, mebibytes = stream("arrays", tmp_path / "x.npy", side, count)
    assert mebibytes < 200
