"""Detects scored rows that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tfpipeline.console import plural
from tfpipeline.data import Example, text_key

_NAMED = 3


def seen_note(train: Iterable[Example], scored: Sequence[Example]) -> str | None:
    """A note on how many scored rows have a text that also occurs in the training rows; it names the first.

    Texts that differ only in case or white space count as equal. Memory: 8 bytes per training row.

    Args:
        train: the training rows.
        scored: the scored rows.
    Returns:
        The note; None if there are no such rows.
    """
    known = np.fromiter(map(text_key, train), np.uint64)
    seen = np.flatnonzero(np.isin(np.fromiter(map(text_key, scored), np.uint64), known))
    if not len(seen):
        return None
    named = [scored[row].source for row in seen[:_NAMED].tolist()]
    first = f"{', '.join(named)}{', ...' if len(seen) > len(named) else ''}"
    return (
        f"{len(seen)} of {len(scored)} rows {plural(len(seen), 'has', 'have')} a text that was trained on "
        f"({first}); scores will be optimistic"
    )
