"""Rows that a model was trained on, among those that it is scored on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tfpipeline.console import plural
from tfpipeline.data import Example, text_key

_NAMED = 3


def seen_note(train: Iterable[Example], scored: Sequence[Example]) -> str | None:
    """The sentence that says how many of the scored rows have a text of the training rows, and names the
    first.

    Texts that differ only in case or white space count as the same. 8 bytes are kept of each training row.

    Args:
        train: the training rows.
        scored: those that are scored.
    Returns:
        None if there are none.
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
