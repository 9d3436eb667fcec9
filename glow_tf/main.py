"""Trains a normalizing flow on images.

  glow train                                             the bundled emoji portraits
  glow train --dataset=folder --data_dir=photos --image_size=64
  glow train --dataset=celeb_a_hq --K=32 --L=6
  glow train --flagfile=quickstart
  glow train --model_dir=runs/photos_glow --resume --steps=200000

Everything is written under --model_dir. Running the same command again continues where it stopped. So does --resume,
which takes the settings from the recorded run, as does any command that names the directory of a run without flags for
data or model. --help lists all flags, --helpfull also those of the libraries. `python -m glow_tf.main` is equivalent.
"""

import os
import pathlib
import shlex
import signal
import sys
import time
import traceback

from absl import app, flags

from glow_tf.runtime import environment, program

if __name__ == "__main__":
    # Must come before the modules below, which import TensorFlow.
    environment.prepare()

from glow_tf import options, run_flags, shared_flags
from glow_tf.data import picture_files
from glow_tf.export.saved_model import export_saved_model
from glow_tf.models import storage
from glow_tf.models.variables import parameter_count
from glow_tf.runtime.errors import first_line
from glow_tf.training import model_directory, trackers
from glow_tf.training.card import CARD_FILE
from glow_tf.training.devices import make_strategy
from glow_tf.training.guard import DivergenceError
from glow_tf.training.loop import Trainer
from glow_tf.training.progress import rate_text
from glow_tf.training.reports import best_line
from glow_tf.training.run_record import Start
from glow_tf.training.signals import TrainingStopped
from glow_tf.training.workers import WorkerLostError


def main(argv: list[str]) -> None:
    """Runs the training specified by the flags."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    try:
        result = run()
    except TrainingStopped as stop:
        print(f"{stop} To go on: {_command()}", file=sys.stderr)
        # The exit status that a shell reports for a process killed by the signal.
        raise SystemExit(128 + (stop.signal or signal.SIGTERM)) from None
    except KeyboardInterrupt:
        print("Stopped before the training began.", file=sys.stderr)
        raise SystemExit(130) from None
    except WorkerLostError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        # A normal exit would wait for the lost worker.
        os._exit(1)
    except (ValueError, OSError, MemoryError, DivergenceError) as error:
        # Python's own MemoryError has no message.
        print(f"error: {str(error) or first_line(error)}", file=sys.stderr)
        raise SystemExit(1) from error
    print(f"test bits/dim: {result}")


def run():
    """Trains, exports, and returns the final evaluation."""
    shared_flags.show_warnings()
    started = time.monotonic()
    directory = options.model_dir()
    recorded = run_flags.restore(directory) if run_flags.is_continued(directory) else None
    if os.environ.get("TF_CONFIG") and options.strategy() != "multi_worker":
        print(
            f"TF_CONFIG is not used: --strategy={options.strategy()} is for one machine, --strategy=multi_worker for "
            "those that it names.",
            file=sys.stderr,
        )
    trackers.check_installed(flags.FLAGS.tracker)
    picture_files.limit(flags.FLAGS.max_megapixels)
    model_directory.check_before_loading(
        directory,
        flags.FLAGS.dataset.strip(),
        flags.FLAGS.optimizer,
        flags.FLAGS.ema_decay,
        other_data=flags.FLAGS.other_data,
    )
    begun_with = model_directory.started_from(directory)
    if begun_with is not None:
        if model_directory.init_from(flags.FLAGS.init_from) not in ("", begun_with):
            line = f"--init_from={flags.FLAGS.init_from} is for a new run; this one goes on with its own weights."
            print(line, file=sys.stderr)
        flags.FLAGS.init_from = begun_with
    options.check(model=recorded is None or recorded.by_flags)
    source = run_flags.load_data(directory)
    config = run_flags.model_config(recorded, source)
    # Before anything is computed: after that, TensorFlow can neither split the CPU nor limit operations to one core.
    runtime = options.runtime(config)
    strategy = make_strategy(**options.strategy_arguments())
    training = options.training_config(source.image_shape, strategy.num_replicas_in_sync)
    start = Start(
        command=_command(),
        flags=run_flags.of_run(recorded),
        flagfile=run_flags.flagfile(recorded, config, training, source),
    )
    trainer = Trainer(
        config, training, source, directory, strategy, runtime=runtime, other_data=flags.FLAGS.other_data, start=start
    )
    parameters = f"{parameter_count(config):,} parameters"
    print(f"{source.describe()}\n{config.name} with {parameters}, in {directory}", flush=True)
    # A second Ctrl-C ends the program at once, even while no Python code runs.
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        result = trainer.run()
    finally:
        signal.signal(signal.SIGINT, previous)
        if source.skipped:
            print(source.describe_skipped())
    if trainer.is_chief:
        if flags.FLAGS.export:
            try:
                export_saved_model(
                    storage.load(directory),
                    directory / "saved_model",
                    max_megapixels=flags.FLAGS.max_megapixels,
                    crop_from=model_directory.crop_from(directory),
                )
            except OSError as error:
                raise trainer.no_room(error, "The SavedModel") from error
            except KeyboardInterrupt:
                command = shlex.join(["export", f"--model_dir={directory}", f"--output={directory / 'saved_model'}"])
                print(
                    "Stopped while the SavedModel was being written. The training is finished. To write it: "
                    f"{program.name()} {command}",
                    file=sys.stderr,
                )
                raise SystemExit(130) from None
        print(_summary(trainer, directory, time.monotonic() - started))
    return result


def _summary(trainer: Trainer, directory: os.PathLike, seconds: float) -> str:
    state = trainer.run_state
    lines = {
        "steps": f"{trainer.step:,} ({int(state.skipped):,} skipped), {seconds / 60:.1f} minutes since the start"
        f"{', stopped early' if trainer.stopped_early else ''}",
        "images/s": ", ".join(f"{rate_text(rate)} {name}" for name, rate in trainer.rates.items()),
        "best": f"{best_line(state)}, in {directory / 'best'}",
        "checkpoints": directory / "checkpoints",
        "samples": trainer.reports.samples_path,
        **(_exported(directory) if flags.FLAGS.export else {}),
        "model card": directory / CARD_FILE,
        "metrics": f"{directory / 'metrics.jsonl'}, tensorboard --logdir={directory}",
    }
    return "\n".join(f"{name}: {value}" for name, value in lines.items())


def _exported(directory: os.PathLike) -> dict:
    saved_model = directory / "saved_model"
    return {"SavedModel": saved_model, "in the browser": f"{program.name()} demo --saved_model={saved_model}"}


def _command() -> str:
    """Returns the command line as it was typed."""
    _, *arguments = sys.orig_argv
    if arguments and pathlib.Path(arguments[0]).stem == "glow":
        return f"{program.name()} {shlex.join(arguments[1:])}"
    return shlex.join(["python", *arguments])


if __name__ == "__main__":
    # Makes --help list these flags, and only --helpfull those of every library.
    flags.adopt_module_key_flags(options)
    try:
        app.run(main, flags_parser=shared_flags.parse_command_line)
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        # A normal interpreter exit can deadlock with TensorFlow's threads.
        os._exit(1)
