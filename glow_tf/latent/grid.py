"""Image grids."""

import math
import os
import pathlib

import numpy as np
import tensorflow as tf


def image_grid(images: np.ndarray, columns: int | None = None, *, border: int = 1, scale: int = 1) -> np.ndarray:
    """Images side by side on white.

    Args:
      images: [N, H, W, C] uint8, C 1 or 3.
      columns: of the grid; by default about as many as rows.
      border: pixels between images, before enlargement.
      scale: factor by which each pixel is enlarged.

    Returns:
      [H', W', C] uint8.

    Raises:
      ValueError: if there are no images.
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
    """The enlargement at which an image of `height` pixels is comfortable to look at."""
    return max(1, 64 // height)


def save_png(image: np.ndarray, path: str | os.PathLike) -> None:
    """Writes [H, W, C] uint8 as a PNG, whole or not at all."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(tf.io.encode_png(image).numpy())
    temporary.replace(path)
