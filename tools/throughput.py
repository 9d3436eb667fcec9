"""Throughput of a flow, and of the matrix products in it."""

import collections
import contextlib
import dataclasses
import functools
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from glow_tf.analysis.likelihood import Scorer
from glow_tf.analysis.sampling import Sampler
from glow_tf.arguments import one_of
from glow_tf.config import ModelConfig
from glow_tf.data import load_source, pipeline_rate, train_batches
from glow_tf.flops import Product
from glow_tf.mode import NETWORK_PRECISIONS
from glow_tf.models.flow import Flow
from glow_tf.models.labels import cycle_labels
from glow_tf.models.presets import nice
from glow_tf.runtime.devices import has_gpu
from glow_tf.runtime.runtime import Runtime
from glow_tf.training.batches import dequantized

# A product and its precision, one of `NETWORK_PRECISIONS`.
Precise = tuple[Product, str]

# Approximate duration of a loop of products, long enough for its launch and the wait for its end to be negligible; and
# the smallest and largest number of products in it.
_LOOP_SECONDS, _FEWEST_PRODUCTS, _MOST_PRODUCTS = 0.02, 3, 10_000
_FILES = 64


@dataclasses.dataclass(frozen=True)
class Timing:
    """Time that a function takes.

    Attributes:
      first: seconds of the first call.
      seconds: median seconds of later calls.
    """

    first: float
    seconds: float

    @property
    def compile(self) -> float:
        """Additional seconds of the first call, which traces and compiles."""
        return max(0.0, self.first - self.seconds)


def passes(config: ModelConfig, batch_size: int, runtime: Runtime | None = None) -> dict[str, Callable[[], np.ndarray]]:
    """Returns the passes of a model other than training, on the first device; each returns its result when done.

    Args:
      config: the model; its weights are random.
      batch_size: images per batch, which is placed on the device in advance.
      runtime: device and precision settings; the best available device by default.

    Returns:
      Functions by name: `likelihood`, bits/dim of a batch of images, and `sample`, a batch of images from the model.
    """
    flow = Flow(config, runtime=runtime)
    images = np.random.default_rng(0).integers(0, 256, [batch_size, *config.image_shape], np.uint8)
    batch = {"images": tf.constant(images), "labels": cycle_labels(batch_size, max(1, config.num_classes))}
    scorer, sampler = Scorer(flow), Sampler(flow, batch_size, temperature=0.7, batch_size=batch_size)
    return {"likelihood": lambda: scorer([batch]).bits_per_dim, "sample": sampler}


def alternate(functions: Mapping[Hashable, Callable[[], object]], repeats: int) -> dict[Hashable, Timing]:
    """Times functions in turn, so that other load on the machine slows them all.

    Args:
      functions: functions by name, which return when their work is done. Each is called once before, to be compiled.
      repeats: number of rounds.
    """
    first = {name: _seconds(function) for name, function in functions.items()}
    later: dict[Hashable, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            later[name].append(_seconds(function))
    return {name: Timing(first[name], statistics.median(values)) for name, values in later.items()}


def alternate_with_products(
    functions: Mapping[Hashable, Callable[[], object]], products: Iterable[Precise], repeats: int
) -> tuple[dict[Hashable, Timing], dict[Precise, float]]:
    """Times functions as `alternate` does and, in the same rounds, matrix products, each alone, on the first device.

    On a GPU, regardless of the process's TF32 flag, `float32` products are computed without TF32 and `tf32` ones with
    it; on a CPU both are the same. TensorFlow takes about 20 us to launch a product, so products that take a GPU less
    time are not measured as faster than that.

    Returns:
      The timing of each function, and the seconds of each product.
    """
    loops = _loops(list(dict.fromkeys(products)))
    runs = {product: run for product, (run, _) in loops.items()}
    found = alternate({**functions, **runs}, repeats)
    seconds = {product: found[product].seconds / times for product, (_, times) in loops.items()}
    return {name: found[name] for name in functions}, seconds


def peak_product() -> Product:
    """Returns a product of peak speed: large enough to keep the device busy, on a CPU small enough for the caches."""
    side = 8192 if has_gpu() else 2048
    return Product(side, side, side)


def bound(counted: collections.Counter[Product], seconds: Mapping[Product, float]) -> float:
    """Returns the seconds that the products take one after the other, each on the whole device."""
    return sum(number * seconds[product] for product, number in counted.items())


def folder_rate(image_size: int, batch_size: int, seconds: float = 2.0) -> float:
    """Measures the images/s that the training input pipeline alone reads from a folder of JPEG files.

    The files contain noise, which is slow to decode, and are a quarter larger than the images; they are cropped,
    flipped and dequantized as for training.
    """
    rng = np.random.default_rng(0)
    side = max(image_size + 1, 5 * image_size // 4)
    with tempfile.TemporaryDirectory() as directory:
        for i in range(_FILES):
            noise = rng.integers(0, 256, [side, side, 3], np.uint8)
            tf.io.write_file(f"{directory}/{i:03d}.jpg", tf.io.encode_jpeg(noise))
        source = load_source("folder", directory, image_size=image_size)
        batches = dequantized(train_batches(source, batch_size, seed=0, flip=True), nice(source.image_shape), seed=0)
        return pipeline_rate(batches.prefetch(tf.data.AUTOTUNE), seconds)


def _seconds(function: Callable[[], object]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def _loops(products: Sequence[Precise]) -> dict[Precise, tuple[Callable[[], None], int]]:
    """Returns for each product a function that repeats it often enough to hide the call overhead, and how often."""
    for _, precision in products:
        one_of("precision", precision, NETWORK_PRECISIONS)
    # All factors are slices of one tensor, as separate ones would fill the memory that others need.
    largest = max((max(p.rows, p.columns) * p.inner for p, _ in products), default=0)
    numbers = tf.constant(np.random.default_rng(0).standard_normal(largest, np.float32))
    tensors = {False: numbers}
    if any(precision == "bfloat16" for _, precision in products):
        tensors[True] = tf.cast(numbers, tf.bfloat16)
    return {(p, precision): _loop(p, tensors[precision == "bfloat16"], precision) for p, precision in products}


def _loop(product: Product, numbers: tf.Tensor, precision: str) -> tuple[Callable[[], None], int]:
    def factor(rows: int, columns: int) -> tf.Tensor:
        return tf.reshape(numbers[: rows * columns], [rows, columns])

    def multiply(times: tf.Tensor) -> tf.Tensor:
        a, b = factor(product.rows, product.inner), factor(product.inner, product.columns)
        # The result is a loop variable, as an unused one would not be computed.
        empty = tf.zeros([product.rows, product.columns], numbers.dtype)
        loop = tf.while_loop(lambda i, _: i < times, lambda i, _: (i + 1, a @ b), (0, empty), parallel_iterations=1)
        return loop[1][0, 0]

    compiled = tf.function(multiply, autograph=False).get_concrete_function(tf.TensorSpec([], tf.int32))

    def run(times: int) -> None:
        with _tf32(precision == "tf32"):
            # Copying the number to the host waits for the device.
            compiled(tf.constant(times)).numpy()

    few = functools.partial(run, _FEWEST_PRODUCTS)
    few()
    times = math.ceil(_FEWEST_PRODUCTS * _LOOP_SECONDS / _seconds(few))
    times = min(max(times, _FEWEST_PRODUCTS), _MOST_PRODUCTS)
    return functools.partial(run, times), times


@contextlib.contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """Sets whether float32 products use TF32, for the whole process; nothing else may compute in it meanwhile."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(allowed)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
