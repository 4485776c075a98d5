"""The rows of the task ``generation``: sources with their targets, and dialogues, each reply of which becomes
a row.

In a stored row the target is the second text. If it has several references, they are a JSON list in its
columns. A dialogue that is not divided yet has its turns as JSON in place of a source, and no target.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tfpipeline.data.records import Structure, require, shortened
from tfpipeline.data.turns import Turn, read_turns
from tfpipeline.errors import UserError

if TYPE_CHECKING:
    from tfpipeline.data import Example
    from tfpipeline.tasks._dividing import RowTokens

# Names of cells that no column of a file is likely to have.
_REFERENCES = "generation/references"
TURNS = "generation/turns"


def prepare(example: Example, target: str, more: Sequence[str] = ()) -> Example:
    """A row with its target as second text.

    Args:
        example: the row as it was read.
        target: the column of the target: a text, or a list of texts, of which the first is the target and all
            are references.
        more: columns of further references; empty cells are none.
    Raises:
        UserError: the source or the target is missing or is no text.
    """
    if isinstance(example.text, Structure):
        raise UserError(
            f"{example.source}: the source is {shortened(example.text)}, a list or an object; write it as "
            "one text (dialogues: data.turns)"
        )
    if not example.text.strip():
        raise UserError(f"{example.source}: the source is empty; complete the row or remove it")
    cells = dict(example.columns)
    require([target, *more], cells, example.source)
    references = [text for column in (target, *more) for text in _texts(cells.pop(column), example, column)]
    if not references:
        raise UserError(
            f'{example.source}: the target is empty (column "{shortened(target)}"); complete the row or '
            "remove it"
        )
    if len(references) > 1:
        cells[_REFERENCES] = json.dumps(references)
    return dataclasses.replace(example, text_pair=references[0], label=None, columns=cells)


def _texts(cell: str, example: Example, column: str) -> list[str]:
    """The texts of a cell that are not empty."""
    found = [cell]
    if isinstance(cell, Structure):
        found = json.loads(cell)
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            raise UserError(
                f'{example.source}: the column "{shortened(column)}" holds {shortened(cell)}; expected a '
                "text, or a list of texts"
            )
    return [text.strip() for text in found if text.strip()]


def references_of(example: Example) -> tuple[str, ...]:
    """The references of a stored row; none of a dialogue that is not divided yet."""
    if _REFERENCES in example.columns:
        return tuple(json.loads(example.columns[_REFERENCES]))
    return () if example.text_pair is None else (example.text_pair,)


# Dialogues.


def prepare_dialogue(example: Example, column: str, speaker: str | None) -> Example:
    """A row with the turns of a dialogue.

    Args:
        example: the row as it was read; the cell with the turns is its text.
        column: the column's name.
        speaker: whose turns are replies; None: those of everyone.
    Raises:
        UserError: the cell holds no list of turns, or no turn is a reply.
    """
    turns = read_turns(example.text, example.source, column)
    if not replies(turns, speaker):
        if len(turns) < 2:
            raise UserError(
                f"{example.source}: the dialogue has no reply: it has only one turn; add one, or remove the "
                "row"
            )
        speakers = ", ".join(sorted({turn.speaker or "(none)" for turn in turns}))
        raise UserError(
            f'{example.source}: the dialogue has no reply of "{shortened(speaker or "")}" (task.speaker) '
            f"behind another turn; its speakers are {shortened(speakers)}"
        )
    return dataclasses.replace(
        example,
        text=json.dumps(turns, ensure_ascii=False),
        label=None,
        columns={**example.columns, TURNS: str(len(turns))},
    )


def replies(turns: Sequence[Turn], speaker: str | None) -> list[int]:
    """The numbers of the turns that are replies: all but the first, or those of one speaker."""
    return [number for number in range(1, len(turns)) if speaker in (None, turns[number].speaker)]


def divide(
    examples: Iterable[Example], tokens: RowTokens, *, speaker: str | None, separator: str, most: int
) -> Iterator[Example]:
    """A row for each reply, with the turns before it as its source.

    Turns that no source has room for are left out here, the oldest first. If the oldest of the others does
    not fit as a whole, the tokenizer leaves out its beginning, in training as in predictions.

    Args:
        examples: rows of :func:`prepare_dialogue`.
        tokens: their tokens.
        speaker: whose turns are replies; None: those of everyone.
        separator: what joins turns.
        most: the most tokens of a source.
    """

    def texts(example: Example) -> list[str]:
        return [text for text, _ in json.loads(example.text)]

    for example, found in tokens.of(examples, texts):
        turns = [Turn(*turn) for turn in json.loads(example.text)]
        for number in replies(turns, speaker):
            first, count = number, 0
            while first > 0 and count <= most:
                first -= 1
                count += len(found[first])
            context = [turn.text for turn in turns[first:number]]
            yield dataclasses.replace(
                example,
                text=separator.join(context),
                text_pair=turns[number].text,
                columns={**example.columns, TURNS: str(number)},
            )
