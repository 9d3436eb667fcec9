"""Selection of the labelled images for semi-supervised training."""

import itertools

import numpy as np

from glow_tf.data.source import DataError, Source


def labelled_rows(source: Source, labels_per_class: int, seed: int) -> np.ndarray:
    """Selects the same number of training images from each class, at random.

    These are the first readable images of each class, in an order determined by seed and class, so that the selection
    for n images per class is contained in that for n + 1.

    Args:
      source: the data, with labels.
      labels_per_class: number of images per class, at least 1.
      seed: seed of the selection, at least 0.

    Returns:
      Rows of the train split in ascending order: int [labels_per_class * num_classes].

    Raises:
      DataError: if there are no labels, or a class has too few readable images.
    """
    asked = f"--labels_per_class={labels_per_class}"
    if not source.num_classes:
        raise DataError(f"{asked}: labels are needed, and {source.name} has none.")
    labels = source.row_labels("train")
    chosen = []
    for label in range(source.num_classes):
        rows = np.random.default_rng([seed, label]).permutation(np.flatnonzero(labels == label)).tolist()
        readable = (row for row in rows if source.is_readable("train", row))
        chosen.append(list(itertools.islice(readable, labels_per_class)))
    counts = [len(rows) for rows in chosen]
    least = min(counts)
    if least < labels_per_class:
        name = source.class_names[counts.index(least)]
        way_out = f"Ask for {least} at most, or add" if least else "Add"
        raise DataError(
            f"{asked}: of class {name!r} {source.name} has {least} training image(s). {way_out} images of it."
        )
    return np.sort(np.concatenate(chosen))
