"""Parses and checks text spans in data files; shared by the tasks that predict spans."""

from __future__ import annotations

import json
from typing import Any

from tfpipeline.data.readers.jsonl import replace_surrogates
from tfpipeline.data.records import shortened
from tfpipeline.errors import UserError


def parse(cell: str, source: str, what: str, number: Any = None) -> Any:
    """Parse a cell that contains JSON. Unpaired surrogates become U+FFFD, as in data files.

    Args:
        cell: the cell.
        source: ``file:line``.
        what: a description of the expected content.
        number: converts the text of a number; by default to int or float.
    Raises:
        UserError: the cell is not valid JSON.
    """
    try:
        value = json.loads(cell, parse_int=number, parse_float=number, parse_constant=number)
        return _replaced(value) if "\\u" in cell else value
    except (ValueError, RecursionError) as error:
        reason = error if isinstance(error, ValueError) else "nested too deeply"
        raise UserError(f"{source}: {shortened(cell)} is not JSON ({reason}); expected {what}") from error


def shown(value: Any) -> str:
    """A parsed value as it appears in messages."""
    try:
        return shortened(json.dumps(value, ensure_ascii=False))
    except RecursionError:
        return "nested too deeply"


def check(text: str, start: Any, end: Any, source: str, what: str) -> None:
    """Raise a UserError if offsets are outside the text or split a character.

    Args:
        text: the text.
        start, end: offsets of the span, in code points.
        source: ``file:line``.
        what: the span's name in messages.
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
    """Whether an offset lies within what a reader sees as one character, such as a letter with its accent or
    an emoji.

    Characters are those of :mod:`tfpipeline.text.graphemes`, as in predictions.
    """
    from tfpipeline.text.graphemes import character_starts

    return 0 < place < len(text) and not character_starts(text)[place]


def _replaced(value: Any) -> Any:
    if isinstance(value, list):
        return [_replaced(item) for item in value]
    if isinstance(value, dict):
        return {replace_surrogates(key): _replaced(item) for key, item in value.items()}
    return replace_surrogates(value) if isinstance(value, str) else value
