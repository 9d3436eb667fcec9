"""The page's SavedModel, with NumPy arrays as inputs and outputs."""

import os
import pathlib

import numpy as np
import tensorflow as tf

from glow_tf.analysis.codec import default_batch_size
from glow_tf.analysis.interpolation import interpolate, nearer_to_start
from glow_tf.export.saved_model import picture_settings
from glow_tf.models import checks, storage
from glow_tf.models.labels import sample_labels
from glow_tf.runtime.errors import first_line


class UndrawableError(ValueError):
    """The model has no picture to show, as the latents are so extreme that its results are not finite."""

    def __init__(self):
        super().__init__(
            "The model's pictures are not finite numbers: its training has diverged, and its folder best/ may be a "
            "better model; or the latents are far too large."
        )


class DemoModel:
    """A SavedModel of an image model that this package exported.

    It is called through its signatures, which are compiled once for any number of images; the functions of the loaded
    object would be compiled again for each number. Returned images are prepared for display, see `displayed`.

    Attributes:
      image_shape: (H, W, C), C being 1 or 3.
      dimensions: D, the number of dimensions of a latent.
      n_bits: bits per channel.
      displayed: function that prepares images, uint8 of any shape, for display at `n_bits` beside returned images.
      num_classes: number of classes of a conditional model, else 0.
      most_images: largest number of images that can be drawn quickly.
      crop_from: side of the squares that pictures are fitted to before a central crop; None for no crop.
      names: names of the A attributes it was exported with.
      directions: directions of the attributes, [A, D] float32.

    Args:
      path: directory of the SavedModel.

    Raises:
      FileNotFoundError: if there is no SavedModel.
      ValueError: if it cannot be read, was not exported by this package, or is not a model of images.
    """

    def __init__(self, path: str | os.PathLike):
        directory = pathlib.Path(path)
        if not storage.is_saved_model(directory):
            # Versions are numbers: 10 comes after 9.
            versions = [path.parent for path in directory.glob("*/saved_model.pb")]
            newest = max(versions, key=lambda path: (len(path.name), path.name), default=None)
            hint = f"; {newest} does" if newest else ": glow export writes one"
            raise FileNotFoundError(f"{directory} holds no SavedModel{hint}.")
        config = storage.load_config(directory)
        if config.events != "images":
            raise ValueError(f"{directory} is a model of {config.events}, which have no picture.")
        if not checks.are_pictures(config):
            raise ValueError(
                f"{directory} is a {config.describe()}; the page shows images of uint8 with 1 or 3 channels."
            )
        try:
            self._signatures = tf.saved_model.load(str(directory)).signatures
        # TensorFlow raises many kinds of exceptions for damaged files.
        except Exception as error:
            raise ValueError(f"The SavedModel {directory} cannot be read: {first_line(error)}") from error
        missing = {"log_prob", "encode", "decode", "sample", "reconstruct"} - set(self._signatures)
        if missing:
            raise ValueError(f"The SavedModel {directory} lacks {', '.join(sorted(missing))}; export the model again.")
        self.image_shape: tuple[int, int, int] = tuple(config.image_shape)
        self.dimensions = config.dimensions
        self.n_bits = config.n_bits
        self.displayed = config.dequantizer.displayed
        self.num_classes = config.num_classes if config.conditional else 0
        self.crop_from: int | None = picture_settings(directory).get("crop_from")
        self.most_images = max(4, default_batch_size(config))
        self.names: tuple[str, ...] = ()
        self.directions = np.zeros([0, self.dimensions], np.float32)
        if "attributes" in self._signatures:
            found = self._signatures["attributes"]()
            self.names = tuple(name.decode() for name in found["names"].numpy())
            self.directions = found["directions"].numpy()

    def sample(self, count: int, temperature: float, seed: int, label: int | None = None) -> np.ndarray:
        """Draws images [count, H, W, C] uint8; a seed gives the same noise at any temperature.

        Args:
          count: number of images.
          temperature: factor on the standard deviation of the latents.
          seed: from 0 to 2**31 - 1.
          label: label of all images, for a conditional model; by default the classes in turn.
        """
        labels = self.sample_labels(count, label)
        return self._call("sample", labels, num=count, temperature=temperature, seed=seed)["images"]

    def sample_labels(self, count: int, label: int | None = None) -> np.ndarray | None:
        """Returns the labels [count] of `sample`; None unless the model is conditional."""
        return sample_labels(count, self.num_classes, label)

    def encode(self, images: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Encodes images [N, H, W, C] uint8 as latents [N, D], with `labels` [N] for a conditional model."""
        return self._call("encode", labels, images=images)["latents"]

    def decode(self, latents: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Decodes latents [N, D] to images [N, H, W, C] uint8, with `labels` [N] for a conditional model."""
        return self._call("decode", labels, latents=latents)["images"]

    def reconstruct(self, images: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Encodes and decodes images [N, H, W, C] uint8."""
        return self._call("reconstruct", labels, images=images)["images"]

    def bits_per_dim(self, images: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Computes the bits/dim [N] of images [N, H, W, C] uint8, with one draw of dequantization noise."""
        return self._call("log_prob", labels, images=images, seed=0)["bits_per_dim"]

    def blend(
        self, start: np.ndarray, end: np.ndarray, fractions: np.ndarray, labels: tuple[int, int] | None = None
    ) -> np.ndarray:
        """Decodes images [N, H, W, C] uint8 on the line between two latents.

        Args:
          start, end: latents [D].
          fractions: [N], positions on the line from 0, the start, to 1, the end.
          labels: labels of the start and of the end for a conditional model; images have the label of the nearer end,
            and that of the start in the middle.
        """
        t = np.asarray(fractions)
        nearer_labels = np.where(nearer_to_start(t), *labels) if self.num_classes else None
        return self.decode(interpolate(start, end, t), nearer_labels)

    def strongest(self, most: int) -> list[int]:
        """Returns the indices of up to `most` attributes, those with the longest directions, in ascending order."""
        lengths = np.linalg.norm(self.directions, axis=1)
        return sorted(np.argsort(-lengths, kind="stable")[:most].tolist())

    def _call(self, name, labels, **inputs):
        if self.num_classes:
            if labels is None:
                raise ValueError("This model is conditional: images need labels.")
            inputs["labels"] = labels
        signature = self._signatures[name]
        # Real numbers are float64 in a flow of that precision.
        specs = signature.structured_input_signature[1]
        inputs = {key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()}
        try:
            found = signature(**inputs)
        except tf.errors.InvalidArgumentError as error:
            raise UndrawableError from error
        values = {key: value.numpy() for key, value in found.items()}
        return {key: self.displayed(value) if key == "images" else value for key, value in values.items()}
