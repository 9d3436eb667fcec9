"""Arrays in `.npy` and `.npz` files whose rows are read from disk as they are needed.

Not mapped into memory: pages of a mapping count as the process's own, and waiting for one blocks every thread of
Python, where reading from a file blocks one.
"""

import dataclasses
import functools
import io
import math
import os
import struct
import threading
import zipfile

import numpy as np

from glow_tf.data.source import DataError

# An array that can only be read whole may take this much memory.
_LARGEST_IN_MEMORY = 2 * 2**30
# Of a file in a zip archive: fixed part of its local header, and where that says how long the rest is.
_LOCAL_HEADER = 30
_LOCAL_LENGTHS = slice(26, 30)


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """An array in a file: `len`, `shape`, `ndim`, `dtype`, `rows[i]` and `rows[i:j]` as of an array in memory.

    Attributes:
        file: the open file, and a lock to hold while moving about in it.
        offset: byte at which the first row starts.
        shape, dtype: of the array, in C order.
    """

    file: tuple[io.FileIO, threading.Lock]
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice) -> "np.ndarray | Rows":
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise IndexError("rows of a file have no slices with a step.")
            shape = (max(stop - start, 0), *self.shape[1:])
            return dataclasses.replace(self, offset=self.offset + start * self._row_bytes, shape=shape)
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}.")
        file, lock = self.file
        row = np.empty(self.shape[1:], self.dtype)
        with lock:
            file.seek(self.offset + index * self._row_bytes)
            if file.readinto(row) != self._row_bytes:
                raise OSError(f"{file.name} ends before row {index}: it has been cut off since it was opened.")
        return row

    @functools.cached_property
    def _row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])

    def whole(self) -> np.ndarray:
        """The array, read into memory."""
        return np.stack([self[index] for index in range(len(self))]) if len(self) else np.empty(self.shape, self.dtype)


def open_arrays(path: str) -> dict[str, np.ndarray | Rows]:
    """Opens a NumPy file without reading its arrays, where that can be.

    Rows are read from disk in a `.npy` file and in a `.npz` file that `np.savez` wrote. A compressed array
    (`np.savez_compressed`), or one in Fortran order, can only be read whole, and is kept in memory.

    Args:
        path: the file.

    Returns:
        Dict of arrays by name; a `.npy` file holds one, "arr_0".

    Raises:
        DataError: if it is not such a file, if an array holds Python objects, or if one that can only be read whole
            is larger than 2 GiB.
    """
    try:
        if not zipfile.is_zipfile(path):
            file = open(path, "rb", buffering=0)
            return {"arr_0": _array(path, file, 0, os.path.getsize(path), lambda: np.load(path))}
        with np.load(path) as archive:
            return {name: _member(path, archive, name) for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} cannot be read as a NumPy file ({error}); write it with np.savez or "
            "np.save, without object arrays."
        ) from error


def _member(path, archive, name):
    info = next(i for i in archive.zip.infolist() if i.filename in (name, f"{name}.npy"))
    if info.compress_type != zipfile.ZIP_STORED:
        _check_memory(path, name, info.file_size, "is compressed")
        return archive[name]
    file = open(path, "rb", buffering=0)
    file.seek(info.header_offset)
    name_length, extra_length = struct.unpack("<HH", file.read(_LOCAL_HEADER)[_LOCAL_LENGTHS])
    start = info.header_offset + _LOCAL_HEADER + name_length + extra_length
    return _array(path, file, start, info.file_size, lambda: archive[name], name)


def _array(path, file, start, size, load, name="the array"):
    """The array in `size` bytes from `start`, in .npy format; in memory, from `load`, if its rows are not in order."""
    file.seek(start)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read_header(file)
    if dtype.hasobject:
        raise DataError(f"{name} in {path} holds Python objects, which are not read; save a plain array.")
    length = math.prod(shape) * dtype.itemsize
    if file.tell() + length > start + size:
        raise DataError(f"{path} is cut off: {name} needs {length} bytes, and is shorter. Copy or save it again.")
    if fortran_order and len(shape) > 1 or not shape:
        _check_memory(path, name, length, "is in Fortran order")
        file.close()
        return load()
    return Rows((file, threading.Lock()), file.tell(), tuple(shape), dtype)


def _check_memory(path, name, size, why):
    if size > _LARGEST_IN_MEMORY:
        raise DataError(
            f"{name} in {path} {why} and has {size / 2**30:.1f} GiB, too much to keep in memory. Save it once more "
            "with np.savez or np.save, uncompressed and from np.ascontiguousarray(images): then images are read from "
            "disk as they are needed."
        )
