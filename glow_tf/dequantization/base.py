"""Base class of dequantizers."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from glow_tf.arguments import at_least
from glow_tf.description import Description
from glow_tf.flops import Product
from glow_tf.mode import Mode
from glow_tf.parameters import Nest

# Largest noise: more could be rounded into the next bin.
_LARGEST = 1 - 2.0**-10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dequantizer(Description):
    """Adds noise to uint8 images, so that a flow can model them by a density, and removes it again.

    The `n_bits` most significant bits of a channel are its level; noise u in [0, 1) moves it within its bin:

      level           q = floor(image / 2^(8 - n_bits)), one of 2^n_bits
      dequantized     x = (q + u) / 2^n_bits - 1/2,  so that x lies in [-1/2, 1/2)
      bits/dim        (log q(x | image) - log p(x)) / (D log 2)

    The expectation of bits/dim over u is an upper bound on the code length of the discrete image (Theis et al. 2016, "A
    note on the evaluation of generative models"), tight if q(x | image) = p(x | image) (Ho et al. 2019, "Flow++",
    section 3.1).

    A subclass is a frozen dataclass that defines `noise`, and `parameters` if it is learned with the flow:

    ```
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Kumaraswamy(glow_tf.dequantization.Dequantizer):
        def parameters(self, shape, rng):
            return {"log_a": np.zeros(shape[-1])}

        def noise(self, images, tensors, seed, context=None):
            a = tf.exp(tensors["log_a"])
            log_u = tf.math.log1p(-random.uniform_like(images, seed)) / a  # finite, where u is too small for a float
            return self.within_bins(images, tf.exp(log_u), tf.math.log(a) + (a - 1) * log_u)
    ```

    Attributes:
      n_bits: bits of each channel that are modelled, 1 to 8.
      is_recomputed: whether the gradient `reversible` recomputes it.
    """

    kind: ClassVar[str] = "dequantizer"
    is_recomputed: ClassVar[bool] = False

    n_bits: int = 8

    def __post_init__(self):
        at_least("n_bits", self.n_bits, 1)
        if self.n_bits > 8:
            raise ValueError(f"n_bits={self.n_bits!r} must be at most 8: images are uint8.")

    def data_dtype(self, dtype: tf.DType) -> tf.DType:
        """Returns the dtype of the images for a flow of `dtype`."""
        return tf.uint8

    def check(self, shape: tuple[int, ...]) -> None:
        """Checks that events of a shape can be dequantized.

        Raises:
          ValueError: if they cannot; the caller prepends the name of the dequantizer to the message.
        """

    def parameters(self, shape: tuple[int, ...], rng: np.random.Generator) -> Nest:
        """Returns a nest of the parameters of the noise for events of a shape, as `Layer.parameters` does."""
        return {}

    def decays(self, path: str, shape: tuple[int, ...]) -> bool:
        """Returns whether weight decay applies to a parameter; by default, to none.

        Args:
          path: its path in the nest of `parameters`, such as `log_a`.
          shape: its shape.
        """
        return False

    def noise(
        self, images: tf.Tensor, tensors: Nest, seed: tf.Tensor, context: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns dequantized images [B, *shape], and log q(x | image) of each, [B], in nats.

        Args:
          images: [B, *shape], the images as integers from 0 to 255 in the flow's floating-point dtype.
          tensors: nest like that of `parameters`, of tensors or variables.
          seed: int32 or int64, a stateless seed: [2] for the batch, or [B, 2], one per image; to draw with either, see
            `glow_tf.dequantization.random`.
          context: nest of tensors [B, ...] that the flow is conditioned on, or None.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no noise.")

    def noise_in(
        self, mode: Mode, images: tf.Tensor, tensors: Nest, seed: tf.Tensor, context: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes `noise` in a mode, for dequantizers with networks; by default the same as `noise`."""
        return self.noise(images, tensors, seed, context)

    def initialize(
        self, images: tf.Tensor, tensors: Nest, seed: tf.Tensor, context: Any = None
    ) -> tuple[Nest, tuple[tf.Tensor, tf.Tensor]]:
        """Data-dependent initialisation.

        Returns:
          The parameters that it sets, as a subset of the nest, and `noise` with them. By default it sets none.
        """
        return {}, self.noise(images, tensors, seed, context)

    @property
    def is_initialized_from_data(self) -> bool:
        """True if `initialize` sets any parameters. By default, true if a subclass overrides it."""
        return type(self).initialize is not Dequantizer.initialize

    def num_classes_needed(self) -> int:
        """Returns the number of label classes, for {"labels": [B] int32} in the context; 0 if it uses no labels."""
        return 0

    def hidden_channels(self) -> int:
        """Returns the number of hidden channels of its networks, or 1 if it has none."""
        return 1

    def products(self, shape: tuple[int, ...], batch_size: int) -> list[Product]:
        """Returns the matrix products of `noise` for a batch of events of a shape; none by default.

        Raises:
          ValueError: if they are not known.
        """
        return []

    def quantize(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the lower edge of each channel's bin, q / 2^n_bits - 1/2, as in the official code."""
        images = tf.convert_to_tensor(images)
        images = images if images.dtype.is_floating else tf.cast(images, tf.float32)
        if self.n_bits < 8:
            images = tf.floor(images / self.values_per_bin)
        return images / 2**self.n_bits - 0.5

    def within_bins(
        self, images: tf.Tensor, u: tf.Tensor, log_density: tf.Tensor | float | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns what `noise` does, for given noise `u`: [B, *shape] in [0, 1].

        As rounding could move noise above c = 1 - 2^-10 into the next bin, the noise is c u, whose density is 1/c times
        that of u. Uniform noise is min(u, c) instead, the same as in the official code up to c: noise above c is
        moved to c, and bits/dim is an upper bound except for that last 2^-10 of a bin.

        Args:
          images: as for `noise`.
          u: the noise.
          log_density: log-density of each element of `u`, in nats; broadcasts against it. None for uniform noise.
        """
        u = tf.minimum(u, _LARGEST) if log_density is None else _LARGEST * u
        x = self.quantize(images) + u / 2**self.n_bits
        log_scale = self.n_bits * np.log(2) - (0.0 if log_density is None else np.log(_LARGEST))
        # As a single product: a sum over all elements would accumulate rounding errors.
        log_q = tf.fill(tf.shape(x)[:1], tf.constant(np.prod(images.shape[1:]) * log_scale, x.dtype))
        if log_density is not None:
            log_density = tf.convert_to_tensor(log_density, x.dtype)
            log_q += tf.reduce_sum(tf.broadcast_to(log_density, tf.shape(x)), axis=list(range(1, x.shape.rank)))
        return x, log_q

    def center(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the middle of each channel's bin, the point farthest from the other bins."""
        return self.quantize(images) + self.tolerance

    def to_images(self, x: tf.Tensor) -> tf.Tensor:
        """Returns floor((x + 1/2) * 2^n_bits) * 2^(8 - n_bits), clipped to [0, 255], as uint8 (the official code).

        With n_bits < 8, the brightest level is 256 - 2^(8 - n_bits), 248 for 5 bits, and x >= 1/2 gives 255, above that
        level. For images that people look at, use `displayed`.
        """
        levels = tf.floor((x + 0.5) * 2**self.n_bits)
        return tf.cast(tf.clip_by_value(levels * self.values_per_bin, 0, 255), tf.uint8)

    def displayed(self, images: np.ndarray | tf.Tensor) -> np.ndarray | tf.Tensor:
        """Returns images for display, with the levels spread over 0 to 255:

          round(255 q / (2^n_bits - 1)),  q = floor(image / 2^(8 - n_bits))

        White is then 255 for any n_bits, and an image looks like its reconstruction. Levels are preserved: `quantize`
        gives the same for the result. With 8 bits, images are returned unchanged.

        Args:
          images: uint8 of any shape, a NumPy array or a tensor; the result is of the same kind.
        """
        if self.n_bits == 8:
            return images
        top = 2**self.n_bits - 1
        levels = np.arange(256) // self.values_per_bin
        values = ((2 * 255 * levels + top) // (2 * top)).astype(np.uint8)
        return tf.gather(values, tf.cast(images, tf.int32)) if tf.is_tensor(images) else values[np.asarray(images)]

    @property
    def tolerance(self) -> float:
        """Smallest error of `center(images)` for which `to_images` gives another level: 2^-(n_bits + 1)."""
        return 0.5 / 2**self.n_bits

    @property
    def values_per_bin(self) -> int:
        """Number of channel values per bin, 2^(8 - n_bits)."""
        return 2 ** (8 - self.n_bits)
