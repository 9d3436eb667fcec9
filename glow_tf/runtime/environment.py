"""Set-up of a program before it imports TensorFlow."""

import os
import pathlib
import sys
from types import ModuleType

from glow_tf.runtime import quiet, text


def prepare() -> None:
    """Sets TensorFlow's environment variables, silences its start-up, and makes file names printable in any locale.

    Programs call it before anything imports TensorFlow; child processes inherit the variables. Values set by the user
    are kept:

    - TF_CPP_MIN_LOG_LEVEL: hides the messages of TensorFlow's C++ code, whose errors are also raised as exceptions. 0
      and 1 show all of them.
    - TF_FORCE_GPU_ALLOW_GROWTH: allocates GPU memory as needed instead of all of it.
    """
    text.print_everything()
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if level not in ("0", "1"):
        quiet.quiet_import("tensorflow", _look_for_gpus)


def _look_for_gpus(tensorflow: ModuleType) -> None:
    # CUDA writes its messages when the devices are first listed, which does not initialise them.
    seen = tensorflow.config.list_physical_devices("GPU")
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES", "0") not in ("", "-1")
    if not seen and wanted and any(pathlib.Path("/proc/driver/nvidia/gpus").glob("*")):
        print("TensorFlow cannot use the GPU of this machine; TF_CPP_MIN_LOG_LEVEL=0 shows why.", file=sys.stderr)
