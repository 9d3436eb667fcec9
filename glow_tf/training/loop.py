"""The training loop: steps, and the evaluations, samples, logs and checkpoints between them."""

import concurrent.futures
import contextlib
import errno
import pathlib
import time

import numpy as np
import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.data import DataError, Source, labelled_rows, pipeline_rate
from glow_tf.data.python_calls import cause_of
from glow_tf.models import storage
from glow_tf.models.flow import Flow
from glow_tf.models.variables import parameter_count
from glow_tf.runtime.errors import first_line, is_out_of_memory
from glow_tf.runtime.runtime import Runtime
from glow_tf.training import card, lock, model_directory, trackers
from glow_tf.training.batches import TrainingBatches
from glow_tf.training.card import Best, Card
from glow_tf.training.checkpoints import CheckpointError, Checkpoints, check_continuable
from glow_tf.training.config import TrainingConfig
from glow_tf.training.devices import distributed, training_runtime
from glow_tf.training.evaluation import Evaluation, Evaluator, count_of
from glow_tf.training.guard import DivergenceError, Guard, has_singular_convolution
from glow_tf.training.init_from import check_weights, copy_variables, copy_weights
from glow_tf.training.optimizer import steps_made
from glow_tf.training.progress import Progress, Throughput, rate_text
from glow_tf.training.reports import Reports, best_line
from glow_tf.training.run_record import RunRecord, Start
from glow_tf.training.signals import StopSignals, TrainingStopped
from glow_tf.training.state import RunState, TrainingState
from glow_tf.training.step import make_train_function
from glow_tf.training.time_left import TimeLeft
from glow_tf.training.workers import WorkerLostError, Workers, is_of_lost_worker

