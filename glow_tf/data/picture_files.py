"""Opens picture files: which formats, how large a picture, and how many at a time."""

import contextlib
import functools
import os
import re
import stat
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

# Formats that Pillow opens with an external program, or not at all; and ICNS, whose header does not give the size of
# the pictures in it.
_UNREAD = frozenset(("BUFR", "EPS", "GRIB", "HDF5", "ICNS", "MPEG", "WMF"))
# Pillow's names for sixteen bits a channel, such as "RGB;16B"; "BGR;16" are sixteen for a pixel.
_DEEP = re.compile(r";16[BLN]")
DEFAULT_MEGAPIXELS = 64.0


class TooLarge(ValueError):
    """A picture has more pixels than are decoded; the message is the reason, for people."""


class _Pixels:
    """Limits the pixels of a picture, and those that are decoded at the same time."""

    def __init__(self, most: int):
        self.most = most
        self._used = 0
        self._condition = threading.Condition()

    @contextlib.contextmanager
    def taken(self, count: int) -> Iterator[None]:
        """Waits until there is room for so many pixels, and keeps it."""
        with self._condition:
            # One by itself always has room.
            self._condition.wait_for(lambda: not self._used or self._used + count <= self.most)
            self._used += count
        try:
            yield
        finally:
            with self._condition:
                self._used -= count
                self._condition.notify_all()


_pixels = _Pixels(int(DEFAULT_MEGAPIXELS * 1e6))


def limit(megapixels: float) -> None:
    """Sets how large a picture may be, in 10^6 pixels, and how many pixels are decoded at a time.

    Raises:
      ValueError: if it is not positive.
    """
    if not megapixels > 0:
        raise ValueError(f"The largest picture must have more than 0 megapixels, not {megapixels}.")
    from PIL import Image

    _pixels.most = int(megapixels * 1e6)
    if Image.MAX_IMAGE_PIXELS is not None:
        # Above its own limit Pillow warns, and above twice of that it reads nothing.
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, _pixels.most)


@functools.cache
def formats() -> tuple[str, ...]:
    """The formats that are read, by Pillow's names."""
    from PIL import Image

    Image.init()
    return tuple(sorted(set(Image.OPEN) - _UNREAD))


@functools.cache
def endings() -> frozenset[str]:
    """The file name extensions of these formats, such as `.png`."""
    from PIL import Image

    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats())


@contextlib.contextmanager
def opened(file: Any, side: int | None = None) -> Iterator["Image.Image"]:
    """A picture, decoded and turned as its camera was held, once there is room for it; the header is asked first.

    Args:
      file: a file's name, or a binary file.
      side: in pixels, of which twice as much is enough: large JPEG photographs are decoded at a half, a quarter or an
        eighth of their size, never below that.

    Yields:
      The first frame.

    Raises:
      TooLarge: if it has more pixels than `limit` allows.
      ValueError: if it is no regular file: a pipe, from which nothing may ever come, or a device.
      Exception: of whatever kind Pillow raises on a broken file.
    """
    from PIL import Image, ImageOps

    if isinstance(file, str | os.PathLike) and not stat.S_ISREG(os.stat(file).st_mode):
        raise ValueError("it is no regular file")
    try:
        image = Image.open(file, formats=formats())
    except Image.DecompressionBombError as error:
        raise TooLarge(f"{error}; --max_megapixels={_pixels.most / 1e6:g} allows no more") from error
    with image:
        count = _check(image)
        # Of pictures in colour, Pillow keeps the leading eight bits alone.
        image.info["sixteen_bits"] = any(_DEEP.search(str(tile.args)) for tile in image.tile)
        # None for other formats than JPEG.
        if side is not None and image.draft(None, (2 * side, 2 * side)):
            count = image.width * image.height
        with _pixels.taken(count):
            ImageOps.exif_transpose(image, in_place=True)
            image.load()
            yield image


def _check(image: "Image.Image") -> int:
    """Returns the number of pixels; raises `TooLarge` if they are too many."""
    width, height = image.size
    if image.format == "ICO":
        # Its directory has room for small numbers alone; the picture in it may be a PNG of any size.
        inside = image.ico.getimage(image.size).size
        width, height = max(width, inside[0]), max(height, inside[1])
    if width * height > _pixels.most:
        raise TooLarge(
            f"it has {height}x{width} pixels, that is {width * height / 1e6:,.1f} million, and "
            f"--max_megapixels={_pixels.most / 1e6:g} allows no more; shrink it, or raise that"
        )
    return width * height
