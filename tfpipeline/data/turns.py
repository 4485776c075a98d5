"""Dialogues in cells of data files: lists of turns. Imports no framework.

A turn is a text, or an object with the text under ``text`` (or ``content``) and perhaps the name of who says
it under ``speaker`` (or ``role``). A list is JSON, in any file format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from tfpipeline.data.records import Structure, shortened
from tfpipeline.errors import UserError

_TEXTS, _SPEAKERS = ("text", "content"), ("speaker", "role")
_FORM = 'write [{"speaker": "A", "text": "Hello!"}, {"speaker": "B", "text": "Hi."}], or a list of texts'


class Turn(NamedTuple):
    """A turn of a dialogue.

    Attributes:
        text: without surrounding white space, not empty.
        speaker: None if the file does not say.
    """

    text: str
    speaker: Optional[str] = None


def read_turns(cell: str, source: str, column: str) -> list[Turn]:
    """The turns of a dialogue.

    Args:
        cell: a list in the file, or its JSON text.
        source: the row's file and line, for errors.
        column: the column's name, for errors.
    Raises:
        UserError: it is not a list of turns; names the first turn that is not one.
    """
    where = f'{source}: the column "{shortened(column)}"'
    found = _parsed(cell)
    if not isinstance(found, list) or not found:
        raise UserError(f"{where} holds {_shown(cell)}, not a list of turns; {_FORM}")
    return [_turn(one, f"{where}: turn {number}") for number, one in enumerate(found, 1)]


def is_list(cell: str) -> bool:
    """Whether a cell is a list in its file, or the JSON text of one."""
    return isinstance(_parsed(cell), list)


def is_list_of_turns(cell: str) -> bool:
    """Whether a cell is a list that has an object in it, in a file of a format with lists."""
    return isinstance(cell, Structure) and any(isinstance(one, Mapping) for one in json.loads(cell))


def _parsed(cell: str) -> Any:
    """A cell's JSON; None if it is none."""
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return None


def _turn(one: Any, where: str) -> Turn:
    text, speaker = one, None
    if isinstance(one, Mapping):
        text = next((one[name] for name in _TEXTS if name in one), None)
        speaker = next((one[name] for name in _SPEAKERS if name in one), None)
    if not isinstance(text, str):
        raise UserError(f"{where} is {_shown(json.dumps(one, ensure_ascii=False))}, not a turn; {_FORM}")
    if not text.strip():
        raise UserError(f"{where} is empty; remove it, or write what is said")
    return Turn(text.strip(), None if speaker is None else str(speaker).strip())


def _shown(cell: str) -> str:
    return f'"{shortened(cell)}"' if cell.strip() else "nothing"
