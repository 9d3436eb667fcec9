"""The pictures of a command, as specified by flags: files, or images of the data set."""

import pathlib
from collections.abc import Iterator

import numpy as np
from absl import flags

from glow_tf.commands import common_flags, data_flags, model_flags
from glow_tf.data import Source, load_images, split_batches
from glow_tf.models.flow import Flow
from glow_tf.runtime.text import printable

FLAGS = flags.FLAGS

NAMES = ("images", "indices", "num", "split", "label")


def check() -> None:
    """Raises ValueError if --images is combined with flags of a data set, or --indices with --num."""
    if FLAGS.images:
        common_flags.refuse(
            (*data_flags.OF_DATA_SET, "indices", "num", "split"), "goes with a data set, not with --images."
        )
    elif FLAGS.indices:
        common_flags.refuse(["num"], "is for the first images of a split, not for --indices.")


def load_pictures(flow: Flow, default_num: int) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Loads the pictures specified by --images, --indices or --num.

    Call `check` first.

    Returns:
      images uint8 [N, H, W, C]; labels int32 [N], or None unless the model is conditional; N names.

    Raises:
      ValueError: if there are none, an index is not in the split, or a label is missing.
    """
    label = model_flags.label(flow)
    if FLAGS.images:
        images = load_images(FLAGS.images, flow.config.image_shape, **data_flags.fitting())
        if flow.config.conditional and label is None:
            raise ValueError("This model is conditional: --images need their --label.")
        labels = None if label is None else np.full([len(images)], label, np.int32)
        return images, labels, [printable(pathlib.Path(path).name) for path in FLAGS.images]
    source = data_flags.load_data(flow, with_labels=label is None)
    wanted = [_index(text) for text in FLAGS.indices] if FLAGS.indices else range(FLAGS.num or default_num)
    found = {}
    for i, (image, image_label) in enumerate(_examples(source)):
        if i in wanted:
            found[i] = image, image_label
        if len(found) == len(set(wanted)):
            break
    missing = sorted(set(wanted) - set(found))
    if missing and (FLAGS.indices or not found):
        raise ValueError(f"The {FLAGS.split} split of {source.name} has no image {missing[0]}.")
    wanted = [i for i in wanted if i in found]
    labels = np.array([found[i][1] if label is None else label for i in wanted], np.int32)
    images = np.stack([found[i][0] for i in wanted])
    return images, labels if flow.config.conditional else None, [f"{FLAGS.split} {i}" for i in wanted]


def _examples(source: Source) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for batch in split_batches(source, FLAGS.split, 16).as_numpy_iterator():
        yield from zip(batch["images"], batch["labels"], strict=True)


def _index(text: str) -> int:
    if not text.strip().isdigit():
        raise ValueError(f"--indices={','.join(FLAGS.indices)} must be numbers of images, from 0.")
    return int(text)
