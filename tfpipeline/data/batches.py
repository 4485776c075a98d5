"""The order of batches: pure functions of the rows' lengths, so that a run resumes at any position.

Rows of similar length are batched together, because a batch is as wide as its longest row. Training sorts
only within windows of the shuffled rows. Batches stay random enough, and with a window of 1,024 there is
little padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Union, overload

import numpy as np

BUCKET_WINDOW = 1024
UNGROUPED = 1  # the window of batches that are drawn without regard to length: one batch
PAD_TO_MULTIPLE = 8  # few widths, because each new one is traced and planned again


def epoch_batches(
    lengths: np.ndarray,
    batch_size: int,
    *,
    bucket_window: int = BUCKET_WINDOW,
    seed: int = 0,
    epoch: int = 0,
    partners: Optional[np.ndarray] = None,
) -> Sequence[np.ndarray]:
    """The batches of one epoch of training, made one by one on demand.

    The rows are shuffled and divided into windows. Each window is sorted by length and divided into batches,
    and the batches are shuffled. Every row is in exactly one batch. Every batch is full, except one if the
    rows do not divide evenly. The number of batches is the same in every epoch. To resume at a position,
    leave out the batches before it.

    Args:
        lengths: number of tokens of each row, integer [N].
        batch_size: rows in a batch.
        bucket_window: rows sorted together; rounded up to whole batches.
        seed: the seed of the run.
        epoch: from 0; each epoch has its own order.
        partners: integer [N]; rows of equal numbers are drawn in twos (and threes), so that almost every row
            has such a row in its batch. None if rows need no partner.
    Returns:
        Row numbers, int64 [B] each.
    """
    rng = np.random.default_rng([seed, epoch])
    rows = rng.permutation(len(lengths)) if partners is None else _in_twos(partners, rng)
    return _Epoch(lengths, batch_size, bucket_window, rows, rng)


def _in_twos(partners: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All rows at random, those of equal numbers in twos, or in threes if their count is odd; int64 [N]."""
    rows = rng.permutation(len(partners))
    rows = rows[np.argsort(partners[rows], kind="stable")]
    _, first, counts = np.unique(partners[rows], return_index=True, return_counts=True)
    place = np.arange(len(rows)) - np.repeat(first, counts)
    unit = np.minimum(place // 2, np.repeat(np.maximum(counts // 2 - 1, 0), counts))
    begins = (place == 0) | (np.diff(unit, prepend=-1) != 0)
    number = np.cumsum(begins) - 1
    order = rng.permutation(int(begins.sum()))
    return rows[np.argsort(order[number], kind="stable")]


class _Epoch(Sequence[np.ndarray]):
    """Batches are made on demand: ten million rows take two numbers in memory, not 300,000 arrays."""

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        bucket_window: int,
        rows: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        self._lengths, self._batch_size, self._rows = lengths, batch_size, rows
        self._per_window = -(-bucket_window // batch_size)
        self._batches = rng.permutation(-(-len(lengths) // batch_size))

    def __len__(self) -> int:
        return len(self._batches)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[np.ndarray, list[np.ndarray]]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        window, batch = divmod(int(self._batches[index]), self._per_window)
        size = self._per_window * self._batch_size
        return _by_length(self._lengths, self._rows[window * size : (window + 1) * size], self._batch_size)[
            batch
        ]


def batch_width(
    longest: int, max_length: int, widths: Optional[Sequence[int]] = None, multiple: int = PAD_TO_MULTIPLE
) -> int:
    """The padded width of a batch in which the longest row has ``longest`` tokens.

    Args:
        longest: number of tokens.
        max_length: maximum number of tokens per row; widths are not rounded up beyond it.
        widths: the allowed widths, ascending; the first one that is large enough is used.
        multiple: without ``widths``, the width is rounded up to a multiple of this.
    Raises:
        ValueError: none of the ``widths`` is large enough.
    """
    if widths is None:
        return max(longest, min(-(-longest // multiple) * multiple, max_length))
    width = next((width for width in widths if width >= longest), None)
    if width is None:
        raise ValueError(f"a row has {longest} tokens, more than the widest batch ({max(widths, default=0)})")
    return width


def evaluation_batches(lengths: np.ndarray, batch_size: int, *, by_length: bool = True) -> list[np.ndarray]:
    """All rows by length, shortest first, with the least padding.

    Args:
        lengths: number of tokens of each row, integer [N].
        batch_size: rows in a batch.
        by_length: if not, the rows of a batch are drawn at random, always the same ones.
    Returns:
        Row numbers, int64 [B] each.
    """
    if not by_length:
        return list(epoch_batches(lengths, batch_size, bucket_window=UNGROUPED))
    return _by_length(lengths, np.arange(len(lengths)), batch_size)


def _by_length(lengths: np.ndarray, rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    rows = rows[np.argsort(np.asarray(lengths)[rows], kind="stable")]
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
