"""Set-up of a program before it imports TensorFlow: environment variables, and the screen."""

import os
import pathlib
import sys
from types import ModuleType

from glow_tf.runtime import quiet, text


def prepare() -> None:
    """Sets what TensorFlow reads from the environment when it is imported, and has it start without noise.

    Names of files are printed in every locale, see `glow_tf.runtime.text`.

    For programs, to be called before anything imports TensorFlow. Processes they start inherit the variables. What the
    user has set stays:

    - TF_CPP_MIN_LOG_LEVEL: no messages of TensorFlow's C++; what is an error comes as an exception as well. At 0 or 1,
      all of them are shown.
    - TF_FORCE_GPU_ALLOW_GROWTH: of a GPU's memory, what is needed is taken, and not all there is.
    """
    text.print_everything()
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if level not in ("0", "1"):
        quiet.quiet_import("tensorflow", _look_for_gpus)


def _look_for_gpus(tensorflow: ModuleType) -> None:
    # The first look at the devices is what makes CUDA write. It does not begin to use them.
    seen = tensorflow.config.list_physical_devices("GPU")
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES", "0") not in ("", "-1")
    if not seen and wanted and any(pathlib.Path("/proc/driver/nvidia/gpus").glob("*")):
        print("TensorFlow cannot use the GPU of this machine; TF_CPP_MIN_LOG_LEVEL=0 shows why.", file=sys.stderr)
