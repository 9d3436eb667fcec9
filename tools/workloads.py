"""Workloads of glow_tf for the benchmark, in a separate process that uses devices as `glow_tf.main` does.

`python -m tools.workloads '{"sizes": {...}, "network_precisions": [...]}'` is a worker, see `tools.peers.worker`.
"""

import functools
import json
import sys
from collections.abc import Callable, Sequence

import numpy as np

from glow_tf.commands.sizes import Sizes
from glow_tf.commands.timing import peak_memory, training_step
from glow_tf.mode import GRADIENTS
from glow_tf.runtime.runtime import Runtime
from glow_tf.training.config import TrainingConfig
from glow_tf.training.devices import make_strategy
from tools.peers.worker import serve
from tools.throughput import passes


def build(sizes: Sizes, network_precisions: Sequence[str] = ("float32",)) -> dict[str, Callable[[], float | None]]:
    """Builds the `passes` of a model, and an update for each of `training_names`, each with its own model.

    They use the first GPU if there is one. `memory` is included if TensorFlow reports it.
    """
    runtime = Runtime.detect(images=sizes.batch_size, width=sizes.width)
    strategy = make_strategy("mirrored", 1)
    functions: dict[str, Callable[[], float | None]] = {
        name: functools.partial(_mean_of, function)
        for name, function in passes(sizes.config(), sizes.batch_size, runtime).items()
    }
    for name, (gradient, precision) in training_names(network_precisions).items():
        config = sizes.config(gradient)
        training = TrainingConfig(batch_size=sizes.batch_size, network_precision=precision, xla=runtime.xla)
        _, functions[name] = training_step(config, training, strategy, runtime=runtime)
    device = strategy.extended.worker_devices[0]
    if peak_memory(device) is not None:
        functions["memory"] = functools.partial(peak_memory, device)
    return functions


def training_names(network_precisions: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Returns gradient and precision of the training workloads by name; names omit the precision if all use float32."""
    pairs = [(gradient, precision) for precision in network_precisions for gradient in GRADIENTS]
    if list(network_precisions) == ["float32"]:
        return {f"train, {gradient}": (gradient, precision) for gradient, precision in pairs}
    return {f"train, {gradient}, {precision}": (gradient, precision) for gradient, precision in pairs}


def _mean_of(function: Callable[[], np.ndarray]) -> float:
    return float(function().mean())


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    serve(lambda: build(Sizes(**arguments["sizes"]), arguments["network_precisions"]))
