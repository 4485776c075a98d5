"""Writes a run's TensorBoard logs; to view them: ``tensorboard --logdir RUN/tensorboard``."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfpipeline.data import Example
from tfpipeline.files import atomic_file
from tfpipeline.models.inputs import sequences
from tfpipeline.text import load_vocabulary
from tfpipeline.training.run import Run

_SAMPLE = 8  # number of texts shown
_CHARACTERS = 300  # shown per text


class TensorBoardWriter(keras.callbacks.Callback):
    """Writes the folders ``tensorboard/train`` and ``tensorboard/validation`` of a run.

    It writes scalars by step (loss, gradient_norm, learning_rate, examples_per_second, tokens_per_second; for
    validation: the loss and the task's metrics), a sample of the training texts as the model reads them, and
    the settings as hparams. The hparams are in the validation folder, because TensorBoard joins settings and
    scores from the same folder. No ``hparams_config`` is written: TensorBoard would apply one run's columns
    to all runs of a log directory.

    Args:
        run: the run.
        step: steps done. Entries that an earlier process wrote after its last checkpoint are removed, because
            those steps are repeated.
    """

    def __init__(self, run: Run, step: int) -> None:
        super().__init__()
        self._run, self._first = run, step
        self._writers: dict[str, Any] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        directory = self._run.path / "tensorboard"
        _cut(directory, self._first)
        with tf.device("/cpu:0"):
            for name in ("train", "validation"):
                self._writers[name] = tf.summary.create_file_writer(str(directory / name))
            if self._first == 0:
                self._describe()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if logs and "step" in logs:  # logs are only read from the device every log_every steps
            self._scalars("train", logs)

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        if logs and "step" in logs:
            self._scalars("validation", logs)

    def on_train_end(self, logs: Any = None) -> None:
        for writer in self._writers.values():
            writer.close()

    def _scalars(self, name: str, logs: Mapping[str, Any]) -> None:
        step = int(logs["step"])
        with tf.device("/cpu:0"), self._writers[name].as_default(step=step):
            for tag, value in logs.items():
                if tag != "step":
                    tf.summary.scalar(tag, float(value))
        self._writers[name].flush()

    def _describe(self) -> None:
        from tensorboard.plugins.hparams import api

        with self._writers["train"].as_default(step=0):
            tf.summary.text("sample", _sample(self._run, list(self._run.examples("train")[:_SAMPLE])))
        with self._writers["validation"].as_default(step=0):
            api.hparams(hparams(self._run))
        for writer in self._writers.values():
            writer.flush()


def hparams(run: Run) -> dict[str, bool | int | float | str]:
    """The settings of the ``text``, ``task`` and ``training`` sections by dotted name, in types that
    TensorBoard accepts.
    """
    values: dict[str, bool | int | float | str] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{prefix}.{name}", inner)
        elif isinstance(value, (bool, int, float, str)):
            values[prefix] = value
        elif value:
            values[prefix] = str(value)

    settings = run.config.model_dump(mode="json")
    for section in ("text", "task", "training"):
        walk(section, settings[section])
    return values


def _sample(run: Run, examples: Sequence[Example]) -> str:
    """A Markdown table of texts with their labels and tokens."""
    pairs = [example.text_pair or "" for example in examples]
    has_pairs = any(example.text_pair is not None for example in examples)
    encoded = run.encode([example.text for example in examples], pairs if has_pairs else None)
    vocabulary = load_vocabulary(run.path / "vocab.txt")
    lines = ["| row | label | text | tokens |", "|---|---|---|---|"]
    columns = run.config.task.target_columns() or ()
    parts = sequences(encoded)
    for index, example in enumerate(examples):
        ids = [part["input_ids"][index][part["attention_mask"][index] > 0] for part in parts]
        tokens = " ".join(vocabulary[token] for sequence in ids for token in sequence)
        label = example.label or ", ".join(f"{name}: {example.columns[name]}" for name in columns)
        cells = (example.source, label, example.joined_text[:_CHARACTERS], tokens[:_CHARACTERS])
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _cut(directory: Path, step: int) -> None:
    """Remove entries written after ``step``, and partial records that a killed process left."""
    for path in sorted(directory.glob("*/events.out.tfevents.*")):
        kept: list[bytes] = []
        whole = True
        try:
            for record in tf.data.TFRecordDataset(str(path)):
                event = tf.compat.v1.Event.FromString(record.numpy())
                if event.step <= step:
                    kept.append(record.numpy())
                else:
                    whole = False
        except tf.errors.DataLossError:
            whole = False
        if whole:
            continue
        with (
            atomic_file(path) as temporary,
            contextlib.closing(tf.io.TFRecordWriter(str(temporary))) as writer,
        ):
            for record in kept:
                writer.write(record)
