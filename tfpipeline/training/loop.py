"""The training loop: epochs, validation, the best checkpoint, early stopping, interruption and resume."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpipeline import checkpoints, config
from tfpipeline.console import progress, say
from tfpipeline.data import TokenCache, epoch_batches, load_splits
from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.files import write_text
from tfpipeline.training.inference import Answers, Inference
from tfpipeline.training.optimizer import build_optimizer
from tfpipeline.training.run import Run, create_run, is_run, policy
from tfpipeline.training.run_config import RunConfig
from tfpipeline.training.step import WEIGHTS, build_train_step
from tfpipeline.training.strategy import build_strategy

_READ_EVERY = 10  # steps between two looks at the loss: reading it makes the device wait


class Interrupted(Exception):
    """Training was asked to stop (Ctrl-C, SIGTERM); what was done is saved, the message says how to go on."""


@dataclass
class State:
    """Where a run is; saved with each checkpoint. Together with the variables it is all a resume needs."""

    step: int = 0  # steps done over the whole run
    epoch: int = 0  # epochs done
    position: int = 0  # batches done of the running epoch
    loss_sum: float = 0.0  # over the running epoch, of batch loss times batch weight
    weight_sum: float = 0.0
    best: float | None = None
    best_epoch: int | None = None
    history: list[dict[str, float]] = field(default_factory=list)  # one entry an epoch
    finished: str | None = None  # why training ended


@dataclass(frozen=True)
class Split:
    """One split as the loop needs it."""

    cache: TokenCache
    targets: dict[str, np.ndarray]
    weights: np.ndarray

    @classmethod
    def of(cls, run: Run, name: str) -> Split:
        examples = run.examples(name)
        weights = np.array([example.weight for example in examples], np.float32)
        return cls(run.token_cache(name, examples), run.task.targets(examples), weights)

    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {
            **self.cache.batch(rows),
            **{name: array[rows] for name, array in self.targets.items()},
            WEIGHTS: self.weights[rows],
        }


def train(
    run_file: str | Path | RunConfig,
    overrides: Sequence[str] = (),
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Train a run to its end, from where it stands.

    A new ``output`` directory is laid out first; one that holds an interrupted run of the same settings is
    resumed, bit for bit as if it had not been interrupted; a finished one is returned as it is.

    Args:
        run_file: a run file's path, or its settings as a :class:`RunConfig`.
        overrides: ``"training.epochs=2"``, as ``--set`` takes them; for a path only.
        callbacks: ordinary Keras callbacks; ``model.stop_training`` is honoured at the end of an epoch.
    Raises:
        UserError: something the user gave can't be used, or the disk is full; earlier checkpoints stay.
        Interrupted: Ctrl-C or SIGTERM; the step was finished and saved.
    """
    run_config = run_file if isinstance(run_file, RunConfig) else config.load(run_file, RunConfig, overrides)
    run = _open_or_create(run_config)
    trainer = Trainer(run, callbacks)
    if trainer.state.finished:
        say(f"{run.path} is finished ({trainer.state.finished}); nothing to do")
    else:
        trainer.fit()
    return run


