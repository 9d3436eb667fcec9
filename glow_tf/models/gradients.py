"""Gradients of a batch in parts: sequentially to save memory, or in parallel on the cores of a CPU."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

# Maps a part of a batch, and the index of the part, to the terms of the loss, summed over the part.
Objective = Callable[[Any, tf.Tensor], Mapping[str, tf.Tensor]]


def gradients_in_parts(
    objective: Objective,
    variables: list[tf.Variable],
    batch: Any,
    terms: Sequence[str],
    *,
    sequential: int = 1,
    parallel: int = 1,
) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
    """Computes the gradients of a sum over a batch as the sum of those of its parts.

    Args:
      objective: returns the scalars of a part, whose sums over the parts are those of the whole batch.
      variables: variables that the first term is differentiated with respect to, of its dtype.
      batch: nest of tensors [B, ...], or of None.
      terms: names of the scalars.
      sequential: number of parts that are computed one after the other.
      parallel: number of parts that each of these is divided into, to be computed in parallel.

    Returns:
      The gradients, zero for unconnected variables, and the scalars.
    """
    count = sequential * parallel

    def part_gradients(part, number):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            values = {name: value for name, value in objective(part, number).items() if name in terms}
        return tape.gradient(values[terms[0]], variables, unconnected_gradients="zero"), values

    if count == 1:
        return part_gradients(batch, tf.constant(0))

    def add(i, totals):
        found = part_gradients(tf.nest.map_structure(lambda t: None if t is None else _part(t, i, count), batch), i)
        # The dependency orders these additions. TensorFlow's graph optimizer would otherwise merge them with others
        # into accumulations in temporary variables, which fail in a loop that runs again.
        with tf.control_dependencies([found[1][terms[0]]]):
            totals = tf.nest.map_structure(tf.add, totals, found)
        return i + 1, totals

    zeros = [tf.zeros(v.shape, v.dtype) for v in variables], {n: tf.zeros([], variables[0].dtype) for n in terms}
    return tf.while_loop(lambda i, _: i < count, add, (0, zeros), parallel_iterations=parallel)[1]


def _part(t: tf.Tensor, i: tf.Tensor, count: int) -> tf.Tensor:
    """Returns part `i` of `count` of a tensor [B, ...]; sizes differ by one example if `count` does not divide B."""
    size = tf.shape(t)[0] if t.shape[0] is None else t.shape[0]
    if t.shape[0] is None or size % count:
        return t[i * size // count : (i + 1) * size // count]
    size //= count
    return tf.slice(t, [i * size, *[0] * (t.shape.rank - 1)], [size, *t.shape[1:]])
