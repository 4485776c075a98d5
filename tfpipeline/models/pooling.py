"""The ways to make one vector of a text's hidden states. Imports no framework."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from tfpipeline.errors import UserError

Pooling = Literal["mean", "cls", "last", "pooler"]
"""The mean of the real tokens, the first one ([CLS]), the last real one, or BERT's pooler."""


def check_pooling(pooling: str, outputs: Collection[str]) -> None:
    """Check that an encoder has what ``task.pooling`` reads.

    Args:
        pooling: a :data:`Pooling`.
        outputs: the names of the encoder's outputs.
    Raises:
        UserError: it has no pooler.
    """
    if pooling == "pooler" and "pooled_output" not in outputs:
        raise UserError("task.pooling is pooler, but the checkpoint has no pooler; choose mean, cls or last")
