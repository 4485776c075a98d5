"""The entities of a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfpipeline.serving.client.predictions.base import (
    STRINGS,
    Output,
    Prediction,
    contradiction,
    read_slots,
    same_width,
)


@dataclass(frozen=True)
class Entity:
    """Part of a text, with a type.

    Attributes:
        type: its type, such as PER.
        text: the part itself.
        start, end: offsets in the caller's string, in the signature's unit: code points (``text[start:end]``
            in Python) unless the signature is ``utf8`` (bytes) or ``utf16`` (code units).
        score: its probability, 0 to 1.
    """

    type: str
    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Tagging(Prediction):
    """The entities of a text.

    Attributes:
        entities: in text order; the first ones, if there are more than the model returns.
        count: the number of entities in the part of the text that the model reads.
        margin: the relative drop in probability from the best tags of the whole text to the second best, 0 to
            1; 1 for a text without words.
    """

    entities: list[Entity]
    count: int
    margin: float

    output_specs = {  # noqa: RUF012 - a ClassVar of the base class
        "types": Output(2, STRINGS),
        "texts": Output(2, STRINGS),
        "starts": Output(2, "i"),
        "ends": Output(2, "i"),
        "scores": Output(2, "f"),
        "count": Output(1, "i"),
        "margin": Output(1, "f"),
    }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> list[Tagging]:
        slots = same_width(arrays, "types", "texts", "starts", "ends", "scores")
        counts = arrays["count"]
        for row in np.flatnonzero(counts < 0).tolist():
            raise contradiction(row, f"count {counts[row]}")
        filled = np.arange(slots["types"].shape[1]) < counts[:, np.newaxis]
        entities, margins = read_slots(slots, filled, Entity), arrays["margin"].tolist()
        return [cls(*row) for row in zip(entities, counts.tolist(), margins)]
