"""Scores pairs of texts with a cross-encoder: a run of the task ``pair``, as the teacher of MarginMSE.

A cross-encoder reads both texts of a pair together. It judges better than a comparison of two vectors, but
cannot be searched. Source: Hofstätter et al. 2020, arXiv:2010.02666.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.console import progress
from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.models.inputs import INPUTS
from tfpipeline.tasks.classification import Classification
from tfpipeline.tasks.multilabel import MultiLabel
from tfpipeline.tasks.regression import Regression
from tfpipeline.training.text_embedding import batches_by_length
from tfpipeline.training.trained_model import TrainedModel

_PIECE = 4096  # pairs that are tokenized and sorted by length together


class Teacher:
    """The scores of pairs: a predicted number, or the log-odds of a label.

    Args:
        run: a run of the task ``pair``.
        label: the label whose log-odds are the score; None for a regression.
    Raises:
        UserError: the run reads no pairs, is not trained, or has no such label.
    """

    def __init__(self, run: TrainedModel, label: str | None = None) -> None:
        self._task = run.task
        if not run.has_joint_pairs or not isinstance(self._task, (Classification, MultiLabel, Regression)):
            raise UserError(
                f"{run.name} is of the task {run.config.task.name}, so it cannot score pairs of texts; a "
                "teacher is a run of the task pair"
            )
        self._label = self._number_of(label, run.name)
        if not run.has_weights("best"):
            raise UserError(
                f"{run.path} has not finished an epoch yet; train it first: tfpipeline train RUN_FILE"
            )
        graph = run.graph(run.model())
        self._text_inputs = graph.text_inputs
        specs = {name: tf.TensorSpec([None, None], tf.int32) for name in INPUTS}

        def score(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
            return self._score(graph.task.decode(graph.call(inputs)))

        self._function = tf.function(score, input_signature=[specs], autograph=False)

    def __call__(self, texts: Sequence[str], text_pair: Sequence[str]) -> np.ndarray:
        """The scores of pairs, in order, float32 [N], with progress."""
        scores = np.empty(len(texts), np.float32)
        with progress("scores of the teacher", len(texts)) as bar:
            for start in range(0, len(texts), _PIECE):
                piece = slice(start, start + _PIECE)
                tokens = self._text_inputs.tokens(
                    {"text": list(texts[piece]), "text_pair": list(text_pair[piece])}
                )
                for rows, batch in batches_by_length(tokens):
                    scores[start + rows] = self._function(batch).numpy()
                    bar.advance(len(rows))
        if not np.isfinite(scores).all():
            raise UserError("the teacher's scores are NaN or infinite, so its training has diverged")
        return scores

    def _score(self, outputs: Mapping[str, Any]) -> tf.Tensor:
        if self._label is None:
            return self._task.predictions(outputs, {})["value"]
        logits = tf.cast(outputs["logits"], tf.float32)  # [B, C]
        own = logits[:, self._label]
        if isinstance(self._task, MultiLabel):
            return own
        others = tf.concat([logits[:, : self._label], logits[:, self._label + 1 :]], axis=1)
        return own - tf.reduce_logsumexp(others, axis=1)

    def _number_of(self, label: str | None, name: str) -> int | None:
        labels = getattr(self._task, "labels", ())
        if not labels:
            if label is not None:
                raise UserError(f"--teacher-label is {label}, but {name} predicts a number; leave it out")
            return None
        if label is None:
            raise UserError(
                f"{name} predicts labels; name the one that means that two texts belong together: "
                f"--teacher-label, one of {', '.join(labels)}"
            )
        if label not in labels:
            raise UserError(f'--teacher-label is "{label}"{did_you_mean(label, labels)}')
        return int(labels.index(label))
