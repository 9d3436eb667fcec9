"""What a flow does a second, beside what the matrix products in it would do."""

import collections
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.data import load_source, pipeline_rate, train_batches
from glow_tf.latent.likelihood import Scorer
from glow_tf.latent.sampling import Sampler
from glow_tf.models.cost import Product
from glow_tf.models.flow import Flow
from glow_tf.training.batches import dequantized

# As fast as products get: large enough to keep all cores busy, small enough for the caches.
PEAK = Product(2048, 2048, 2048)
# So many operations that starting a loop of products does not count, and no fewer products than this.
_LOOP_FLOPS, _LEAST_PRODUCTS = 8_000_000_000, 3
_FILES = 64


def passes(config: ModelConfig, batch_size: int) -> dict[str, Callable[[], np.ndarray]]:
    """What a model does without being trained, on the first device; each function returns its result when done.

    Args:
      config: the model, whose weights are random.
      batch_size: images at once.

    Returns:
      `likelihood`: bits/dim of a batch of images, and `sample`: a batch of images from the model.
    """
    flow = Flow(config)
    images = np.random.default_rng(0).integers(0, 256, [batch_size, *config.image_shape], np.uint8)
    batch = {"images": images, "labels": np.arange(batch_size) % max(1, config.num_classes)}
    scorer, sampler = Scorer(flow), Sampler(flow, batch_size, temperature=0.7, batch_size=batch_size)
    return {"likelihood": lambda: scorer([batch]).bits_per_dim, "sample": sampler}


def alternate(functions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The median seconds of each function, called in turn, so that what else slows the machine slows them all.

    Args:
      functions: by name. Each is called once before, to be compiled.
      repeats: rounds.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            begun = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in seconds.items()}


def alternate_with_products(
    functions: Mapping[str, Callable[[], object]], products: Iterable[Product], repeats: int
) -> tuple[dict[str, float], dict[Product, float]]:
    """`alternate`, and in the same rounds matrix products, each alone, in float32, on the first device.

    Returns:
      The seconds of each function, and of each product.
    """
    loops = {product: _loop(product) for product in products}
    runs = {product: run for product, (run, _) in loops.items()}
    found = alternate({**functions, **runs}, repeats)
    return {name: found[name] for name in functions}, {p: found[p] / times for p, (_, times) in loops.items()}


def bound(counted: collections.Counter[Product], seconds: Mapping[Product, float]) -> float:
    """Seconds that the products take one after the other, each on all cores."""
    return sum(number * seconds[product] for product, number in counted.items())


def folder_rate(image_size: int, batch_size: int, seconds: float = 2.0) -> float:
    """Images/s that the input pipeline of training reads off a folder of JPEG files, by itself.

    The files hold noise, which no decoder is fast on, a quarter larger than the images; they are cut, mirrored and
    dequantized as for training.
    """
    rng = np.random.default_rng(0)
    side = max(image_size + 1, 5 * image_size // 4)
    with tempfile.TemporaryDirectory() as directory:
        for i in range(_FILES):
            noise = rng.integers(0, 256, [side, side, 3], np.uint8)
            tf.io.write_file(f"{directory}/{i:03d}.jpg", tf.io.encode_jpeg(noise))
        source = load_source("folder", directory, image_size=image_size)
        batches = dequantized(train_batches(source, batch_size, seed=0, flip=True), n_bits=8, seed=0)
        return pipeline_rate(batches.prefetch(tf.data.AUTOTUNE), seconds)


def _loop(product: Product) -> tuple[Callable[[], None], int]:
    """A function that computes a product so often that calling it does not count, and how often that is."""
    rng = np.random.default_rng(0)
    a = tf.constant(rng.standard_normal([product.rows, product.inner]), tf.float32)
    b = tf.constant(rng.standard_normal([product.inner, product.columns]), tf.float32)
    times = int(np.clip(_LOOP_FLOPS // product.flops, _LEAST_PRODUCTS, 1000))

    def multiply():
        # The result is carried along: what nobody reads is not computed.
        empty = tf.zeros([product.rows, product.columns])
        return tf.while_loop(lambda i, _: i < times, lambda i, _: (i + 1, a @ b), (0, empty), parallel_iterations=1)

    compiled = tf.function(multiply, autograph=False).get_concrete_function()

    def run() -> None:
        _, result = compiled()
        result[0, 0].numpy()

    return run, times
