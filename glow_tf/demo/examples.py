"""Example pictures and uploaded pictures of the page."""

import os
import pathlib
from collections.abc import Sequence
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

COUNT = 12


class Example(NamedTuple):
    """A picture of the model's size, [H, W, C] uint8, and its class if the model has classes."""

    image: np.ndarray
    label: int | None = None


def read_picture(path: str | os.PathLike, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Reads a picture file of any size, cropped to the centre and resized to the model's size.

    Args:
      path: a file in any of `picture_files.formats`.
      image_shape: (H, W, C) of the result.

    Returns:
      uint8 [H, W, C].

    Raises:
      DataError: if it is not a picture, or too large.
    """
    try:
        return images.decode_file(os.fspath(path), image_shape, enlarge=True)
    except picture_files.TooLarge as error:
        raise DataError(f"{pathlib.Path(path).name} is too large: {error}.") from error
    # Pillow's decoders raise exceptions of nearly any kind for broken files.
    except Exception as error:
        raise DataError(f"{pathlib.Path(path).name} cannot be read as a picture.") from error


def cropping(path: str | os.PathLike, image_shape: tuple[int, int, int]) -> str:
    """Describes in a sentence what `read_picture` crops off a picture file; empty if that is less than 1 %."""
    height, width = picture_files.upright_size(path)
    ratio = (height / width) / (image_shape[0] / image_shape[1])
    cut = 1 - min(ratio, 1 / ratio)
    if cut < 0.01:
        return ""
    where = "height is left out, at the top and bottom" if ratio > 1 else "width is left out, at the left and right"
    return f"Cropped to the centre: {cut:.0%} of the {where}."


def of_files(names: Sequence[str], model: DemoModel) -> list[Example]:
    """Reads up to `COUNT` examples, evenly spaced, from picture files and from folders with their sub-folders.

    Raises:
      DataError: if a name is not a picture or a folder of pictures, or there are fewer than two pictures.
    """
    paths, _ = find_pictures(names)
    if len(paths) < 2:
        raise DataError("--images needs at least two pictures, to go from one to the other.")
    label = 0 if model.num_classes else None
    return [Example(read_picture(paths[i], model.image_shape), label) for i in evenly(len(paths), COUNT)]


def of_model(model: DemoModel) -> list[Example]:
    """Returns examples for a model: bundled portraits if it has their attributes, else its own samples."""
    theirs = load_attributes(load_source("people"), "test").names
    tones = len(people_attributes()["class_names"])
    if model.names and set(model.names) <= set(theirs) and model.num_classes in (0, tones):
        return of_portraits(model)
    labels = model.sample_labels(COUNT)
    return [
        Example(image, None if labels is None else int(labels[i]))
        for i, image in enumerate(model.sample(min(COUNT, model.most_images), 0.7, 7))
    ]


def of_portraits(model: DemoModel) -> list[Example]:
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
