"""Limits what many threads use together, such as memory."""

import collections
import contextlib
import threading
from collections.abc import Iterator


class Budget:
    """Limits the sizes that are reserved at the same time; first come, first served.

    A single size always has room, even one above the limit.

    Args:
      limit: the limit, which may be changed later.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self._reserved = 0
        self._waiting: collections.deque[object] = collections.deque()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def reserved(self, size: int, timeout_s: float | None = None) -> Iterator[None]:
        """Waits until there is room for `size` and it is this caller's turn, and reserves it for the context.

        Raises:
          TimeoutError: if this takes longer than `timeout_s` seconds.
        """
        turn = object()

        def has_room() -> bool:
            return self._waiting[0] is turn and (not self._reserved or self._reserved + size <= self.limit)

        with self._changed:
            self._waiting.append(turn)
            try:
                if not self._changed.wait_for(has_room, timeout_s):
                    raise TimeoutError(f"there was no room for a size of {size} within {timeout_s} s")
                self._reserved += size
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= size
                self._changed.notify_all()
