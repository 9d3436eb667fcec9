"""Training steps of glow_tf in a process of their own, which uses its devices as `python -m glow_tf.main` does.

`python -m tools.updates <arguments of build as JSON>` is a worker, see `tools.peers.worker`.
"""

import json
import sys
from collections.abc import Callable

from glow_tf.config import GRADIENTS
from glow_tf.models import presets
from glow_tf.training.config import TrainingConfig
from glow_tf.training.devices import make_strategy
from glow_tf.training.timing import training_step
from tools.peers.worker import serve


def build(*, K: int, L: int, width: int, image_size: int, batch_size: int) -> dict[str, Callable[[], None]]:
    """For each kind of gradient, as `train, reversible`, a function that makes one update of a model of its own."""
    strategy = make_strategy("mirrored", images=batch_size, width=width)
    functions = {}
    for gradient in GRADIENTS:
        config = presets.glow((image_size, image_size, 3), K, L, width, gradient=gradient)
        _, functions[f"train, {gradient}"] = training_step(config, TrainingConfig(batch_size=batch_size), strategy)
    return functions


if __name__ == "__main__":
    serve(lambda: build(**json.loads(sys.argv[1])))
