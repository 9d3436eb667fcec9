"""Description of this machine: GPU or processor, and software versions."""

import platform
from importlib import metadata

import tensorflow as tf


def describe() -> dict[str, str]:
    """Returns hardware and versions by name, as far as they are known.

    Names are `gpu` (the first one), its `compute_capability`, `cuda` and `cudnn` (the versions that TensorFlow was
    built with), `processor`, `tensorflow`, and `torch` if it is installed.
    """
    found = {}
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        build = tf.sysconfig.get_build_info()
        found["gpu"] = details.get("device_name", "an unnamed GPU")
        if "compute_capability" in details:
            found["compute_capability"] = ".".join(map(str, details["compute_capability"]))
        found.update({name: build[f"{name}_version"] for name in ("cuda", "cudnn") if f"{name}_version" in build})
    found["processor"] = platform.processor() or platform.machine()
    found["tensorflow"] = tf.__version__
    try:
        found["torch"] = metadata.version("torch")
    except metadata.PackageNotFoundError:
        pass
    return found


def sentence(found: dict[str, str]) -> str:
    """Formats a description in one line: "NVIDIA H100 (compute capability 9.0), TensorFlow 2.21.0, CUDA 12.5.1"."""
    titles = {"tensorflow": "TensorFlow", "torch": "PyTorch", "cuda": "CUDA", "cudnn": "cuDNN"}
    capability = f" (compute capability {found['compute_capability']})" if "compute_capability" in found else ""
    device = f"{found['gpu']}{capability}" if "gpu" in found else found["processor"]
    return ", ".join([device, *(f"{title} {found[name]}" for name, title in titles.items() if name in found)])
