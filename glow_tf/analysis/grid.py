"""Image grids, with or without labels, and animations."""

import math
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from glow_tf.runtime.files import atomic_write

# Picture formats, keyed by file suffix.
PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def image_grid(images: np.ndarray, columns: int | None = None, *, border: int = 1, scale: int = 1) -> np.ndarray:
    """Arranges images in a grid on a white background.

    Args:
      images: [N, H, W, C] uint8, where C is 1 or 3.
      columns: number of columns; by default, about the number of rows.
      border: width of the gaps between images, in pixels before enlargement.
      scale: enlargement factor.

    Returns:
      [H', W', C] uint8.

    Raises:
      ValueError: if there are no images.

    Examples:
      >>> glow_tf.analysis.image_grid(np.zeros([6, 16, 16, 3], np.uint8), columns=3).shape
      (35, 52, 3)
    """
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise ValueError(f"A grid needs images of shape [N, H, W, C]; these have {images.shape}.")
    count, height, width, channels = images.shape
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    cell_height, cell_width = height + border, width + border
    grid = np.full([rows * cell_height + border, columns * cell_width + border, channels], 255, np.uint8)
    for i, image in enumerate(images):
        top, left = border + i // columns * cell_height, border + i % columns * cell_width
        grid[top : top + height, left : left + width] = image
    return grid.repeat(scale, axis=0).repeat(scale, axis=1)


def readable_scale(height: int) -> int:
    """Returns an enlargement factor that makes images of `height` pixels easy to see."""
    return max(1, 64 // height)


def save_png(image: np.ndarray, path: str | os.PathLike) -> None:
    """Writes [H, W, C] uint8 as a PNG, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(tf.io.encode_png(image).numpy())


def save_picture(image: np.ndarray, path: str | os.PathLike) -> None:
    """Writes [H, W, C] uint8 as a PNG or a JPEG, chosen by the suffix of `path`, atomically.

    Raises:
      ValueError: if the suffix is that of neither.
    """
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in PICTURES:
        raise ValueError(f"{os.fspath(path)} must end with {', '.join(PICTURES)}.")
    if PICTURES[suffix] == "PNG":
        save_png(image, path)
        return
    with atomic_write(path) as temporary:
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        picture.save(temporary, PICTURES[suffix], quality=95)


def labelled_grid(
    images: np.ndarray,
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
    scale: int | None = None,
) -> np.ndarray:
    """Arranges images in a table with names beside its rows and above its columns, readable on a slide.

    Names may be in any script that DejaVu Sans has: Latin, Greek or Cyrillic, but not Chinese, Japanese or Korean.

    Args:
      images: [R, C, H, W, channels] uint8, where channels is 1 or 3.
      rows: R names, or none.
      columns: C names, or none.
      title: a line above the table, or "".
      scale: enlargement factor; by default, small images become about 96 pixels high.

    Returns:
      [H', W', 3] uint8, black on white.

    Raises:
      ValueError: if the number of names is wrong.
    """
    images = np.asarray(images)
    if images.ndim != 5 or 0 in images.shape:
        raise ValueError(f"A labelled grid needs images of shape [R, C, H, W, channels]; these have {images.shape}.")
    for what, names, count in (("rows", rows, images.shape[0]), ("columns", columns, images.shape[1])):
        if len(names) not in (0, count):
            raise ValueError(f"{count} {what} have {len(names)} names.")
    scale = scale or max(1, 96 // images.shape[2])
    images = images.repeat(scale, axis=2).repeat(scale, axis=3)
    height, width = images.shape[2:4]
    font = _font(min(28, max(13, height // 6)))
    line = round(1.5 * font.size)
    gap = max(2, height // 32)
    # Names wider than an image widen the columns.
    step = max([width, *(_text_width(font, name) + line // 2 for name in columns)]) + gap
    left = max([0, *(_text_width(font, name) + line for name in rows)])
    first = left + gap + (step - gap - width) // 2
    top = line * (bool(title) + bool(columns)) + gap
    total = max(left + images.shape[1] * step + gap, _text_width(font, title) + line)
    canvas = Image.new("RGB", (total, top + images.shape[0] * (height + gap)), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((gap + line // 3, line // 2), title, "black", font, anchor="lm")
    for column, name in enumerate(columns):
        draw.text((first + column * step + width // 2, top - line // 2), name, "black", font, anchor="mm")
    for row, row_images in enumerate(images):
        y = top + row * (height + gap)
        if rows:
            draw.text((left - line // 2, y + height // 2), rows[row], "black", font, anchor="rm")
        for column, image in enumerate(row_images):
            pixels = image[..., 0] if image.shape[-1] == 1 else image
            canvas.paste(Image.fromarray(pixels), (first + column * step, y))
    return np.asarray(canvas)


def save_gif(frames: np.ndarray, path: str | os.PathLike, *, seconds: float = 0.08) -> None:
    """Writes [N, H, W, C] uint8 as a looping animated GIF, atomically."""
    pictures = [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in frames]
    # One palette for all frames, as separate ones make flat colours flicker.
    colours = Image.fromarray(np.concatenate([np.asarray(picture.convert("RGB")) for picture in pictures]))
    palette = colours.quantize(256, Image.Quantize.MEDIANCUT)
    first, *others = [picture.convert("RGB").quantize(palette=palette) for picture in pictures]
    with atomic_write(path) as temporary:
        first.save(
            temporary,
            "GIF",
            save_all=True,
            append_images=others,
            duration=round(1000 * seconds),
            loop=0,
            optimize=False,
        )


def _font(size: int) -> ImageFont.FreeTypeFont:
    """Returns matplotlib's DejaVu Sans: Pillow's own font has ASCII only."""
    # Imported here, as it is slow.
    import matplotlib

    return ImageFont.truetype(pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def _text_width(font: ImageFont.FreeTypeFont, text: str) -> int:
    return math.ceil(font.getlength(text))
