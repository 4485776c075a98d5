"""A task's head as a checkpoint holds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class CheckpointHead:
    """What a fine-tuned head becomes when its run is read as a checkpoint.

    Attributes:
        tensors: neutral name (``models.neutral.HEADS``) -> the head's weights; none of a head that no format
            has a place for.
        labels: the names of a classifier's labels, in the order of its outputs.
        problem_type: what a sequence classifier's outputs mean, in transformers' words.
        settings: of the run file, what the answers depend on and the files of a checkpoint do not hold: name
            -> value, as ``--set`` takes them.
        notes: what of the task is lost, and why.
    """

    tensors: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    labels: tuple[str, ...] = ()
    problem_type: str | None = None
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()
