"""Lists the images and other files under a folder."""

import collections
import dataclasses
import logging
import os
from collections.abc import Iterable, Mapping

from glow_tf.data import picture_files
from glow_tf.data.names import listed, normalized
from glow_tf.data.source import DataError
from glow_tf.runtime.text import printable

_log = logging.getLogger(__name__)

# Service folders of file systems, network storage, archivers and Python whose names do not begin with a dot.
_SERVICE = frozenset(
    (
        *("@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "recycler"),
        *("system volume information", "lost+found", "__macosx", "__pycache__"),
    )
)
# The files of a model directory.
_OF_A_RUN = frozenset(("config.json", "training.json"))
# Picture file extensions; files with unsupported ones are counted.
_PICTURES = frozenset(
    f".{ending}"
    for ending in (
        "ai arw avif bmp cr2 cr3 crw dcm djvu dng emf eps erf exr gif hdr heic heif hif icns iiq jp2 jpeg jpg jxl jxr "
        "kdc mrw nef nii nrw orf pef png psb psd raf raw rw2 rwl sr2 srf srw svg svgz tif tiff webp wdp wmf x3f xcf"
    ).split()
)


@dataclasses.dataclass(frozen=True)
class Files:
    """Files under a folder.

    Attributes:
      images: relative names, with forward slashes, of all image files, in the order of their normal forms.
      others: number of other files, by extension.
    """

    images: list[str]
    others: Mapping[str, int]

    def unread(self) -> str:
        """Describes the pictures that cannot be read, such as "12 .heic, 3 .cr2"; empty if there are none."""
        return ", ".join(f"{count} {ending}" for ending, count in self.others.items() if ending in _PICTURES)


def list_files(root: str) -> Files:
    """Lists the files in a folder and its sub-folders, except for hidden files and system files.

    A folder that several symbolic links lead to is listed once, under the first of its names, which is logged. Model
    directories are left out, which is logged too: they hold grids of samples, and by default training writes them below
    the working directory, which may be the folder of images.

    Raises:
      DataError: if a folder cannot be listed.
    """
    endings = picture_files.endings()
    found, others, visited, runs = [], collections.Counter(), {}, []
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_not_listed):
        # Symbolic links can form cycles.
        real = os.path.realpath(folder)
        if real in visited:
            _log.warning("%s is left out, as it is the folder %s too", printable(folder), printable(visited[real]))
            subfolders.clear()
            continue
        visited[real] = folder
        if folder != root and _OF_A_RUN.issubset(files):
            runs.append(printable(folder))
            subfolders.clear()
            continue
        # Sorted, as which of several links is followed must not depend on the machine.
        subfolders[:] = sorted(s for s in subfolders if not s.startswith(".") and s.casefold() not in _SERVICE)
        # Computed once per folder, as doing so per file would take half of the start-up time of large folders.
        inside = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if inside == "." else inside + "/"
        for file in files:
            if file.startswith("."):
                continue
            ending = os.path.splitext(file)[1].lower()
            if ending in endings:
                found.append(prefix + file)
            else:
                others[ending] += 1
    if runs:
        _log.warning("Leaving out the model directories in %s: %s", printable(root), listed(sorted(runs)))
    return Files(in_file_order(found), dict(others.most_common()))


def in_file_order(files: Iterable[str]) -> list[str]:
    """Sorts file names, such that a copy on another system has the same order."""
    return sorted(files, key=lambda file: (normalized(file), file))


def _not_listed(error):
    raise DataError(f"{error.filename} cannot be listed: {error.strerror}. Allow it to be read, or move it away.")
