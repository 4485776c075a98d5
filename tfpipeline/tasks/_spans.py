"""Parts of a text: what data files say of them, checked; shared by the tasks that answer with parts of a text."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from tfpipeline.data.records import shortened
from tfpipeline.errors import UserError

_JOINER = "\u200d"
_GLUED = {"\ufe0e", "\ufe0f", _JOINER, *map(chr, range(0x1F3FB, 0x1F400))}  # selectors, skin colours


def parse(cell: str, source: str, what: str) -> Any:
    """A cell that holds JSON.

    Raises:
        UserError: it holds none; ``what`` it should.
    """
    try:
        return json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source}: {shortened(cell)} is not JSON ({error}); expected {what}") from error


def check(text: str, start: Any, end: Any, source: str, what: str) -> None:
    """Raise the sentence for places that are none in a text, or that part what is one character.

    Args:
        text: the text.
        start, end: of the part, code points.
        source: ``file:line``.
        what: the part is called.
    """
    for name, place in (("start", start), ("end", end)):
        if not isinstance(place, int) or isinstance(place, bool):
            raise UserError(f"{source}: {what} has the {name} {place!r}; offsets are whole numbers")
    if not 0 <= start < end <= len(text):
        raise UserError(
            f"{source}: {what} is from {start} to {end}, but the text has {len(text)} characters; offsets count code points, "
            "and the end is one past the last"
        )
    for place in (start, end):
        if parts_a_character(text, place):
            raise UserError(
                f"{source}: {what} is from {start} to {end}, and at {place} that is within one character "
                f"({text[place - 1 : place + 1]!a}); offsets count code points, not bytes or UTF-16 units"
            )


def parts_a_character(text: str, place: int) -> bool:
    """Whether what stands before and behind a place is one character to a reader: a letter and its accent, an emoji."""
    if not 0 < place < len(text):
        return False
    before, behind = text[place - 1], text[place]
    return unicodedata.category(behind) in ("Mn", "Mc", "Me") or behind in _GLUED or before == _JOINER
