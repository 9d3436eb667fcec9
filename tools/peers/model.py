"""The model that all peers build."""

import dataclasses

from glow_tf.commands.sizes import Sizes

TEMPERATURE = 0.7
# Without warm-up, some peers diverge at higher rates; the timed model should learn.
LEARNING_RATE = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(Sizes):
    """Sizes of a Glow, and its execution settings.

    Attributes:
      threads: number of threads on the CPU.
      device: `cpu`, or `cuda` for the first GPU.
      precision: precision of products on a GPU: `float32`; `tf32`, which packages use by default or with one setting;
        or, if the peer supports it, `bfloat16` in the coupling networks.
    """

    threads: int
    device: str = "cpu"
    precision: str = "float32"

    def __post_init__(self):
        for name in ("K", "L", "width", "image_size", "batch_size", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r} must be at least 1.")
        if self.image_size % 2**self.L:
            raise ValueError(f"image_size={self.image_size!r} must be a multiple of 2^L = {2**self.L}.")

    @property
    def dimensions(self) -> int:
        """Number of dimensions of an image."""
        return 3 * self.image_size**2
