"""Internals of TensorFlow, Keras and TensorFlow Probability that the package depends on.

Their next versions may change them: tests/runtime/test_internals.py checks that they exist and behave as expected, and
the upper bounds in pyproject.toml are those of the versions that it was run with. No other module imports from
`tensorflow.python` or `tensorflow_probability.python`, or uses private names of Keras optimizers.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

# Creates the device buffers through which `tf.distribute` hands out batches, and for which it has no options.
from tensorflow.python.data.ops import multi_device_iterator_ops

# Knows whether TensorFlow is initialised.
from tensorflow.python.eager import context

# Describes the operations of TensorFlow, by name.
from tensorflow.python.framework import op_def_registry

# The context in which `tf.saved_model.save` traces functions. Traces belong to a context: functions traced in this one
# are not traced again when they are saved.
from tensorflow.python.saved_model.save_context import save_context

# The cache with which `log_prob` evaluates a bijector once for value and log-det; TFP's FFJORD uses it too.
from tensorflow_probability.python.internal.cache_util import BijectorCacheWithGreedyAttrs

from glow_tf.runtime.pipelines import untuned

__all__ = [
    "BijectorCacheWithGreedyAttrs",
    "OptimizerInternals",
    "is_initialized",
    "is_stateless",
    "save_context",
    "untracked",
    "untuned_device_buffers",
]

_PATCHING = threading.Lock()


def is_initialized() -> bool:
    """Returns whether TensorFlow uses its devices already, so that they can no longer be configured."""
    return context.context()._initialized


def is_stateless(op: str) -> bool:
    """Returns whether an operation of this name always computes the same from the same inputs.

    False for names that are not those of operations, as of functions in a graph that is saved.
    """
    definition = op_def_registry.get(op)
    return definition is not None and not definition.is_stateful


def untracked(module: tf.Module | tf.train.Checkpoint, value: Any) -> Any:
    """Returns `value` such that, as an attribute of `module`, it is neither wrapped nor saved in its checkpoints."""
    return module._no_dependency(value)


@contextlib.contextmanager
def untuned_device_buffers() -> Iterator[None]:
    """Disables `tf.data` autotuning for `tf.distribute` iterators that are created in this context.

    See `glow_tf.runtime.pipelines`. The size of these buffers is fixed anyway.
    """
    with _PATCHING:
        tuned = multi_device_iterator_ops._create_device_dataset
        multi_device_iterator_ops._create_device_dataset = lambda *arguments: untuned(tuned(*arguments))
        try:
            yield
        finally:
            multi_device_iterator_ops._create_device_dataset = tuned


class OptimizerInternals:
    """A mixin for Keras optimizers of the Adam family whose variable updates get whole gradients and decay the weights.

    It must precede `keras.optimizers.Optimizer` in the bases. Keras would otherwise sum the gradients over the replicas
    in `apply`, and decay the weights of all variables at once before the updates.
    """

    @property
    def schedule(self) -> Any:
        """The learning rate or schedule passed to the constructor."""
        return self._learning_rate

    def current_learning_rate(self) -> tf.Tensor:
        """Computes the learning rate of the next update: float32 scalar."""
        return self._get_current_learning_rate()

    def key(self, variable: tf.Variable | keras.Variable) -> Any:
        """Returns a key of a variable for dictionaries, the same for a Keras variable and the one it wraps."""
        return self._var_key(variable)

    def moments(self, variable: tf.Variable) -> tuple[tf.Variable, tf.Variable]:
        """Returns the moving averages of a variable's gradient, and of its square or magnitude."""
        first, second = self._moments_by_variable()
        i = self._get_variable_index(variable)
        return first[i].value, second[i].value

    def is_decayed(self, variable: tf.Variable) -> bool:
        """Returns whether weight decay applies to a variable."""
        return self._use_weight_decay(variable)

    def _moments_by_variable(self) -> tuple[Sequence[keras.Variable], Sequence[keras.Variable]]:
        if isinstance(self, keras.optimizers.Adamax):
            return self._m, self._u
        return self._momentums, self._velocities

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars

    def _apply_weight_decay(self, variables):
        pass
