"""Parts of a text: what data files say of them, checked; shared by the tasks that answer with parts of a
text.
"""

from __future__ import annotations

import json
from typing import Any

from tfpipeline.data.readers.jsonl import replace_surrogates
from tfpipeline.data.records import shortened
from tfpipeline.errors import UserError


def parse(cell: str, source: str, what: str, number: Any = None) -> Any:
    """A cell that holds JSON; halves of escaped pairs become U+FFFD, as in data files.

    Args:
        cell: the cell.
        source: ``file:line``.
        what: it should hold.
        number: makes a value of a number's text; by default an int or a float.
    Raises:
        UserError: it holds none.
    """
    try:
        value = json.loads(cell, parse_int=number, parse_float=number, parse_constant=number)
        return _replaced(value) if "\\u" in cell else value
    except (ValueError, RecursionError) as error:
        reason = error if isinstance(error, ValueError) else "nested too deeply"
        raise UserError(f"{source}: {shortened(cell)} is not JSON ({reason}); expected {what}") from error


def shown(value: Any) -> str:
    """A parsed value in a message."""
    try:
        return shortened(json.dumps(value, ensure_ascii=False))
    except RecursionError:
        return "nested too deeply"


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
            raise UserError(f"{source}: {what} has the {name} {shown(place)}; offsets are whole numbers")
    if not 0 <= start < end <= len(text):
        raise UserError(
            f"{source}: {what} is from {shown(start)} to {shown(end)}, but the text has {len(text)} "
            "characters; offsets count "
            "code points, and the end is one past the last"
        )
    for place in (start, end):
        if parts_a_character(text, place):
            raise UserError(
                f"{source}: {what} is from {start} to {end}, and at {place} that is within one character "
                f"({text[place - 1 : place + 1]!a}); offsets count code points, not bytes or UTF-16 units"
            )


def parts_a_character(text: str, place: int) -> bool:
    """Whether what stands before and behind a place is one character to a reader: a letter and its accent, an
    emoji.

    What a character is: :mod:`tfpipeline.text.graphemes`, as for answers.
    """
    from tfpipeline.text.graphemes import character_starts

    return 0 < place < len(text) and not character_starts(text)[place]


def _replaced(value: Any) -> Any:
    if isinstance(value, list):
        return [_replaced(item) for item in value]
    if isinstance(value, dict):
        return {replace_surrogates(key): _replaced(item) for key, item in value.items()}
    return replace_surrogates(value) if isinstance(value, str) else value
