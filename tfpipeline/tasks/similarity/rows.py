"""The rows of the task ``similarity``: negatives, scores, and which texts are equal."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfpipeline.data.loading import folded_key
from tfpipeline.data.records import Structure, parse_float, require, shortened
from tfpipeline.errors import UserError

if TYPE_CHECKING:
    from tfpipeline.data import Example

NEGATIVE = "negative"
SCORE = "score"
NEGATIVE_SCORES = "negative_scores"  # of a stored row: a JSON list, a number for each negative
_DEFAULT_COLUMN = re.compile(r"negative(_[0-9]+)?")


def negative_name(number: int) -> str:
    """The name of a row's negative text, from 1."""
    return f"{NEGATIVE}_{number}"


def prepare(example: Example, columns: Sequence[str] | None) -> Example:
    """A row with its negatives as further texts, and their scores in one cell.

    Args:
        example: the row as it was read.
        columns: the columns of the negatives; None for ``negative``, ``negative_1``, ``negative_2`` ...
    Raises:
        UserError: a column is missing, a negative is the row's second text, or scores do not fit the
            negatives.
    """
    cells = dict(example.columns)
    if columns is not None:
        require(columns, cells, example.source)
    named = (
        list(columns) if columns is not None else sorted(filter(_DEFAULT_COLUMN.fullmatch, cells), key=_order)
    )
    negatives: list[str] = []
    scores: list[float] = []
    for column in named:
        texts = _texts(cells.pop(column), example, column)
        score_column = next((name for name in _score_columns(column) if name in cells), None)
        score_cell = None if score_column is None else cells.pop(score_column)
        kept = [place for place, text in enumerate(texts) if text.strip()]
        for place in kept:
            _check_negative(texts[place], example, column)
        negatives += [texts[place] for place in kept]
        if score_cell is not None and score_column is not None and kept:
            given = _numbers(score_cell, len(texts), example, score_column, column)
            scores += [given[place] for place in kept]
    if negatives and example.text_pair is None:
        raise UserError(
            f"{example.source}: the row has a negative, but no second text that is right; name its column in "
            "data.text_pair"
        )
    if scores and len(scores) != len(negatives):
        raise UserError(
            f"{example.source}: {len(negatives)} negatives, but {len(scores)} have a score; give every "
            "negative one, or none"
        )
    if scores:
        cells[NEGATIVE_SCORES] = json.dumps(scores)
    texts_by_name = {negative_name(number): text for number, text in enumerate(negatives, 1)}
    return dataclasses.replace(example, columns=cells, further_texts=texts_by_name)


def _order(column: str) -> tuple[int, str]:
    return len(column), column


def _score_columns(column: str) -> tuple[str, ...]:
    """The columns that may hold the scores of a column's negatives: ``negative_1_score``, and also
    ``negative_score_1``.
    """
    numbered = re.fullmatch(rf"{NEGATIVE}_([0-9]+)", column)
    return (f"{column}_score", *((f"{NEGATIVE}_score_{numbered[1]}",) if numbered else ()))


def _texts(cell: str, example: Example, column: str) -> list[str]:
    """The texts of a cell: one, or those of a list (in JSON lines and Parquet)."""
    if not isinstance(cell, Structure):
        return [cell]
    found = json.loads(cell)
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise UserError(
            f'{example.source}: the column "{shortened(column)}" holds {shortened(cell)}; expected a text, '
            "or a list of texts"
        )
    return found


def _check_negative(text: str, example: Example, column: str) -> None:
    if example.text_pair is not None and folded_key(text) == folded_key(example.text_pair):
        raise UserError(
            f'{example.source}: the negative "{shortened(text)}" (column {shortened(column)}) is also the '
            "text that is right; remove one of them"
        )


