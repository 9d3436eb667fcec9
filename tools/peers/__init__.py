"""Glow as other packages have it, each in a process of its own, to be timed in turn with this one.

  with peers.start(K=8, L=3, width=512, image_size=32, batch_size=16) as (functions, missing):
      functions["normflows"]["train"]()

The peers have the same K, L and width, and compute on the CPU, in float32, with as many threads as they are told; or on
one GPU, in TF32. Each is fed one batch of noise in uint8, which is on the device and which it dequantizes on the way:

  train       one update by Adamax of all parameters, from the gradient of bits/dim
  likelihood  bits/dim of the batch, without gradients
  sample      a batch of images at temperature 0.7

In what else a peer's model differs from glow_tf's, its module says.
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
