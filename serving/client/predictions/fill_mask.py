"""The most likely tokens in place of each [MASK] of a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfpipeline.serving.client.predictions.base import (
    STRINGS,
    Output,
    Prediction,
    contradiction,
    text_of,
)


@dataclass(frozen=True)
class TokenScore:
    """A token of the vocabulary; ``##`` before it means that it continues the word in front of it.

    Attributes:
        token: the token.
        score: its probability, 0 to 1.
    """

    token: str
    score: float


@dataclass(frozen=True)
class Mask:
    """A [MASK] in a text.

    Attributes:
        start, end: offsets in the caller's string, in the signature's unit: code points (``text[start:end]``
            in Python) unless the signature is ``utf8`` (bytes) or ``utf16`` (code units).
        best: the most likely tokens, the likeliest first.
    """

    start: int
    end: int
    best: list[TokenScore]


@dataclass(frozen=True)
class FillMask(Prediction):
    """The most likely tokens in place of each [MASK] of a text.

    Attributes:
        masks: in text order; the first ones, if there are more than the model fills in; none of a text
            without [MASK].
        count: the number of [MASK] in the part of the text that the model reads.
    """

    masks: list[Mask]
    count: int

    output_specs = {  # noqa: RUF012 - a ClassVar of the base class
        "tokens": Output(3, STRINGS),
        "scores": Output(3, "f"),
        "starts": Output(2, "i"),
        "ends": Output(2, "i"),
        "count": Output(1, "i"),
    }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> list[FillMask]:
        tokens, scores = arrays["tokens"], arrays["scores"]
        starts, ends, counts = arrays["starts"], arrays["ends"], arrays["count"]
        if tokens.shape != scores.shape or starts.shape != ends.shape or tokens.shape[:2] != starts.shape:
            shapes = ", ".join(f"{list(array.shape)} {name}" for name, array in arrays.items())
            raise contradiction(0, shapes)
        slots = starts.shape[1]
        rows = []
        for row, (count, own_starts, own_ends) in enumerate(
            zip(counts.tolist(), starts.tolist(), ends.tolist())
        ):
            filled = min(count, slots)
            for slot in range(max(filled, 0)):
                if not 0 <= own_starts[slot] <= own_ends[slot]:
                    raise contradiction(
                        row, f"slot {slot} starts at {own_starts[slot]}, ends at {own_ends[slot]}"
                    )
            if count < 0:
                raise contradiction(row, f"count {count}")
            names = text_of(tokens[row, :filled]) if filled else []
            best = [
                [TokenScore(*pair) for pair in zip(*both)]
                for both in zip(names, scores[row, :filled].tolist())
            ]
            rows.append(cls([Mask(*slot) for slot in zip(own_starts, own_ends, best)], count))
        return rows
