"""The training loop: epochs, validation, the best checkpoint, early stopping, interruption and resuming."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfpipeline import config
from tfpipeline.console import Step, plural, progress, say
from tfpipeline.training import sources, workers
from tfpipeline.training.batching import (
    Batching,
    Group,
    Split,
    check_batch_size,
    global_batch_size,
    window_of,
)
from tfpipeline.training.callback_calls import CallbackCalls
from tfpipeline.training.callback_checks import is_lower_better
from tfpipeline.training.callbacks import Callbacks
from tfpipeline.training.cluster import RENDEZVOUS_SECONDS, Cluster, find_cluster, rendezvous
from tfpipeline.training.description import ending
from tfpipeline.training.inference import Inference
from tfpipeline.training.initial_model import initial_model
from tfpipeline.training.interruption import Interrupted, WorkersLost, interruptible
from tfpipeline.training.lock import training_alone
from tfpipeline.training.losses import Losses
from tfpipeline.training.mirror import Mirror, is_remote
from tfpipeline.training.rows import TrainingRows
from tfpipeline.training.run import Run
from tfpipeline.training.run_file import RunFile, read_run_file
from tfpipeline.training.scoring import require_metric
from tfpipeline.training.setup import set_up
from tfpipeline.training.starting import find_run, lay_out_run, run_directory, take_settings, with_datasets
from tfpipeline.training.state import State
from tfpipeline.training.step import TrainStep
from tfpipeline.training.strategy import build_strategy, choose_strategy, devices
from tfpipeline.training.tensorboard import TensorBoardWriter

__all__ = ["Interrupted", "Trainer", "WorkersLost", "interruptible", "train"]


def train(
    run_file: RunFile,
    overrides: Sequence[str] = (),
    callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback = (),
    *,
    cluster: Cluster | None = None,
    wait: float = RENDEZVOUS_SECONDS,
    data: Mapping[str, tf.data.Dataset] | None = None,
    rows: TrainingRows | None = None,
) -> Run:
    """Train a run to its end, or resume it.

    A new ``output`` directory is created first. An interrupted run with the same settings is resumed, with
    the same result, bit for bit, as without the interruption. A finished run is returned unchanged.

    Args:
        run_file: a run file's path, or its settings: a dict like it, or a :class:`RunConfig`.
        overrides: ``["training.epochs=2"]``, as ``--set`` takes them.
        callbacks: ordinary Keras callbacks, called by the chief only; see "Callbacks" in docs/training.md.
        cluster: the workers, for training on several machines; by default those of ``TF_CONFIG``.
        wait: seconds to wait for the other workers.
        data: your own datasets, "train" and perhaps "validation" and "test", instead of the run file's files;
            see :func:`tfpipeline.training.datasets.write_datasets`. They are read once, into ``OUTPUT.data``.
        rows: the rows of the run file's data files, if they have already been read.
    Raises:
        UserError: an input cannot be used, or the disk is full; earlier checkpoints are kept.
        Interrupted: Ctrl-C or SIGTERM; the step was finished and saved.
        WorkersLost: another worker was lost; restart all workers to continue.
    """
    run_config = read_run_file(run_file, overrides, own_data=data is not None)
    mirror = Mirror(run_config.output) if is_remote(run_config.output) else None
    if data is not None:
        run_config = with_datasets(run_config, data, mirror)
    wanted = Callbacks(run_config.training.callbacks, callbacks, Path(run_config.output).name)
    cluster = cluster or find_cluster()
    kind = choose_strategy(run_config.training, cluster)
    path = run_directory(run_config, cluster, mirror)
    # A local run that differs from the remote one is replaced below, under the lock.
    stale = mirror is not None and mirror.is_stale()
    run, saved = (None, None) if stale else find_run(path, run_config)
    if cluster is None and run is not None and saved and saved["finished"]:  # nothing is written, so no lock
        say(f"{run.path} is finished ({saved['finished']}); nothing to do")
        return run
    with training_alone(path):
        if mirror is not None and (cluster is None or cluster.is_chief):
            mirror.pull()
        run, saved = find_run(path, run_config)  # no other process changes it from here on
        if cluster is not None:
            say(f"worker {cluster.index} of {len(cluster.workers)}: waiting for the others")
            same = (
                f"run file: {config.dump(run_config)!r}\n{sources.identity(sources.fingerprints(run_config))}"
            )
            saved = rendezvous(cluster, same, lambda: saved, seconds=wait)
        if run is not None and saved and saved["finished"]:
            say(f"{run.path} is finished ({saved['finished']}); nothing to do")
            return run
        # Before any tensor is made, because devices cannot be configured after they have started.
        strategy = build_strategy(kind, run_config.training, cluster)
        # Before the rows are read: a batch size that does not divide is an error in the run file.
        batch_size = global_batch_size(run_config.training, strategy.num_replicas_in_sync)

        def check(new: Run) -> None:
            check_batch_size(new.task, batch_size)
            wanted.check(new)

        run = (
            take_settings(run, run_config) if run is not None else lay_out_run(path, run_config, check, rows)
        )
        state = State.from_saved(saved, path) if saved else State()
        Trainer(run, strategy, batch_size, state, wanted, cluster, mirror).fit()
    return run


class Trainer:
    """Trains one run; see :func:`train`.

    Args:
        run: the run directory; each worker except the chief has one of its own.
        strategy: a tf.distribute strategy.
        batch_size: examples of a global batch.
        state: the position and the history of the run.
        callbacks: the callbacks of the run file and of the caller.
        cluster: the workers, if there are several.
        mirror: the destination to which the run is copied after each checkpoint.
    """

    def __init__(
        self,
        run: Run,
        strategy: tf.distribute.Strategy,
        batch_size: int,
        state: State,
        callbacks: Callbacks,
        cluster: Cluster | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        self.run, self.strategy, self.state, self.cluster = run, strategy, state, cluster
        self.mirror = mirror
        options = self.options = run.config.training
        self.writes = cluster is None or cluster.is_chief
        self.metric = options.best_metric or run.task.scorer.best_metric
        self.train_split, self.validation_split = Split.of(run, "train"), Split.of(run, "validation")
        self._since = time.monotonic()  # time that the state's seconds do not include yet
        resumed = state.step > 0 or "last" in run.store.index()
        setup = self._setup = set_up(
            run.config,
            run.truncation,
            strategy,
            batch_size,
            len(self.train_split.weights),
            run.build_model if resumed else functools.partial(initial_model, run),
        )
        self.model, self.optimizer = setup.model, setup.optimizer
        self.steps_per_epoch, self.total_steps = setup.steps_per_epoch, setup.total_steps
        self.epochs = -(-self.total_steps // self.steps_per_epoch)
        self.batching = Batching(
            self.train_split,
            options,
            batch_size,
            setup.widths,
            static=setup.static,
            window=window_of(run.task, options),
            partners=run.task.partners(self.train_split.targets),
        )
        if resumed and self.writes:
            with strategy.scope():
                run.store.restore_model("last", self.model)
                run.store.restore_optimizer(self.optimizer)
        if cluster is not None:
            with workers.report_lost_workers("nothing was trained yet"):
                workers.share(strategy, [*self.model.variables, *self.optimizer.variables])
        self.model.optimizer = self.optimizer  # where Keras callbacks look for the learning rate
        # For callbacks that save the model.
        self.model.tokenizer, self.model.truncation = run.tokenizer, run.truncation
        self.callbacks = CallbackCalls(
            callbacks.made(run) if self.writes else [],
            [TensorBoardWriter(run, state.step)] if self.writes and options.tensorboard else [],
            self.model,
            epochs=self.epochs,
            steps=self.steps_per_epoch,
            sharing=None if cluster is None else functools.partial(workers.sharing, strategy),
        )
        if not resumed:
            self._save(["initial", "last"])
        self._phase = -1
        self.step = self._step_of(state.epoch)
        widths = setup.widths if setup.static else None
        self.infer = Inference(run.graph(self.model), strategy=strategy, widths=widths)
        self.losses = Losses(run, state, self.optimizer, writes=self.writes)

    def _step_of(self, epoch: int) -> TrainStep:
        """The training step of an epoch; the variables that it trains may change between epochs."""
        phase = min(epoch, len(self._setup.phases) - 1)
        if phase != self._phase:
            self._phase = phase
            self.step = TrainStep(
                self.strategy,
                self.model,
                self.run.task,
                self.optimizer,
                self.options,
                self._setup.phases[phase],
                static=self._setup.static,
                tokenizer=self.run.tokenizer,
            )
        return self.step

    def fit(self) -> None:
        """Train to the end."""
        options, state = self.options, self.state
        rows, replicas = len(self.train_split.weights), self.strategy.num_replicas_in_sync
        say(
            f"training on {rows} {plural(rows, 'row')}, validating on {len(self.validation_split.weights)}: "
            f"{self.total_steps} {plural(self.total_steps, 'step')} ({self.steps_per_epoch} per epoch), "
            f"batch {self.batching.batch_size} on {devices(replicas, type(self.strategy).__name__)}, "
            f"{options.precision}, {self.model.count_params():,} parameters"
        )
        if state.step:
            say(f"resuming at step {state.step} of {self.total_steps}")
        self.model.stop_training = False
        with interruptible() as asked, self._lost_workers_reported():
            self.callbacks.begin(state, self.run.store.callback_arrays() if self.writes else {})
            try:
                while not state.finished:
                    self._epoch(asked)
            except Interrupted:
                self.callbacks.end()  # they close their files
                raise
            if self.callbacks.end():
                say(
                    f"a callback set the weights at the end: the last checkpoint has them; the best is that "
                    f"of {self.metric}"
                )
                self._save(["last"])
        if self.mirror is not None and self.writes:
            self.mirror.push()  # includes what callbacks wrote at the end
        where = str(self.run.path) if self.mirror is None else self.mirror.remote
        say(ending(state, self.metric, where) if self.writes else f"{state.finished}; the chief has the run")

    def _lost_workers_reported(self) -> contextlib.AbstractContextManager[None]:
        last = f"the last checkpoint is in {self.run.path}"
        return workers.report_lost_workers(last) if self.cluster is not None else contextlib.nullcontext()

    def _epoch(self, asked: threading.Event) -> None:
        state, options = self.state, self.options
        self.step = self._step_of(state.epoch)
        if state.position == 0:
            self.callbacks.on_epoch_begin(state.epoch)
        end = min(self.steps_per_epoch, state.position + self.total_steps - state.step)
        title = f"epoch {state.epoch + 1}/{self.epochs}"
        groups = self.batching.groups(
            state.epoch,
            state.position,
            state.step,
            [options.save_every, options.evaluate_every, options.log_every, self.total_steps],
        )
        note = "" if self.step.is_traced else "compiling the training step"
        with progress(title, self.steps_per_epoch, done=state.position, note=note) as bar:
            for group in groups:
                stop = self._train_on(group, asked, bar)
                last = state.position == self.steps_per_epoch or state.step == self.total_steps
                due = _is_multiple(state.step, options.evaluate_every)
                save = _is_multiple(state.step, options.save_every)
                if due and not last:
                    self._evaluate()
                    if state.finished:
                        return
                elif (stop or save) and not last:
                    self.losses.read()
                    self._save(["last"])
                if stop and not last:
                    self._stop_here()
                if state.position >= end or (self.cluster is None and self.model.stop_training):
                    break
        self.losses.read()
        self._end_epoch()
        if self._stops(asked) and not state.finished:
            self._stop_here()

    def _train_on(self, group: Group, asked: threading.Event, bar: Step) -> bool:
        """Make one call of the device, and return whether a worker asked to stop."""
        state, options = self.state, self.options
        self.callbacks.on_train_batches_begin(state.position, len(group.batches))
        result = self.step.many(group.batches, state.step, stop=asked.is_set())
        self.losses.add(group, result, state.step)
        state.step += len(group.batches)
        state.position += len(group.batches)
        logs: dict[str, Any] = {"loss": result["loss"][-1]}
        if state.step % options.log_every == 0:
            logs = self.losses.logs()
        self.callbacks.on_train_batches_end(state.position - len(group.batches), len(group.batches), logs)
        bar.advance(len(group.batches), self.losses.note)
        # All workers must stop after the same step, whichever of them was asked.
        return asked.is_set() if self.cluster is None else int(result["stop"][-1]) > 0

    def _evaluate(self) -> dict[str, float]:
        """Validate, and save the scores and a checkpoint."""
        self.losses.read()
        state, options = self.state, self.options
        self.callbacks.on_test_begin()
        scores, loss = self._validate(), state.train_loss
        assert loss is not None
        entry = {"epoch": state.epoch, "step": state.step, "train_loss": loss, **scores}
        better = state.validated(entry, self.metric, lower=is_lower_better(self.run, self.metric))
        judged = f", {self.metric} {scores[self.metric]:.4f}" if self.metric in scores else ""
        say(
            f"epoch {-(-state.step // self.steps_per_epoch)}, step {state.step}: train loss {loss:.4f}, "
            f"validation loss {scores['loss']:.4f}{judged}{' (best so far)' if better else ''}"
        )
        self.callbacks.on_test_end({**scores, "step": state.step})
        if options.early_stopping and state.validations_since_best >= options.early_stopping:
            state.finished = (
                f"stopped early: {state.validations_since_best} validations without a better {self.metric}"
            )
        at_end = state.position == 0 or state.step == self.total_steps
        if not at_end:
            self._save(["last", "best"] if better else ["last"])
        if self.writes:
            state.write_history(self.run.path)
        return {**entry, "better": float(better)}

    def _end_epoch(self) -> None:
        state, options = self.state, self.options
        whole = state.position == self.steps_per_epoch
        if whole:
            state.epoch, state.position = state.epoch + 1, 0
        entry = self._evaluate()
        better = entry.pop("better") > 0
        if whole:
            state.loss_sum = state.weight_sum = 0.0
        self.callbacks.on_epoch_end(state.epoch - 1 if whole else state.epoch, entry)
        stopped = bool(self.model.stop_training)
        if self.cluster is not None:
            stopped = workers.total(self.strategy, int(stopped)) > 0
        if state.finished:
            pass
        elif stopped:
            state.finished = "stopped by a callback"
        elif state.step >= self.total_steps:
            number, unit = (state.step, "step") if options.steps else (state.epoch, "epoch")
            state.finished = f"trained {number} {plural(number, unit)}"
        self._save(["last", "best"] if better else ["last"])

    def _validate(self) -> dict[str, float]:
        split, task = self.validation_split, self.run.task
        decodes = self.state.decodes(task.decoding_interval, self.total_steps)
        rows = (split.examples, split.cache, split.targets, "validation", split.weights)
        inferred = self.infer(*rows, decode=task.decoded_in_validation if decodes else 0)
        tuned = task.scorer.tune(self.model.head, inferred.predictions, split.targets, split.weights)
        scores = dataclasses.replace(inferred, predictions=tuned).scores(task, split.targets, split.weights)
        if decodes:
            require_metric(self.metric, scores)  # a label's score may exist only if the label is predicted
        return scores

    def _stops(self, asked: threading.Event) -> bool:
        if self.cluster is None:
            return asked.is_set()
        return workers.total(self.strategy, int(asked.is_set())) > 0

    def _save(self, roles: list[str]) -> None:
        if self.writes:
            state, now = self.state, time.monotonic()
            state.seconds += now - self._since
            self._since = now
            state.callbacks, arrays = self.callbacks.states()
            over = state.finished is not None and not self.options.keep_optimizer
            self.run.store.save(
                roles,
                state.step,
                self.model,
                None if over else self.optimizer,
                dataclasses.asdict(state),
                keep=self.options.keep,
                callback_arrays=arrays,
                frozen=self._setup.frozen,
            )
            if self.mirror is not None:
                self.mirror.push()

    def _stop_here(self) -> None:
        raise Interrupted(
            f"stopped after step {self.state.step} of {self.total_steps}, which is saved; run the same "
            f"command again to continue"
        )


def _is_multiple(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
