"""Uploaded files, limited in number and size.

Gradio's own uploads leave behind what broke off, hold form fields of any size in memory, and are not limited in number.
"""

import asyncio
import pathlib
import re
import shutil
import tempfile
from collections.abc import Callable

import anyio
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

# File names may have 255 bytes, and characters up to 4.
_MOST_CHARACTERS = 60


class Uploads:
    """Uploaded files, kept until they are read, or for a while; the oldest ones give way to new ones.

    Args:
      folder: where they are kept.
      deleted: called with the path of each file that has been deleted.
      most_bytes: largest size of all files together.
      most_files: largest number of files.
      keep_s: time for which a file is kept, in seconds.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        deleted: Callable[[str], object],
        most_bytes: int = 1 << 30,
        most_files: int = 4096,
        keep_s: float = 3600.0,
    ):
        self._folder = folder
        self._deleted = deleted
        self._most_bytes = most_bytes
        self._most_files = most_files
        self._keep_s = keep_s
        # Sizes and timers by path, the oldest first.
        self._kept: dict[str, tuple[int, asyncio.TimerHandle]] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._kept

    async def store(self, request: Request) -> str:
        """Stores the file of a form, and returns its path.

        Raises:
          ValueError: if the request is not a form of a single file called `files`.
        """
        refusal = ValueError("An upload is a form with a single file called `files`.")
        # Starlette before 1.3.1 reads other forms without limits.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
            raise refusal
        try:
            # What does not fit in memory is a temporary file without a name, which ends with the request.
            async with request.form(max_files=1, max_fields=0) as form:
                file = form.get("files")
                if not isinstance(file, UploadFile):
                    raise refusal
                path, size = await anyio.to_thread.run_sync(self._write, file)
        except MultiPartException as error:
            raise ValueError(error.message) from error
        timer = asyncio.get_running_loop().call_later(self._keep_s, self.delete, path)
        self._kept[path] = size, timer
        while len(self._kept) > self._most_files or sum(size for size, _ in self._kept.values()) > self._most_bytes:
            self.delete(next(iter(self._kept)))
        return path

    def delete(self, path: str) -> None:
        """Deletes a file, if it is still there."""
        if path in self._kept:
            _, timer = self._kept.pop(path)
            timer.cancel()
            shutil.rmtree(pathlib.Path(path).parent, ignore_errors=True)
            self._deleted(path)

    def _write(self, file: UploadFile) -> tuple[str, int]:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = pathlib.Path(tempfile.mkdtemp(dir=self._folder)) / _name(file.filename or "")
        try:
            with path.open("wb") as stored:
                shutil.copyfileobj(file.file, stored)
                return str(path), stored.tell()
        except BaseException:
            shutil.rmtree(path.parent, ignore_errors=True)
            raise


def _name(given: str) -> str:
    """Returns the name to store a file under: letters, digits and a few other characters of its name."""
    safe = re.sub(r"[^\w., -]", "", re.split(r"[/\\]", given)[-1])
    return safe[-_MOST_CHARACTERS:].lstrip(". ") or "picture"
