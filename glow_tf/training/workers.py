"""The processes that train together."""

import hashlib

import numpy as np
import tensorflow as tf

# Errors of a collective operation when the process at its other end is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
# In errors of any kind: that of the operation which failed at the other end.
_ABORTED = "Collective ops is aborted"


class WorkerLostError(RuntimeError):
    """Raised if a worker of the run is gone, or this one cannot go on; the process must end without the others."""


def is_of_lost_worker(error: tf.errors.OpError) -> bool:
    """Returns whether an error is one of a collective operation because another worker is gone."""
    return isinstance(error, _LOST) or _ABORTED in str(error)


class Workers:
    """The workers of a run: one process, unless the strategy is a `MultiWorkerMirroredStrategy`.

    Attributes:
      count: number of workers.
      is_chief: whether this worker writes files for all of them.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.count, self.is_chief = 1, True
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver = strategy.cluster_resolver
            jobs = resolver.cluster_spec().as_dict()
            self.count = max(1, sum(len(jobs.get(job, ())) for job in ("chief", "worker")))
            first = "chief" if "chief" in jobs else "worker"
            self.is_chief = self.count == 1 or (resolver.task_type, resolver.task_id) == (first, 0)
        self._strategy = strategy
        self._reduce = tf.function(self._sum_over_replicas, autograph=False)

    def sum(self, values: np.ndarray | list[float]) -> np.ndarray:
        """Sums a float64 vector over all workers, each of which must call it."""
        values = np.asarray(values, np.float64)
        if self.count == 1:
            return values
        local = self._strategy.num_replicas_in_sync // self.count
        return self._reduce(tf.constant(values / local)).numpy()

    def are_equal(self, *values: object) -> bool:
        """Returns whether the `repr` of the values is the same on all workers, each of which must call it."""
        digest = hashlib.sha256(repr(values).encode("utf-8", "surrogateescape")).digest()
        numbers = np.frombuffer(digest, np.uint16).astype(np.float64)
        # Rounded, as those of a worker with several replicas are sums of fractions.
        sums, squares = np.rint(self.sum([*numbers, *numbers**2])).reshape(2, -1)
        # The variance over the workers is 0 only if all sent the same; each computes it from the same sums.
        return bool((self.count * squares == sums**2).all())

    def make_equal(self, variables: list[tf.Variable]) -> None:
        """Sets variables to the mean of their values on all workers, which may compute the last digit differently."""
        if self.count > 1:
            totals = self._reduce([tf.identity(variable) for variable in variables])
            for variable, total in zip(variables, totals, strict=True):
                variable.assign(total / self._strategy.num_replicas_in_sync)

    def _sum_over_replicas(self, nest):
        def on_replica(nest):
            # The identities are on the replica's device, where the arguments need not be.
            nest = tf.nest.map_structure(tf.identity, nest)
            return tf.distribute.get_replica_context().all_reduce("sum", nest)

        sums = self._strategy.run(on_replica, args=(nest,))
        return tf.nest.map_structure(lambda value: self._strategy.experimental_local_results(value)[0], sums)
