"""Batching of concurrent requests."""

import contextlib
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from glow_tf.runtime.budget import Budget
from glow_tf.serving.errors import RequestError
from glow_tf.serving.model import Model
from glow_tf.serving.rest import Request
from glow_tf.serving.signature import Signature

Arrays = Mapping[str, np.ndarray]

# Effectively no limit on the rows of a request, which are split into batches, or on waiting batches: both are limited
# earlier.
_ANY = 2**20
_BUSY = "The server was too busy to begin in time."


class Runner:
    """Runs requests from many threads in as few batches as possible.

    Requests for the same signature whose inputs all have rows form a batch; those that arrive while it runs form the
    next one. Batching is TensorFlow's, as in TensorFlow Serving: rows are concatenated and split, so that a result
    depends on the other requests only through floating-point rounding. If a batch fails, each of its requests runs
    again alone, so that only faulty ones fail. All other requests run alone, a few at the same time.

    Args:
      model: the model to run.
      max_batch_size: largest number of rows in a batch; 1 disables batching.
      batch_wait_ms: time that a batch waits for more requests even if no other is running, in milliseconds.
      most_images: largest number of images in all requests that run at the same time, batched or not; a request with
        more runs alone.
    """

    def __init__(self, model: Model, max_batch_size: int = 32, batch_wait_ms: float = 0.0, most_images: int = 2 * 1024):
        self._images = Budget(most_images)
        self._functions = model.functions
        self._batched = {}
        if max_batch_size > 1:
            self._batched = {
                name: _batched(model.functions[name], signature, max_batch_size, batch_wait_ms)
                for name, signature in model.signatures.items()
                if signature.has_rows
            }
        # Only a few at once, as TensorFlow uses several cores for one.
        self._turns = threading.BoundedSemaphore(max(2, (os.cpu_count() or 1) // 2))

    def run(self, request: Request, deadline: float) -> dict[str, np.ndarray]:
        """Runs one request and waits for its result.

        Args:
          request: the request.
          deadline: latest start, in seconds on the clock of `time.monotonic`.

        Returns:
          The outputs by name; strings are object arrays of bytes.

        Raises:
          RequestError: if the graph rejects the inputs, memory runs out, or the deadline passes.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._images.reserved(request.images, max(0.0, deadline - time.monotonic())))
            except TimeoutError:
                raise RequestError(_BUSY, 504) from None
            return self._run(request, deadline)

    def _run(self, request: Request, deadline: float) -> dict[str, np.ndarray]:
        name = request.signature.name
        inputs = {
            key: tf.constant(value, request.signature.inputs[key].dtype, value.shape)
            for key, value in request.inputs.items()
        }
        if name in self._batched and request.can_be_batched:
            try:
                return _arrays(self._batched[name](inputs))
            except tf.errors.OpError:
                # Another request of the batch may be at fault.
                pass
        if not self._turns.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise RequestError(_BUSY, 504)
        try:
            return _arrays(self._functions[name](**inputs))
        except tf.errors.InvalidArgumentError as error:
            raise RequestError(reason(error.message)) from error
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise RequestError("There is not enough memory for this request; ask for less at once.", 503) from error
        finally:
            self._turns.release()


def reason(message: str) -> str:
    """Returns the message of a graph's error without its location in the graph."""
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
    """Wraps `function` so that concurrent calls run as one batch."""
    inputs, outputs = list(signature.inputs), list(signature.outputs)

    @tf.nondifferentiable_batch_function(
        num_batch_threads=1,
        max_batch_size=_ANY,
        batch_timeout_micros=int(1000 * batch_wait_ms),
        # Includes every size up to the largest, so that batches are not padded.
        allowed_batch_sizes=list(range(1, max_batch_size + 1)),
        max_enqueued_batches=_ANY,
        autograph=False,
    )
    def batch(*values):
        found = function(**dict(zip(inputs, values, strict=True)))
        return [found[name] for name in outputs]

    # Batching queues are global to the process and identified by name scope.
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