_SECONDS_PER_CALL = 2.0  # longer calls would stall the progress bar and the response to signals
_SECONDS_TO_TIME_THE_PIPELINE = 1.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Trainer:
    """Trains a flow in a model directory, continuing the run there if there is one.

    Args:
      config: the model.
      training: the training settings.
      source: the images.
      directory: the model directory.
      strategy: the distribution strategy.
      runtime: device and sharding settings; the best available device by default. XLA and the network precision are
        those of `training`.
      other_data: whether to continue a run that was started on different images.
      start: how this process was started, for the run record; by default as a program other than `glow train`, which
        keeps the flags recorded in the directory.
      begin_with: flow whose weights a new run starts from; they are first initialised from images if it is not
        initialised.
      less_memory: what needs less memory, for the error if there is too little; by default flags of `glow train`.
      quiet: whether to hide the progress.

    Attributes:
      flow: the model.
      reports: writes metrics and pictures.
      stopped_early: whether the run ended because evaluations stopped improving.
      rates: images/s of `training`, and of the `input pipeline` alone.

    Raises:
      ValueError: if the images or labels do not fit the model, the batch cannot be divided among the replicas, or the
        directory holds another model, or one that was trained on other images; or if a new run is to start from the
        weights of another model.
      FileNotFoundError: if a new run is to start from weights that are not there.
    """

    def __init__(
        self,
        config: ModelConfig,
        training: TrainingConfig,
        source: Source,
        directory: pathlib.Path,
        strategy: tf.distribute.Strategy,
        *,
        runtime: Runtime | None = None,
        other_data: bool = False,
        start: Start | None = None,
        begin_with: Flow | None = None,
        less_memory: str = "",
        quiet: bool = False,
    ):
        trackers.check_installed(training.tracker)
        if source.image_shape != config.image_shape:
            raise ValueError(f"{source.name} has images of {source.image_shape}, the model of {config.image_shape}.")
        _check_labels(config, source)
        replicas = strategy.num_replicas_in_sync
        if training.batch_size % (replicas * training.accumulate_steps):
            one_machine = isinstance(strategy, tf.distribute.MirroredStrategy)
            hint = " --num_replicas=1 trains on one device." if one_machine else ""
            raise ValueError(
                f"--batch_size={training.batch_size} is the batch of all {replicas} replicas together and must be a "
                f"multiple of {replicas} * --accumulate_steps={training.accumulate_steps}.{hint}"
            )
        training.check_model(config)
        self._changed = model_directory.check(directory, config, training, source, other_data=other_data)
        check_continuable(directory)
        if training.init_from and not storage.checkpoint_paths(directory):
            check_weights(training.init_from, config)
        self._config, self._training, self._source = config, training, source
        self._directory, self._strategy = directory, strategy
        self._start = start or Start.of_program(directory, config, strategy)
        self._run_record = RunRecord(directory, self._start, strategy)
        self._begin_with, self._quiet = begin_with, quiet
        self._less_memory = less_memory or (
            f"A larger --accumulate_steps than {training.accumulate_steps}, or a smaller --batch_size than "
            f"{training.batch_size},"
        )
        self._workers = Workers(strategy)
        runtime = training_runtime(training, runtime)
        # Before anything is built, as this fails if there are too few labels.
        trained_on, labelled_share = _with_labels_used(source, training)
        self._state = TrainingState.create(config, training, strategy, runtime)
        self.flow = self._state.flow
        self._train = make_train_function(self.flow, self._state.optimizer, strategy, training, labelled_share)
        self._checkpoints = Checkpoints(directory, self._state, training)
        self._batches = TrainingBatches(trained_on, training, config)
        self._signals = StopSignals()
        self.rates: dict[str, float] = {}
        self.stopped_early = False
        evaluator = Evaluator(self.flow, strategy, self._check_signals, batch_size=training.images_at_once)
        self.reports = Reports(
            self._state,
            evaluator,
            training,
            source,
            directory,
            write=self._workers.is_chief,
            flags=self._start.flags,
        )
        self._guard = Guard(self._state, self._checkpoints, training, self._batches.one, replicas=replicas)
        self._saved_at = time.monotonic()
        self._time_left = TimeLeft(training, source.sizes["test"])

    @property
    def is_chief(self) -> bool:
        """True in the one process, of all that train together, that writes files."""
        return self._workers.is_chief

    @property
    def run_state(self) -> RunState:
        """The progress of the run."""
        return self._state.run

    @property
    def step(self) -> int:
        """The number of batches used."""
        return self._state.step

    def give_weights(self, flow: Flow) -> None:
        """Copies the moving averages of the weights to a flow of the same structure."""
        with self._state.with_averages():
            copy_variables(self.flow, flow)

    def no_room(self, error: OSError, what: str = "A file of the run") -> CheckpointError:
        """Returns the error to raise if `what` could not be written; it says what is left and how to continue."""
        return CheckpointError(self._checkpoints.no_room(error, what))

    def run(self) -> Evaluation:
        """Trains to the last step, or until it stops early, and returns the evaluation on all held-out images.

        Raises:
          DirectoryInUseError: if another run is under way in the model directory.
          TrainingStopped: after SIGTERM or SIGINT, once everything is saved.
          DataError: if a worker that trains alone can no longer read the images. The steps made are saved, unless
            updates were being skipped.
          CheckpointError: if the disk is full; existing checkpoints remain.
          DivergenceError: if the loss or gradient is repeatedly non-finite.
          WorkerLostError: with several workers, if another one is lost, or this one runs out of images or memory.
        """
        training = self._training
        try:
            with (
                lock.held(self._directory) if self._workers.is_chief else contextlib.nullcontext(),
                self._signals,
                self.reports,
                Progress(
                    training.steps, training.batch_size, silent=self._quiet or not self._workers.is_chief
                ) as progress,
            ):
                try:
                    self._begin(progress)
                    self._loop(progress)
                    return self._end(progress)
                except TrainingStopped:
                    # Not where the signal was noticed, as the weights may have been replaced by their averages there.
                    self._save_stopped()
                    raise
                except (DataError, tf.errors.OpError) as error:
                    # Python functions run out of memory too, which is not a matter of the images.
                    if is_out_of_memory(error):
                        raise
                    cause = str(error) if isinstance(error, DataError) else cause_of(error)
                    if cause is None:
                        raise
                    kind = DataError if self._workers.count == 1 else WorkerLostError
                    raise kind(f"{cause} {self._save_without_data()}".rstrip()) from error
        except OSError as error:
            if error.errno not in _NO_ROOM or isinstance(error, CheckpointError):
                raise
            raise self.no_room(error) from error
        except tf.errors.OpError as error:
            explained = self._explained(error)
            if explained is None:
                raise
            raise explained from error

    def _explained(self, error: tf.errors.OpError) -> Exception | None:
        """Returns the exception that says what an error of TensorFlow means here and what to do; None if unknown."""
        several = self._workers.count > 1
        if is_out_of_memory(error):
            return (WorkerLostError if several else MemoryError)(
                f"At step {self.step:,} there is not enough memory: {first_line(error)}. "
                f"{self._less_memory} needs less. The checkpoints are kept."
            )
        if several and is_of_lost_worker(error):
            return WorkerLostError(
                f"Another worker is gone, or this one has failed: {first_line(error)}. Start all of them again with "
                f"the same command: they go on from step {self._checkpoints.latest_step or 0:,}."
            )
        if isinstance(error, tf.errors.InvalidArgumentError) and has_singular_convolution(self.flow):
            return DivergenceError(
                f"At step {self.step:,} the matrix of a 1x1 convolution is singular. --permutation=conv1x1, whose PLU "
                "form cannot be, or a lower --learning_rate avoids that. The checkpoints are kept."
            )
        return None

    def _begin(self, progress: Progress) -> None:
        alone, xla = self._workers.count == 1, self._training.xla
        if alone or xla:
            # Traced before anything else: TensorFlow's Python code is meant for one thread at a time. It also numbers
            # what it traces, and names cached XLA programs by these numbers. A call with these arguments changes
            # nothing.
            dry_run = self._iterator(0), tf.constant(1), tf.constant(False)
            self._train.get_concrete_function(*dry_run)
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            # The first call runs in parallel with the preparation, unless other workers have to take part in it.
            compiled = executor.submit(self._train, *dry_run) if alone and not xla else None
            self._prepare(progress)
        if compiled:
            compiled.result()
        if xla:
            # Not in parallel: XLA also runs what it compiles, which writes every weight back as it was before.
            progress.say("XLA compiles the training step.")
            begun = time.monotonic()
            self._train(*dry_run)
            progress.say(f"Compiled in {time.monotonic() - begun:.0f} s.")

    def _prepare(self, progress: Progress) -> None:
        path, damaged = self._checkpoints.restore()
        for line in damaged:
            progress.say(line)
        if count := self._training.labels_per_class:
            used = "only" if self._training.labelled_only else "the labels of"
            progress.say(f"Using {used} {count_of(count, 'training image')} of each class.")
        if path:
            progress.say(f"Continuing at step {self.step:,} from {path}.")
            for line in self._changed:
                progress.say(f"Changed setting: {line}.")
        elif self._training.init_from:
            progress.say(f"Beginning with the weights of {self._training.init_from}.")
            copy_weights(self._training.init_from, self.flow)
        elif self._begin_with is not None and self._begin_with.initialized:
            copy_variables(self._begin_with, self.flow)
        else:
            if self._begin_with is not None:
                copy_variables(self._begin_with, self.flow)
            if self._config.is_initialized_from_data:
                progress.say("Initialising from the first images.")
                self._initialize()
            self.flow.initialized.assign(True)
        self._check_that_workers_agree()
        progress.begin(self.step)
        if self._workers.is_chief:
            model_directory.write_metadata(
                self._directory, self._config, self._training, self._source, self._start.flags
            )
            self._run_record.begin(self.step)
        self.reports.begin(self.step, progress.say)
        self.rates["input pipeline"] = rate = pipeline_rate(
            self._batches.dequantized(self.step), _SECONDS_TO_TIME_THE_PIPELINE
        )
        progress.say(f"Input pipeline alone: {rate_text(rate)} images/s.")
        self.reports.write("pipeline", {"images_per_second": rate})

    def _loop(self, progress: Progress) -> None:
        training = self._training
        iterator, next_steps = None, 1
        periods = [n for n in (training.eval_every, training.sample_every, training.checkpoint_every) if n]
        throughput = Throughput()
        self._time_left.begin()
        self._report(progress)
        while (step := self.step) < training.steps and not self.stopped_early:
            next_steps = self._synchronize(next_steps)
            iterator = iterator or self._iterator(step)
            stops = [training.steps, step + min(next_steps, training.steps_per_call)]
            stops += [(step // n + 1) * n for n in (*periods, training.log_every)]
            begun = time.monotonic()
            limit = min(stops) - step
            updates = steps_made(self._state.optimizer)
            try:
                made = self._train(iterator, tf.constant(limit), tf.constant(True))
                made = {name: values.numpy() for name, values in made.items()}
            except tf.errors.OpError:
                # The steps of the call before the one that failed are made.
                if made := steps_made(self._state.optimizer) - updates:
                    self.run_state.step.assign(step + made)
                    self.run_state.skipped_in_a_row.assign(0)
                raise
            count = made["finite"].size
            next_steps = max(1, int(_SECONDS_PER_CALL * count / (time.monotonic() - begun)))
            step += count
            throughput.count(count * training.batch_size)
            self._time_left.made(count)
            good = self._record(step, made)
            if good:
                progress.update(step, good["bits_per_dim"], throughput.rate(), self._time_left.seconds(step))
            if not made["finite"][-1]:
                iterator = None if training.xla else iterator  # It may be ahead of the steps made.
                bad = {name: float(values[-1]) for name, values in made.items()}
                if self._guard.after(step, bad, progress.say):
                    iterator = None
                    # Waits for the others, which may still read the checkpoint that is replaced now.
                    self._check_that_workers_agree()
                    # A run that is stopped before its next checkpoint keeps the lower learning rate.
                    self._save()
                    progress.begin(self.step)
                    self.reports.begin(self.step, progress.say)
                    continue
            if step % training.log_every == 0 or step == training.steps:
                self._log(throughput)
            with throughput.stopped():
                self._report(progress)
                if self._checkpoint_is_due(step) and not self.stopped_early:
                    self._save()
            if self.stopped_early and step % training.log_every:
                self._log(throughput)

    def _report(self, progress: Progress) -> None:
        """Draws samples and evaluates when due, unless that was already done before the run was interrupted.

        An evaluation that ends the run is repeated if the run is started again, and ends it again.
        """
        training, step = self._training, self.step
        if step in (int(self.run_state.reported_step), training.steps):
            return
        if training.sample_every and step % training.sample_every == 0:
            with self._time_left.drawing():
                self.reports.save_samples()
        if training.eval_every and step % training.eval_every == 0:
            with self._time_left.evaluating():
                result = self._evaluate(progress, training.eval_images or None)
            progress.say(f"step {step:,}: test bits/dim {result}")
            without_better = self.reports.without_better
            self.stopped_early = 0 < training.early_stop <= without_better
            if not self.stopped_early:
                self.run_state.since_best.assign(without_better)
        if self.stopped_early:
            progress.say(
                f"Stopping early after {count_of(training.early_stop, 'evaluation')} without a better one. The best: "
                f"{best_line(self.run_state)}."
            )
            return
        self.run_state.reported_step.assign(step)

    def _end(self, progress: Progress) -> Evaluation:
        """Saves, draws samples and evaluates at the last step, which has a checkpoint even if updates are skipped."""
        if self._checkpoints.latest_step != self.step:
            self._save()
        self.reports.save_samples()
        best = float(self.run_state.best_bits_per_dim.read_value())
        result = self._evaluate(progress)
        if float(self.run_state.best_bits_per_dim.read_value()) != best:
            # The checkpoint is written before the evaluation, which can take long or fail, and must know the best too.
            self._save()
        self.reports.flush()
        # Until the chief has written everything, which others may read next.
        self._workers.sum([0.0])
        return result

    def _evaluate(self, progress: Progress, limit: int | None = None) -> Evaluation:
        """Evaluates, and writes the run record and the model card."""
        result = self.reports.evaluate(progress.say, limit)
        if self._workers.is_chief:
            self._run_record.reached(self.step)
            card.write(self._directory, self._card(result))
        return result

    def _card(self, result: Evaluation) -> Card:
        state = self.run_state
        best = Best(
            bits_per_dim=float(state.best_bits_per_dim.read_value()),
            step=int(state.best_step),
            images=int(state.best_images),
        )
        return Card(
            name=self._directory.resolve().name,
            config=self._config,
            parameters=parameter_count(self._config),
            source=self._source,
            training=self._training,
            step=self.step,
            last=result,
            best=best,
            starts=self._run_record.starts,
            flagfile=bool(self._start.flagfile),
            pictures=card.newest_pictures(self._directory, self.step),
        )

    def _record(self, step: int, made: dict[str, np.ndarray]) -> dict[str, float]:
        """Records the metrics of the steps up to `step`; returns their means over finite steps, {} if none."""
        finite = made["finite"]
        state = self.run_state
        state.step.assign(step)
        values = {name: v[finite].astype(np.float64) for name, v in made.items() if name != "finite"}
        state.add({name: v.sum() for name, v in values.items()}, int(finite.sum()))
        if finite[0]:
            state.skipped_in_a_row.assign(0)
        return {name: float(v.mean()) for name, v in values.items()} if finite.any() else {}

    def _log(self, throughput: Throughput) -> None:
        values = self.run_state.take_means()
        values["images_per_second"] = self.rates["training"] = throughput.rate()
        # That of the last update: the optimizer's own property is for the next one.
        values["learning_rate"] = float(self._state.optimizer.schedule(max(0, steps_made(self._state.optimizer) - 1)))
        values["skipped_steps"] = int(self.run_state.skipped)
        self.reports.write("train", values)
        throughput.restart()

    def _checkpoint_is_due(self, step: int) -> bool:
        """Returns whether a checkpoint is due; never while updates are skipped, so that it is good to roll back to.

        The last step is an exception; see `_end`.
        """
        training = self._training
        if not self._workers.is_chief or int(self.run_state.skipped_in_a_row):
            return False
        # The first is written as soon as a step has been made, so that a full disk shows at once.
        every = training.checkpoint_every
        by_step = every and (self._checkpoints.empty or step % every == 0)
        minutes = (time.monotonic() - self._saved_at) / 60
        return bool(by_step or 0 < training.checkpoint_minutes <= minutes)

    def _save(self) -> None:
        if self._workers.is_chief:
            with self._time_left.saving():
                self._checkpoints.save(self.step)
        self._saved_at = time.monotonic()

    def _save_stopped(self) -> None:
        try:
            self._save_unless_skipping()
            self._record_step()
        finally:
            # The others wait for the chief: when the first one exits, the launcher may kill the rest.
            self._workers.sum([0])

    def _record_step(self) -> None:
        """Writes the step reached to the run record, if that has begun; one that cannot be written ends nothing."""
        if self._workers.is_chief and self._run_record.starts:
            with contextlib.suppress(OSError):
                self._run_record.reached(self.step)

    def _save_unless_skipping(self) -> None:
        """Writes a checkpoint of this step if there is none; not while updates are skipped, as `_checkpoint_is_due`."""
        if self._checkpoints.latest_step != self.step and not int(self.run_state.skipped_in_a_row):
            self._save()

    def _save_without_data(self) -> str:
        """Saves what there is when the images are gone, and returns what to say about it, '' before the first step.

        Without other workers, which would have to take part in a sum and may not have noticed.
        """
        if not self.step:
            return ""
        self._save_unless_skipping()
        self._record_step()
        return f"The run can go on from step {self._checkpoints.latest_step or 0:,}, with the same command."

    def _stopped(self) -> TrainingStopped:
        if not int(self.run_state.skipped_in_a_row):
            return TrainingStopped(self._signals.received, self.step)
        latest = self._checkpoints.latest_step
        last = "there is no checkpoint yet" if latest is None else f"the last checkpoint is of step {latest:,}"
        return TrainingStopped(self._signals.received, self.step, f"whose update was skipped; {last}")

    def _check_that_workers_agree(self) -> None:
        """Checks that all workers are at the same step and have the same images, once each of them is here."""
        if self._workers.are_equal(self.step, self._source.identity()):
            return
        if self._workers.are_equal(self.step):
            raise ValueError(
                f"The workers have different images of {self._source.name}: --data_dir must have the same files for "
                "each of them, and the flags of the data set must be the same."
            )
        raise ValueError(f"The workers see other checkpoints: --model_dir={self._directory} must be shared.")

    def _synchronize(self, next_steps: int) -> int:
        """Returns the maximum number of steps of the next call, the same for all workers, whose clocks differ.

        Stops all of them if one has received a signal.
        """
        total, stop = self._workers.sum([next_steps, self._signals.received is not None]).tolist()
        if stop:
            raise self._stopped()
        return max(1, int(total / self._workers.count))

    def _check_signals(self) -> None:
        """Ends an evaluation on a signal; with several workers, none of them can do so alone."""
        if self._signals.received and self._workers.count == 1:
            raise self._stopped()

    def _iterator(self, step: int):
        return distributed(self._strategy, self._batches.dequantized(step))

    def _initialize(self) -> None:
        training = self._training
        count = training.init_images or training.images_at_once
        batch = next(iter(self._batches.augmented(count, 0)))
        self.flow.initialize(batch["images"], batch["labels"] if self.flow.config.conditional else None)
        self._workers.make_equal(list(self.flow.named_variables(trainable=True).values()))


def _check_labels(config: ModelConfig, source: Source) -> None:
    if not (config.conditional or config.classifier):
        return
    if not source.num_classes:
        raise DataError(
            f"{source.name}: the model uses labels, from 0 to {config.num_classes - 1}, and the images have none."
        )
    if source.num_classes > config.num_classes:
        raise DataError(f"{source.name} has {source.num_classes} classes, and the model {config.num_classes}.")


def _with_labels_used(source: Source, training: TrainingConfig) -> tuple[Source, float]:
    """Returns the images and labels that training uses, and the fraction of training images that have a label."""
    if not training.labels_per_class:
        return source, 1.0
    rows = labelled_rows(source, training.labels_per_class, training.seed)
    if training.labelled_only:
        return source.reduced_to(rows), 1.0
    return source.with_labels_of(rows), len(rows) / source.sizes["train"]
