"""A SavedModel as the page uses it: arrays in, arrays out."""

import os
import pathlib

import numpy as np
import tensorflow as tf

from glow_tf.analysis.codec import default_batch_size
from glow_tf.analysis.interpolation import interpolate, nearer_to_start
from glow_tf.models import storage
from glow_tf.models.labels import sample_labels
from glow_tf.runtime.errors import first_line


class UndrawableError(Exception):
    """Raised where the model gives no pictures for what is asked: latents so far out that it gives no numbers."""


class DemoModel:
    """A SavedModel of pictures that this package exported.

    Its signatures are called, which TensorFlow compiled for any number of images; the functions of the loaded object
    would be compiled again for each number.

    Attributes:
      image_shape: (H, W, C), C 1 or 3.
      dimensions: D, of the latents.
      n_bits: bits per channel that the model knows.
      num_classes: classes of a label-conditional model, else 0.
      most_images: how many images are still quick to draw.
      names: of the A attributes it was exported with.
      directions: [A, D] float32.

    Args:
      path: directory of the SavedModel.

    Raises:
      FileNotFoundError: if there is no SavedModel.
      ValueError: if it cannot be read, is not of this package, or has no pictures.
    """

    def __init__(self, path: str | os.PathLike):
        directory = pathlib.Path(path)
        if not storage.is_saved_model(directory):
            inside = sorted(file.parent for file in directory.glob("*/saved_model.pb"))
            hint = f"; {inside[-1]} does" if inside else ": python -m tools.export writes one"
            raise FileNotFoundError(f"{directory} holds no SavedModel{hint}.")
        config = storage.load_config(directory)
        if config.events != "images":
            raise ValueError(f"{directory} is a model of {config.events}, which have no picture.")
        try:
            self._signatures = tf.saved_model.load(str(directory)).signatures
        # What TensorFlow raises on damaged files is of many kinds.
        except Exception as error:
            raise ValueError(f"The SavedModel {directory} cannot be read: {first_line(error)}") from error
        missing = {"log_prob", "encode", "decode", "sample", "reconstruct"} - set(self._signatures)
        if missing:
            raise ValueError(f"The SavedModel {directory} lacks {', '.join(sorted(missing))}; export the model again.")
        self.image_shape: tuple[int, int, int] = tuple(config.image_shape)
        self.dimensions = config.dimensions
        self.n_bits = config.n_bits
        self.num_classes = config.num_classes if config.conditional else 0
        self.most_images = max(4, default_batch_size(config))
        self.names: tuple[str, ...] = ()
        self.directions = np.zeros([0, self.dimensions], np.float32)
        if "attributes" in self._signatures:
            found = self._signatures["attributes"]()
            self.names = tuple(name.decode() for name in found["names"].numpy())
            self.directions = found["directions"].numpy()

    def sample(self, count: int, temperature: float, seed: int, label: int | None = None) -> np.ndarray:
        """Draws images [count, H, W, C] uint8; the same noise for a seed, whatever the temperature.

        Args:
          count: of images.
          temperature: factor on the standard deviation of the latents.
          seed: from 0 to 2**31 - 1.
          label: of all of them, for a conditional model; by default the classes in turn.
        """
        labels = self.sample_labels(count, label)
        noise = {"num": tf.constant(count), "temperature": tf.constant(temperature, tf.float32)}
        return self._call("sample", labels, **noise, seed=tf.constant(seed))["images"]

    def sample_labels(self, count: int, label: int | None = None) -> np.ndarray | None:
        """Labels [count] of `sample`; None for a model that is not conditional."""
        return sample_labels(count, self.num_classes, label)

    def encode(self, images: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Latents [N, D] float32 of images [N, H, W, C] uint8; with `labels` [N] for a conditional model."""
        return self._call("encode", labels, images=tf.constant(images))["latents"]

    def decode(self, latents: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Images [N, H, W, C] uint8 of latents [N, D]; with `labels` [N] for a conditional model."""
        return self._call("decode", labels, latents=tf.constant(latents, tf.float32))["images"]

    def reconstruct(self, images: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Images [N, H, W, C] uint8, encoded and decoded."""
        return self._call("reconstruct", labels, images=tf.constant(images))["images"]

    def bits_per_dim(self, images: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Bits per dimension [N] of images [N, H, W, C] uint8, under one draw of dequantization noise."""
        return self._call("log_prob", labels, images=tf.constant(images), seed=tf.constant(0))["bits_per_dim"]

    def blend(
        self, start: np.ndarray, end: np.ndarray, fractions: np.ndarray, labels: tuple[int, int] | None = None
    ) -> np.ndarray:
        """Images [N, H, W, C] uint8 on the straight way between two latents.

        Args:
          start, end: latents [D].
          fractions: [N] of the way, 0 being the start.
          labels: of the start and of the end for a conditional model; an image has that of the nearer end, in the
            middle that of the start.
        """
        t = np.asarray(fractions)
        of_row = np.where(nearer_to_start(t), *labels) if self.num_classes else None
        return self.decode(interpolate(start, end, t), of_row)

    def strongest(self, most: int) -> list[int]:
        """The rows of at most so many attributes, those whose directions are longest, in rising order."""
        lengths = np.linalg.norm(self.directions, axis=1)
        return sorted(np.argsort(-lengths, kind="stable")[:most].tolist())

    def _call(self, name, labels, **inputs):
        if self.num_classes:
            if labels is None:
                raise ValueError("This model is conditional: images need labels.")
            inputs["labels"] = tf.constant(np.asarray(labels), tf.int32)
        try:
            found = self._signatures[name](**inputs)
        except tf.errors.InvalidArgumentError as error:
            raise UndrawableError from error
        return {key: value.numpy() for key, value in found.items()}
