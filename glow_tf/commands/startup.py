"""Measures the start-up of training in a separate process, from the first import on."""

import dataclasses
import json
import resource
import subprocess
import sys
import time

from glow_tf.commands.sizes import Sizes


@dataclasses.dataclass(frozen=True)
class Start:
    """Time, in seconds, and memory, in bytes, that a new process needs to train a model.

    Attributes:
      import_libraries: time to import TensorFlow and TensorFlow Probability.
      import_package: time to import glow_tf after that.
      build: time to create variables and optimizer.
      first_step: time of the first update, including tracing and compilation.
      step: median time of later updates.
      weights: memory of the trainable weights.
      first_peak: peak memory allocated by TensorFlow until the end of the first step, in which XLA autotunes. On a CPU
        only blocks of at least 256 KB count. None if TensorFlow does not report it.
      peak: peak memory allocated in later steps.
      peak_excluding_weights: part of `peak` that is gradients and activations.
      process: peak memory of the process.
    """

    import_libraries: float
    import_package: float
    build: float
    first_step: float
    step: float
    weights: int
    first_peak: int | None
    peak: int | None
    peak_excluding_weights: int | None
    process: int

    @property
    def trace(self) -> float:
        """Time to trace, optimize and compile the graph, by which the first update exceeds later ones, in seconds."""
        return self.first_step - self.step

    @property
    def before_first_step(self) -> float:
        """Time from the start of the process to the first update, in seconds, excluding the update itself."""
        return self.import_libraries + self.import_package + self.build + self.trace


def measure(
    *, gradient: str = "reversible", network_precision: str = "float32", steps: int = 3, **sizes: int | str
) -> Start:
    """Trains a new model on noise for 1 + `steps` steps, in a new process, on the first GPU or the CPU.

    Args:
      gradient, network_precision: as for `ModelConfig` and `TrainingConfig`.
      steps: number of steps to time after the first.
      **sizes: sizes of the model and its batches, the fields of `Sizes`.

    Raises:
      ValueError: if the process fails.
    """
    arguments = json.dumps([dataclasses.asdict(Sizes(**sizes)), gradient, network_precision, steps])
    done = subprocess.run([sys.executable, "-m", "glow_tf.commands.startup", arguments], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.splitlines() or ["?"])[-1]
        raise ValueError(f"K={sizes['K']}, {gradient}, could not be measured: {reason}")
    return Start(**json.loads(done.stdout.splitlines()[-1]))


def megabytes(count: int) -> str:
    """Formats a number of bytes in MB; "-" if it is not positive, as for uncounted memory and differences from it."""
    if count <= 0:
        return "-"
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e6:.2g} MB"


def _measure_here(sizes: Sizes, gradient: str, network_precision: str, steps: int) -> Start:
    start = time.monotonic()
    import tensorflow  # noqa: F401
    import tensorflow_probability  # noqa: F401

    libraries = time.monotonic()
    import glow_tf.main  # noqa: F401
    from glow_tf.commands.timing import time_steps
    from glow_tf.runtime.runtime import Runtime
    from glow_tf.training.config import TrainingConfig
    from glow_tf.training.devices import make_strategy

    package = time.monotonic()
    runtime = Runtime.detect(images=sizes.batch_size, width=sizes.width)
    strategy = make_strategy("mirrored", 1)
    training = TrainingConfig(batch_size=sizes.batch_size, network_precision=network_precision, xla=runtime.xla)
    timing = time_steps(sizes.config(gradient), training, strategy, runtime=runtime, steps=steps)
    # Linux counts in kilobytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    process = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Start(
        import_libraries=libraries - start,
        import_package=package - libraries,
        peak_excluding_weights=timing.peak_excluding_weights,
        process=process,
        **vars(timing),
    )


if __name__ == "__main__":
    fields, *others = json.loads(sys.argv[1])
    print(json.dumps(vars(_measure_here(Sizes(**fields), *others))))
