"""Agreement of the workers of a run, and their errors. Several processes are tested in test_multi_worker.py."""

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.training.workers import Workers, is_of_lost_worker
from tests.training import helpers


def answers(*values_of_workers):
    """Returns what each worker finds, given the values of each."""
    sent, totals = [], np.zeros(32)

    class Together(Workers):
        def sum(self, values):
            sent.append(values)
            return totals

    def ask():
        return [worker.are_equal(*values) for worker, values in zip(workers, values_of_workers, strict=True)]

    workers = [Together(helpers.one_device()) for _ in values_of_workers]
    for worker in workers:
        worker.count = len(workers)
    # First for what each of them sends.
    ask()
    totals = np.sum(sent, axis=0)
    return ask()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_equal_values(count):
    values = (12, {"data set": "folder", "classes": ["caf\udce9"]})
    assert answers(*[values] * count) == [True] * count


def test_one_of_them_differs():
    identity = {"data set": "folder", "images": "abc"}
    assert answers((3, identity), (3, {**identity, "images": "abd"}), (3, identity)) == [False] * 3
    assert answers((3, identity), (4, identity)) == [False] * 2
    # No worker is the mean of the others.
    assert answers((1,), (2,), (3,)) == [False] * 3


def test_a_worker_alone_agrees_with_itself():
    assert Workers(helpers.one_device()).are_equal(3, {})


@pytest.mark.parametrize(
    ("kind", "message", "lost"),
    [
        (tf.errors.UnavailableError, "Connection reset by peer", True),
        # The kind is that of the error of the other worker.
        (tf.errors.InvalidArgumentError, "Collective ops is aborted by: b.npy ends at byte 1000", True),
        (tf.errors.InvalidArgumentError, "Input is not invertible.", False),
    ],
)
def test_errors_that_mean_that_another_worker_is_gone(kind, message, lost):
    assert is_of_lost_worker(kind(None, None, message)) == lost


def test_variables_become_the_mean_over_workers():
    class Together(Workers):
        def _sum_over_replicas(self, nest):
            # The values of the other worker are 4 and 6.
            return [value + other for value, other in zip(nest, (4.0, 6.0), strict=True)]

    worker, variables = Together(helpers.two_replicas()), [tf.Variable(2.0), tf.Variable([0.0, 6.0])]
    worker.count = 2
    worker.make_equal(variables)
    assert [variable.numpy().tolist() for variable in variables] == [3.0, [3.0, 6.0]]
