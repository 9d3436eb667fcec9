"""Opens picture files, with limits on their format, their size and the number of pixels decoded at once."""

import contextlib
import functools
import math
import os
import re
import stat
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from glow_tf.runtime.budget import Budget

if TYPE_CHECKING:
    from PIL import Image

# Formats that Pillow opens only with an external program or not at all; and ICNS, whose header does not state the size
# of its pictures.
_UNREAD = frozenset(("BUFR", "EPS", "GRIB", "HDF5", "ICNS", "MPEG", "WMF"))
# Pillow's raw modes with 16 bits per channel, such as "RGB;16B"; "BGR;16" has 16 per pixel.
_DEEP = re.compile(r";16[BLN]")
# EXIF orientations that swap height and width.
_SIDEWAYS = (5, 6, 7, 8)
DEFAULT_MEGAPIXELS = 64.0


class TooLarge(ValueError):
    """Raised if a picture has more pixels than allowed."""


# Limits the pixels of a picture, and of all pictures that are decoded at the same time.
_pixels = Budget(int(DEFAULT_MEGAPIXELS * 1e6))


def limit(megapixels: float) -> None:
    """Sets the largest size of a picture, and of all pictures decoded at the same time, in 10^6 pixels.

    Raises:
      ValueError: if it is not positive and finite.
    """
    if not 0 < megapixels < math.inf:
        raise ValueError(f"The largest picture must have a finite number of megapixels above 0, not {megapixels}.")
    from PIL import Image

    _pixels.limit = int(megapixels * 1e6)
    if Image.MAX_IMAGE_PIXELS is not None:
        # Pillow warns above its own limit and refuses pictures above twice that.
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, _pixels.limit)


@functools.cache
def formats() -> tuple[str, ...]:
    """Returns Pillow's names for the supported formats."""
    from PIL import Image

    Image.init()
    return tuple(sorted(set(Image.OPEN) - _UNREAD))


@functools.cache
def endings() -> frozenset[str]:
    """Returns the file name extensions of the supported formats, such as `.png`."""
    from PIL import Image

    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats())


def upright_size(file: Any, among: Sequence[str] | None = None) -> tuple[int, int]:
    """Reads the height and width of a picture, once turned upright, from its header.

    Args:
      file: a file name or a binary file object.
      among: Pillow's names for the formats to open; all supported ones by default.

    Raises:
      TooLarge: if Pillow refuses to open it because of its size.
      ValueError: as for `opened`.
      Exception: any exception that Pillow raises for a broken file.
    """
    with _open(file, among or formats()) as image:
        width, height = _size(image)
        return (width, height) if _orientation(image) in _SIDEWAYS else (height, width)


@contextlib.contextmanager
def opened(file: Any, side: int | None = None) -> Iterator["Image.Image"]:
    """Decodes a picture and turns it upright, once there is room for it; its size is checked from the header first.

    Args:
      file: a file name or a binary file object.
      side: side in pixels that the picture will be reduced to. Large JPEG files are decoded at 1/2, 1/4 or 1/8 of their
        size, but not below twice that side.

    Yields:
      The first frame.

    Raises:
      TooLarge: if it has more pixels than `limit` allows.
      ValueError: if it is not a regular file but a pipe, from which a read might never return, or a device.
      Exception: any exception that Pillow raises for a broken file.
    """
    from PIL import ExifTags, ImageOps

    with _open(file, formats()) as image:
        count = _check(image)
        # Pillow keeps only the eight most significant bits per channel of colour pictures.
        image.info["sixteen_bits"] = any(_DEEP.search(str(tile.args)) for tile in image.tile)
        # `draft` returns None unless it is a JPEG file.
        if side is not None and image.draft(None, (2 * side, 2 * side)):
            count = image.width * image.height
        with _pixels.reserved(count):
            image.load()
            # Pillow turns TIFF files while it loads them.
            if image.format != "TIFF" and (orientation := _orientation(image)) != 1:
                image.getexif()[ExifTags.Base.Orientation] = orientation
                ImageOps.exif_transpose(image, in_place=True)
            yield image


def _orientation(image: "Image.Image") -> int:
    """Returns the orientation in the EXIF data of a picture; not in its XMP, which SavedModels do not read.

    It is 1, upright, without EXIF data or if they are malformed. Unlike `Image.getexif`, it does not decode the pixels
    of PNG files.
    """
    from PIL import ExifTags, Image

    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        return exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # Among others SyntaxError and struct.error.
        return 1


def _open(file: Any, among: Sequence[str]) -> "Image.Image":
    """Opens a picture without decoding it. Raises TooLarge, and ValueError if it is not a regular file."""
    from PIL import Image

    if isinstance(file, str | os.PathLike) and not stat.S_ISREG(os.stat(file).st_mode):
        raise ValueError("it is not a regular file")
    # Pillow's size warning follows its own limit; sizes are checked here instead.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    # Of malformed EXIF data, which `_orientation` passes over.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")
    try:
        return Image.open(file, formats=among)
    except Image.DecompressionBombError as error:
        raise TooLarge(f"{error}; --max_megapixels={_pixels.limit / 1e6:g} allows no more") from error


def _size(image: "Image.Image") -> tuple[int, int]:
    """Returns the width and height of a picture that has not been decoded."""
    # An icon's directory can state only small sizes; the picture itself can be a PNG of any size.
    return image.ico.getimage(image.size).size if image.format == "ICO" else image.size


def _check(image: "Image.Image") -> int:
    """Returns the number of pixels. Raises TooLarge."""
    width, height = _size(image)
    if width * height > _pixels.limit:
        raise TooLarge(
            f"it has {height}x{width} pixels, that is {width * height / 1e6:,.1f} million, and "
            f"--max_megapixels={_pixels.limit / 1e6:g} allows no more; shrink it, or raise that"
        )
    return width * height
