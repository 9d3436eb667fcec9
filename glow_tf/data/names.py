"""Interprets folder, array and class names: the split that a name denotes, and the order of classes."""

import decimal
import re
import unicodedata
from collections.abc import Iterable, Sequence

# Words for each split; "test" takes precedence over "validation".
_SPLITS = {
    "train": "train training trainset traindata trainimages trn trainval",
    "test": "test testing testset testdata testimages tst",
    "validation": "val valid validation valset validset dev devset eval evaluation holdout heldout",
    "unlabeled": "unlabeled unlabelled unsup unsupervised extra",
}
_SPLIT_OF_WORD = {word: split for split, synonyms in _SPLITS.items() for word in synonyms.split()}
_RUN = re.compile(r"[^\W\d_]+|\d+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def normalized(name: str) -> str:
    """Returns a name in Unicode's normal form C, as the same accented name has other characters on macOS."""
    return unicodedata.normalize("NFC", name)


def words(name: str) -> list[str]:
    """Splits a name into words and numbers, in lower case: `X_train`, `trainX` and `Train-2017` have two each."""
    runs = _RUN.findall(re.sub(r"(?i)h([eo])ld[ _-]out", r"h\1ldout", name))
    return [word.casefold() for run in runs for word in (_WORD.findall(run) if run.isascii() else [run])]


def split_of(name: str) -> tuple[str | None, tuple[str, ...]]:
    """Parses a name into the split that it denotes and its other words.

    Returns:
      "train", "test", "validation" or "unlabeled", or None unless exactly one word denotes a split; and the other
      words, without numbers.
    """
    found = words(name)
    splits = [_SPLIT_OF_WORD[word] for word in found if word in _SPLIT_OF_WORD]
    rest = tuple(word for word in found if word not in _SPLIT_OF_WORD and not word.isdecimal())
    return (splits[0] if len(splits) == 1 else None), rest


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Sorts class names into label order: numerically if all are numbers, else as strings."""
    names = sorted(names)
    if all(_NUMBER.fullmatch(name) for name in names):
        names.sort(key=decimal.Decimal)
    return tuple(names)


def listed(names: Sequence[object], most: int = 5) -> str:
    """Formats a list of names, cut off after `most`, such as "a, b, ... (7 in all)"."""
    return ", ".join(map(str, names[:most])) + (f", ... ({len(names)} in all)" if len(names) > most else "")
