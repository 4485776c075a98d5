"""A task's head in the form in which a checkpoint stores it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tfpipeline.checkpoints.sentence_transformers import SentenceSettings


@dataclasses.dataclass(frozen=True)
class CheckpointHead:
    """A fine-tuned head, as it is stored when its run is read as a checkpoint.

    Attributes:
        tensors: neutral name (``models.neutral.HEADS``) -> the head's weights; empty for a head that no
            format can store.
        labels: the names of a classifier's labels, in the order of its outputs.
        problem_type: the meaning of a sequence classifier's outputs, in transformers' terms.
        settings: run-file settings that affect predictions and are not stored in a checkpoint's files: name
            -> value, in the form of ``--set``.
        notes: which parts of the task are lost, and why.
        sentence: how a text becomes one vector, of a task that makes vectors.
    """

    tensors: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    labels: tuple[str, ...] = ()
    problem_type: str | None = None
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()
    sentence: SentenceSettings | None = None
