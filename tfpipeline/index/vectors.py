"""The vectors of an index in one of three storage types, and the exact scores of some of them. NumPy only.

| type | bytes per number | stored as |
|---|---|---|
| float32 | 4 | the vectors themselves |
| bfloat16 | 2 | the upper half of each float32, rounded to the nearest |
| int8 | 1 | whole numbers from -127 to 127; a float32 scale per vector, its largest absolute value / 127 |

An index consists of its stored vectors: a score is the inner product of a float32 query with a stored
vector, whatever the type. What the type costs is measured when the index is built (``building.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Union

import ml_dtypes
import numpy as np

TYPES = ("float32", "bfloat16", "int8")
STORED: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "bfloat16": np.dtype("<u2"),
    "int8": np.dtype("i1"),
}
_LARGEST = 127
# A float32 inner product may differ from the exact one by this share of the product of the two lengths. The
# error of a sum of D products grows with the square root of D: below 5e-7 for 4,096 numbers, measured.
ROUNDING = 2e-6


@dataclass(frozen=True)
class Vectors:
    """N vectors of D numbers; the array may be memory-mapped.

    Attributes:
        stored: [N, D], of the type ``STORED[kind]``.
        scales: float32 [N] for int8; None for the other types.
        kind: one of :data:`TYPES`.
    """

    stored: np.ndarray
    scales: Optional[np.ndarray]
    kind: str

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def dimension(self) -> int:
        """D, the numbers of a vector."""
        return int(self.stored.shape[1])

    def read(self, rows: Union[slice, np.ndarray]) -> np.ndarray:
        """Some of the vectors, float32 [n, D].

        Args:
            rows: a slice, or int [n].
        """
        some = self.stored[rows]
        if self.kind == "bfloat16":
            return some.view(ml_dtypes.bfloat16).astype(np.float32)
        if self.scales is None:
            return np.asarray(some, np.float32)
        return np.asarray(some.astype(np.float32) * self.scales[rows][:, None])

    def scores(self, rows: np.ndarray, query: np.ndarray) -> np.ndarray:
        """The scores of some vectors for one query: summed in float64, then rounded.

        So equal vectors have equal scores, and the same numbers come from the graph of ``graph.py``.

        Args:
            rows: int [n].
            query: float32 [D].
        Returns:
            float32 [n].
        """
        if self.scales is None:
            products = self.read(rows).astype(np.float64) @ query.astype(np.float64)
            return np.asarray(products.astype(np.float32))
        whole = self.stored[rows].astype(np.float64) @ query.astype(np.float64)
        return np.asarray((whole * self.scales[rows].astype(np.float64)).astype(np.float32))


def encode(rows: np.ndarray, kind: str) -> tuple[np.ndarray, Optional[np.ndarray]]:
    """Convert vectors to a storage type.

    Args:
        rows: float32 [n, D].
        kind: one of :data:`TYPES`.
    Returns:
        The stored array [n, D], and for int8 the scales, float32 [n].
    """
    if kind == "float32":
        return np.ascontiguousarray(rows, STORED[kind]), None
    if kind == "bfloat16":
        return np.ascontiguousarray(rows.astype(ml_dtypes.bfloat16)).view(STORED[kind]), None
    largest = np.abs(rows).max(axis=1, initial=0).astype(np.float32)
    scales = np.where(largest > 0, largest / np.float32(_LARGEST), np.float32(1))
    return np.rint(rows / scales[:, None]).astype(STORED[kind]), scales


def of_rows(rows: np.ndarray, kind: str = "float32") -> Vectors:
    """Vectors in memory, from float32 [N, D]."""
    stored, scales = encode(np.asarray(rows, np.float32), kind)
    return Vectors(stored, scales, kind)
