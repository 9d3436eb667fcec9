"""Entry point of commands: parses flags, and prints errors on one line."""

import inspect
import sys
from collections.abc import Callable

import tensorflow as tf
from absl import app, flags

from glow_tf.commands import common_flags
from glow_tf.data import picture_files
from glow_tf.data.python_calls import cause_of
from glow_tf.runtime import ending
from glow_tf.runtime.errors import first_line, is_out_of_memory
from glow_tf.shared_flags import parse_command_line, show_warnings

FLAGS = flags.FLAGS


def run(main: Callable[..., None]) -> None:
    """Runs a command's `main`; bad input is reported on one line of stderr, with exit code 1.

    A `main` with a parameter is passed the list of positional arguments; for others, any such argument is an error.
    """
    app.run(lambda argv: call(main, argv), flags_parser=parse_command_line)


def call(main: Callable[..., None], argv: list[str]) -> None:
    """Calls a command's `main` after its flags are parsed; `argv` holds the program and the positional arguments."""
    arguments = [argv[1:]] if inspect.signature(main).parameters else []
    if len(argv) > 1 and not arguments:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    show_warnings()
    with ending.without_traceback():
        try:
            common_flags.check_one_model()
            if "max_megapixels" in FLAGS:
                picture_files.limit(FLAGS.max_megapixels)
            main(*arguments)
        except BrokenPipeError:
            raise
        except (ValueError, OSError, MemoryError) as error:
            # Python's own MemoryError has no message.
            print(f"error: {str(error) or first_line(error)}", file=sys.stderr)
            raise SystemExit(1) from error
        except tf.errors.OpError as error:
            # For example a file that is cut off while its images are read.
            cause = cause_of(error)
            if is_out_of_memory(error):
                fewer = "A smaller --batch_size needs" if "batch_size" in FLAGS else "Fewer images at once need"
                cause = f"there is not enough memory: {first_line(error)}. {fewer} less."
            if cause is None:
                raise
            print(f"error: {cause}", file=sys.stderr)
            raise SystemExit(1) from error
