"""Pictures of a training run: samples from the same latents every time, and reconstructions."""

import pathlib

import numpy as np
import tensorflow as tf

from glow_tf.analysis.grid import image_grid, readable_scale, save_png
from glow_tf.analysis.sampling import Sampler
from glow_tf.models.flow import Flow
from glow_tf.training.config import TrainingConfig


class Pictures:
    """Draws and saves image grids from a flow with its current weights.

    Args:
      flow: the model.
      training: number, temperature and seed of samples, and the batch size.
      directory: the model directory, in which the folders `samples` and `reconstructions` are written.
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
        """Saves samples; returns the path and the grid, [H, W, C] uint8."""
        return self._save("samples", step, self._sampler())

    def save_reconstructions(
        self, step: int, images: tf.Tensor, labels: tf.Tensor | None
    ) -> tuple[pathlib.Path, np.ndarray]:
        """Saves images, each above its reconstruction from its latents; returns the same as `save_samples`."""
        reconstructed = self._reconstruct(images, labels)
        return self._save("reconstructions", step, np.concatenate([images, reconstructed]), len(images))

    def _save(self, name: str, step: int, images: np.ndarray, columns: int | None = None):
        grid = image_grid(self._displayed(images), columns, scale=readable_scale(images.shape[1]))
        path = self._directory / name / f"step_{step:07d}.png"
        save_png(grid, path)
        return path, grid
