"""Throughput of an input pipeline."""

import time

import tensorflow as tf


def pipeline_rate(batches: tf.data.Dataset, seconds: float) -> float:
    """Measures the throughput of a stream of batches without a consumer.

    The first batch, whose time includes opening files and starting threads, is not counted.

    Args:
      batches: dataset of batches, each a nest of tensors [batch, ...].
      seconds: duration of the measurement, positive; a shorter dataset ends it earlier.

    Returns:
      Images per second; 0.0 if there is no second batch.

    Raises:
      ValueError: if `seconds` is not positive.
    """
    if not seconds > 0:
        raise ValueError(f"seconds must be positive, got {seconds!r}.")
    stream = iter(batches)
    next(stream, None)
    count, elapsed, began = 0, 0.0, time.perf_counter()
    while elapsed < seconds:
        batch = next(stream, None)
        if batch is None:
            break
        count += int(tf.nest.flatten(batch)[0].shape[0])
        elapsed = time.perf_counter() - began
    return count / elapsed if count else 0.0
