"""Evaluation of attribute directions by a classifier trained on real images."""

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
      seed: seed of the initial weights and of the shuffling of images.
    """

    def __init__(self, image_shape: tuple[int, int, int], count: int, *, seed: int = 0):
        self._rng = np.random.default_rng(seed)

        def initializer():
            return keras.initializers.HeNormal(seed=int(self._rng.integers(2**31)))

        def convolution(width, strides):
            return keras.layers.Conv2D(
                width, 3, strides, padding="same", activation="relu", kernel_initializer=initializer()
            )

        # Downsamples to about 8x8.
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
        """Predicts the attributes of images [N, H, W, C], as bool [N, A]."""
        return self._network.predict(np.asarray(images, np.float32), batch_size=64, verbose=0) > 0


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Evaluation of one attribute by a classifier: fractions from 0 to 1 unless stated otherwise; NaN without images.

    Attributes:
      accuracy: balanced accuracy of the classifier on held-out real images.
      added: fraction of images without the attribute that are predicted to have it after a move towards it.
      removed: fraction of images with the attribute that are predicted to lack it after a move away from it.
      others_kept: fraction of predictions for the other attributes that the moves leave unchanged.
      change: mean absolute pixel change, from 0 to 255, in the half of the pixels where the mean images with and
        without the attribute differ most.
      change_elsewhere: mean absolute pixel change in the other half.
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
    """Moves images along each attribute direction and classifies the results.

    All images are taken as displayed (`Dequantizer.displayed`), as with fewer than 8 bits they would otherwise differ
    from the moved ones by the rounding of their levels.

    Args:
      codec: codec of the model.
      classifier: classifier trained on other images, as displayed.
      directions: directions of A attributes.
      images: [N, H, W, C] uint8.
      attributes: [N, A]: 1 present, 0 absent, -1 unknown.
      scale: as for `manipulate`; the amounts are 1 and -1.
      labels: [N] int for a conditional model.

    Returns:
      An `Agreement` for each attribute, keyed by name.
    """
    displayed = codec.flow.config.dequantizer.displayed
    images = displayed(images)
    before = classifier(images)
    found = {}
    for i, name in enumerate(directions.names):
        present, absent = attributes[:, i] == 1, attributes[:, i] == 0
        moved = images.copy()
        for amount, rows in ((-1.0, present), (1.0, absent)):
            if rows.any():
                row_labels = None if labels is None else labels[rows]
                decoded = manipulate(codec, images[rows], directions[name], [amount], scale=scale, labels=row_labels)
                moved[rows] = displayed(decoded[:, 0])
        known = present | absent
        after = classifier(moved)
        others = np.arange(len(directions.names)) != i
        change = np.abs(moved[known].astype(np.float32) - images[known]).mean(axis=-1)  # [N, H, W]
        distinctive = np.zeros(images.shape[1:3], bool)
        if present.any() and absent.any():
            means = (images[rows].mean(axis=0, dtype=np.float64) for rows in (present, absent))
            difference = np.abs(np.subtract(*means)).mean(axis=-1)
            distinctive = difference > np.median(difference)
        found[name] = Agreement(
            accuracy=(_mean_or_nan(before[present, i]) + _mean_or_nan(~before[absent, i])) / 2,
            added=_mean_or_nan(after[absent, i]),
            removed=_mean_or_nan(~after[present, i]),
            others_kept=_mean_or_nan((after == before)[known][:, others]),
            change=_mean_or_nan(change[:, distinctive]),
            change_elsewhere=_mean_or_nan(change[:, ~distinctive]),
        )
    return found


def _mean_or_nan(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else float("nan")
