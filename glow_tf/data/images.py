"""Converts any picture to a uint8 array of a given shape.

All data follows the same rule: transparency is composited on white, the shorter side is resized to match, and the
centre is cropped. Downscaling by a whole factor averages squares of pixels, which is exact; any other factor uses
antialiased bicubic resampling.
"""

from collections.abc import Sequence

import numpy as np

from glow_tf.arguments import is_int
from glow_tf.data import picture_files
from glow_tf.data.augment import central_crop
from glow_tf.data.source import DataError

# A TIFF tag.
_BITS_PER_SAMPLE = 258
# Number of rows composited at once.
_STRIP = 256


def parse_size(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Parses an image size: an int, (H, W) or None.

    Returns:
      (H, W), or None for None.

    Raises:
      DataError: if it is none of these, or not positive.
    """
    if image_size is None:
        return None
    sides = np.atleast_1d(np.asarray(image_size))
    if sides.shape not in ((1,), (2,)) or sides.dtype.kind not in "iu" or sides.min() < 1:
        raise DataError(f"image_size must be a number of pixels or (height, width), got {image_size!r}.")
    return int(sides[0]), int(sides[-1])


def stored_shape(image_shape: tuple[int, int, int], crop_from: int | None) -> tuple[int, int, int]:
    """Returns the shape to fit images to: that of the model's images, or of the square that these are cropped from.

    Args:
      image_shape: (H, W, C) of the model's images.
      crop_from: side of the square, in pixels, at least H and W; None for no crops.

    Returns:
      (H, W, C).

    Raises:
      DataError: if `crop_from` is not an integer, or smaller than the crops.
    """
    if crop_from is None:
        return image_shape
    height, width, channels = image_shape
    if not is_int(crop_from) or crop_from < max(height, width):
        raise DataError(
            f"crop_from={crop_from!r} must be a number of pixels of at least the image size, {height}x{width}, "
            "which is cut out of that."
        )
    return int(crop_from), int(crop_from), channels


def parse_channels(channels: int | None, default: int) -> int:
    """Returns the number of channels, 1 or 3; `default` for None. Raises DataError."""
    if channels is None:
        return default
    if channels not in (1, 3):
        raise DataError(f"channels must be 1 (grey) or 3 (RGB), got {channels!r}.")
    return int(channels)


def covers(size: Sequence[int], image_shape: Sequence[int]) -> bool:
    """Returns whether `size`, (h, w, ...), can be fitted to `image_shape`, (H, W, ...), without enlarging."""
    return size[0] >= image_shape[0] and size[1] >= image_shape[1]


def size_text(shape: Sequence[int]) -> str:
    """Formats (H, W, ...) as text, such as `64x48`."""
    return f"{shape[0]}x{shape[1]}"


def fit_pixels(pixels: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Resizes, crops and converts one image.

    Args:
      pixels: uint8 [h, w, c], where c is 1 (grey), 3 (RGB) or 4 (RGBA).
      image_shape: (H, W, C) to return, where C is 1 or 3.

    Returns:
      uint8 [H, W, C]; `pixels` itself if it has this shape.
    """
    from PIL import Image

    if pixels.shape == tuple(image_shape):
        return pixels
    flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    return _fit(Image.fromarray(np.ascontiguousarray(flat)), image_shape)


class TooSmall(ValueError):
    """Raised if a picture would have to be enlarged."""


def decode_file(
    path: str, image_shape: tuple[int, int, int], *, crop_from: int | None = None, enlarge: bool = False
) -> np.ndarray:
    """Reads a picture file of any supported format, colour mode and orientation.

    Args:
      path: file name; the first frame of an animation is used.
      image_shape: (H, W, C) to return, where C is 1 or 3.
      crop_from: side of the square that the picture is fitted to before a central crop, as in evaluation; None for no
        crop.
      enlarge: whether a smaller picture may be enlarged.

    Returns:
      uint8 [H, W, C].

    Raises:
      DataError: as for `stored_shape`.
      TooSmall: if either side is too short and `enlarge` is False.
      picture_files.TooLarge: if it has more pixels than allowed.
      Exception: any exception that Pillow raises for a broken file.
    """
    fitted_shape = stored_shape(image_shape, crop_from)
    with picture_files.opened(path, max(fitted_shape[:2])) as image:
        size = (image.height, image.width)
        if not enlarge and not covers(size, fitted_shape):
            raise TooSmall(f"smaller than {size_text(fitted_shape)}: {size_text(size)}")
        return central_crop(_fit(image, fitted_shape), image_shape[:2])


def load_images(
    paths: Sequence[str], image_shape: tuple[int, int, int], *, crop_from: int | None = None, upscale: bool = False
) -> np.ndarray:
    """Reads picture files with `decode_file`.

    Args:
      paths: file names.
      image_shape: (H, W, C) to return, where C is 1 or 3.
      crop_from: as for `decode_file`.
      upscale: whether smaller pictures may be enlarged.

    Returns:
      uint8 [N, H, W, C].

    Raises:
      DataError: if a file is missing, broken or too small; the message names the first.
    """
    stored_shape(image_shape, crop_from)  # Raises an error that is not of a file.

    def load(path):
        try:
            return decode_file(path, image_shape, crop_from=crop_from, enlarge=upscale)
        except Exception as error:  # Pillow's decoders raise almost any exception on a broken file.
            raise DataError(f"{path} cannot be used as a picture: {error}") from error

    return np.stack([load(path) for path in paths])


def _fit(image, image_shape):
    height, width, channels = image_shape
    image = _on_white(_to_eight_bits(image)).convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(_resize_and_crop(image, height, width))
    return pixels.reshape(image_shape)


def _to_eight_bits(image):
    from PIL import Image

    if image.mode == "F":
        raise ValueError("pixels are floating-point; convert the file to 8 or 16 bits")
    if not image.mode.startswith("I"):
        if image.info.get("sixteen_bits"):
            _check_depth(int(np.asarray(image.convert("RGB")).max()), 4096 >> 8)
        return image
    # TIFF files state their bit depth, such as 12.
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
    if bits > 16:
        raise ValueError(f"pixels have {bits} bits; convert the file to 8 or 16 bits")
    deep = np.asarray(image)
    if deep.dtype != np.uint16:
        deep = np.clip(deep, 0, 65535).astype(np.uint16)
    if bits == 16:
        _check_depth(int(deep.max(initial=0)), 4096)
    most = 2**bits - 1
    eight = ((np.arange(65536) * 255 + most // 2) // most).clip(0, 255).astype(np.uint8)
    return Image.fromarray(eight[deep])


def _check_depth(most, beyond):
    if 0 < most < beyond:
        raise ValueError(
            "16 bits, but no value above 4095, as if 10 or 12 bits had been stored as they are: it would be black; "
            "scale it up to 16 bits, or convert it to 8"
        )


def _on_white(image):
    from PIL import Image

    if not image.has_transparency_data:
        return image
    opaque = Image.new("RGB", image.size)
    # In strips, as compositing takes four times the memory.
    for top in range(0, image.height, _STRIP):
        strip = image.crop((0, top, image.width, min(top + _STRIP, image.height))).convert("RGBA")
        strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip)
        opaque.paste(strip.convert("RGB"), (0, top))
    return opaque


def _resize_and_crop(image, height, width):
    from PIL import Image

    if image.size == (width, height):
        return image
    scale = min(image.height / height, image.width / width)
    box_height, box_width = scale * height, scale * width
    # Whole-pixel offsets, so that a crop without resizing copies pixels.
    top, left = int((image.height - box_height) / 2), int((image.width - box_width) / 2)
    whole = scale >= 1 and float(scale).is_integer()
    return image.resize(
        (width, height),
        Image.Resampling.BOX if whole else Image.Resampling.BICUBIC,
        box=(left, top, left + box_width, top + box_height),
    )
