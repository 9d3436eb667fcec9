"""Evaluation of attribute directions by a classifier of real images."""

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np

from glow_tf.analysis.attributes import SCALE, Directions, manipulate
from glow_tf.analysis.codec import Codec


class AttributeClassifier:
    """A small convolutional network that predicts the attributes of images.

    Args:
      image_shape: (H, W, C).
      count: A, the number of attributes.
      seed: seed of the initial weights and of the order of images.
    """

    def __init__(self, image_shape: tuple[int, int, int], count: int, *, seed: int = 0):
        self._rng = np.random.default_rng(seed)

        def initializer():
            return keras.initializers.HeNormal(seed=int(self._rng.integers(2**31)))

        def convolution(width, strides):
            return keras.layers.Conv2D(
                width, 3, strides, padding="same", activation="relu", kernel_initializer=initializer()
            )

        # Down to about 8x8.
        halvings = max(1, min(image_shape[:2]).bit_length() - 4)
        layers = [keras.Input(image_shape), keras.layers.Rescaling(1 / 127.5, -1), convolution(32, 1)]
        layers += [convolution(32 * min(4, 2 ** (i + 1)), 2) for i in range(halvings)]
        layers += [
            keras.layers.Flatten(),
            keras.layers.Dense(128, "relu", kernel_initializer=initializer()),
            keras.layers.Dense(count, kernel_initializer=initializer()),
        ]
        self._network = keras.Sequential(layers)
        self._network.compile(
            keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy(from_logits=True), weighted_metrics=[]
        )

    def fit(self, images: np.ndarray, attributes: np.ndarray, *, epochs: int = 30, batch_size: int = 64) -> None:
        """Trains on images [N, H, W, C] uint8 and attributes [N, A]: 1 present, 0 absent, -1 (unknown) as absent."""
        targets = np.asarray(attributes > 0, np.float32)
        for _ in range(epochs):
            order = self._rng.permutation(len(images))
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                self._network.train_on_batch(images[rows].astype(np.float32), targets[rows])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Predicts the attributes of images [N, H, W, C]: bool [N, A]."""
        return self._network.predict(np.asarray(images, np.float32), batch_size=64, verbose=0) > 0


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Predictions of a classifier for one attribute, as fractions from 0 to 1; nan without images to judge.

    Attributes:
      accuracy: balanced accuracy of the classifier on held-out real images.
      added: fraction of the images without the attribute that have it after a move towards it.
      removed: fraction of the images with the attribute that lack it after a move away from it.
      others_kept: fraction of the predictions of all other attributes that the moves do not change.
      change: mean absolute change of pixels, from 0 to 255, in the half of the pixels in which the mean images with and
        without the attribute differ most.
      change_elsewhere: mean absolute change in the other half.
    """

    accuracy: float
    added: float
    removed: float
    others_kept: float
    change: float
    change_elsewhere: float


def agreement(
    codec: Codec,
    classifier: AttributeClassifier,
    directions: Directions,
    images: np.ndarray,
    attributes: np.ndarray,
    *,
    scale: float = SCALE,
    labels: np.ndarray | None = None,
) -> Mapping[str, Agreement]:
    """Moves images along each direction, and classifies the results.

    Args:
      codec: codec of the model.
      classifier: classifier trained on other images.
      directions: directions of A attributes.
      images: [N, H, W, C] uint8.
      attributes: [N, A]: 1 present, 0 absent, -1 unknown.
      scale: as for `manipulate`, with the amounts 1 and -1.
      labels: [N] int for a conditional model.

    Returns:
      Agreement by attribute.
    """
    before = classifier(images)
    found = {}
    for i, name in enumerate(directions.names):
        with_it, without = attributes[:, i] == 1, attributes[:, i] == 0
        moved = images.copy()
        for amount, rows in ((-1.0, with_it), (1.0, without)):
            if rows.any():
                of_rows = None if labels is None else labels[rows]
                moved[rows] = manipulate(codec, images[rows], directions[name], [amount], scale=scale, labels=of_rows)[
                    :, 0
                ]
        known = with_it | without
        after = classifier(moved)
        others = np.arange(len(directions.names)) != i
        pixels = np.abs(moved[known].astype(np.float32) - images[known]).mean(axis=(0, 3))
        difference = np.abs(_mean(images[with_it]) - _mean(images[without])).mean(axis=-1)
        shows = difference > np.median(difference)
        found[name] = Agreement(
            accuracy=(_share(before[with_it, i]) + _share(~before[without, i])) / 2,
            added=_share(after[without, i]),
            removed=_share(~after[with_it, i]),
            others_kept=_share((after == before)[known][:, others]),
            change=_share(pixels[shows]),
            change_elsewhere=_share(pixels[~shows]),
        )
    return found


def _mean(images: np.ndarray) -> np.ndarray:
    return images.mean(axis=0, dtype=np.float64) if len(images) else np.zeros(images.shape[1:])


def _share(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else float("nan")
