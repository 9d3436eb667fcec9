"""Starts many runs in one process, one after the other: `python -m tests.training.starts FOLDER COUNT`.

It is a separate program, as a fault in TensorFlow ends the process.
"""

import faulthandler
import pathlib
import sys
import tempfile

from glow_tf.runtime import environment


def main() -> None:
    """Makes one step of each run, and prints the run's number once it has ended."""
    faulthandler.enable()
    environment.prepare()
    import glow_tf
    from glow_tf.training import loop
    from tests import gradients
    from tests.training import runs

    class Start(loop.Trainer):
        """A run that ends with its last step, without samples and evaluation, which take longer than the rest."""

        def _end(self, progress):
            assert self.step == 1

    folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    loop._SECONDS_TO_TIME_THE_PIPELINE = 0.01
    config = glow_tf.glow((8, 8, 3), K=1, L=1, width=4, n_bits=5)
    source = runs.make_source(folder, config)
    for number in range(1, count + 1):
        training = runs.training(steps=1, init_images=8, seed=number)
        # Frees some of what TensorFlow keeps of each start, which would add up to gigabytes.
        with tempfile.TemporaryDirectory(dir=folder) as directory, gradients.forgotten():
            Start(config, training, source, pathlib.Path(directory), runs.ONE_DEVICE).run()
        print(number, flush=True)


if __name__ == "__main__":
    main()
