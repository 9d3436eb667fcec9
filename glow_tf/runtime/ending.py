"""The end of a program that is interrupted, or whose output is no longer read."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without_traceback() -> Iterator[None]:
    """Ends the program quietly on Ctrl-C, or if the reader of its output, such as `head`, has closed the pipe.

    With `interrupt_on_sigterm`, also on SIGTERM.
    """
    try:
        yield
    except BrokenPipeError:
        raise SystemExit(1) from None
    except KeyboardInterrupt as error:
        # The exit status that a shell reports for a process killed by the signal; Python's own error does not state it.
        number = error.args[0] if error.args else signal.SIGINT
        raise SystemExit(128 + number) from None
    finally:
        _flush()


def interrupt_on_sigterm() -> None:
    """Makes SIGTERM raise KeyboardInterrupt, as Ctrl-C does, so that temporary files are removed."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number, frame):
    raise KeyboardInterrupt(number)


def _flush() -> None:
    """Writes the rest of the output, as errors of Python's own flush on exit cannot be handled."""
    try:
        print(end="", flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"error: {error}", file=sys.stderr)
        # Python would report the error once more on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
