"""Choice of the images whose labels are used where most are not."""

import itertools

import numpy as np

from glow_tf.data.source import DataError, Source


def labelled_rows(source: Source, labels_per_class: int, seed: int) -> np.ndarray:
    """Chooses as many training images of each class, at random.

    Of each class it is the first images, in an order that seed and class determine, that can be read: those for n are
    among those for n + 1.

    Args:
        source: the data, with labels.
        labels_per_class: number of images of each class, at least 1.
        seed: of the choice, at least 0.

    Returns:
        Rows of the train split, rising: int [labels_per_class * num_classes].

    Raises:
        DataError: if there are no labels, or fewer images of a class.
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
