"""Arrays in `.npy` and `.npz` files whose rows are read from disk on demand.

The files are not memory-mapped: mapped pages count towards the memory of the process, and a page fault blocks all
Python threads, whereas a read blocks only one. The sizes in a file's header are checked against the file size before
memory is allocated.
"""

import collections
import contextlib
import dataclasses
import functools
import io
import math
import os
import stat
import struct
import threading
import zipfile
from collections.abc import Collection, Iterator

import numpy as np

from glow_tf.data.source import DataError

# Largest array that is read into memory, in bytes.
_LARGEST_IN_MEMORY = 2 * 2**30
# Size of the fixed part of a zip local file header, and position of the lengths of its variable parts.
_LOCAL_HEADER = 30
_LOCAL_LENGTHS = slice(26, 30)
# Largest expansion ratio of deflate.
_DEFLATE_RATIO = 1032
# The checksum of larger uncompressed members is not verified, as that would require reading them in full.
_LARGEST_CHECKED = 2**26
_BLOCK = 2**20
# NumPy does not read longer .npy headers.
_LONGEST_HEADER = 2**14


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """An array in a file that supports `len`, `shape`, `ndim`, `dtype`, `rows[i]` and `rows[i:j]` like a NumPy array.

    Attributes:
      file: the open file and the lock that guards its position.
      offset: position of the first row, in bytes.
      shape: shape of the array, in C order.
      dtype: element type.
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
        return self._read(self.offset + index * self._row_bytes, self.shape[1:])

    @functools.cached_property
    def _row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])

    def whole(self) -> np.ndarray:
        """Reads the array into memory. Raises DataError if it is larger than 2 GiB."""
        size = len(self) * self._row_bytes
        if size > _LARGEST_IN_MEMORY:
            raise DataError(f"{self.file[0].name} has an array of {size / 2**30:,.1f} GiB, too much to keep in memory.")
        return self._read(self.offset, self.shape)

    def _read(self, start: int, shape: tuple[int, ...]) -> np.ndarray:
        array = np.empty(shape, self.dtype)
        unread = array.reshape(-1).view(np.uint8)
        file, lock = self.file
        with lock:
            file.seek(start)
            while len(unread):
                count = file.readinto(unread)
                if not count:
                    raise OSError(f"{file.name} ends at byte {file.tell():,}: it has been cut off since it was opened.")
                unread = unread[count:]
        return array


def array_names(path: str) -> list[str]:
    """Returns the names of the arrays in a NumPy file, in file order; a `.npy` file holds a single array, "arr_0".

    Raises:
      DataError: if it is not a regular file, cannot be read, or is a `.npz` file that is damaged or names an array
        twice. Other files are taken for `.npy` files, which `open_arrays` checks.
    """
    with _errors_named(path), _archive(path) as archive:
        return ["arr_0"] if archive is None else list(_members(path, archive))


def open_arrays(path: str, names: Collection[str] | None = None) -> dict[str, np.ndarray | Rows]:
    """Opens a NumPy file, where possible without reading its arrays.

    Rows of `.npy` files and of `.npz` files written by `np.savez` are read from disk on demand. Compressed arrays
    (`np.savez_compressed`) and arrays in Fortran order are read into memory.

    Args:
      path: the file.
      names: names of the arrays to open, which must exist; None for all. The others are not read.

    Returns:
      Dict from name to array; a `.npy` file holds a single array, "arr_0".

    Raises:
      DataError: if it is not a NumPy file or is damaged, if a name does not exist, if an array holds anything but
        numbers or text, or if an array to be read into memory is larger than 2 GiB.
    """
    with _errors_named(path), _archive(path) as archive:
        if archive is None:
            return {"arr_0": _single(path)}
        members = _members(path, archive)
        names = list(members) if names is None else names
        missing = [name for name in names if name not in members]
        if missing:
            raise DataError(f"{path} has no array {missing[0]!r}; it has {', '.join(members) or 'none'}.")
        return {name: _member(path, archive, name, members[name]) for name in names}


def in_memory(array: np.ndarray | Rows) -> np.ndarray:
    """Reads an array from `open_arrays` into memory. Raises DataError if it is larger than 2 GiB."""
    return array.whole() if isinstance(array, Rows) else array


def texts(array: np.ndarray) -> list[str]:
    """Returns the strings in an array [N] of dtype `str`. Raises ValueError if one cannot be encoded as UTF-8."""
    found = array.tolist()
    "".join(found).encode()
    return found


@contextlib.contextmanager
def _errors_named(path: str) -> Iterator[None]:
    """Converts exceptions caused by a broken file into a one-line DataError."""
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # zipfile and NumPy raise almost any exception on a broken file.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path} cannot be read as a NumPy file ({reason[:200]}); write it with np.savez or np.save, without "
            "object arrays."
        ) from error


@contextlib.contextmanager
def _archive(path: str) -> Iterator[zipfile.ZipFile | None]:
    """Opens the file as a zip archive; yields None if it is not one."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise DataError(f"{path} is not a regular file, from which arrays could be read.")
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            if file.read(2) == b"PK":
                raise DataError(f"{path} is a .npz file that is damaged or cut off. Copy or save it again.")
        yield None
        return
    with zipfile.ZipFile(path) as archive:
        yield archive


