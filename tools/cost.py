"""Matrix products of a flow.

Actnorms, ReLUs, scales, sums and updates are not counted, nor are products that do not depend on images: those of PLU
factors, and responses to the border.
"""

import collections

from glow_tf.arguments import one_of
from glow_tf.config import ModelConfig
from glow_tf.flops import Product

PASSES = ("forward", "stored", "reversible")


def products(config: ModelConfig, batch_size: int, kind: str = "forward") -> collections.Counter[Product]:
    """Counts the matrix products of one pass over a batch.

    Args:
      config: a model whose layers and networks list their products, such as a Glow.
      batch_size: B.
      kind: `forward`, from images to latents, including the dequantization noise, or back, which costs the same but for
        that noise; `stored`, a training step that keeps activations, with two more products for each; or `reversible`,
        a training step that reconstructs them, with one more forward pass of the steps.

    Raises:
      ValueError: for other models and kinds.
    """
    one_of("kind", kind, PASSES)
    counted = collections.Counter()
    parts = [*zip(config.layers, config.shapes()[:-1], strict=True), (config.dequantizer, config.image_shape)]
    for part, shape in parts:
        for product in part.products(shape, batch_size):
            counted[product] += 1 + (kind == "reversible" and part.is_recomputed)
            if kind != "forward":
                counted.update(product.gradients())
    return counted


def flops(counted: collections.Counter[Product]) -> int:
    """Returns the number of floating-point operations of the counted products."""
    return sum(product.flops * number for product, number in counted.items())
