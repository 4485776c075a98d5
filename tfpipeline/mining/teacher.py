"""Scores pairs of texts with a cross-encoder: a run of the task ``pair``, as the teacher of MarginMSE.

A cross-encoder reads both texts of a pair together. It judges better than a comparison of two vectors, but
cannot be searched. Source: Hofstätter et al. 2020, arXiv:2010.02666.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.models.inputs import INPUTS
from tfpipeline.training.model_identity import model_identity
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

    Attributes:
        identity: a hash of everything that determines the scores.
    """

    def __init__(self, run: TrainedModel, label: str | None = None) -> None:
        _check_label(label, _labels_of(run), run.name)
        if not run.has_weights("best"):
            raise UserError(
                f"{run.path} has not finished an epoch yet; train it first: tfpipeline train RUN_FILE"
            )
        graph = run.graph(run.model())
        self.identity = model_identity(run, graph, [label])
        self._text_inputs = graph.text_inputs
        specs = {name: tf.TensorSpec([None, None], tf.int32) for name in INPUTS}

        def score(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
            return graph.task.pair_score(graph.task.decode(graph.call(inputs)), label)

        self._function = tf.function(score, input_signature=[specs], autograph=False)

    def __call__(self, texts: Sequence[str], text_pair: Sequence[str]) -> np.ndarray:
        """The scores of pairs, in order, float32 [N]."""
        scores = np.empty(len(texts), np.float32)
        for start in range(0, len(texts), _PIECE):
            piece = slice(start, start + _PIECE)
            tokens = self._text_inputs.tokens(
                {"text": list(texts[piece]), "text_pair": list(text_pair[piece])}
            )
            for rows, batch in batches_by_length(tokens):
                scores[start + rows] = self._function(batch).numpy()
        if not np.isfinite(scores).all():
            raise UserError("the teacher's scores are NaN or infinite, so its training has diverged")
        return scores


def _labels_of(run: TrainedModel) -> Sequence[str]:
    """The labels that a teacher's score may be about; none if it predicts a number.

    Raises:
        UserError: the run cannot score pairs.
    """
    try:
        if run.has_joint_pairs:
            return run.task.pair_score_labels()
        why = "it does not read two texts together"
    except UserError as error:
        why = str(error)
    raise UserError(
        f"{run.name} is of the task {run.config.task.name}, so it cannot score pairs of texts ({why}); a "
        "teacher is a run of the task pair"
    )


def _check_label(label: str | None, labels: Sequence[str], name: str) -> None:
    if not labels:
        if label is not None:
            raise UserError(f"--teacher-label is {label}, but {name} predicts a number; leave it out")
    elif label is None:
        raise UserError(
            f"{name} predicts labels; name the one that means that two texts belong together: "
            f"--teacher-label, one of {', '.join(labels)}"
        )
    elif label not in labels:
        raise UserError(f'--teacher-label is "{label}"{did_you_mean(label, labels)}')