def _members(path: str, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Returns the members of an archive, keyed by the array names that NumPy gives them."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    names = [info.filename.removesuffix(".npy") for info in infos]
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path} holds two arrays of the name {twice[0]!r}; write it with np.savez, which keeps one.")
    return dict(zip(names, infos, strict=True))


def _single(path: str) -> np.ndarray | Rows:
    file = open(path, "rb", buffering=0)
    try:
        header = _Header.read(path, "the array", file.read(_LONGEST_HEADER), os.path.getsize(path))
        if header.in_order:
            return header.rows(file, 0)
        _check_memory(path, "the array", header.length, "is in Fortran order")
        with open(path, "rb") as whole:
            return np.lib.format.read_array(whole, allow_pickle=False)
    except BaseException:
        file.close()
        raise


def _member(path: str, archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> np.ndarray | Rows:
    stored = info.compress_type == zipfile.ZIP_STORED
    most = info.compress_size * (1 if stored else _DEFLATE_RATIO)
    known = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if known and info.file_size > most or info.compress_size > os.path.getsize(path):
        raise DataError(
            f"{path} is damaged: {name} claims {info.file_size:,} bytes, more than can be in the "
            f"{info.compress_size:,} it is stored in. Copy or save it again."
        )
    # zipfile verifies the member's header here, and its checksum once it has been read to the end.
    with archive.open(info) as member:
        header = _Header.read(path, name, member.read(_LONGEST_HEADER), info.file_size)
        if stored and info.file_size <= _LARGEST_CHECKED:
            _read_to_the_end(member)
    if stored and header.in_order:
        file = open(path, "rb", buffering=0)
        try:
            file.seek(info.header_offset)
            lengths = struct.unpack("<HH", file.read(_LOCAL_HEADER)[_LOCAL_LENGTHS])
            return header.rows(file, info.header_offset + _LOCAL_HEADER + sum(lengths))
        except BaseException:
            file.close()
            raise
    _check_memory(path, name, info.file_size, "is in Fortran order" if stored else "is compressed")
    with archive.open(info) as member:
        array = np.lib.format.read_array(member, allow_pickle=False)
        _read_to_the_end(member)
    return array


def _read_to_the_end(member: io.BufferedIOBase) -> None:
    while member.read(_BLOCK):
        pass


@dataclasses.dataclass(frozen=True)
class _Header:
    """Header of a `.npy` array and its size in bytes."""

    size: int
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool

    @classmethod
    def read(cls, path: str, name: str, start: bytes, size: int) -> "_Header":
        """Parses the header in `start`, the first bytes of an array file of `size` bytes."""
        stream = io.BytesIO(start)
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"{name} has the unknown format {version[0]}.{version[1]}")
        first = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(stream)
        header = cls(stream.tell(), tuple(shape), dtype, fortran_order)
        if dtype.hasobject:
            raise DataError(f"{name} in {path} holds Python objects, which are not read; save a plain array.")
        if dtype.names or dtype.subdtype or not dtype.itemsize:
            raise DataError(f"{name} in {path} holds {dtype}, which is not read; save a plain array.")
        if any(side < 0 for side in shape):
            raise ValueError(f"{name} has the shape {shape}")
        if header.size + header.length > size:
            raise DataError(
                f"{path} is cut off: {name} needs {header.length:,} bytes, and is shorter. Copy or save it again."
            )
        return header

    @property
    def length(self) -> int:
        """Size of the array data, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def in_order(self) -> bool:
        """True if the rows are contiguous."""
        return bool(self.shape) and not (self.fortran_order and len(self.shape) > 1)

    def rows(self, file: io.FileIO, start: int) -> Rows:
        return Rows((file, threading.Lock()), start + self.size, self.shape, self.dtype)


def _check_memory(path, name, size, why):
    if size > _LARGEST_IN_MEMORY:
        raise DataError(
            f"{name} in {path} {why} and has {size / 2**30:,.1f} GiB, too much to keep in memory. Save it once more "
            "with np.savez or np.save, uncompressed and from np.ascontiguousarray(images): then images are read from "
            "disk as they are needed."
        )