class Trainer:
    """Trains one run; see :func:`train`."""

    def __init__(self, run: Run, callbacks: Sequence[keras.callbacks.Callback] = ()) -> None:
        self.run = run
        self.options = run.config.training
        self.state = State()
        roles = run.store.index()
        if "last" in roles:
            self.state = State(**run.store.state("last"))
        if self.state.finished:
            return
        self.metric = self.options.best_metric or run.task.best_metric
        self.train_split, self.validation_split = Split.of(run, "train"), Split.of(run, "validation")
        # Sizes of batches do not depend on the order, so every epoch has as many.
        self.steps_per_epoch = len(self._batches(0))
        self.total_steps = self.steps_per_epoch * self.options.epochs
        self.strategy = build_strategy(self.options.strategy)
        with self.strategy.scope(), policy(self.options.precision):
            self.model = run.build_model(None if roles else self._pretrained_encoder())
            self.optimizer = build_optimizer(self.options, self.model, self.total_steps)
            if "last" in roles:
                run.store.restore_model("last", self.model)
                run.store.restore_optimizer(self.optimizer)
        if not roles:
            run.store.save(["initial", "last"], 0, self.model, self.optimizer, asdict(self.state))
        self.callbacks = keras.callbacks.CallbackList(list(callbacks), add_history=False, model=self.model)
        self.step = build_train_step(self.strategy, self.model, run.task, self.optimizer, self.options)
        self.infer = Inference(self.model, run.task)

    def fit(self) -> None:
        """Train to the end."""
        options, state = self.options, self.state
        rows, replicas = len(self.train_split.weights), self.strategy.num_replicas_in_sync
        say(
            f"training on {rows} rows, validating on {len(self.validation_split.weights)}: {options.epochs} epochs "
            f"of {self.steps_per_epoch} steps, batch {options.batch_size} on {replicas} replica(s) "
            f"({options.strategy}), {options.precision}, {self.model.count_params():,} parameters"
        )
        if state.step:
            say(f"resuming at step {state.step} of {self.total_steps}")
        self.model.stop_training = False
        with interruptible() as asked:
            self.callbacks.on_train_begin()
            while not state.finished:
                self._epoch(asked)
            self.callbacks.on_train_end()
        say(
            f"{state.finished}; best {self.metric} {state.best:.4f} on validation, after epoch {state.best_epoch}; "
            f"the run is in {self.run.path}"
        )

    def _epoch(self, asked: threading.Event) -> None:
        state, options = self.state, self.options
        batches = self._batches(state.epoch)
        self.callbacks.on_epoch_begin(state.epoch)
        pending: list[tuple[tf.Tensor, float]] = []

        def read_losses() -> None:
            for loss, weight in pending:
                state.loss_sum += float(loss) * weight
                state.weight_sum += weight
            pending.clear()

        title = f"epoch {state.epoch + 1}/{options.epochs}"
        with progress(title, len(batches), done=state.position) as bar:
            for rows in batches[state.position :]:
                batch = self.train_split.batch(rows)
                self.callbacks.on_train_batch_begin(state.position)
                result = self.step(batch, state.step)
                pending.append((result["loss"], float(batch[WEIGHTS].sum())))
                state.step += 1
                state.position += 1
                if state.step % _READ_EVERY == 0:
                    read_losses()
                self.callbacks.on_train_batch_end(state.position - 1, {"loss": result["loss"]})
                note = f"loss {state.loss_sum / state.weight_sum:.4f}" if state.weight_sum else ""
                bar.advance(1, note)
                last = state.position == len(batches)
                due = options.save_every and state.step % options.save_every == 0
                if (asked.is_set() or due) and not last:
                    read_losses()
                    self._save(["last"])
                if asked.is_set() and not last:
                    self._stop_here()
        read_losses()
        self._end_epoch()
        if asked.is_set() and not state.finished:
            self._stop_here()

    def _end_epoch(self) -> None:
        state, options = self.state, self.options
        scores = self._validate()
        if self.metric not in scores:
            raise UserError(
                f'training.best_metric: there is no metric "{self.metric}"{did_you_mean(self.metric, scores)}'
            )
        state.epoch += 1
        entry = {
            "epoch": state.epoch,
            "step": state.step,
            "train_loss": state.loss_sum / state.weight_sum,
            **scores,
        }
        state.history.append(entry)
        value = scores[self.metric]
        lower = self.metric == "loss" or self.metric in self.run.task.lower_is_better
        better = state.best is None or (value < state.best if lower else value > state.best)
        if better:
            state.best, state.best_epoch = value, state.epoch
        state.position, state.loss_sum, state.weight_sum = 0, 0.0, 0.0
        say(
            f"epoch {state.epoch}: train loss {entry['train_loss']:.4f}, validation "
            f"loss {scores['loss']:.4f}, {self.metric} {value:.4f}{' (best so far)' if better else ''}"
        )
        self.callbacks.on_epoch_end(state.epoch - 1, entry)
        assert state.best_epoch is not None
        waited = state.epoch - state.best_epoch
        if options.early_stopping and waited >= options.early_stopping:
            state.finished = f"stopped early: {waited} epochs without a better {self.metric}"
        elif self.model.stop_training:
            state.finished = "stopped by a callback"
        elif state.epoch == options.epochs:
            state.finished = f"trained {state.epoch} epochs"
        self._save(["last", "best"] if better else ["last"])
        write_text(
            self.run.path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in state.history)
        )

    def _validate(self) -> dict[str, float]:
        split = self.validation_split
        answers: Answers = self.infer(split.cache, split.targets, "validation")
        return answers.scores(self.run.task, split.targets, split.weights)

    def _batches(self, epoch: int) -> list[np.ndarray]:
        options = self.options
        return epoch_batches(
            self.train_split.cache.lengths,
            options.batch_size,
            window=options.window,
            seed=options.seed,
            epoch=epoch,
        )

    def _save(self, roles: list[str]) -> None:
        self.run.store.save(roles, self.state.step, self.model, self.optimizer, asdict(self.state))

    def _stop_here(self) -> None:
        raise Interrupted(
            f"stopped after step {self.state.step} of {self.total_steps}, which is saved; run the same command again to go on"
        )

    def _pretrained_encoder(self) -> Any:
        return checkpoints.load(self.run.config.checkpoint).encoder(self.run.bert_config)


def _open_or_create(run_config: RunConfig) -> Run:
    path = Path(run_config.output)
    if is_run(path):
        run = Run(path)
        theirs, ours = config.dump(run.config).splitlines(), config.dump(run_config).splitlines()
        changed = [line.strip() for line in ours if line not in theirs] or [
            line.strip() for line in theirs if line not in ours
        ]
        if changed:
            raise UserError(
                f"{path} was started with other settings ({'; '.join(changed[:3])} differs); "
                "choose another output folder, or remove that one"
            )
        return run
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"output: {path} is there and is not a run directory; choose another folder")
    if path.exists():
        path.rmdir()
    checkpoint = checkpoints.load(run_config.checkpoint)
    return create_run(run_config, checkpoint, load_splits(run_config.data))


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM set the event the first time; a second Ctrl-C stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may set signal handlers
        return

    def ask(signum: int, frame: Any) -> None:
        if asked.is_set() and signum == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()
        say("finishing this step and saving; Ctrl-C again to stop at once")

    saved = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in saved.items():
            signal.signal(number, handler)
