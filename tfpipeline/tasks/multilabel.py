"""Multi-label classification: any number of labels for each text (or pair of texts).

Loss: binary cross-entropy, averaged over the labels. A label is predicted if its score reaches its threshold.
Each validation chooses the thresholds with the best F1 per label. They are weights of the model, so the best
checkpoint has its own.
Served answer, in the task's order: ``labels`` string [B, C], the predicted labels, padded with "" to C;
``classes`` string [B, C], ``scores`` float32 [B, C] and ``thresholds`` float32 [B, C].
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional, Union

import numpy as np
from pydantic import Field, field_validator, model_validator

from tfpipeline.checkpoints.heads import CheckpointHead
from tfpipeline.data.readers.jsonl import replace_surrogates
from tfpipeline.data.records import NoValue, shortened
from tfpipeline.errors import UserError
from tfpipeline.tasks import _spans
from tfpipeline.tasks._pooled import LabelCounts, PooledOptions, PooledTask, check_labels, unknown_label
from tfpipeline.tasks._temperature import scaled_probability
from tfpipeline.tasks.base import ABSTAINED
from tfpipeline.tasks.options import Fitter
from tfpipeline.tasks.scorer import Arrays, Scorer

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.checkpoints.checkpoint import Checkpoint
    from tfpipeline.data import Example
    from tfpipeline.data.options import DataOptions
    from tfpipeline.models import EncoderConfig

_MISTAKES = 100  # only the worst: an untrained model is wrong in every row, about hundreds of labels each
_GIVEN = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}


class MultiLabelScorer(Scorer):
    """Scores sets of labels and tunes the thresholds."""

    task: MultiLabel
    best_metric = "macro_f1"
    lower_is_better = frozenset({"hamming_loss", "expected_calibration_error"})

    def tune(
        self,
        head: Any,
        predictions: Arrays,
        targets: Arrays,
        weights: np.ndarray,
    ) -> Arrays:
        if self.task.options.threshold != "tuned":
            return predictions
        from tfpipeline.metrics.multilabel import tune_thresholds

        thresholds = tune_thresholds(targets["labels"], predictions["scores"], weights)
        head.thresholds.assign(thresholds)
        return {**predictions, "thresholds": np.broadcast_to(thresholds, predictions["scores"].shape)}

    def metrics(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> dict[str, float]:
        from tfpipeline.metrics import multilabel

        return multilabel.compute(
            targets["labels"],
            predictions["scores"],
            predictions["thresholds"][0],
            weights,
            labels=self.task.labels,
            logits=predictions.get("logits"),
        )

    def intervals(
        self, predictions: Arrays, targets: Arrays, weights: np.ndarray
    ) -> dict[str, tuple[float, float]]:
        from tfpipeline.metrics import multilabel

        return multilabel.confidence_intervals(
            targets["labels"],
            predictions["scores"],
            predictions["thresholds"][0],
            weights,
            labels=self.task.labels,
        )

    def report(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> str:
        from tfpipeline.metrics import multilabel

        return multilabel.report(
            targets["labels"],
            predictions["scores"],
            predictions["thresholds"][0],
            weights,
            labels=self.task.labels,
        )

    def baseline(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> tuple[str, dict[str, np.ndarray]] | None:
        from tfpipeline.metrics.baseline import linear_model, tfidf_multilabel

        scores = tfidf_multilabel(
            [example.joined_text for example in train],
            self.task.targets(train)["labels"],
            [example.joined_text for example in test],
        )
        return linear_model(len(self.task.labels)), {
            "scores": scores,
            "thresholds": np.full(scores.shape, 0.5, np.float32),
        }

    def mistakes(self, predictions: Arrays, targets: Arrays) -> list[tuple[int, str, str]]:
        given, truth = predictions["scores"] >= predictions["thresholds"], targets["labels"] > 0
        wrong = np.flatnonzero((given != truth).any(-1))
        if "logits" in predictions:  # these rank confident mistakes, whose scores are all 0 or 1
            surest = np.where(truth, -predictions["logits"], predictions["logits"])[wrong].max(-1)
        else:
            surest = np.abs(predictions["scores"] - truth)[wrong].max(-1)
        worst_first = wrong[np.argsort(-surest, kind="stable")][:_MISTAKES]
        return [(int(row), self._named(truth[row]), self._named(given[row])) for row in worst_first]

    def near_ties(self, predictions: Arrays, tolerance: float) -> np.ndarray:
        return (np.abs(predictions["scores"] - predictions["thresholds"]) <= tolerance).any(-1)

    def right(self, predictions: Arrays, targets: Arrays) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        given = predictions["scores"] >= predictions["thresholds"]
        right = (given == (targets["labels"] > 0)).all(-1)
        return {ABSTAINED: (np.arange(len(right)), right)}

    def _named(self, given: np.ndarray) -> str:
        return ", ".join(self.task.labels[index] for index in np.flatnonzero(given)) or "none"


class MultiLabel(PooledTask):
    """Predicts a set of labels per text; see the module."""

    options: MultiLabelOptions
    scorer_class = MultiLabelScorer

    def __init__(self, options: MultiLabelOptions, labels: Sequence[str]) -> None:
        super().__init__(options, list(labels))
        self.labels = tuple(labels)
        self.outputs = len(self.labels)
        self._index = {label: index for index, label in enumerate(self.labels)}

    def checkpoint_head(self, head: Any) -> CheckpointHead:
        """Convert the head without its thresholds: other programs predict a label from a score of 0.5."""
        checkpoint_head = super().checkpoint_head(head)
        thresholds = head.thresholds.numpy()
        if not checkpoint_head.tensors or np.all(thresholds == 0.5):
            return checkpoint_head
        if len(np.unique(thresholds)) == 1:
            return dataclasses.replace(checkpoint_head, settings={"task.threshold": str(thresholds[0])})
        shown = ", ".join(f"{label}: {value:.4g}" for label, value in zip(self.labels, thresholds))
        note = f"a checkpoint cannot store the labels' thresholds and implies 0.5; this run's are {shown}"
        return dataclasses.replace(checkpoint_head, notes=[note])

    def targets(self, examples: Sequence[Example], *, training: bool = False) -> dict[str, np.ndarray]:
        given = np.zeros((len(examples), len(self.labels)), np.int8)
        for row, example in enumerate(examples):
            for label in _labels(self.options, example):
                if label not in self._index:
                    raise UserError(unknown_label(self.options.labels, example, label, self.labels))
                given[row, self._index[label]] = 1
        return {"labels": given}

    def head(self, config: EncoderConfig, seed: int) -> keras.layers.Layer:
        from tfpipeline.models import MultiLabelHead

        options = self.options
        threshold = 0.5 if options.threshold == "tuned" else options.threshold
        return MultiLabelHead(
            self.outputs, threshold=threshold, pooling=options.pooling, dropout=options.dropout, seed=seed
        )

    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        import tensorflow as tf

        logits = outputs["logits"]
        wanted = tf.cast(targets["labels"], logits.dtype)
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(wanted, logits), axis=-1)

    def temperatures(self) -> Mapping[str, tuple[int, ...]]:
        return {"temperature": (self.outputs,)}  # one per label, because labels are independent

    def at_temperatures(
        self, outputs: Mapping[str, tf.Tensor], temperatures: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Scale each label's threshold with its scores, so that the predicted labels stay the same."""
        temperature = temperatures["temperature"]
        return {
            **outputs,
            "logits": outputs["logits"] / temperature,
            "thresholds": scaled_probability(outputs["thresholds"], temperature),
        }

    def abstains(self) -> Sequence[str]:
        return [ABSTAINED]

    def confidences(self, predictions: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Treats the labels as independent of each other, given the text."""
        import tensorflow as tf

        scores = predictions["scores"]
        right = tf.where(scores >= predictions["thresholds"], scores, 1 - scores)
        return {ABSTAINED: tf.reduce_prod(right, axis=-1)}

    def pair_score_labels(self) -> Sequence[str]:
        return self.labels

    def pair_score(self, outputs: Mapping[str, tf.Tensor], label: str | None) -> tf.Tensor:
        """The log-odds of the label."""
        import tensorflow as tf

        return tf.cast(outputs["logits"], tf.float32)[:, self.labels.index(str(label))]

    def predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        import tensorflow as tf

        scored = self.scored_predictions(outputs, inputs)
        scores, thresholds = scored["scores"], scored["thresholds"]
        classes = self.classes(inputs, scores)
        given = scores >= thresholds
        # Not sorted by score, because rounding could change that order. Labels that are not predicted come
        # last.
        order = tf.argsort(tf.cast(given, tf.int32), axis=-1, direction="DESCENDING", stable=True)
        labels = tf.where(tf.gather(given, order, batch_dims=1), tf.gather(classes, order, batch_dims=1), "")
        if self.tasks_of_rows:  # padding is 0, as that of the scores
            thresholds = tf.where(tf.equal(classes, ""), tf.zeros_like(thresholds), thresholds)
        return {
            "labels": labels,
            "classes": classes,
            "scores": scores,
            "thresholds": thresholds,
        }

    def scored_predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        import tensorflow as tf

        logits = tf.cast(outputs["logits"], tf.float32)
        thresholds = tf.cast(outputs["thresholds"], tf.float32)
        return {"scores": tf.nn.sigmoid(logits), "thresholds": thresholds, "logits": logits}


class MultiLabelOptions(PooledOptions):
    """The ``task`` section of a run file for multi-label classification."""

    problem_type: ClassVar[str] = "multi_label_classification"
    fixed_by_head: ClassVar[tuple[str, ...]] = (*PooledOptions.fixed_by_head, "labels")
    task_class = MultiLabel

    name: Literal["multilabel"] = "multilabel"
    labels: Optional[list[str]] = Field(
        None, min_length=1, description="The labels, in order; default: those in the training rows, sorted."
    )
    columns: Optional[list[str]] = Field(
        None,
        min_length=1,
        description="Columns of 0 and 1, one per label, named after it; null: data.label holds a list of "
        "labels per row.",
    )
    separator: str = Field(
        ",",
        min_length=1,
        description="Separates the labels of a list that is not JSON; a blank cell is an empty list.",
    )
    threshold: Union[Literal["tuned"], float] = Field(
        "tuned",
        description="A label is predicted if its score reaches this threshold; tuned: one per label, chosen "
        "for the best F1 on the validation rows.",
    )

    @field_validator("threshold")
    @classmethod
    def _between(cls, value: Union[str, float]) -> Union[str, float]:
        if isinstance(value, float) and not 0 < value < 1:
            raise ValueError("must lie between 0 and 1")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> MultiLabelOptions:
        if self.columns is not None and self.labels is not None:
            raise ValueError("labels and columns both name the labels; keep one")
        return self

    def check(self, data: DataOptions) -> None:
        if self.columns is None and data.label is None:
            raise ValueError("task.columns and data.label are both null; name the column(s) of the labels")
        used = data.inputs
        for column in self.columns or ():
            if column in used:
                raise ValueError(
                    f'task.columns names "{column}", which is data.{used[column]}; name the labels only'
                )

    def target_columns(self) -> Sequence[str] | None:
        return self.columns

    def strata(self, example: Example) -> Collection[Hashable]:
        return _labels(self, example)

    def preprocess(self, example: Example) -> Example:
        self.check_row(example)
        return example

    def check_row(self, example: Example) -> list[str]:
        """A row's labels, checked against those that the run file names.

        Raises:
            UserError: a label is unknown, or the row's label cell is not a list of labels.
        """
        labels = _labels(self, example)
        for label in labels:
            if self.labels is not None and label not in self.labels:
                raise UserError(unknown_label(self.labels, example, label, self.labels))
        return labels

    def fitter(self) -> Fitter:
        return _MultiLabelFitter(self)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> MultiLabel:
        cls.require_pooler(checkpoint)
        # transformers predicts a label from a score of 0.5.
        options = cls(labels=list(checkpoint.labels), pooling="pooler", threshold=0.5)
        return MultiLabel(options, checkpoint.labels)


class _MultiLabelFitter(Fitter):
    """Collects the labels."""

    def __init__(self, options: MultiLabelOptions) -> None:
        self._options, self._counts, self._rows = options, LabelCounts(), 0

    def add(self, example: Example) -> None:
        for label in self._options.check_row(example):
            self._counts.add(label, example)
        self._rows += 1

    def finish(self) -> MultiLabel:
        options, counts = self._options, self._counts
        labels = options.labels or options.columns or sorted(counts.rows)
        if not labels:
            raise UserError("no training row has a label; check the column of the labels")
        field = "task.labels" if options.labels else "task.columns" if options.columns else None
        check_labels(labels, counts, field)
        if all(counts.rows[label] == self._rows for label in labels):
            raise UserError(
                f'every training row has the same labels ("{", ".join(labels)}"), so there is nothing to '
                "learn; add rows without them"
            )
        return MultiLabel(options, labels)


def _labels(options: MultiLabelOptions, example: Example) -> list[str]:
    """A row's labels, each once."""
    if options.columns is not None:
        return [column for column in options.columns if _is_given(example, column)]
    text = example.label or ""
    if not text.startswith("["):
        labels = text.split(options.separator)
    else:
        try:
            # A number in the list is read as a label with that name.
            labels = json.loads(text, parse_int=str, parse_float=str, parse_constant=NoValue)
        except (ValueError, RecursionError) as error:
            error = error if isinstance(error, ValueError) else ValueError("nested too deeply")
            raise UserError(
                f"{example.source}: the labels {shortened(text)} are not a JSON list ({error}); write them "
                f'as ["a", "b"], or with "{options.separator}" between them'
            ) from error
        for label in labels:
            if not isinstance(label, str) or isinstance(label, NoValue):
                shown = label if isinstance(label, NoValue) else _spans.shown(label)
                raise UserError(f"{example.source}: the label {shown} is not text; write names only")
    stripped = (replace_surrogates(label).strip() for label in labels)
    return list(dict.fromkeys(label for label in stripped if label))


def _is_given(example: Example, column: str) -> bool:
    cell = example.columns[column].strip().lower()
    if cell not in _GIVEN:
        raise UserError(
            f'{example.source}: the column "{column}" holds "{shortened(example.columns[column])}"; expected '
            "0 or 1"
        )
    return _GIVEN[cell]


OPTIONS = MultiLabelOptions
