"""The order of batches: pure functions of the rows' lengths, so that a run resumes at any position.

Rows of like length are put together, since a batch is as wide as its longest row. Training sorts only within a
window of the shuffled rows: batches stay random enough, and with a window of 1,024 little padding is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WINDOW = 1024


def epoch_batches(
    lengths: np.ndarray, batch_size: int, *, window: int = WINDOW, seed: int = 0, epoch: int = 0
) -> list[np.ndarray]:
    """The batches of one epoch of training.

    The rows are shuffled, cut into windows, each window is sorted by length and cut into batches, and the batches
    are shuffled. Every row is in exactly one batch; every batch is full but one when the rows do not divide
    evenly. The number of batches is the same in every epoch. To resume at a position, leave out the batches
    before it.

    Args:
        lengths: tokens of each row, integer [N].
        batch_size: rows in a batch.
        window: rows sorted together; rounded up to whole batches.
        seed: of the run.
        epoch: from 0; each has an order of its own.
    Returns:
        Row numbers, int64 [B] each.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    window = -(-window // batch_size) * batch_size
    batches = [
        batch
        for start in range(0, len(order), window)
        for batch in _by_length(lengths, order[start : start + window], batch_size)
    ]
    return [batches[index] for index in rng.permutation(len(batches))]


def evaluation_batches(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """All rows by length, shortest first: the least padding. See :func:`original_order` for the way back."""
    return _by_length(lengths, np.arange(len(lengths)), batch_size)


def original_order(batches: Sequence[np.ndarray]) -> np.ndarray:
    """What puts results, joined batch after batch, back in the order of the rows: int64 [N].

    ``np.concatenate(results)[original_order(batches)]`` has row n's result at n.
    """
    return np.argsort(np.concatenate(batches)) if batches else np.arange(0)


def _by_length(lengths: np.ndarray, rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    rows = rows[np.argsort(np.asarray(lengths)[rows], kind="stable")]
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
