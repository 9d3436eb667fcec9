"""The matrix products that a Glow cannot do without, and their floating-point operations.

A convolution of a k x k kernel from C_in to C_out channels over N = B * H * W positions is one product: either
[N, k^2 C_in] x [k^2 C_in, C_out], of all neighbourhoods, or [N, C_in] x [C_in, k^2 C_out], whose results are shifted
and added. Both take 2 N k^2 C_in C_out operations, those at the border of the image included, which see zeros. Counted
is the form that moves less memory. What all else takes, actnorms, ReLUs, scales, sums, updates, is not counted, nor are
products that no image enters: matrices from their PLU forms, responses to the border.
"""

import collections
import dataclasses

from glow_tf.config import ModelConfig, Split, Steps

PASSES = ("forward", "stored", "reversible")


@dataclasses.dataclass(frozen=True)
class Product:
    """[rows, inner] x [inner, columns]."""

    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        """Floating-point operations: a multiplication and an addition for each of rows * inner * columns terms."""
        return 2 * self.rows * self.inner * self.columns

    def gradients(self) -> tuple["Product", "Product"]:
        """The products that give the gradients with respect to the two factors."""
        return Product(self.rows, self.columns, self.inner), Product(self.inner, self.rows, self.columns)


def products(config: ModelConfig, batch_size: int, kind: str = "forward") -> collections.Counter[Product]:
    """The matrix products of one pass over a batch, with their numbers.

    Args:
      config: a Glow: its coupling networks are `cnn`s.
      batch_size: B.
      kind: `forward`: from images to latents, or back, which takes the same; `stored`: a training step that keeps
        activations, with two more products for each; `reversible`: one that rebuilds them, which takes the forward
        pass of the steps once more.

    Raises:
      ValueError: for other models and kinds.
    """
    if kind not in PASSES:
        raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, PASSES))}.")
    counted = collections.Counter()
    for layer, shape in zip(config.layers, config.shapes()[:-1], strict=True):
        if isinstance(layer, Steps):
            if layer.network != "cnn" or layer.mask != "channel":
                raise ValueError(f"The products of a {config.name} are not known; they are of a glow.")
            found, depth, forward = _step(layer, shape, batch_size), layer.depth, 1 + (kind == "reversible")
        elif isinstance(layer, Split) and layer.learned:
            found, depth, forward = [_convolution(shape, batch_size, 3, shape[-1] // 2, shape[-1])], 1, 1
        else:
            continue
        for product in found:
            counted[product] += depth * forward
            if kind != "forward":
                counted.update({gradient: depth for gradient in product.gradients()})
    return counted


def flops(counted: collections.Counter[Product]) -> int:
    """The floating-point operations of all of them."""
    return sum(product.flops * number for product, number in counted.items())


def _step(layer: Steps, shape: tuple[int, ...], batch_size: int) -> list[Product]:
    channels = shape[-1]
    inputs = channels // 2
    outputs = inputs if layer.coupling == "additive" else channels
    mixed = [_convolution(shape, batch_size, 1, channels, channels)] if layer.permutation.startswith("conv1x1") else []
    return [
        *mixed,
        _convolution(shape, batch_size, 3, inputs, layer.width),
        _convolution(shape, batch_size, 1, layer.width, layer.width),
        _convolution(shape, batch_size, 3, layer.width, outputs),
    ]


def _convolution(shape: tuple[int, ...], batch_size: int, size: int, inputs: int, outputs: int) -> Product:
    positions = batch_size * shape[0] * shape[1]
    if inputs <= outputs:
        return Product(positions, size**2 * inputs, outputs)
    return Product(positions, inputs, size**2 * outputs)
