"""Paths between latents (Kingma & Dhariwal 2018, figure 5)."""

import numpy as np

from glow_tf.analysis.codec import Codec
from glow_tf.arguments import one_of

KINDS = ("linear", "spherical")


def lerp(a, b, t):
    """Returns (1 - t) a + t b, for arrays or tensors."""
    return (1 - t) * a + t * b


def nearer_to_start(t):
    """Returns whether points at fractions t of a path have the label of its start: t <= 1/2."""
    return t <= 0.5


def interpolate(start: np.ndarray, end: np.ndarray, fractions: np.ndarray, kind: str = "linear") -> np.ndarray:
    """Computes points on a path from one latent to another.

      linear:     (1 - t) a + t b
      spherical:  sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b,  w the angle between a and b

    A linear path between two typical latents passes through latents of atypically small norm in the middle; a spherical
    path (Shoemake 1985; White 2016, "Sampling Generative Networks") preserves the norm, around which a high-dimensional
    Gaussian concentrates.

    Args:
      start, end: a and b, [D].
      fractions: t, [N], 0 at the start and 1 at the end.
      kind: `linear` or `spherical`.

    Returns:
      [N, D].

    Raises:
      ValueError: if `kind` is neither.

    Examples:
      >>> glow_tf.analysis.interpolate(np.array([0.0, 2.0]), np.array([2.0, 0.0]), np.array([0.0, 0.5, 1.0]))
      array([[0., 2.],
             [1., 1.],
             [2., 0.]])
    """
    one_of("kind", kind, KINDS)
    t = np.asarray(fractions, np.float64)[:, np.newaxis]
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    angle = np.arccos(np.clip(a @ b / lengths, -1, 1)) if lengths else 0.0
    # Parallel or opposite latents span no plane to rotate in.
    if kind == "linear" or np.sin(angle) < 1e-6:
        path = lerp(a, b, t)
    else:
        path = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    return path.astype(np.asarray(start).dtype)


def interpolate_images(
    codec: Codec, images: np.ndarray, steps: int = 8, kind: str = "linear", *, labels: np.ndarray | None = None
) -> np.ndarray:
    """Interpolates between consecutive images in latent space.

    Args:
      codec: codec of the model.
      images: [N, H, W, C] uint8, N at least 2.
      steps: steps from one image to the next.
      kind: `linear` or `spherical`.
      labels: [N] int for a conditional model; intermediate images have the label of the nearer end, and those in the
        middle that of the start.

    Returns:
      [(N - 1) * steps + 1, H, W, C] uint8; row i * steps is image i, except for bits that the model drops.

    Raises:
      ValueError: if there are fewer than two images or steps is less than 1.
    """
    if len(images) < 2 or steps < 1:
        raise ValueError(f"A path needs two images and a step; there are {len(images)} images and {steps} steps.")
    z = codec.encode(images, labels)
    fractions = np.arange(steps) / steps
    pieces = [interpolate(a, b, fractions, kind) for a, b in zip(z[:-1], z[1:], strict=True)]
    path = np.concatenate([*pieces, z[-1:]])
    path[::steps] = z
    if labels is None:
        return codec.decode(path)
    piece, step = np.divmod(np.arange(len(path)), steps)
    nearer = np.where(nearer_to_start(step / steps), piece, piece + 1)
    return codec.decode(path, np.asarray(labels)[nearer])
