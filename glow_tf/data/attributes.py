"""Binary attributes of images, in addition to their labels."""

import collections
import csv
import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from glow_tf.data import bundled
from glow_tf.data.indexed import IndexedSource
from glow_tf.data.names import listed, normalized
from glow_tf.data.pipeline import split_batches
from glow_tf.data.source import DataError, Source
from glow_tf.runtime import paths
from glow_tf.runtime.text import printable

_PRESENT = frozenset(("1", "1.0", "true", "yes"))
_ABSENT = frozenset(("0", "0.0", "-1", "-1.0", "false", "no"))


@dataclasses.dataclass(frozen=True, eq=False)
class Attributes:
    """Attributes of the images in a split.

    Attributes:
      names: names of the A attributes.
      values: int8 [N, A], in the order of the split: 1 present, 0 absent, -1 unknown.

    Raises:
      DataError: if a name occurs twice.
    """

    names: tuple[str, ...]
    values: np.ndarray

    def __post_init__(self):
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice:
            raise DataError(f"the attribute {twice[0]!r} is named twice; name each once.")

    def only(self, names: Sequence[str]) -> "Attributes":
        """Returns the attributes with these names. Raises DataError if one does not exist."""
        columns = {normalized(name): i for i, name in enumerate(self.names)}
        missing = [name for name in names if normalized(name) not in columns]
        if missing:
            raise DataError(f"there is no attribute {missing[0]!r}; there are {', '.join(self.names)}.")
        return Attributes(tuple(names), self.values[:, [columns[normalized(name)] for name in names]])


def load_attributes(source: Source, split: str, table: str | None = None) -> Attributes:
    """Loads the attributes of a split: from a table if given, else from the data set, else from its labels.

    A data set from TensorFlow Datasets may have an `attributes` feature, as celeb_a does. If labels are used, such as
    the sub-folders of an image folder, each label becomes an attribute. The attributes of the bundled portraits are
    skin tone, gender and kind.

    Args:
      source: the data.
      split: "train" or "test".
      table: a UTF-8 file of comma- or whitespace-separated values, one line per image: its name, then for each
        attribute 1 (present), 0 or -1 (absent), or an empty value (unknown). Names are those of the files in the
        folder or data set, with or without their sub-folders, else numbers from 0. A header line names the
        attributes, as in `list_attr_celeba.txt`.

    Raises:
      DataError: if there are no attributes, or the table does not match the images.
    """
    if table is not None:
        return _from_table(table, source.row_names(split))
    if source.name == bundled.NAME:
        return _from_people(split)
    found = source.attributes(split)
    if found:
        return Attributes(tuple(found), np.stack(list(found.values()), axis=1).astype(np.int8))
    if source.num_classes < 2:
        raise DataError(f"{source.name} has neither attributes nor labels; give a table of them (--table).")
    return Attributes(tuple(map(printable, source.class_names)), _one_hot(source.row_labels(split), source.num_classes))


def attributed_batches(
    source: Source,
    split: str,
    batch_size: int,
    attributes: Attributes,
    limit: int | None = None,
    *,
    spaced: bool = False,
) -> Iterator[Mapping[str, np.ndarray]]:
    """Iterates over a split once, with the attributes of its images.

    Yields:
      The batches of `batches_with_rows`, with "attributes": int8 [B, A].
    """
    for batch in batches_with_rows(source, split, batch_size, limit, spaced=spaced):
        yield {**batch, "attributes": attributes.values[batch["rows"]]}


def batches_with_rows(
    source: Source, split: str, batch_size: int, limit: int | None = None, *, spaced: bool = False
) -> Iterator[Mapping[str, np.ndarray]]:
    """Iterates like `split_batches`, adding each image's row in the split; unreadable images leave gaps in the rows.

    Yields:
      {"images": uint8 [B, H, W, C], "labels": int32 [B], "rows": int [B]}; rows index `Source.row_names`.
    """
    by_row = source.by_row() if isinstance(source, IndexedSource) else None
    labels = source.row_labels(split) if by_row and source.num_classes else None
    seen = 0
    for batch in split_batches(by_row or source, split, batch_size, limit, spaced=spaced).as_numpy_iterator():
        count = len(batch["images"])
        rows = batch["labels"] if by_row else np.arange(seen, seen + count)
        if by_row:
            batch = {**batch, "labels": np.zeros([count], np.int32) if labels is None else labels[rows]}
        seen += count
        yield {**batch, "rows": rows}


