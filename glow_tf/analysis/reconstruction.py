"""Reconstructions with some levels of the latents resampled, which show what each level represents."""

import math

import numpy as np

from glow_tf.analysis.codec import Codec, draw_latents
from glow_tf.models.flow import Flow
from glow_tf.models.seeds import int_seed


def level_sizes(flow: Flow) -> list[int]:
    """Returns the number of dimensions of each level of the latent, from the finest to the top."""
    return [math.prod(shape) for shape in flow.config.latent_shapes]


def resample_finest(
    flow: Flow, z: np.ndarray, levels: int, *, temperature: float = 0.7, seed: int | None = None
) -> np.ndarray:
    """Resamples the finest levels of latents and keeps the others.

    Args:
      flow: the model.
      z: [N, D].
      levels: number of levels to resample, from 0 to all.
      temperature: factor on the standard deviation of the new values.
      seed: seed of the new values, as for `draw_latents`.

    Returns:
      [N, D].

    Raises:
      ValueError: if `levels` is out of range.
    """
    sizes = level_sizes(flow)
    if not 0 <= levels <= len(sizes):
        raise ValueError(f"levels={levels} must be from 0 to {len(sizes)}.")
    drawn = sum(sizes[:levels])
    noise = temperature * draw_latents(flow, len(z), seed=seed)
    return np.concatenate([noise[:, :drawn], z[:, drawn:]], axis=1).astype(z.dtype)


def reconstructions(
    codec: Codec,
    images: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    temperature: float = 0.7,
    seed: int | None = None,
) -> np.ndarray:
    """Returns each image, its exact reconstruction, and those with the finest 1, 2, ..., L-1 levels resampled.

    Args:
      codec: codec of the model.
      images: [N, H, W, C] uint8.
      labels: [N] int for a conditional model.
      temperature, seed: as for `resample_finest`.

    Returns:
      [N, 1 + L, H, W, C] uint8.
    """
    # Draws the same new values for every number of levels.
    seed = int_seed(seed)
    z = codec.encode(images, labels)
    columns = [np.asarray(images)]
    for levels in range(len(level_sizes(codec.flow))):
        columns.append(codec.decode(resample_finest(codec.flow, z, levels, temperature=temperature, seed=seed), labels))
    return np.stack(columns, axis=1)
