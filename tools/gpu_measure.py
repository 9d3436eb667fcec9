"""Measures a row of the GPU benchmark in a separate process.

`python -m tools.gpu_measure <kind of row> <arguments of its function as JSON>` is a worker, see `tools.peers.worker`,
with the workload `measure`. Until that is requested, it only imports modules and does not use the GPU, so that it can
start while another process is measured.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from glow_tf.commands.sizes import Sizes
from tools.peers.worker import serve

# Results, such as seconds and bytes, by workload.
Found = dict[str, dict[str, Any]]

_STEPS, _LIMIT_S = 5, 12.0


def products(*, smoke: bool) -> Found:
    """Measures a large matrix product in each precision."""
    from glow_tf.flops import Product
    from glow_tf.mode import NETWORK_PRECISIONS
    from glow_tf.training.devices import make_strategy
    from tools.throughput import alternate_with_products, peak_product

    make_strategy("one_device")
    product = Product(64, 64, 64) if smoke else peak_product()
    _, seconds = alternate_with_products({}, [(product, precision) for precision in NETWORK_PRECISIONS], _STEPS)
    return {
        precision: {"seconds": found, "flops_per_second": product.flops / found, "network_precision": precision}
        for (_, precision), found in seconds.items()
    }


def train(
    sizes: Sizes,
    *,
    gradient: str,
    network_precision: str,
    xla: bool | None = None,
    layout_optimizer: bool = True,
    deterministic: bool = False,
) -> Found:
    """Measures a training step.

    Args:
      sizes: sizes of the model and its batches.
      gradient, network_precision: as for `ModelConfig` and `TrainingConfig`.
      xla: as for `TrainingConfig`; by default only on a GPU.
      layout_optimizer: whether TensorFlow may convert images to NCHW internally.
      deterministic: whether results are bitwise reproducible.
    """
    import tensorflow as tf

    from glow_tf.commands.timing import time_steps
    from glow_tf.runtime.runtime import Runtime
    from glow_tf.training.config import TrainingConfig
    from glow_tf.training.devices import make_strategy

    runtime = Runtime.detect(images=sizes.batch_size, width=sizes.width, xla=xla, network_precision=network_precision)
    strategy = make_strategy("mirrored", 1, deterministic=deterministic)
    if deterministic:
        tf.random.set_seed(0)
    if not layout_optimizer:
        tf.config.optimizer.set_experimental_options({"layout_optimizer": False})
    config = sizes.config(gradient)
    training = TrainingConfig(batch_size=sizes.batch_size, network_precision=network_precision, xla=runtime.xla)
    timing = time_steps(config, training, strategy, runtime=runtime, steps=_STEPS, limit_s=_LIMIT_S)
    found = {
        "seconds": timing.step,
        "compile_seconds": timing.first_step - timing.step,
        "build_seconds": timing.build,
        "peak": timing.peak,
        "first_peak": timing.first_peak,
        "peak_excluding_weights": timing.peak_excluding_weights,
        **_speed(config, sizes.batch_size, gradient, timing.step),
        "network_precision": network_precision,
    }
    return {"train": found}


def passes(sizes: Sizes) -> Found:
    """Measures likelihoods and samples, in float32."""
    from glow_tf.training.devices import make_strategy
    from tools import throughput

    make_strategy("one_device")
    config = sizes.config()
    timings = throughput.alternate(throughput.passes(config, sizes.batch_size), _STEPS)
    return {
        name: {
            "seconds": timing.seconds,
            "compile_seconds": timing.compile,
            **_speed(config, sizes.batch_size, "forward", timing.seconds),
            "network_precision": "float32",
        }
        for name, timing in timings.items()
    }


def _speed(config: Any, batch_size: int, kind: str, seconds: float) -> dict[str, float]:
    from tools import cost

    return {
        "images_per_second": batch_size / seconds,
        "flops_per_second": cost.flops(cost.products(config, batch_size, kind)) / seconds,
    }


def _worker(kind: str, arguments: dict[str, Any]) -> dict[str, Callable[[], Found]]:
    import tensorflow  # noqa: F401
    import tensorflow_probability  # noqa: F401

    import glow_tf.commands.timing  # noqa: F401

    measure = {"products": products, "train": train, "passes": passes}[kind]
    if "sizes" in arguments:
        arguments = {**arguments, "sizes": Sizes(**arguments["sizes"])}
    return {"measure": lambda: measure(**arguments)}


if __name__ == "__main__":
    serve(lambda: _worker(sys.argv[1], json.loads(sys.argv[2])))
