"""What the benchmark times of glow_tf, in a process of its own: it uses its devices as `python -m glow_tf.main` does.

`python -m tools.workloads <arguments of build as JSON>` is a worker, see `tools.peers.worker`.
"""

import functools
import json
import sys
from collections.abc import Callable

import numpy as np

from glow_tf.config import GRADIENTS
from glow_tf.models import presets
from glow_tf.training.benchmark import passes
from glow_tf.training.config import TrainingConfig
from glow_tf.training.devices import make_strategy
from glow_tf.training.timing import training_step
from tools.peers.worker import serve


def build(*, K: int, L: int, width: int, image_size: int, batch_size: int) -> dict[str, Callable[[], float]]:
    """`passes`, and one update each, as `train, reversible` and `train, stored`, of models of their own."""
    strategy = make_strategy("mirrored", images=batch_size, width=width)
    shape = image_size, image_size, 3
    functions = {
        name: functools.partial(_mean_of, function)
        for name, function in passes(presets.glow(shape, K, L, width), batch_size).items()
    }
    for gradient in GRADIENTS:
        config = presets.glow(shape, K, L, width, gradient=gradient)
        _, functions[f"train, {gradient}"] = training_step(config, TrainingConfig(batch_size=batch_size), strategy)
    return functions


def _mean_of(function: Callable[[], np.ndarray]) -> float:
    return float(function().mean())


if __name__ == "__main__":
    serve(lambda: build(**json.loads(sys.argv[1])))
