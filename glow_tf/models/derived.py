"""Cache of tensors derived from the weights, recomputed when the weights change."""

from typing import Any

import tensorflow as tf

from glow_tf import parameters
from glow_tf.models import variables
from glow_tf.models.flow import Flow


class DerivedCache(tf.Module):
    """Cache of the tensors that layers derive from their weights: the inverses of 1x1 convolutions.

    An inverse takes two triangular solves of C x C matrices per step, or a matrix inversion for dense weights, which
    repeated calls with the same weights can skip. Each call compares the weights with those that the tensors were
    computed from, and recomputes the tensors if an optimizer or a checkpoint has changed the weights.

    Args:
      flow: the model.
    """

    def __init__(self, flow: Flow):
        super().__init__(name="derived")
        self._flow = flow
        self._cached = {}
        for i, (layer, _, tensors) in enumerate(flow.iter_layers()):
            with flow.runtime.scope():
                derived, sources = layer.derived(tensors)
            if derived:
                self._cached[variables.layer_name(i, layer)] = _Cached(derived, sources)

    def __call__(self) -> dict[int, dict[str, Any]]:
        """Returns the derived tensors of each layer that has any, keyed by layer index, as for `Flow.bijector`."""
        found = {}
        for i, (layer, _, tensors) in enumerate(self._flow.iter_layers()):
            cached = self._cached.get(variables.layer_name(i, layer))
            if cached is not None:
                with self._flow.runtime.scope():
                    found[i] = cached(layer, tensors)
        return found


class _Cached(tf.Module):
    """Cache of one layer: the derived tensors, and a copy of the weights that they were computed from."""

    def __init__(self, derived: parameters.Nest, sources: parameters.Nest):
        super().__init__()
        trained = {path: v for path, v in parameters.flatten_nest(sources) if v.trainable}
        self.cached_weights = {
            path: tf.Variable(v, trainable=False, name=f"cached_weights/{path}") for path, v in trained.items()
        }
        self.derived = {
            path: tf.Variable(v, trainable=False, name=path.rpartition("/")[2])
            for path, v in parameters.flatten_nest(derived)
        }

    def __call__(self, layer: Any, tensors: parameters.Nest) -> dict[str, Any]:
        named = dict(parameters.flatten_nest(tensors))
        current = {path: tf.convert_to_tensor(named[path]) for path in self.cached_weights}
        same = tf.reduce_all([tf.reduce_all(value == self.cached_weights[path]) for path, value in current.items()])

        def compute():
            values = dict(parameters.flatten_nest(layer.derived(tensors)[0]))
            # The copies of the weights are assigned last, so that a concurrent call that finds them equal to the
            # weights also finds the matching tensors.
            with tf.control_dependencies([self.derived[path].assign(value) for path, value in values.items()]):
                copies = [self.cached_weights[path].assign(value) for path, value in current.items()]
            with tf.control_dependencies(copies):
                return [tf.identity(values[path]) for path in self.derived]

        values = tf.cond(same, lambda: [tf.identity(v) for v in self.derived.values()], compute)
        return parameters.unflatten_nest(dict(zip(self.derived, map(tf.stop_gradient, values), strict=True)))
