"""The model that all peers build."""

import dataclasses

TEMPERATURE = 0.7
# Without a warm-up, a higher one would lead some peers astray: what is timed should be a model that learns.
LEARNING_RATE = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """The size of a Glow for square colour images, and of the work on it.

    Attributes:
      K: steps of each level.
      L: levels.
      width: hidden channels of the coupling networks.
      image_size: side of the images, a multiple of 2^L.
      batch_size: images at once.
      threads: that compute.
      device: `cpu`, or `cuda` for the first GPU.
      precision: in which a GPU multiplies: `float32`, `tf32`, which is what packages do by themselves or with one
        setting, or, where the peer has that, `bfloat16` in the coupling networks.
    """

    K: int
    L: int
    width: int
    image_size: int
    batch_size: int
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
        """Numbers of an image."""
        return 3 * self.image_size**2
