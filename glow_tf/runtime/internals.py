"""Internals of TensorFlow, Keras and TensorFlow Probability that the package depends on.

Their next versions may change it: tests/runtime/test_internals.py shows that it is there and does what is expected, and
the upper bounds in pyproject.toml are the versions for which it was run. No other module imports from
`tensorflow.python` or `tensorflow_probability.python`, or knows private names of Keras's optimizers.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

# Makes the buffers on the devices by which `tf.distribute` hands out batches; it takes no options for them.
from tensorflow.python.data.ops import multi_device_iterator_ops

# The context that `tf.saved_model.save` traces functions in. A trace belongs to its context: what is traced within this
# one is not traced again when it is saved.
from tensorflow.python.saved_model.save_context import save_context

# The cache by which `log_prob` evaluates a bijector once for value and log-det; TFP's FFJORD uses it.
from tensorflow_probability.python.internal.cache_util import BijectorCacheWithGreedyAttrs

from glow_tf.runtime.pipelines import untuned

__all__ = ["BijectorCacheWithGreedyAttrs", "OptimizerInternals", "save_context", "untracked", "untuned_device_buffers"]

_PATCHING = threading.Lock()


def untracked(module: tf.Module, value: Any) -> Any:
    """Returns `value`, which as an attribute of `module` stays as it is and is not part of checkpoints of it."""
    return module._no_dependency(value)


@contextlib.contextmanager
def untuned_device_buffers() -> Iterator[None]:
    """Has iterators of `tf.distribute` that are made in this context do without the tuning of `tf.data`.

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
    """A Keras optimizer of Adam's family whose update of a variable sees the whole gradient, weight decay included.

    To be inherited from before `keras.optimizers.Optimizer`. Keras would add up the gradients of the replicas in
    `apply`, and decay the weights of all variables at once before it.
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
