"""Fréchet distance between sets of images, in features of a flow or of Inception (Heusel et al. 2017, "FID")."""

import os
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from glow_tf.models import checks
from glow_tf.models.flow import Flow

Features = Callable[[tf.Tensor, tf.Tensor | None], Mapping[str, tf.Tensor]]

INCEPTION_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
INCEPTION_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/{INCEPTION_FILE}"
_INCEPTION_SIZE = 299


class Moments:
    """Running mean and covariance of vectors added in batches, in float64 (Chan et al. 1979).

    Args:
      dimensions: D.

    Attributes:
      count: number of vectors so far.
      mean: [D].
    """

    def __init__(self, dimensions: int):
        self.count = 0
        self.mean = np.zeros([dimensions])
        self._scatter = np.zeros([dimensions, dimensions])

    def show(self, vectors: np.ndarray) -> None:
        """Adds vectors, [B, D]."""
        vectors = np.asarray(vectors, np.float64)
        if not len(vectors):
            return
        centered = vectors - vectors.mean(axis=0)
        step, count = vectors.mean(axis=0) - self.mean, self.count + len(vectors)
        self._scatter += centered.T @ centered + np.outer(step, step) * (self.count * len(vectors) / count)
        self.mean = self.mean + step * (len(vectors) / count)
        self.count = count

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance, [D, D].

        Raises:
          ValueError: if there are fewer than two vectors.
        """
        if self.count < 2:
            raise ValueError(f"A covariance needs at least two images; there are {self.count}.")
        return self._scatter / (self.count - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """Returns the exact squared Fréchet distance between two Gaussians (Dowson & Landau 1982):

      |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2)

    Both square roots are of symmetric matrices and computed from eigenvalues, so that covariances may be singular.

    Raises:
      ValueError: if either has fewer than two vectors, or their dimensions differ.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"Vectors have {a.mean.size} dimensions and {b.mean.size}; a distance needs the same.")
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ b.covariance @ root)
    overlap = np.sqrt(np.maximum(product, 0)).sum()
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return max(0.0, float(((a.mean - b.mean) ** 2).sum() + traces - 2 * overlap))


def bias(covariance: np.ndarray, count: int, other_count: int) -> float:
    """Returns the expected distance between two samples of given sizes from the same Gaussian.

      (1/n + 1/m) (sum_i l_i + 1/2 sum_ij (1 + [i = j]) l_i l_j / (l_i + l_j)),  l the eigenvalues of the covariance

    to first order in 1/n and 1/m, which holds if n and m are much larger than the number of dimensions. The distance
    between samples exceeds that between their distributions by about as much, and must not be compared between samples
    of different sizes.

    Args:
      covariance: [D, D].
      count, other_count: n and m, the sample sizes.
    """
    values = np.maximum(np.linalg.eigvalsh(covariance), 0)
    sums = values[:, np.newaxis] + values
    products = np.outer(values, values) * (1 + np.eye(len(values)))
    ratios = np.divide(products, sums, out=np.zeros_like(sums), where=sums > 0)
    return float((1 / count + 1 / other_count) * (values.sum() + 0.5 * ratios.sum()))


def flow_features(flow: Flow) -> Features:
    """Returns a function that computes the features of a flow's levels: `Flow.features`, averaged over positions.

    The function takes images [B, H, W, C] uint8, and labels [B] for a conditional model or None. For a Glow, it returns
    `level 1` [B, 4 C], `level 2` [B, 8 C] and so on, and `all levels`, their concatenation.
    """

    def level_features(images, labels):
        levels = flow.features(images, labels)
        # Features of a flow that flattens images have no positions.
        levels = [tf.reduce_mean(level, axis=list(range(1, level.shape.rank - 1))) for level in levels]
        named = {f"level {number}": level for number, level in enumerate(levels, 1)}
        return {**named, "all levels": tf.concat(levels, axis=-1)}

    def in_shards(images, labels):
        return flow.runtime.map_batch(level_features, images, labels)

    return tf.function(in_shards, autograph=False, reduce_retracing=True)


def inception_weights() -> str:
    """Returns the path where Keras stores the weights of InceptionV3 without its top, whether or not it exists."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    return os.path.join(home, "models", INCEPTION_FILE)


def inception_features(flow: Flow, weights: str) -> Features:
    """Returns a function that computes the features of keras.applications' InceptionV3, [B, 2048].

    The features are those of its last average pooling. Images are reduced to the flow's bits, see
    `Dequantizer.displayed`, and resized bilinearly to 299x299. The weights are not those of the original FID code, so
    that distances are comparable only with others from this function.

    Args:
      flow: the model of the images.
      weights: file with the weights of InceptionV3 without its top.

    Raises:
      ValueError: if the file cannot be read.
    """
    import keras

    try:
        network = keras.applications.InceptionV3(include_top=False, weights=weights, pooling="avg")
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{weights} holds no weights of InceptionV3 without its top: {error}") from error

    def inception(images, labels):
        images = checks.check_images(flow.config, images)
        values = tf.cast(flow.config.dequantizer.displayed(images), tf.float32) / 127.5 - 1
        values = tf.broadcast_to(values, [*tf.unstack(tf.shape(values)[:3]), 3])
        large = tf.image.resize(values, [_INCEPTION_SIZE, _INCEPTION_SIZE])
        return {"Inception": network(large, training=False)}

    return tf.function(inception, autograph=False, reduce_retracing=True)
