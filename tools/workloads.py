"""Workloads of glow_tf for the benchmark, in a process of its own that uses its device as `glow_tf.main` does.

`python -m tools.workloads <arguments of build as JSON>` is a worker, see `tools.peers.worker`.
"""

import functools
import json
import sys
from collections.abc import Callable, Sequence

import numpy as np

from glow_tf.mode import GRADIENTS
from glow_tf.models import presets
from glow_tf.training.config import TrainingConfig
from glow_tf.training.devices import has_gpu, make_strategy
from tools.peers.worker import serve
from tools.throughput import passes
from tools.timing import peak_memory, training_step


def build(
    *, K: int, L: int, width: int, image_size: int, batch_size: int, network_precisions: Sequence[str] = ("float32",)
) -> dict[str, Callable[[], float | None]]:
    """`passes`, and one update each, of models of their own, as `training_names` calls them; on the first GPU if any.

    Where TensorFlow tells it, `memory` too.
    """
    strategy = make_strategy("mirrored", 1, images=batch_size, width=width)
    shape = image_size, image_size, 3
    functions: dict[str, Callable[[], float | None]] = {
        name: functools.partial(_mean_of, function)
        for name, function in passes(presets.glow(shape, K, L, width), batch_size).items()
    }
    for name, (gradient, precision) in training_names(network_precisions).items():
        config = presets.glow(shape, K, L, width, gradient=gradient)
        training = TrainingConfig(batch_size=batch_size, network_precision=precision, xla=has_gpu())
        _, functions[name] = training_step(config, training, strategy)
    device = strategy.extended.worker_devices[0]
    if peak_memory(device) is not None:
        functions["memory"] = functools.partial(peak_memory, device)
    return functions


def training_names(network_precisions: Sequence[str]) -> dict[str, tuple[str, str]]:
    """For each name of a training workload its gradient and its precision; with float32 alone, names have none."""
    pairs = [(gradient, precision) for precision in network_precisions for gradient in GRADIENTS]
    if list(network_precisions) == ["float32"]:
        return {f"train, {gradient}": (gradient, precision) for gradient, precision in pairs}
    return {f"train, {gradient}, {precision}": (gradient, precision) for gradient, precision in pairs}


def _mean_of(function: Callable[[], np.ndarray]) -> float:
    return float(function().mean())


if __name__ == "__main__":
    serve(lambda: build(**json.loads(sys.argv[1])))
