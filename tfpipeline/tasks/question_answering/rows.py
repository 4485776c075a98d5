"""Rows of questions: checks the gold answers in data files, and converts them to the form that a run stores.

That form is JSON in ``Example.label``: ``answers`` [[start, text], ...], empty if the context has no answer.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tfpipeline.data.records import Structure, shortened
from tfpipeline.errors import UserError, at_the_ends
from tfpipeline.tasks import _spans

if TYPE_CHECKING:
    from tfpipeline.data import Example

_WHAT = '{"text": ["..."], "answer_start": [0]}, or a text that occurs in the context'


def preprocess(example: Example) -> Example:
    """Convert a row of a data file to the form that is stored.

    Raises:
        UserError: an answer does not occur in the context, or the row has no answers.
    """
    for what, text in (("question", example.text), ("context", example.text_pair)):
        if isinstance(text, Structure):
            raise UserError(
                f"{example.source}: the {what} is {shortened(text)}, a list or an object; write it as one "
                "text"
            )
    answers = [[start, text] for start, text in gold_answers(example)]
    return dataclasses.replace(example, label=json.dumps({"answers": answers}, ensure_ascii=False))


def kept_answers(example: Example) -> list[tuple[int, str]]:
    """The answers of a stored row: the start of each in the context, and its text."""
    return [(start, text) for start, text in json.loads(example.label or "{}").get("answers", [])]


def gold_answers(example: Example) -> list[tuple[int, str]]:
    """A row's answers in its data file, each with its position in the context.

    Raises:
        UserError: an answer does not occur there, or the row has no context.
    """
    if example.text_pair is None:
        raise UserError(f"{example.source}: the row has no context; complete it or remove it")
    cell, source, context = example.label or "", example.source, example.text_pair
    if not cell:
        return []
    answers: Any = [cell]
    # A cell that occurs in the context is an answer, even if it looks like JSON; but [] means no answers.
    if cell[0] in "[{" and (cell == "[]" or cell not in context):
        answers = _spans.parse(cell, source, _WHAT)
    if isinstance(answers, dict):
        texts, starts = answers.get("text"), answers.get("answer_start")
        texts = [texts] if isinstance(texts, str) else texts
        starts = [starts] if isinstance(starts, int) else starts
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise UserError(f"{source}: the answers are {shortened(cell)}; expected {_WHAT}")
        answers = [{"text": text, "answer_start": start} for text, start in zip(texts, starts)]
    return [_answer(one, context, source) for one in answers]


def _answer(one: Any, context: str, source: str) -> tuple[int, str]:
    """One of a row's answers in its data file; see :func:`gold_answers`."""
    text, start = (one.get("text"), one.get("answer_start")) if isinstance(one, dict) else (one, None)
    if not isinstance(text, str) or not text.strip():
        raise UserError(
            f"{source}: an answer is {_spans.shown(one)}; expected a text that is not empty, and no answer "
            "at all "
            "for a question without one"
        )
    what = f'the answer "{shortened(text)}"{at_the_ends(text)}'
    if start is None:
        start = next(_places(context, text), context.find(text))
        if start < 0:
            raise UserError(f"{source}: {what} is not in the context; copy it from there")
    if type(start) is int and not (start >= 0 and context.startswith(text, start)):
        here = context[start : start + len(text)] if start >= 0 else ""
        stands = f'where "{shortened(here)}" stands' if here else f"which has {len(context)} characters"
        nearest = min(
            _places(context, text), key=lambda place: abs(place - start), default=context.find(text)
        )
        where = "it is nowhere in the context" if nearest < 0 else f"it is at {nearest}"
        raise UserError(
            f"{source}: {what} is not at {_spans.shown(start)} of the context, {stands}; {where}; offsets "
            "count code points from 0"
        )
    _spans.check(context, start, start + len(text) if isinstance(start, int) else None, source, what)
    return start, text


def _places(context: str, text: str) -> Iterator[int]:
    """The position of a text in a context, without splitting a character."""
    place = context.find(text)
    while place >= 0:
        if not any(_spans.parts_a_character(context, edge) for edge in (place, place + len(text))):
            yield place
        place = context.find(text, place + 1)
