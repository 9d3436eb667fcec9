"""Example pictures and uploaded pictures of the page."""

import logging
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from glow_tf.data import (
    DataError,
    images,
    load_attributes,
    load_source,
    people_attributes,
    picture_files,
    split_batches,
)
from glow_tf.data.indexed import evenly
from glow_tf.data.named_pictures import find_pictures
from glow_tf.demo.model import DemoModel

_log = logging.getLogger(__name__)

COUNT = 12


class Example(NamedTuple):
    """A picture of the model's size, [H, W, C] uint8, and its class if the model has classes."""

    image: np.ndarray
    label: int | None = None


def read_picture(
    path: str | os.PathLike,
    image_shape: tuple[int, int, int],
    name: str | None = None,
    *,
    crop_from: int | None = None,
) -> np.ndarray:
    """Reads a picture file of any size, cropped to the centre and resized to the model's size as in training.

    Args:
      path: a file in any of `picture_files.formats`.
      image_shape: (H, W, C) of the result.
      name: name of the file in errors; by default without its folder.
      crop_from: side of the square that pictures are fitted to before a central crop; None for no crop.

    Returns:
      uint8 [H, W, C].

    Raises:
      DataError: if it is not a picture, or too large.
    """
    name = name or pathlib.Path(path).name
    try:
        return images.decode_file(os.fspath(path), image_shape, crop_from=crop_from, enlarge=True)
    except picture_files.TooLarge as error:
        raise DataError(f"{name} is too large: {error}.") from error
    # Pillow's decoders raise exceptions of nearly any kind for broken files.
    except Exception as error:
        raise DataError(f"{name} cannot be read as a picture.") from error


def cropping(path: str | os.PathLike, image_shape: tuple[int, int, int], crop_from: int | None = None) -> str:
    """Describes in a sentence what `read_picture` crops off a picture file; empty if that is less than 1 %."""
    height, width = picture_files.upright_size(path)
    if crop_from is not None:
        share = image_shape[0] * image_shape[1] / crop_from**2 * min(height, width) / max(height, width)
        return "" if share > 0.99 else f"Cropped to the centre, as in training: {share:.0%} of the picture is left."
    ratio = (height / width) / (image_shape[0] / image_shape[1])
    cut = 1 - min(ratio, 1 / ratio)
    if cut < 0.01:
        return ""
    where = "height is left out, at the top and bottom" if ratio > 1 else "width is left out, at the left and right"
    return f"Cropped to the centre: {cut:.0%} of the {where}."


def load_examples(names: Sequence[str], model: DemoModel) -> list[Example]:
    """Reads up to `COUNT` examples, evenly spaced, from picture files and from folders with their sub-folders.

    In place of a picture in a folder that cannot be read, the nearest one is taken.

    Raises:
      DataError: if a name is not a picture or a folder of pictures, or there are fewer than two pictures.
    """
    paths, named = find_pictures(names)
    found, skipped = {}, {}
    for chosen in evenly(len(paths), COUNT):
        for i in _nearest(chosen, len(paths)):
            if i in found or i in skipped:
                continue
            try:
                found[i] = read_picture(paths[i], model.image_shape, paths[i], crop_from=model.crop_from)
                break
            except DataError as error:
                if paths[i] in named:
                    raise
                skipped[i] = error
    left_out = f"{len(skipped)} pictures are left out: {next(iter(skipped.values()))}" if skipped else ""
    if len(found) < 2:
        raise DataError(f"--images needs at least two pictures, to go from one to the other. {left_out}".strip())
    if left_out:
        _log.warning("--images: %s", left_out)
    label = 0 if model.num_classes else None
    return [Example(found[i], label) for i in sorted(found)]


def _nearest(chosen: int, count: int) -> Iterator[int]:
    """Yields the indices 0..count-1, the nearest to `chosen` first."""
    for distance in range(count):
        for i in sorted({chosen - distance, chosen + distance}):
            if 0 <= i < count:
                yield i


def default_examples(model: DemoModel) -> list[Example]:
    """Returns examples for a model: bundled portraits if it has their attributes, else its own samples."""
    theirs = load_attributes(load_source("people"), "test").names
    tones = len(people_attributes()["class_names"])
    if model.names and set(model.names) <= set(theirs) and model.num_classes in (0, tones):
        return portrait_examples(model)
    labels = model.sample_labels(COUNT)
    return [
        Example(image, None if labels is None else int(labels[i]))
        for i, image in enumerate(model.sample(min(COUNT, model.most_images), 0.7, 7))
    ]


def portrait_examples(model: DemoModel) -> list[Example]:
    """Returns examples from the held-out bundled portraits, of many people and in all skin tones."""
    height, width, channels = model.image_shape
    source = load_source("people", image_size=(height, width), channels=channels)
    batches = split_batches(source, "test", 64).as_numpy_iterator()
    held_out = np.concatenate([batch["images"] for batch in batches])
    # The pictures of a person follow one another, one in each skin tone; the tone is the class.
    tones = source.num_classes
    people = np.linspace(0, len(held_out) // tones - 1, COUNT).round().astype(int)
    return [
        Example(held_out[tones * person + i % tones], i % tones if model.num_classes else None)
        for i, person in enumerate(people)
    ]
