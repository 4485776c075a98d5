"""What hard negatives are mined for: the interface between ``tfpipeline mine`` and a task that reads them."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfpipeline.paths import AnyPath


@dataclass(frozen=True)
class CorpusFile:
    """A file of further texts to search.

    Attributes:
        path: the file.
        id, text: the columns of the IDs and of the texts.
    """

    path: AnyPath
    id: str = "id"
    text: str = "text"


class MiningRows(abc.ABC):
    """The pairs that negatives are found for, and the documents that they are found among.

    N rows, Q different first texts (queries), M different documents.

    Attributes:
        queries: the first texts, Q.
        query_of: the query of each row, int64 [N].
        documents: the texts that may become negatives, M; the second texts of the rows are among them.
        right_of: the document that is each row's second text, int64 [N].
    """

    queries: Sequence[str]
    query_of: np.ndarray
    documents: Sequence[str]
    right_of: np.ndarray

    def __len__(self) -> int:
        return len(self.query_of)

    @abc.abstractmethod
    def barred(self, query: int) -> np.ndarray:
        """The documents that are no negatives of a query, int64: right ones, and those that may be right."""

    @abc.abstractmethod
    def pair(self, row: int) -> tuple[str, str]:
        """The two texts of a row."""

    @abc.abstractmethod
    def line(self, row: int, negatives: Sequence[str], scores: Sequence[float] | None) -> dict[str, Any]:
        """A row with negatives, as the task reads it from a file of JSON lines.

        Args:
            row: its number.
            negatives: the texts.
            scores: a teacher's scores of the pair and of the query with each negative; None without a
                teacher.
        """