def _numbers(cell: str, count: int, example: Example, column: str, of: str) -> list[float]:
    """The scores of a cell's negatives."""
    if not isinstance(cell, Structure):
        found = [parse_float(cell)] if cell.strip() else []
    else:
        values = json.loads(cell)
        values = values if isinstance(values, list) else [values]
        found = [parse_float(json.dumps(value)) for value in values]
    if len(found) != count or not all(map(math.isfinite, found)):
        numbers = "a number" if count == 1 else f"a list of {count} numbers"
        raise UserError(
            f'{example.source}: the column "{shortened(column)}" holds "{shortened(cell)}"; expected '
            f"{numbers}, one for each text in {shortened(of)}"
        )
    return found


def score_of(example: Example, limits: Sequence[float] | None = None) -> float:
    """A row's score.

    Raises:
        UserError: it has none, or the score is not a finite number or not within the limits.
    """
    if example.label is None:
        raise UserError(
            f"{example.source}: the row has no score; write one or remove the row (its column is data.label)"
        )
    score = parse_float(example.label)
    if not abs(score) <= np.finfo(np.float32).max:
        raise UserError(
            f'{example.source}: the score "{shortened(example.label)}" is not a finite number; correct the '
            "row or remove it"
        )
    if limits is not None and not limits[0] <= score <= limits[1]:
        raise UserError(
            f"{example.source}: the score is {score:g}, not between {limits[0]:g} and {limits[1]:g}; correct "
            "it, or name the range of the scores in task.score_range"
        )
    return score


def margins_of(example: Example) -> list[float]:
    """For each of a row's negatives, how much higher the teacher's score of the right text is.

    Raises:
        UserError: the row lacks a score.
    """
    cell = example.columns.get(NEGATIVE_SCORES)
    if example.label is None or cell is None:
        raise UserError(
            f"{example.source}: the row has no teacher's scores, which the loss margin_mse needs: one of the "
            f"right text ({SCORE}) and one of each negative ({NEGATIVE}_score); tfpipeline mine --teacher "
            "RUN writes them"
        )
    right = score_of(example)
    return [right - score for score in json.loads(cell)]


def pair_targets(examples: Sequence[Example], negatives: int) -> dict[str, np.ndarray]:
    """Which texts are equal, in numbers: equal keys mean texts that differ at most in case and white space.

    N rows, K negatives.

    Returns:
        ``text_key``, ``text_pair_key``, ``group_key`` int64 [N], the last 0 for a row without a group; and,
        if K is not 0, ``negative_keys`` int64 [N, K] and ``has_negative`` bool [N, K].
    """
    targets = {
        "text_key": text_keys(example.text for example in examples),
        "text_pair_key": text_keys(example.text_pair or "" for example in examples),
        "group_key": group_keys(example.group for example in examples),
    }
    if negatives:
        names = [negative_name(number) for number in range(1, negatives + 1)]
        rows = [[example.further_texts.get(name) for name in names] for example in examples]
        targets["has_negative"] = np.array([[text is not None for text in row] for row in rows]).reshape(
            -1, negatives
        )
        flat = text_keys(text or "" for row in rows for text in row)
        targets["negative_keys"] = flat.reshape(-1, negatives)
    return targets


def margin_targets(examples: Sequence[Example], negatives: int) -> np.ndarray:
    """The teacher's margins, float32 [N, K]; 0 where a row has no negative."""
    margins = np.zeros((len(examples), negatives), np.float32)
    for row, example in enumerate(examples):
        own = margins_of(example)[:negatives]
        margins[row, : len(own)] = own
    return margins


def group_keys(groups: Iterable[str | None]) -> np.ndarray:
    """A number for each group, int64 [N]; 0 for none."""
    return np.array([0 if group is None else _signed(folded_key(group)) or 1 for group in groups], np.int64)


def text_keys(texts: Iterable[str]) -> np.ndarray:
    """A number for each text, int64 [N]; texts that differ at most in case and white space have the same."""
    return np.array([_signed(folded_key(text)) for text in texts], np.int64)


def _signed(key: int) -> int:
    """An unsigned 64-bit number as a signed one."""
    return key - (1 << 64) if key >= 1 << 63 else key
