"""Runs signatures for many callers at once."""

import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from glow_tf.serving.model import Model
from glow_tf.serving.rest import Request
from glow_tf.serving.signature import RequestError, Signature

Arrays = Mapping[str, np.ndarray]

# Rows of one request, which are split into batches, and batches that wait: both are limited before they come here.
_ANY = 2**20


class Runner:
    """Runs requests, which come from many threads, in as few batches as it can.

    Requests of the same signature that have rows in all inputs become one batch; those that arrive while a batch runs
    make up the next. It is TensorFlow's own batching, as in TensorFlow Serving, so rows are no more than put together
    and taken apart: a result depends on what it ran with in the rounding of floats alone. If a batch fails, each of
    its requests runs again by itself, and fails only by its own fault. All other requests run by themselves, a few at
    a time.

    Args:
      model: what to run.
      max_batch_size: most rows of a batch; 1: no batching.
      batch_wait_ms: how long, in milliseconds, a batch waits for others to join even if nothing else runs.
    """

    def __init__(self, model: Model, max_batch_size: int = 32, batch_wait_ms: float = 0.0):
        self._functions = model.functions
        self._batched = {}
        if max_batch_size > 1:
            self._batched = {
                name: _batched(model.functions[name], signature, max_batch_size, batch_wait_ms)
                for name, signature in model.signatures.items()
                if signature.has_rows
            }
        # Each takes memory of its own, and TensorFlow spreads one over all cores where that pays.
        self._turns = threading.BoundedSemaphore(max(2, (os.cpu_count() or 1) // 2))

    def run(self, request: Request, deadline: float) -> dict[str, np.ndarray]:
        """Runs one request, and returns when it is done.

        Args:
          request: what to run.
          deadline: when it need not begin any more, in the seconds of `time.monotonic`.

        Returns:
          The outputs by name; strings are arrays of objects, bytes.

        Raises:
          RequestError: if the graph refuses the inputs, or there is not the memory or, by then, the time.
        """
        name = request.signature.name
        inputs = {
            key: tf.constant(value, request.signature.inputs[key].dtype, value.shape)
            for key, value in request.inputs.items()
        }
        if name in self._batched and request.can_be_batched:
            try:
                return _arrays(self._batched[name](inputs))
            except tf.errors.OpError:
                # Perhaps another's fault.
                pass
        if not self._turns.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise RequestError("The server was too busy to begin in time.", 504)
        try:
            return _arrays(self._functions[name](**inputs))
        except tf.errors.InvalidArgumentError as error:
            raise RequestError(reason(error.message)) from error
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise RequestError("There is not enough memory for this request; ask for less at once.", 503) from error
        finally:
            self._turns.release()


def reason(message: str) -> str:
    """Returns the message of a graph's error, without the place in the graph."""
    asserted = re.search(r"assertion failed: .*?(?=\s*\[\[\{\{node|\s*\[Op:|$)", message, re.DOTALL)
    if asserted:
        return asserted.group()
    message = re.sub(r"\s*\[\[[^\]]*\]\]|\s*\[Op:[^\]]*\]", "", message)
    lines = re.split(r"<stack traces unavailable>\n", message)[-1].strip().splitlines()
    return lines[-1] if lines else "The graph refused the inputs."


def _batched(
    function: Callable[..., dict[str, tf.Tensor]],
    signature: Signature,
    max_batch_size: int,
    batch_wait_ms: float,
) -> Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """`function`, so that calls from several threads run as one."""
    inputs, outputs = list(signature.inputs), list(signature.outputs)

    @tf.nondifferentiable_batch_function(
        num_batch_threads=1,
        max_batch_size=_ANY,
        batch_timeout_micros=int(1000 * batch_wait_ms),
        # Every size up to the largest: batches are split at it, and never padded.
        allowed_batch_sizes=list(range(1, max_batch_size + 1)),
        max_enqueued_batches=_ANY,
        autograph=False,
    )
    def batch(*values):
        found = function(**dict(zip(inputs, values, strict=True)))
        return [found[name] for name in outputs]

    # The process has one queue for each name scope, whatever the graph that it stands in.
    scope = f"batching_{uuid.uuid4().hex}"

    def call(*values):
        with tf.name_scope(scope):
            return batch(*values)

    specs = [tf.TensorSpec(spec.shape, spec.dtype, spec.name) for spec in signature.inputs.values()]
    traced = tf.function(call, input_signature=specs, autograph=False).get_concrete_function()

    def run(values):
        return dict(zip(outputs, traced(*[values[name] for name in inputs]), strict=True))

    return run


def _arrays(outputs: dict[str, tf.Tensor]) -> dict[str, np.ndarray]:
    return {
        name: np.asarray(value.numpy(), object if value.dtype == tf.string else None) for name, value in outputs.items()
    }
