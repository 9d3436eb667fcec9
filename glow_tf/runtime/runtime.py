"""Execution settings of a flow."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from glow_tf.arguments import at_least, one_of
from glow_tf.mode import NETWORK_PRECISIONS
from glow_tf.runtime import devices, sharding
from glow_tf.runtime.cores import cores


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runtime:
    """Execution settings of a flow: device, sharding, compilation and precision.

    Attributes:
      device: kind of device that operations are made for: `CPU`, `GPU` or `TPU`.
      shards: number of shards of a batch that are computed in parallel, each on one CPU core.
      xla: whether XLA compiles computations on whole batches.
      network_precision: precision of the coupling networks in training: `float32` (the flow's dtype), `tf32` or
        `bfloat16`; everything else always has the flow's dtype, see `glow_tf.runtime.products`.
    """

    device: str = "CPU"
    shards: int = 1
    xla: bool = False
    network_precision: str = "float32"

    def __post_init__(self):
        one_of("device", self.device, ("CPU", "GPU", "TPU"))
        at_least("shards", self.shards, 1)
        one_of("network_precision", self.network_precision, NETWORK_PRECISIONS)

    @classmethod
    def detect(
        cls,
        *,
        images: int | None = None,
        width: int | None = None,
        xla: bool | None = None,
        network_precision: str = "float32",
    ) -> "Runtime":
        """Returns the runtime for the devices available to TensorFlow.

        Args:
          images: number of images that are computed at once, if known.
          width: hidden channels of the coupling networks, if known. If both are known, there is neither a GPU nor XLA,
            and computing one shard per core is faster, batches are sharded: each TensorFlow operation is then limited
            to one core, in the whole process. That is possible only before TensorFlow is initialised.
          xla: as the attribute; by default true if there is a GPU.
          network_precision: as the attribute.
        """
        device = devices.best()
        xla = device == "GPU" if xla is None else xla
        # XLA divides each operation among the cores by itself.
        is_sharded = device == "CPU" and not xla and images and width and sharding.enable_cpu_sharding(images, width)
        return cls(
            device=device,
            shards=cores() if is_sharded else 1,
            xla=xla,
            network_precision=network_precision,
        )

    def shards_of(self, images: int) -> int:
        """Returns the number of shards for the gradient of `images` images: 1 with XLA, and at most one per image."""
        return 1 if self.xla else min(self.shards, images)

    def map_batch(self, function: Callable, *nests: Any) -> Any:
        """Applies a function to a batch in shards, or compiled by XLA; see `glow_tf.runtime.sharding.map_shards`."""
        return sharding.map_shards(function, *nests, shards=self.shards, xla=self.xla)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Builds operations for `device`, unless an outer scope sets the kind of device."""
        with devices.made_for(devices.stated() or self.device):
            yield
