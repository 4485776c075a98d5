"""Classification: one label of several for a text (or a pair of texts).

Loss: cross-entropy, optionally with label smoothing (Szegedy et al. 2016, arXiv:1512.00567, section 7).
Served answer: ``label`` string [B], ``classes`` string [B, C], ``probabilities`` float32 [B, C].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional, Union

import numpy as np
from pydantic import Field

from tfpipeline.config import Section
from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.files import write_text
from tfpipeline.tasks.base import Task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.checkpoints.checkpoint import Checkpoint
    from tfpipeline.data import Example
    from tfpipeline.models import BertConfig

LABELS_FILE = "labels.txt"


class ClassificationOptions(Section):
    """The ``task`` section of a run file for classification."""

    name: Literal["classification"] = "classification"
    labels: Optional[list[str]] = Field(
        None, min_length=2, description="The labels in order; by default those of the training rows, sorted."
    )
    pooling: Literal["mean", "cls", "pooler"] = Field(
        "mean", description="What the classifier sees: the mean of the real tokens, [CLS], or BERT's pooler."
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the classifier.")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of each target that is spread over all labels."
    )
    class_weights: Union[Literal["balanced"], dict[str, float], None] = Field(
        None,
        description="In training, what rows of a label count: {label: weight}, 1 where none is named; balanced: each "
        "label as much as any other (rows / (labels * rows of the label), as in scikit-learn).",
    )


class Classification(Task):
    """Labels from texts; see the module."""

    Options = ClassificationOptions
    best_metric = "accuracy"
    lower_is_better = frozenset({"expected_calibration_error"})
    served_head = "sequence_classifier"

    def __init__(self, options: ClassificationOptions, labels: Sequence[str]) -> None:
        super().__init__(options)
        self.labels = tuple(labels)
        self._index = {label: index for index, label in enumerate(self.labels)}

    @classmethod
    def from_examples(cls, options: ClassificationOptions, examples: Sequence[Example]) -> Classification:
        counts = Counter(example.label for example in examples if example.label is not None)
        labels = options.labels or sorted(counts)
        if len(labels) < 2:
            found = f'only the label "{labels[0]}"' if labels else "no label"
            raise UserError(f"the training rows have {found}; a classifier needs at least two")
        if len(set(labels)) != len(labels):
            repeated = next(label for label, count in Counter(labels).items() if count > 1)
            raise UserError(f'task.labels names "{repeated}" twice; name each label once')
        for label in labels:
            if label != label.strip() or not label or "\n" in label:
                raise UserError(
                    f"the label {label!r} is empty or has white space around it or a line break in it; clean the label column"
                )
        absent = [label for label in labels if label not in counts]
        if absent:
            raise UserError(
                f'no training row has the label "{absent[0]}" of task.labels; remove it or add rows for it'
            )
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
        task = cls(options, labels)
        task.targets(examples)
        return task

    def learnt(self) -> list[str]:
        return list(self.labels)

    def save(self, directory: Path) -> None:
        write_text(directory / LABELS_FILE, "".join(f"{label}\n" for label in self.labels))

    @classmethod
    def load(cls, options: ClassificationOptions, directory: Path) -> Classification:
        path = directory / LABELS_FILE
        try:
            return cls(options, path.read_text("utf-8").splitlines())
        except OSError as error:
            raise UserError(
                f"cannot read {path}: {error.strerror}; is {directory} a run directory?"
            ) from error

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Classification:
        problem = checkpoint.problem_type or "single_label_classification"
        if problem != "single_label_classification" or len(checkpoint.labels) < 2:
            what = problem if len(checkpoint.labels) > 1 else "a regression, as it has one output"
            raise UserError(f"{checkpoint} answers {what}; only classifiers of one label a text can be used")
        if not checkpoint.config.pooler:
            raise UserError(
                f"{checkpoint} has no pooler, which its classifier reads; copy the whole checkpoint"
            )
        options = ClassificationOptions(labels=list(checkpoint.labels), pooling="pooler")
        return cls(options, checkpoint.labels)

    def head_variables(self, head: Any) -> dict[str, Any]:
        return {f"{self.served_head}/kernel": head.dense.kernel, f"{self.served_head}/bias": head.dense.bias}

    def targets(self, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        indices = np.empty(len(examples), np.int32)
        for row, example in enumerate(examples):
            if example.label is None:
                raise UserError(f"{example.source}: the row has no label")
            if example.label not in self._index:
                raise UserError(
                    f'{example.source}: unknown label "{example.label}"{did_you_mean(example.label, self.labels)}'
                )
            indices[row] = self._index[example.label]
        return {"label": indices}

    def weights(self, examples: Sequence[Example], *, training: bool) -> np.ndarray:
        weights = super().weights(examples, training=training)
        wanted = self.options.class_weights
        if not training or wanted is None:
            return weights
        indices = self.targets(examples)["label"]
        if wanted == "balanced":
            sums = np.bincount(indices, weights, len(self.labels))
            of_class = np.divide(
                weights.sum(), len(self.labels) * sums, where=sums > 0, out=np.zeros_like(sums)
            )
        else:
            of_class = np.array([wanted.get(label, 1.0) for label in self.labels])
        return (weights * of_class[indices]).astype(np.float32)

    def head(self, config: BertConfig, seed: int) -> keras.layers.Layer:
        from tfpipeline.models import ClassificationHead

        return ClassificationHead(
            len(self.labels), pooling=self.options.pooling, dropout=self.options.dropout, seed=seed
        )

    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        import tensorflow as tf

        log_probabilities = tf.nn.log_softmax(outputs["logits"])
        picked = tf.gather(log_probabilities, targets["label"], batch_dims=1)
        smoothing = self.options.label_smoothing
        return -(1 - smoothing) * picked - smoothing * tf.reduce_mean(log_probabilities, axis=-1)

    def answers(self, outputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        import tensorflow as tf

        probabilities = tf.nn.softmax(tf.cast(outputs["logits"], tf.float32))
        classes = tf.constant(self.labels)
        return {
            "label": tf.gather(classes, tf.argmax(probabilities, axis=-1)),
            "classes": tf.repeat(classes[None, :], tf.shape(probabilities)[0], axis=0),
            "probabilities": probabilities,
        }

    def metrics(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], weights: np.ndarray
    ) -> dict[str, float]:
        from tfpipeline.metrics import classification

        return classification.compute(
            targets["label"], answers["probabilities"], weights=weights, labels=self.labels
        )

    def report(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], weights: np.ndarray
    ) -> str:
        from tfpipeline.metrics import classification

        return classification.report(
            targets["label"], answers["probabilities"], weights=weights, labels=self.labels
        )

    def baseline(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> tuple[str, dict[str, np.ndarray]] | None:
        from tfpipeline.metrics.baseline import tfidf_baseline

        probabilities, classes = tfidf_baseline(
            [example.joined_text for example in train],
            [str(example.label) for example in train],
            [example.joined_text for example in test],
        )
        ordered = np.zeros((len(test), len(self.labels)), np.float32)
        ordered[:, [self._index[label] for label in classes]] = probabilities
        return "TF-IDF + logistic regression", {"probabilities": ordered}

    def mistakes(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> list[tuple[int, str, str]]:
        probabilities, truth = answers["probabilities"], targets["label"]
        picked = probabilities.argmax(-1)
        wrong = np.flatnonzero(picked != truth)
        worst_first = wrong[np.argsort(probabilities[wrong, truth[wrong]], kind="stable")]
        return [(int(row), self.labels[truth[row]], self.labels[picked[row]]) for row in worst_first]

    def figures(self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]) -> dict[str, Any]:
        from matplotlib.figure import Figure
        from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

        matrix = confusion_matrix(
            targets["label"], answers["probabilities"].argmax(-1), labels=range(len(self.labels))
        )
        figure = Figure(figsize=(1.5 + 0.8 * len(self.labels),) * 2)
        ConfusionMatrixDisplay(matrix, display_labels=self.labels).plot(
            ax=figure.subplots(), colorbar=False, xticks_rotation=45
        )
        return {"confusion": figure}


TASK: type[Any] = Classification
