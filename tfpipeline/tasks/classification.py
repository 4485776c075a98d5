"""Classification: exactly one label for each text (or pair of texts).

Loss: cross-entropy, optionally with label smoothing (Szegedy et al. 2016, arXiv:1512.00567, section 7).
Served answer: ``label`` string [B], ``classes`` string [B, C], ``probabilities`` float32 [B, C].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional, Union

import numpy as np
from pydantic import Field

from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.files import write_text
from tfpipeline.tasks._pooled import (
    LabelCounts,
    PooledOptions,
    PooledTask,
    check_labels,
    require_label,
    unknown_label,
)
from tfpipeline.tasks.base import ABSTAINED
from tfpipeline.tasks.options import Fitter
from tfpipeline.tasks.scorer import Arrays, Scorer

if TYPE_CHECKING:
    import tensorflow as tf

    from tfpipeline.checkpoints.checkpoint import Checkpoint
    from tfpipeline.data import Example

LABELS_FILE = "labels.txt"


class ClassificationScorer(Scorer):
    """Scores predicted labels."""

    task: Classification
    best_metric = "accuracy"
    lower_is_better = frozenset({"expected_calibration_error"})

    def metrics(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> dict[str, float]:
        from tfpipeline.metrics import classification

        return classification.compute(
            targets["label"], predictions["probabilities"], weights=weights, labels=self.task.labels
        )

    def intervals(
        self, predictions: Arrays, targets: Arrays, weights: np.ndarray
    ) -> dict[str, tuple[float, float]]:
        from tfpipeline.metrics import classification

        return classification.confidence_intervals(
            targets["label"], predictions["probabilities"], weights=weights, labels=self.task.labels
        )

    def report(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> str:
        from tfpipeline.metrics import classification

        return classification.report(
            targets["label"], predictions["probabilities"], weights=weights, labels=self.task.labels
        )

    def baseline(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> tuple[str, dict[str, np.ndarray]] | None:
        from tfpipeline.metrics.baseline import linear_model, tfidf_baseline

        probabilities, classes = tfidf_baseline(
            [example.joined_text for example in train],
            [str(example.label) for example in train],
            [example.joined_text for example in test],
        )
        ordered = np.zeros((len(test), len(self.task.labels)))
        ordered[:, [self.task.index[label] for label in classes]] = probabilities
        return linear_model(len(self.task.labels)), {"probabilities": ordered}

    def mistakes(self, predictions: Arrays, targets: Arrays) -> list[tuple[int, str, str]]:
        probabilities, truth = predictions["probabilities"], targets["label"]
        picked = probabilities.argmax(-1)
        wrong = np.flatnonzero(picked != truth)
        worst_first = wrong[np.argsort(probabilities[wrong, truth[wrong]], kind="stable")]
        return [
            (int(row), self.task.labels[truth[row]], self.task.labels[picked[row]]) for row in worst_first
        ]

    def near_ties(self, predictions: Arrays, tolerance: float) -> np.ndarray:
        second, first = np.sort(predictions["probabilities"], axis=-1)[:, -2:].T
        return first - second <= tolerance

    def right(self, predictions: Arrays, targets: Arrays) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        right = predictions["probabilities"].argmax(-1) == targets["label"]
        return {ABSTAINED: (np.arange(len(right)), right)}

    def figures(self, predictions: Arrays, targets: Arrays) -> dict[str, Any]:
        from tfpipeline.metrics.classification import confusion_matrix
        from tfpipeline.tasks import _figures

        counts = confusion_matrix(targets["label"], predictions["probabilities"], labels=self.task.labels)
        return {"confusion": _figures.confusion(counts, self.task.labels)}


class Classification(PooledTask):
    """Predicts one label per text; see the module."""

    options: ClassificationOptions
    scorer_class = ClassificationScorer

    def __init__(self, options: ClassificationOptions, labels: Sequence[str]) -> None:
        super().__init__(options, list(labels))
        self.labels = tuple(labels)
        self.outputs = len(self.labels)
        self.index = {label: index for index, label in enumerate(self.labels)}

    def save(self, directory: Path) -> None:
        write_text(directory / LABELS_FILE, "".join(f"{label}\n" for label in self.labels))

    def targets(self, examples: Sequence[Example], *, training: bool = False) -> dict[str, np.ndarray]:
        indices = np.empty(len(examples), np.int32)
        for row, example in enumerate(examples):
            require_label(example, None)
            label = str(example.label)
            if label not in self.index:
                raise UserError(unknown_label(self.options.labels, example, label, self.labels))
            indices[row] = self.index[label]
        return {"label": indices}

    def for_training(self, targets: Arrays, weights: np.ndarray) -> tuple[Arrays, np.ndarray]:
        wanted = self.options.class_weights
        if wanted is None:
            return targets, weights
        indices = targets["label"]
        if wanted == "balanced":
            sums = np.bincount(indices, weights, len(self.labels))
            of_class = np.divide(
                weights.sum(), len(self.labels) * sums, where=sums > 0, out=np.zeros_like(sums)
            )
        else:
            of_class = np.array([wanted.get(label, 1.0) for label in self.labels])
        return targets, np.asarray(weights * of_class[indices])

    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        import tensorflow as tf

        losses = self.likelihood_losses(outputs, targets)
        smoothing = self.options.label_smoothing
        if not smoothing:
            return losses
        log_probabilities = tf.nn.log_softmax(outputs["logits"])
        return (1 - smoothing) * losses - smoothing * tf.reduce_mean(log_probabilities, axis=-1)

    def likelihood_losses(
        self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        import tensorflow as tf

        return -tf.gather(tf.nn.log_softmax(outputs["logits"]), targets["label"], batch_dims=1)

    def temperatures(self) -> Mapping[str, tuple[int, ...]]:
        return {"temperature": ()}

    def at_temperatures(
        self, outputs: Mapping[str, tf.Tensor], temperatures: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        return {**outputs, "logits": outputs["logits"] / temperatures["temperature"]}

    def abstains(self) -> Sequence[str]:
        return [ABSTAINED]

    def confidences(self, predictions: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        import tensorflow as tf

        return {ABSTAINED: tf.reduce_max(predictions["probabilities"], axis=-1)}

    def pair_score_labels(self) -> Sequence[str]:
        return self.labels

    def pair_score(self, outputs: Mapping[str, tf.Tensor], label: str | None) -> tf.Tensor:
        """The log-odds of the label against all others together."""
        import tensorflow as tf

        logits, own = tf.cast(outputs["logits"], tf.float32), self.labels.index(str(label))
        others = tf.concat([logits[:, :own], logits[:, own + 1 :]], axis=1)
        return logits[:, own] - tf.reduce_logsumexp(others, axis=1)

    def predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        import tensorflow as tf

        probabilities = self.scored_predictions(outputs, inputs)["probabilities"]
        classes = self.classes(inputs, probabilities)
        return {
            "label": tf.gather(classes, tf.argmax(probabilities, axis=-1), batch_dims=1),
            "classes": classes,
            "probabilities": probabilities,
        }

    def scored_predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        import tensorflow as tf

        return {"probabilities": tf.nn.softmax(tf.cast(outputs["logits"], tf.float32))}


class ClassificationOptions(PooledOptions):
    """The ``task`` section of a run file for classification."""

    problem_type: ClassVar[str] = "single_label_classification"
    fixed_by_head: ClassVar[tuple[str, ...]] = (*PooledOptions.fixed_by_head, "labels")

    name: Literal["classification"] = "classification"
    labels: Optional[list[str]] = Field(
        None, min_length=2, description="The labels, in order; default: those in the training rows, sorted."
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of each target's probability that is spread evenly over all labels.",
    )
    class_weights: Union[Literal["balanced"], dict[str, float], None] = Field(
        None,
        description="Weight of each label's rows in the training loss: {label: weight}, 1 for labels not "
        "named; balanced: "
        "rows / (labels * rows of the label), as in scikit-learn, so that every label counts equally.",
    )

    def preprocess(self, example: Example) -> Example:
        require_label(example, self.labels)
        return example

    def fitter(self) -> Fitter:
        return _ClassificationFitter(self)

    def load(self, directory: Path) -> Classification:
        path = directory / LABELS_FILE
        try:
            return Classification(self, path.read_text("utf-8").splitlines())
        except OSError as error:
            raise UserError(
                f"cannot read {path}: {error.strerror}; is {directory} a run directory?"
            ) from error

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Classification:
        cls.require_pooler(checkpoint)
        if len(checkpoint.labels) < 2:
            raise UserError(f"{checkpoint} is a classifier with only one label, so it predicts nothing")
        options = cls(labels=list(checkpoint.labels), pooling="pooler")
        return Classification(options, checkpoint.labels)


class _ClassificationFitter(Fitter):
    """Collects the labels."""

    def __init__(self, options: ClassificationOptions) -> None:
        self._options, self._counts = options, LabelCounts()

    def add(self, example: Example) -> None:
        require_label(example, self._options.labels)
        self._counts.add(str(example.label), example)

    def finish(self) -> Classification:
        options, counts = self._options, self._counts
        labels = options.labels or sorted(counts.rows)
        if len(labels) < 2:
            present = f'only the label "{labels[0]}"' if labels else "no label"
            raise UserError(f"the training rows have {present}; a classifier needs at least two")
        check_labels(labels, counts, "task.labels" if options.labels else None)
        if isinstance(options.class_weights, dict):
            for label, weight in options.class_weights.items():
                if label not in labels:
                    raise UserError(
                        f'task.class_weights names the unknown label "{label}"{did_you_mean(label, labels)}'
                    )
                if weight < 0:
                    raise UserError(
                        f'task.class_weights: "{label}" has the weight {weight}; it must be at least 0'
                    )
        return Classification(options, labels)


OPTIONS = ClassificationOptions
