"""Limits on picture files in requests, which can be far larger once decoded."""

import contextlib
import io
import time
from collections.abc import Iterator

from glow_tf.data import picture_files
from glow_tf.runtime.budget import Budget
from glow_tf.serving.errors import RequestError
from glow_tf.serving.rest import Request

# Pillow's names for the formats that the graphs decode.
_FORMATS = ("JPEG", "PNG")
# The first bytes of their files; the size of a PNG file is in its first chunk, IHDR, which follows.
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"


class PictureLimit:
    """Limits the pixels of each picture, and of the pictures that are decoded for requests at the same time.

    Args:
      megapixels: the limit, in 10^6 pixels.
    """

    def __init__(self, megapixels: float):
        self._megapixels = megapixels
        self._pixels = Budget(int(megapixels * 1e6))

    @contextlib.contextmanager
    def reserved(self, request: Request, deadline: float) -> Iterator[None]:
        """Reserves room for the largest picture of a request, as graphs decode pictures one after the other.

        Args:
          request: the request.
          deadline: latest start, in seconds on the clock of `time.monotonic`.

        Raises:
          RequestError: if a picture is too large, or the deadline passes.
        """
        largest = self._largest(request)
        with contextlib.ExitStack() as stack:
            if largest:
                try:
                    stack.enter_context(self._pixels.reserved(largest, max(0.0, deadline - time.monotonic())))
                except TimeoutError:
                    raise RequestError("The server was too busy with large pictures to begin in time.", 504) from None
            yield

    def _largest(self, request):
        """Returns the number of pixels of the largest picture, read from the headers. Raises RequestError."""
        largest = 0
        for name, values in request.inputs.items():
            if request.signature.inputs[name].dtype == "string":
                for number, file in enumerate(values.ravel()):
                    largest = max(largest, self._pixels_of(file, f"{name} number {number}, from 0,"))
        return largest

    def _pixels_of(self, file, what):
        try:
            height, width = picture_files.upright_size(io.BytesIO(file), _FORMATS)
        except picture_files.TooLarge as error:
            raise self._too_large(what, "far too many pixels") from error
        except Exception:
            height, width = self._size_if_decoded(file)
        if height * width > self._pixels.limit:
            raise self._too_large(what, f"{height}x{width} pixels, that is {height * width / 1e6:,.1f} million")
        return height * width

    def _size_if_decoded(self, file):
        """Returns the height and width to expect of a file that Pillow refuses, and TensorFlow may yet decode."""
        if file.startswith(_PNG):
            return int.from_bytes(file[20:24], "big"), int.from_bytes(file[16:20], "big")
        # A JPEG file may be of any size; of what is neither, the graph says so.
        return (1, self._pixels.limit) if file.startswith(_JPEG) else (0, 0)

    def _too_large(self, what, pixels):
        return RequestError(f"{what} has {pixels}; the server takes {self._megapixels:g} million (--max_megapixels).")
