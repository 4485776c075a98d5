"""Shared code of the tasks that read one vector per text: classification, multilabel and regression."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from tfpipeline.checkpoints.heads import CheckpointHead
from tfpipeline.console import say
from tfpipeline.data.records import parse_float, shortened
from tfpipeline.errors import UserError, alike, did_you_mean
from tfpipeline.models.inputs import ADAPTERS
from tfpipeline.models.pooling import Pooling, check_pooling
from tfpipeline.tasks import _explained
from tfpipeline.tasks.base import Task
from tfpipeline.tasks.options import TaskOptions

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.checkpoints.checkpoint import Checkpoint
    from tfpipeline.data import Example
    from tfpipeline.models import EncoderConfig

_HEAD = "sequence_classifier"
_SHOWN = 5  # labels in a warning
_READS = {"mean": "the mean of the tokens", "cls": "the [CLS] token", "last": "the last token"}
_SINGLE, _REGRESSION = "single_label_classification", "regression"


class PooledOptions(TaskOptions):
    """The options of tasks on pooled texts; each subclass sets its own ``name``.

    Attributes:
        problem_type: the name of this task in transformers (``problem_type`` in a checkpoint's
            configuration).
    """

    problem_type: ClassVar[str]

    fixed_by_head: ClassVar[tuple[str, ...]] = ("pooling",)

    pooling: Pooling = Field(
        "mean",
        description="Input of the head: the mean of the real tokens, the first ([CLS]) or the last one, or "
        "BERT's pooler.",
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the head.")

    @classmethod
    def serves(cls, checkpoint: Checkpoint) -> bool:
        if _HEAD not in checkpoint.head_names:
            return False
        # The rule in transformers for files without a problem_type: one output means regression.
        assumed = _SINGLE if len(checkpoint.labels) > 1 else _REGRESSION
        return (checkpoint.problem_type or assumed) == cls.problem_type

    @staticmethod
    def require_pooler(checkpoint: Checkpoint) -> None:
        """Raise a UserError for a checkpoint that lacks the pooler that its classifier reads."""
        if "pooled_output" not in checkpoint.config.outputs:
            raise UserError(
                f"{checkpoint} has no pooler, which its classifier reads; copy the whole checkpoint"
            )


class PooledTask(Task):
    """A dense layer on one vector per text.

    Attributes:
        outputs: number of outputs of the head per text.
        labels: the names of the outputs, if they have names.
        tasks_of_rows: the tasks of :meth:`by_row`; empty for a task of all rows.
    """

    outputs: int
    labels: tuple[str, ...] = ()
    tasks_of_rows: tuple[PooledTask, ...] = ()
    explains = True

    def by_row(self, tasks: Sequence[PooledTask]) -> PooledTask:
        found = copy.copy(self)
        found.tasks_of_rows = tuple(tasks)
        return found

    def of_rows(self, value: Callable[[Any], Any], inputs: Mapping[str, tf.Tensor]) -> Any:
        """A value of the rows' own tasks, [B, ...]; without such tasks this task's own.

        Args:
            value: makes it, a number or an array of one shape and dtype, of a task.
            inputs: of :meth:`predictions`.
        """
        import tensorflow as tf

        if not self.tasks_of_rows:
            return value(self)
        return tf.gather(np.array([value(task) for task in self.tasks_of_rows]), inputs[ADAPTERS])

    def classes(self, inputs: Mapping[str, tf.Tensor], like: tf.Tensor) -> tf.Tensor:
        """The labels of each row, string [B, C], padded with "".

        Args:
            inputs: of :meth:`predictions`.
            like: any tensor [B, C].
        """
        import tensorflow as tf

        if not self.tasks_of_rows:
            return tf.repeat(tf.constant(self.labels)[None, :], tf.shape(like)[0], axis=0)
        widest = max(len(task.labels) for task in self.tasks_of_rows)
        labels = [[*task.labels, *[""] * (widest - len(task.labels))] for task in self.tasks_of_rows]
        return tf.gather(tf.constant(labels), inputs[ADAPTERS])

    def check_encoder(self, config: EncoderConfig) -> None:
        check_pooling(self.options.pooling, config.outputs)

    def head(self, config: EncoderConfig, seed: int) -> keras.layers.Layer:
        from tfpipeline.models import ClassificationHead

        options = self.options
        return ClassificationHead(self.outputs, pooling=options.pooling, dropout=options.dropout, seed=seed)

    def head_variables(self, head: Any) -> dict[str, Any]:
        return {f"{_HEAD}/kernel": head.dense.kernel, f"{_HEAD}/bias": head.dense.bias}

    def checkpoint_head(self, head: Any) -> CheckpointHead:
        pooling = self.options.pooling
        if pooling != "pooler":
            read = _READS[pooling]
            note = (
                f"the head is omitted: it reads {read} (task.pooling: {pooling}), but a checkpoint's "
                "classifier reads the pooler; train with task.pooling: pooler for a classifier that other "
                "programs can use"
            )
            return CheckpointHead(notes=[note])
        labels = self.labels or tuple(f"LABEL_{index}" for index in range(self.outputs))
        return CheckpointHead(self.head_tensors(head), labels, self.options.problem_type)

    def explanation_target(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor], wanted: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The requested label, or the label with the highest logit."""
        import tensorflow as tf

        best = tf.argmax(outputs["logits"], axis=-1, output_type=tf.int32)
        index = _explained.label_indices(self.labels, wanted, best)
        return {"label": tf.gather(tf.constant(self.labels), index), "index": index}

    def explained(self, outputs: Mapping[str, tf.Tensor], target: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The logit of the label."""
        return _explained.picked(outputs["logits"], target["index"])


class LabelCounts:
    """Counts the rows of each label, and records the first row with each label."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, label: str, example: Example) -> None:
        """Count a row's label."""
        self.rows[label] += 1
        self.first.setdefault(label, example.source)


def unknown_label(named: Any, example: Example, label: str, known: Sequence[str]) -> str:
    """The error message for a label that the task does not have. ``named``: whether the run file names the
    labels.
    """
    why = "" if named else ", which no training row has"
    same = next((other for other in known if _value(other) == _value(label)), None)
    meant = did_you_mean(label if same is None else same, known)
    return f'{example.source}: unknown label "{shortened(label)}"{why}{meant}'


def require_label(example: Example, named: Sequence[str] | None) -> None:
    """Raise a UserError for a row without a label, or with a label that the run file does not name."""
    if example.label is None:
        raise UserError(f"{example.source}: the row has no label; write one or remove the row")
    if named is not None and example.label not in named:
        raise UserError(unknown_label(named, example, example.label, named))


def check_labels(labels: Sequence[str], counts: LabelCounts, field: str | None) -> None:
    """Raise a UserError for labels that cannot be learnt, and warn about labels with only one row.

    Args:
        labels: the labels of the task, in order.
        counts: the counts in the training rows.
        field: the run file's field that names the labels; None if it does not.
    """
    repeated = next((label for label, count in Counter(labels).items() if count > 1), None)
    if repeated is not None:
        raise UserError(f'{field} names "{repeated}" twice; name each label once')
    for label in labels:
        if label != label.strip() or len(label.splitlines()) != 1:
            where = field or counts.first[label]
            raise UserError(
                f"{where}: the label {label[:40]!r} is empty or has white space around it or a line break in "
                "it; rename it"
            )
    absent = [label for label in labels if label not in counts.rows]
    if absent:
        raise UserError(
            f'no training row has the label "{absent[0]}" of {field}; remove it or add rows for it'
        )
    # Two spellings of one label would silently become two classes. Users who want that can name both.
    spellings: dict[Any, str] = {}
    for label in labels if field is None else ():
        other = spellings.setdefault(_value(label), label)
        if other != label:
            raise UserError(
                f'{counts.first[label]}: the label "{shortened(label)}" '
                f"{_differs(label, other, counts.first[other])}; use one "
                "spelling, or name both in task.labels if they are different labels"
            )
        if label.casefold() == "nan" and all(_value(one)[0] for one in labels if one != label):
            raise UserError(
                f'{counts.first[label]}: the label "{label}" is not a number, but all other labels are; '
                "write a number or remove the row, or name all labels in task.labels if it is a label"
            )
    lonely = [label for label in labels if counts.rows[label] == 1]
    if lonely:
        shown = ", ".join(f'"{label}" ({counts.first[label]})' for label in lonely[:_SHOWN])
        more = f" and {len(lonely) - _SHOWN} more" if len(lonely) > _SHOWN else ""
        say(f"warning: only one training row has the label {shown}{more}: too few to learn from")


def _value(label: str) -> tuple[bool, Any]:
    """A key that is equal for spellings of the same value, after whether that value is a number; true and
    false count as numbers.
    """
    value = {"true": 1.0, "false": 0.0}.get(label.casefold(), parse_float(label))
    return (False, alike(label)) if math.isnan(value) else (True, value)


def _differs(label: str, other: str, source: str) -> str:
    """A description of how a label differs from another label with the same value."""
    named = f'"{shortened(other)}" ({source})'
    if _value(label)[0]:
        return f"is the same value as {named}"
    visibly = " ".join(label.casefold().split()) == " ".join(other.casefold().split())
    what = "case or white space" if visibly else "characters that look alike or cannot be seen"
    return f"differs from {named} only in {what}"
