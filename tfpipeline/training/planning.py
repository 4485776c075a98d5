"""Estimates what a training needs, without training: ``tfpipeline train --dry-run``."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfpipeline import checkpoints
from tfpipeline.console import plural
from tfpipeline.data import batch_width, epoch_batches
from tfpipeline.data.cache import count_cut_texts, texts_of_rows
from tfpipeline.models import TextModel
from tfpipeline.models.inputs import sequences
from tfpipeline.models.windows import Windows
from tfpipeline.tasks import Task
from tfpipeline.text import Truncation, build_tokenizer, unknown_note
from tfpipeline.training import freezing
from tfpipeline.training.activations import activation_bytes
from tfpipeline.training.batching import check_batch_size, global_batch_size, window_of
from tfpipeline.training.callbacks import Callbacks
from tfpipeline.training.cluster import Cluster
from tfpipeline.training.description import trained_share
from tfpipeline.training.division import TEXTS_OF, divide
from tfpipeline.training.model_settings import (
    add_method,
    tokenizer_options,
    truncation_of,
    windows,
)
from tfpipeline.training.prediction_graph import TextInputs
from tfpipeline.training.rows import TrainingRows, read_rows
from tfpipeline.training.run import lay_out
from tfpipeline.training.run_as_checkpoint import load_checkpoint
from tfpipeline.training.run_config import RunConfig
from tfpipeline.training.run_file import RunFile, read_run_file
from tfpipeline.training.schedule import warmup_steps
from tfpipeline.training.setup import set_up
from tfpipeline.training.starting import check_encoder_settings, say_note_on
from tfpipeline.training.strategy import build_strategy, choose_strategy, devices

_SAMPLED = 2000  # rows that are tokenized to estimate lengths


@dataclass(frozen=True)
class Plan:
    """What a training needs.

    Attributes:
        rows: number of rows of each split.
        mean_tokens, longest: mean and maximum number of tokens of a training row, special tokens included.
            Both are estimated from a sample if there are many rows.
        notes: sentences about training rows that are truncated, or that have many unknown tokens.
        fed: tokens in the batches per real token; 1 means no padding. A token that several windows share
            counts once for each of them.
        parameters, trained: number of the model's parameters, and of those that are trained at some time.
        steps_per_epoch, total_steps, warmup: steps.
        batch_size: examples of the global batch.
        replicas: number of replicas that share the global batch.
        parts: number of accumulation parts of a replica's share.
        strategy, precision, optimizer, learning_rate, schedule: from the run file, with ``auto`` resolved.
        weights, gradients, slots, activations: bytes on each device; activations are estimated for the
            longest batch.
    """

    rows: dict[str, int]
    mean_tokens: float
    longest: int
    notes: list[str]
    fed: float
    parameters: int
    trained: int
    steps_per_epoch: int
    total_steps: int
    warmup: int
    batch_size: int
    replicas: int
    parts: int
    strategy: str
    precision: str
    optimizer: str
    learning_rate: float
    schedule: str
    weights: int
    gradients: int
    slots: int
    activations: int

    def text(self) -> str:
        """The plan as lines of text, as the command prints it."""
        splits = ", ".join(f"{name} {count:,}" for name, count in self.rows.items() if count)
        parts = f" in {self.parts} parts" if self.parts > 1 else ""
        epochs = self.total_steps / self.steps_per_epoch
        total = self.weights + self.gradients + self.slots + self.activations
        lines = {
            "rows": f"{splits}; {self.mean_tokens:.1f} tokens per row, at most {self.longest}",
            "parameters": f"{self.parameters:,}, {trained_share(self.trained, self.parameters)}",
            "batch": f"{self.batch_size} on {devices(self.replicas, self.strategy)}{parts}, "
            f"{self.precision}; {self.fed:.2f} tokens processed per real token",
            "steps": f"{self.total_steps:,} ({self.steps_per_epoch:,} per epoch, {epochs:.4g} "
            f"{plural(epochs, 'epoch')}), {self.warmup:,} of "
            f"them warm-up; {self.optimizer}, learning rate {self.learning_rate:g}, {self.schedule}",
            "memory": f"about {_size(total)} on each device: weights {_size(self.weights)}, gradients "
            f"{_size(self.gradients)}, optimizer {_size(self.slots)}, activations about "
            f"{_size(self.activations)}",
        }
        lines["rows"] = "; ".join([lines["rows"], *self.notes])
        return "\n".join(f"{name:<11} {line}" for name, line in lines.items())


def plan(
    run_file: RunFile,
    cluster: Cluster | None = None,
    rows: TrainingRows | None = None,
    *,
    overrides: Sequence[str] = (),
) -> Plan:
    """Check everything that a training needs, and write nothing.

    Args:
        run_file, overrides: as :func:`tfpipeline.training.train` takes them.
        cluster: the workers, for training on several machines.
        rows: the rows of the run file's data files; by default they are read now.
    Raises:
        UserError: under the same conditions as in the training itself.
    """
    run_config = read_run_file(run_file, overrides)
    options = run_config.training
    kind = choose_strategy(options, cluster)
    if kind == "multi_worker":  # a dry run does not need the other workers
        strategy = build_strategy("mirrored", options)
        assert cluster is not None
        replicas = strategy.num_replicas_in_sync * len(cluster.workers)
    else:
        strategy = build_strategy(kind, options)
        replicas = strategy.num_replicas_in_sync
    batch_size = global_batch_size(options, replicas)
    callbacks = Callbacks(options.callbacks)
    checkpoint = load_checkpoint(run_config.checkpoint, head=False)
    checkpoints.say_notes(checkpoint)
    checkpoints.check_tokenizer(checkpoint)
    say_note_on(run_config, checkpoint)
    config = check_encoder_settings(run_config, checkpoint)
    rows = rows or read_rows(run_config)
    splits, task = rows.splits, rows.task
    check_batch_size(task, batch_size)
    task.check_encoder(config)
    if options.best_metric is not None or len(callbacks):
        with tempfile.TemporaryDirectory() as scratch:
            validation = {"validation": splits["validation"]}
            callbacks.check(lay_out(run_config, checkpoint, task, validation, Path(scratch)))
    own_options = tokenizer_options(run_config, checkpoint)
    truncation = truncation_of(run_config, own_options)
    task = task.with_tokenizer(checkpoint.vocabulary, own_options)
    if task.divides:
        own = build_tokenizer(checkpoint.vocabulary, own_options)
        splits = {
            name: divide(task, examples, own, truncation, f"{TEXTS_OF.get(name, name)} texts")
            for name, examples in splits.items()
            if examples
        }
    lengths, notes = _lengths(splits["train"], task, checkpoint, run_config, truncation)
    pair = run_config.has_joint_pairs
    setup = set_up(
        run_config,
        truncation,
        strategy,
        batch_size,
        len(splits["train"]),
        lambda: add_method(
            TextModel(config.encoder(uninitialized=True), task.head(config, seed=options.seed)), run_config
        ),
        on_devices=False,
    )
    batches = _Widths(setup.widths, truncation.longest(pair), windows(truncation, pair))
    here = batch_size // replicas // options.accumulation
    shapes = [batches.windows(int(longest)) for longest in lengths.max(0)]
    return Plan(
        rows={name: len(examples) for name, examples in splits.items()},
        mean_tokens=float(lengths.sum(1).mean()),
        longest=int(lengths.sum(1).max()),
        notes=notes,
        fed=_fed(lengths, batch_size, window_of(task, options), batches),
        parameters=setup.model.count_params(),
        trained=freezing.count(setup.trained),
        steps_per_epoch=setup.steps_per_epoch,
        total_steps=setup.total_steps,
        warmup=warmup_steps(options, setup.total_steps),
        batch_size=batch_size,
        replicas=replicas,
        parts=options.accumulation,
        strategy=kind,
        precision=options.precision,
        optimizer=options.optimizer.name,
        learning_rate=options.learning_rate,
        schedule=options.schedule.name,
        weights=_bytes(setup.model.variables),
        gradients=_bytes(setup.trained),
        slots=_bytes(setup.optimizer.variables),
        activations=sum(
            times * activation_bytes(setup.model.encoder, setup.trained, here * count, width)
            for (count, width), times in Counter(shapes).items()
        ),
    )


def _lengths(
    examples: Any,
    task: Task,
    checkpoint: checkpoints.Checkpoint,
    run_config: RunConfig,
    truncation: Truncation,
) -> tuple[np.ndarray, list[str]]:
    """The number of tokens of each sequence, [N, S], and notes about truncated rows and unknown tokens.

    S is the number of sequences of a row; N is the number of training rows, or of a random sample of them.
    """
    rows = np.arange(len(examples))
    if len(rows) > _SAMPLED:
        rows = np.sort(np.random.default_rng(0).choice(rows, _SAMPLED, replace=False))
    chosen = [examples[int(row)] for row in rows]
    options = tokenizer_options(run_config, checkpoint)
    tokenizer = build_tokenizer(checkpoint.vocabulary, options)
    texts = texts_of_rows(chosen, task.further_texts)
    pair = run_config.has_joint_pairs
    text_inputs = TextInputs(
        tokenizer,
        truncation,
        pair="text_pair" in texts,
        offsets=False,
        separate=run_config.task.encoding == "separate",
        prompts=task.prompts,
    )
    encoded = text_inputs.tokens(texts, count=True)
    parts = sequences(encoded)
    what = "training rows" if len(rows) == len(examples) else "sampled training rows"
    cut = int(np.count_nonzero(sum(np.asarray(part["cut"]) for part in parts)))
    lengths = np.stack([np.asarray(part["attention_mask"]).sum(-1) for part in parts], 1)
    unknown = sum(int(np.sum(part["unknown"])) for part in parts)
    tokens = int(lengths.sum()) - lengths.size * options.template.count(pair)
    notes = (
        truncation.note(cut, len(rows), what, pair=pair, cut_texts=count_cut_texts(encoded)),
        unknown_note(unknown, tokens, checkpoint.vocabulary, options, what),
    )
    return lengths, [note for note in notes if note is not None]


@dataclass(frozen=True)
class _Widths:
    """The widths that batches are padded to.

    Attributes:
        choice: the allowed widths; None for multiples of 8.
        most: maximum number of tokens of a row.
        cut: how rows are divided into windows; None without windows.
    """

    choice: list[int] | None
    most: int
    cut: Windows | None

    def windows(self, longest: int) -> tuple[int, int]:
        """The number and the width of a row's windows, if the longest of its batch has ``longest`` tokens."""
        width = batch_width(longest, self.most, self.choice)
        return (1, width) if self.cut is None else (self.cut.count(width), self.cut.width(width))


def _fed(lengths: np.ndarray, batch_size: int, bucket_window: int, widths: _Widths) -> float:
    batches = epoch_batches(lengths.max(1), batch_size, bucket_window=bucket_window)
    fed = sum(
        len(batch) * math.prod(widths.windows(int(longest)))
        for batch in batches
        for longest in lengths[batch].max(0)
    )
    return float(fed / lengths.sum())


def _bytes(variables: Any) -> int:
    return int(
        sum(
            np.prod(variable.shape, dtype=np.int64) * np.dtype(variable.dtype).itemsize
            for variable in variables
        )
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
