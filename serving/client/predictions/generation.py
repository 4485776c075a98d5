"""Texts that a model wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfpipeline.serving.client.predictions.base import (
    STRINGS,
    Output,
    Prediction,
    contradiction,
    same_width,
    text_of,
)

_CANDIDATES = {"texts": Output(2, STRINGS), "scores": Output(2, "f"), "count": Output(1, "iu")}


@dataclass(frozen=True)
class Candidate:
    """A text that was written.

    Attributes:
        text: the text.
        score: the sum of the logarithms of its tokens' probabilities, divided by their number to the power of
            the length penalty.
    """

    text: str
    score: float


@dataclass(frozen=True)
class Generation(Prediction):
    """What a model wrote for one source.

    Attributes:
        text: the first text.
        score: its score; see :class:`Candidate`.
        candidates: of the signature ``generate``: all texts, the best first, or, if they are drawn at random,
            in the order in which they were drawn; the first one is ``text``. Empty otherwise.
    """

    text: str
    score: float
    candidates: list[Candidate] = field(default_factory=list)

    output_specs = {  # noqa: RUF012 - a ClassVar of the base class
        "text": Output(1, STRINGS),
        "score": Output(1, "f"),
    }

    @classmethod
    def fits(cls, arrays: Mapping[str, np.ndarray]) -> bool:
        """Whether arrays are one text for each source, or the outputs of ``generate``."""
        return super().fits(arrays) or (
            arrays.keys() == _CANDIDATES.keys()
            and all(
                arrays[name].ndim == spec.rank and arrays[name].dtype.kind in spec.dtype_kinds
                for name, spec in _CANDIDATES.items()
            )
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> list[Generation]:
        if "text" in arrays:
            return [cls(*row) for row in zip(text_of(arrays["text"]), arrays["score"].tolist())]
        slots, made = same_width(arrays, "texts", "scores"), []
        width = slots["texts"].shape[1]
        for row, count in enumerate(arrays["count"].tolist()):
            if not 1 <= count <= width:
                raise contradiction(row, f"count is {count}, but there are {width} places")
            texts, scores = text_of(slots["texts"][row, :count]), slots["scores"][row, :count].tolist()
            candidates = [Candidate(*pair) for pair in zip(texts, scores)]
            made.append(cls(candidates[0].text, candidates[0].score, candidates))
        return made

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for ``json.dumps``; ``candidates`` only of the signature ``generate``."""
        fields = super().to_dict()
        if not self.candidates:
            del fields["candidates"]
        return fields