def _from_people(split: str) -> Attributes:
    known = bundled.people_attributes(split)
    tones = _one_hot(known["labels"], len(known["class_names"]))
    groups = _one_hot(known["group"], len(known["group_names"]))
    genders = np.stack([known["gender"] == name for name in ("man", "woman")], axis=1).astype(np.int8)
    names = (*known["class_names"], "man", "woman", *known["group_names"])
    values = np.concatenate([tones, genders, groups], axis=1)
    return Attributes(tuple(str(name) for name in names), values)


def _one_hot(labels: np.ndarray, count: int) -> np.ndarray:
    return (np.asarray(labels)[:, np.newaxis] == np.arange(count)).astype(np.int8)


def _from_table(path: str, row_names: Sequence[str]) -> Attributes:
    path = paths.local(path, "--table")
    if not os.path.isfile(path):
        raise DataError(f"--table={path} is not a file.")
    lines = _lines(path)
    if lines and re.fullmatch(r"\d+", lines[0].strip()):
        # CelebA's files begin with the number of images.
        lines = lines[1:]
    try:
        rows = list(csv.reader(lines)) if lines and "," in lines[0] else [line.split() for line in lines]
    except csv.Error as error:
        raise DataError(f"--table={path} is not a table of comma-separated values: {error}.") from error
    if len(rows) < 2 or len(rows[1]) < 2:
        raise DataError(f"--table={path} needs a line of names and a line for each image: its name, then 1, 0 or -1.")
    # The header may have a name for the column of names.
    names = tuple(name.strip() for name in rows[0][len(rows[0]) == len(rows[1]) :])
    if len(names) != len(rows[1]) - 1:
        raise DataError(
            f"--table={path}: the header has {len(rows[0])} columns, and the line of {rows[1][0]} has {len(rows[1])}; "
            "name each column of values, and no others."
        )
    if not all(names):
        raise DataError(f"--table={path}: a column of values has no name in the header; name it, or remove it.")
    values = {}
    for row in rows[1:]:
        if len(row) != len(names) + 1:
            raise DataError(f"--table={path}: {row[0]} has {len(row) - 1} values for {len(names)} attributes.")
        name = normalized(row[0].strip())
        if name in values:
            raise DataError(f"--table={path} has two lines for {name}; keep one of them.")
        values[name] = [_value(path, name, cell) for cell in row[1:]]
    unknown = [-1] * len(names)
    images = [normalized(printable(name)) for name in row_names]
    # Matched by the full name, else by the name without its folders.
    fitting = collections.defaultdict(list)
    for name in images:
        if name not in values:
            fitting[name.rpartition("/")[2]].append(name)
    without_folders = {name: values[name] for name in values.keys() - set(images)}
    for name in without_folders:
        if len(fitting[name]) > 1:
            raise DataError(f"--table={path}: {name} fits {listed(fitting[name])}; name these with their folders.")
    found = [values.get(name) or without_folders.get(name.rpartition("/")[2]) for name in images]
    if not any(found):
        example = next(iter(row_names), "")
        raise DataError(
            f"--table={path} names none of the images: it begins with {rows[1][0]!r}, the images with {example!r}."
        )
    return Attributes(names, np.array([row or unknown for row in found], np.int8))


def _lines(path: str) -> list[str]:
    """Returns the non-blank lines of a text file."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [line for line in file if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(
            f"--table={path} is not UTF-8: byte {error.object[error.start]:#04x} is not a character. Convert it, by "
            "`iconv -f latin1 -t utf-8` if it is Latin-1."
        ) from error
    if any("\0" in line for line in lines):
        raise DataError(f"--table={path} is not text in UTF-8: it has NUL characters. Export it as CSV in UTF-8.")
    return lines


def _value(path: str, name: str, cell: str) -> int:
    cell = cell.strip().lower()
    if cell in _PRESENT:
        return 1
    if cell in _ABSENT:
        return 0
    if not cell:
        return -1
    raise DataError(f"--table={path}: {name} has the value {cell!r}; values are 1, or 0 or -1, or nothing.")
