"""Glow in other packages, each in a separate process, to be timed alternately with glow_tf.

  with peers.start(K=8, L=3, width=512, image_size=32, batch_size=16) as (functions, missing):
      functions["normflows"]["train"]()

The peers have the same K, L and width, and compute in float32 on the CPU, with a given number of threads, or in TF32 on
one GPU. Each processes a batch of uint8 noise on the device, which it dequantizes:

  train       one Adamax update of all parameters, from the gradient of bits/dim
  likelihood  bits/dim of the batch, without gradients
  sample      a batch of images at temperature 0.7

The module of each peer lists its other differences from glow_tf.
"""

from tools.peers.model import TEMPERATURE, Model
from tools.peers.processes import (
    PACKAGES,
    REPORTS,
    Functions,
    OutOfMemoryError,
    Worker,
    launch,
    missing,
    start,
    version,
)

__all__ = [
    "PACKAGES",
    "REPORTS",
    "TEMPERATURE",
    "Functions",
    "Model",
    "OutOfMemoryError",
    "Worker",
    "launch",
    "missing",
    "start",
    "version",
]
