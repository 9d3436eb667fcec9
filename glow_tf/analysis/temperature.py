"""Samples from the same noise at several temperatures (Kingma & Dhariwal 2018, figure 8)."""

from collections.abc import Sequence

import numpy as np

from glow_tf.analysis.codec import Codec, draw_latents

TEMPERATURES = (0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def temperature_grid(
    codec: Codec,
    count: int,
    temperatures: Sequence[float] = TEMPERATURES,
    *,
    labels: np.ndarray | None = None,
    seed: int | None = None,
) -> np.ndarray:
    """Draws `count` latents and decodes them at every temperature.

    Args:
      codec: codec of the model.
      count: number of latents.
      temperatures: factors on the standard deviation of the latents, at least 0.
      labels: [count] int for a conditional model.
      seed: seed of the latents, as for `draw_latents`.

    Returns:
      [count, len(temperatures), H, W, C] uint8.

    Raises:
      ValueError: if a temperature is negative.
    """
    factors = np.asarray(temperatures, np.float32)
    if factors.ndim != 1 or not factors.size or not (factors >= 0).all():
        raise ValueError(f"temperatures={list(temperatures)} must be numbers of at least 0.")
    noise = draw_latents(codec.flow, count, seed=seed)
    z = factors[:, np.newaxis] * noise[:, np.newaxis]
    row_labels = None if labels is None else np.repeat(labels, factors.size)
    images = codec.decode(z.reshape(-1, z.shape[-1]), row_labels)
    return images.reshape(count, factors.size, *images.shape[1:])
