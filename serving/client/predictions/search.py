"""What a search in a model's index finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class Hit:
    """A row of an index.

    Attributes:
        id: the row's id.
        score: the inner product of its vector with the query's; of vectors of length 1 their cosine.
        text: its text.
        columns: name -> cell, of the columns that the index has kept.
    """

    id: str
    score: float
    text: str
    columns: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for ``json.dumps``."""
        return asdict(self)


@dataclass(frozen=True)
class SearchResult(Prediction):
    """What a search finds for one query.

    Attributes:
        hits: the best rows, the best first; of equal scores the smaller id first.
    """

    hits: list[Hit]

    output_specs = {  # noqa: RUF012 - a ClassVar of the base class
        "ids": Output(2, STRINGS),
        "texts": Output(2, STRINGS),
        "scores": Output(2, "f"),
        "count": Output(1, "iu"),
    }

    @classmethod
    def fits(cls, arrays: Mapping[str, np.ndarray]) -> bool:
        """Whether arrays are a search's outputs: all others are columns that the index has kept."""
        own = {name: array for name, array in arrays.items() if name in cls.output_specs}
        others = [array for name, array in arrays.items() if name not in cls.output_specs]
        return super().fits(own) and all(array.ndim == 2 and array.dtype.kind in STRINGS for array in others)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> list[SearchResult]:
        counts = arrays["count"].tolist()
        slots = same_width(arrays, *(name for name in arrays if name != "count"))
        width = arrays["ids"].shape[1]
        columns = sorted(name for name in slots if name not in cls.output_specs)
        results = []
        for row, count in enumerate(counts):
            if not 0 <= count <= width:
                raise contradiction(row, f"count is {count}, but there are {width} places")
            # The other places, most of them for a small k, are padding, which is not decoded.
            texts = {name: text_of(slots[name][row, :count]) for name in ("ids", "texts", *columns)}
            scores = slots["scores"][row, :count].tolist()
            cells = zip(*(texts[name] for name in columns)) if columns else [()] * count
            results.append(
                cls(
                    [
                        Hit(own, score, text, dict(zip(columns, kept)))
                        for own, score, text, kept in zip(texts["ids"], scores, texts["texts"], cells)
                    ]
                )
            )
        return results
