"""Finds the train and test splits of an image folder from the names of its sub-folders."""

import collections
import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence

from glow_tf.data.names import listed, split_of
from glow_tf.data.source import DataError

_log = logging.getLogger(__name__)

# Words in folder names that do not distinguish splits.
_NEUTRAL = frozenset("set split data dataset image images img imgs picture pictures photo photos png jpg jpeg".split())


@dataclasses.dataclass(frozen=True)
class Splits:
    """Files of a folder, by split.

    Attributes:
      train: training files.
      test: test files; None if the folders do not name any, so that some of `train` are to be held out.
      depth: depth of the label folders; None if there are no labels.
    """

    train: Sequence[str]
    test: Sequence[str] | None
    depth: int | None


def find_splits(root: str, files: Sequence[str]) -> Splits:
    """Finds splits by folder names such as `train` and `test`, `Training` and `Testing`, `train2017` and `val2017`.

    They may all be inside a single outer folder. Validation images are the test split if there are no test images, or
    if these lack the labels that the training images have. Unused images, such as unlabelled ones, are logged.

    Args:
      root: the image folder.
      files: relative names of the image files in it, with forward slashes; at least one.

    Raises:
      DataError: if it is uncertain which folders are splits and which are classes.
    """
    level, labels = _Level(root, files, 0), 0
    while level.is_single_folder:
        if _split(*level.folders) == "train":
            labels = level.depth + 1
        level = _Level(root, files, level.depth + 1)
    found = level.splits() or Splits(files, None, labels)
    _refuse_deeper(root, found.train)
    return found


def folder_at(file: str, depth: int) -> str | None:
    """Returns the folder at `depth` in the path of a file; None if the file itself is there."""
    parts = file.split("/", depth + 1)
    return parts[depth] if len(parts) > depth + 1 else None


class _Level:
    """Sibling folders at some depth; `folders` maps each name to its files, and None to the files next to them."""

    def __init__(self, root: str, files: Sequence[str], depth: int):
        self._path = os.path.join(root, *files[0].split("/")[:depth])
        self.depth = depth
        self.folders: dict[str | None, list[str]] = {}
        for file in files:
            self.folders.setdefault(folder_at(file, depth), []).append(file)

    @property
    def is_single_folder(self) -> bool:
        return len(self.folders) == 1 and None not in self.folders

    def splits(self) -> Splits | None:
        """Returns the splits that these folders form, or None if they form none. Raises DataError."""
        families = _families(self.folders)
        complete = [family for family in families.values() if _is_complete(family)]
        if len(complete) > 1:
            raise self._unsure(f"{listed([name for family in complete for name in family['train']])} may all be splits")
        if complete:
            return self._from_family(complete[0])
        plain = families.get((), {})
        tests = plain.get("test", []) + plain.get("validation", [])
        if tests:
            raise self._unsure(f"{' and '.join(tests)} may be to test on, or a class")
        if "train" in plain and None not in self.folders:
            return self._from_train(plain["train"])
        if _is_complete(_merged(families)) and None not in self.folders:
            names = [name for family in families.values() for split in family.values() for name in split]
            if set(names) == set(self.folders):
                raise self._unsure("all are named like splits, but not alike")
        return None

    def _from_family(self, family: Mapping[str, Sequence[str]]) -> Splits:
        """Returns the splits for a family of both training and test folders."""
        splits = [name for names in family.values() for name in names]
        others = [name for name in self.folders if name not in splits and _split(name) != "unlabeled"]
        if others:
            beside = listed(["images beside them" if name is None else name for name in others])
            raise self._unsure(f"{listed(splits)} are named like splits, and there are {beside}")
        for names in (family["train"], family.get("test") or family["validation"]):
            if len(names) > 1:
                raise self._unsure(f"{' and '.join(names)} may be the same split")
        train = family["train"][0]
        test = self._matching_test(train, [*family.get("test", []), *family.get("validation", [])])
        self._log_unused(f"training on {train}, testing on {test}", {train, test})
        depth = self.depth + 1 if len(self._classes(train)) > 1 else None
        return Splits(self.folders[train], self.folders[test], depth)

    def _matching_test(self, train: str, tests: Sequence[str]) -> str:
        """Returns the first test folder that shares a class with the training folder; any does if that has none."""
        classes = self._classes(train)
        for test in tests:
            if len(classes) == 1 or classes & self._classes(test):
                return test
        names = listed(sorted(classes - {None}))
        raise DataError(
            f"{os.path.join(self._path, tests[0])} has none of the classes of {train} ({names}). Put the images to "
            "test on into folders of the same names."
        )

    def _classes(self, name: str) -> set[str | None]:
        return {folder_at(file, self.depth + 1) for file in self.folders[name]}

    def _from_train(self, trains: Sequence[str]) -> Splits | None:
        """Returns the splits for training folders without a test folder."""
        others = [name for name in self.folders if name not in trains and _split(name) != "unlabeled"]
        if len(trains) == 1 and not others:
            self._log_unused(f"training on {trains[0]}", set(trains))
            return Splits(self.folders[trains[0]], None, self.depth + 1)
        # "train" can also be a class: the vehicle.
        is_class = len(others) > 1 and self._classes(trains[0]) == {None}
        if len(trains) > 1 or trains[0].casefold() != "train" or not is_class:
            raise self._unsure(f"{' and '.join(trains)} may be to train on, or a class")
        return None

    def _log_unused(self, used: str, names: set[str]) -> None:
        passed = [f"{name} ({len(files)} images)" for name, files in self.folders.items() if name not in names]
        if passed:
            _log.warning("%s: %s; passing over %s", self._path, used, listed(passed))

    def _unsure(self, why: str) -> DataError:
        return DataError(
            f"it is not certain which folders in {self._path} are splits: {why}. Have one called train and one called "
            "test there, with the classes, if any, inside of each; rename a class that is called like a split, and "
            "move away what is neither."
        )


def _split(name: str | None) -> str | None:
    return None if name is None else split_of(name)[0]


def _families(names: Sequence[str | None]) -> dict[tuple[str, ...], dict[str, list[str]]]:
    """Groups the names that denote a split by their other words, then by split."""
    families = collections.defaultdict(lambda: collections.defaultdict(list))
    for name in names:
        split, rest = (None, ()) if name is None else split_of(name)
        if split is not None:
            families[tuple(word for word in rest if word not in _NEUTRAL)][split].append(name)
    return families


def _merged(families: Mapping[tuple[str, ...], Mapping[str, list[str]]]) -> dict[str, list[str]]:
    return {split: names for family in families.values() for split, names in family.items()}


def _is_complete(family: Mapping[str, Sequence[str]]) -> bool:
    return "train" in family and ("test" in family or "validation" in family)


def _refuse_deeper(root: str, files: Sequence[str]) -> None:
    """Raises DataError if a folder treated as a class contains splits."""
    inside = collections.defaultdict(set)
    for folder in {os.path.dirname(file) for file in files}:
        while folder:
            folder, _, name = folder.rpartition("/")
            inside[folder].add(name)
    for folder, names in sorted(inside.items()):
        complete = [family for family in _families(sorted(names)).values() if _is_complete(family)]
        if complete:
            raise DataError(
                f"{os.path.join(root, folder)} has splits in it ({listed(sorted(names))}), which would be mixed. Set "
                "--data_dir to it, or, if it is a class, put it into a folder train and a folder test instead."
            )
