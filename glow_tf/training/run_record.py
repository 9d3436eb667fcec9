"""Record of a run: the commands that started it, versions and devices, and the flagfile that repeats it."""

import dataclasses
import datetime
import json
import pathlib
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf.config import ModelConfig
from glow_tf.models import storage
from glow_tf.runtime import json_files, text
from glow_tf.runtime.files import atomic_write
from glow_tf.training import model_directory
from glow_tf.training.devices import STRATEGY_FLAGS, strategy_flags
from glow_tf.version import __version__

RUN_FILE = "run.json"
FLAGFILE = "run.flags"
# Size limit of `run.json`; a start takes about 500 bytes.
_MOST_BYTES = 2**26
_HEADER = """\
# Every setting of the run in {name} that is not a default. To repeat it elsewhere:
#   glow train --flagfile={name}/{file} --model_dir=...
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """The start or continuation of a run by a process.

    Attributes:
      command: the command line that was typed.
      flags: flags of `glow train`, as in `model_directory.Run`.
      flagfile: lines of the flagfile that repeats the run; empty if no flags describe it.
    """

    command: str
    flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    flagfile: Sequence[str] = ()

    @classmethod
    def of_program(cls, directory: pathlib.Path, config: ModelConfig, strategy: tf.distribute.Strategy) -> "Start":
        """Returns the start of a program other than `glow train`.

        The recorded flags are kept, except for those of the devices and, if they do not describe the model any more,
        `model`.
        """
        left_out = set(STRATEGY_FLAGS)
        if (directory / storage.CONFIG_FILE).exists() and storage.load_config(directory) != config:
            left_out.add("model")
        kept = {name: value for name, value in model_directory.flags(directory).items() if name not in left_out}
        return cls(command=shlex.join(sys.orig_argv), flags=kept | strategy_flags(strategy))


class RunRecord:
    """Writes `run.json`, a list of the starts of a run, and the flagfile.

    Each start has its `command`, the time at which it was `begun`, the steps between which it ran, `from_step` and
    `to_step`, its duration in `seconds`, its `devices` and number of `replicas`, and the `versions` of the software.

    Args:
      directory: the model directory.
      start: this start.
      strategy: the devices.

    Attributes:
      starts: all starts of the run, with this one as the last.
    """

    def __init__(self, directory: pathlib.Path, start: Start, strategy: tf.distribute.Strategy):
        self._directory, self._start, self._strategy = directory, start, strategy
        self._begun = time.monotonic()
        self._at = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self.starts: list[dict[str, Any]] = []

    def begin(self, step: int) -> None:
        """Adds this start, at `step`, to the earlier ones; a new run, at step 0, has none."""
        start = {
            "command": text.printable(self._start.command),
            "begun": self._at,
            "from_step": step,
            "to_step": step,
            "seconds": 0.0,
            "devices": device_name(),
            "replicas": self._strategy.num_replicas_in_sync,
            "versions": versions(),
        }
        self.starts = [*(self._before() if step else ()), start]
        if self._start.flagfile:
            lines = "".join(f"{line}\n" for line in self._start.flagfile)
            header = _HEADER.format(name=shlex.quote(text.printable(self._directory.resolve().name)), file=FLAGFILE)
            with atomic_write(self._directory / FLAGFILE) as temporary:
                # File names are bytes, and flagfiles are read as such.
                temporary.write_bytes((header + lines).encode("utf-8", "surrogateescape"))
        else:
            # That of an earlier start does not repeat the run any more.
            (self._directory / FLAGFILE).unlink(missing_ok=True)
        self.reached(step)

    def reached(self, step: int) -> None:
        """Records the step that this start has reached, and its duration so far."""
        self.starts[-1] |= {"to_step": step, "seconds": round(time.monotonic() - self._begun, 1)}
        with atomic_write(self._directory / RUN_FILE) as temporary:
            text.write(temporary, json.dumps({"starts": self.starts}, indent=2) + "\n")

    def _before(self) -> list[dict[str, Any]]:
        try:
            starts = json_files.read_object(self._directory / RUN_FILE, _MOST_BYTES).get("starts")
        except (FileNotFoundError, ValueError):
            # The file is only a record that nothing depends on; older versions wrote none.
            return []
        kinds = {"command": str, "begun": str, "from_step": int, "to_step": int, "seconds": int | float}
        kinds |= {"devices": str, "replicas": int, "versions": dict}
        return [start for start in starts if _has(start, kinds)] if isinstance(starts, list) else []


def versions() -> dict[str, str]:
    """Returns the versions of the software that computes a run, by name."""
    return {
        "glow_tf": __version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "tensorflow_probability": tfp.__version__,
        "numpy": np.__version__,
    }


def device_name() -> str:
    """Returns the name of the first GPU of this machine, or else of its processor."""
    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()


def _has(start: Any, kinds: Mapping[str, Any]) -> bool:
    return isinstance(start, dict) and all(isinstance(start.get(name), kind) for name, kind in kinds.items())
