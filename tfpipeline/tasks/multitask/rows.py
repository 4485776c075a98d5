"""Rows as the heads see them. Each head has its own column, and most rows have labels for only some heads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from tfpipeline.data import Example
from tfpipeline.tasks.options import TaskOptions


@dataclass(frozen=True)
class HeadColumn:
    """The columns with a head's targets.

    Attributes:
        name: the head's name.
        options: the options of the head's task.
        column: the column of its labels.
        columns: the columns that its task reads instead, at least 1; None: it reads ``column``.
    """

    name: str
    options: TaskOptions
    column: str
    columns: Sequence[str] | None

    @property
    def needed(self) -> Sequence[str]:
        """The columns that a data file must have for this head."""
        return self.columns or [self.column]

    def row(self, example: Example) -> Example | None:
        """A row as the head's task sees it; None if the row has no label for the head."""
        cells = example.columns
        label = cells.get(self.column, "").strip() or None
        if self.columns is None:
            if label is None:
                return None
        elif not any(cells[column].strip() for column in self.columns):
            return None
        # Field by field, because dataclasses.replace takes three times as long, and there are many rows.
        return Example(
            example.text,
            example.text_pair,
            label,
            example.weight,
            example.group,
            cells,
            example.file,
            example.line,
            example.place,
        )


@dataclass
class HeadRows:
    """The rows with a label for a head, as its task sees them.

    Attributes:
        numbers: the numbers of these rows.
        examples: the rows.
    """

    numbers: list[int] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)

    def spread(self, values: np.ndarray, count: int) -> np.ndarray:
        """Spread an array over these rows to all ``count`` rows, with zeros where there is no label."""
        spread = np.zeros((count, *values.shape[1:]), values.dtype)
        spread[self.numbers] = values
        return spread


def split_rows(heads: Collection[HeadColumn], examples: Iterable[Example]) -> dict[str, HeadRows]:
    """Each head's rows, in one pass over all rows."""
    rows = {head.name: HeadRows() for head in heads}
    for number, example in enumerate(examples):
        for head in heads:
            own = head.row(example)
            if own is not None:
                rows[head.name].numbers.append(number)
                rows[head.name].examples.append(own)
    return rows


class HeadSequence(Sequence[Example]):
    """Rows of a data set as a head's task sees them, read on access.

    Args:
        head: the head.
        examples: the rows of the data set.
        numbers: the numbers of the head's rows, int64.
    """

    def __init__(self, head: HeadColumn, examples: Sequence[Example], numbers: np.ndarray) -> None:
        self._head, self._examples, self._numbers = head, examples, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Example]:
        for number in self._numbers.tolist():
            yield self._row(number)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return HeadSequence(self._head, self._examples, self._numbers[index])
        return self._row(int(self._numbers[index]))

    def _row(self, number: int) -> Example:
        example = self._examples[number]
        return self._head.row(example) or example
