"""Pictures of a training run: samples of the same latents every time, and reconstructions."""

import pathlib

import numpy as np
import tensorflow as tf

from glow_tf.analysis.grid import image_grid, readable_scale, save_png
from glow_tf.analysis.sampling import Sampler
from glow_tf.models.flow import Flow
from glow_tf.training.config import TrainingConfig


class Pictures:
    """Draws grids of images by a flow as it is, and saves them.

    Args:
      flow: the model.
      training: number, temperature and seed of samples.
      directory: the model directory, in which `samples` and `reconstructions` are folders of theirs.
    """

    def __init__(self, flow: Flow, training: TrainingConfig, directory: pathlib.Path):
        self._directory = directory
        self._displayed = flow.config.dequantizer.displayed
        batch_size = min(training.samples, training.batch_size)
        self._sampler = Sampler(
            flow, training.samples, temperature=training.temperature, seed=training.seed, batch_size=batch_size
        )
        self._reconstruct = tf.function(
            lambda images, labels: flow.decode(flow.encode(images, labels), labels), autograph=False
        )

    def save_samples(self, step: int) -> tuple[pathlib.Path, np.ndarray]:
        """Saves samples; returns where, and the grid [H, W, C] uint8."""
        return self._save("samples", step, self._sampler())

    def save_reconstructions(
        self, step: int, images: tf.Tensor, labels: tf.Tensor | None
    ) -> tuple[pathlib.Path, np.ndarray]:
        """Saves images, and below each what comes back from its latents; returns as `save_samples` does."""
        again = self._reconstruct(images, labels)
        return self._save("reconstructions", step, np.concatenate([images, again]), len(images))

    def _save(self, name: str, step: int, images: np.ndarray, columns: int | None = None):
        grid = image_grid(self._displayed(images), columns, scale=readable_scale(images.shape[1]))
        path = self._directory / name / f"step_{step:07d}.png"
        save_png(grid, path)
        return path, grid
