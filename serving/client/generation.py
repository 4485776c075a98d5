"""The conversation with a model that writes texts, and what a request may choose."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Optional, Union

import numpy as np

from tfpipeline.serving.client import calls, predictions
from tfpipeline.serving.client import texts as columns_of
from tfpipeline.serving.client.conversations import Sending, ask_in_batches, of_kind, of_signature
from tfpipeline.serving.client.errors import InputError
from tfpipeline.serving.client.steps import Conversation

GENERATE = "generate"  # the signature
SEPARATOR = " [SEP] "  # between the turns of a dialogue
UNSET = -1  # the model's own choice
_LIMIT = 2**31  # of numbers
# What a request may choose for each source -> the dtype in which it is sent.
CHOICES: Mapping[str, Any] = {
    "seed": np.int32,
    "do_sample": np.int32,
    "temperature": np.float32,
    "top_k": np.int32,
    "top_p": np.float32,
    "num_beams": np.int32,
    "min_new_tokens": np.int32,
    "max_new_tokens": np.int32,
    "length_penalty": np.float32,
    "no_repeat_ngram_size": np.int32,
    "repetition_penalty": np.float32,
}

Text = Union[str, bytes]
Turn = Union[Text, Mapping[str, Text]]
Sources = Iterable[Union[Text, Sequence[Turn]]]
Whole = Union[int, Sequence[int], None]
Real = Union[float, Sequence[float], None]
Flag = Union[bool, Sequence[bool], None]


def generate(
    endpoint: calls.Endpoint,
    sources: Sources,
    choices: Mapping[str, Any],
    separator: str,
    sending: Sending,
) -> Conversation[list[predictions.Generation]]:
    """Ask for texts.

    Raises:
        AnswerError: the signature gives something else.
    """
    columns = inputs_of(sources, choices, separator)
    asked = replace(endpoint, signature=GENERATE)
    answers = yield from ask_in_batches(asked, columns, sending)
    return of_kind(answers, predictions.Generation, of_signature(asked))


def inputs_of(sources: Sources, choices: Mapping[str, Any], separator: str) -> dict[str, np.ndarray]:
    """The inputs of the signature ``generate``.

    Args:
        sources: B texts, or lists of turns, which are joined.
        choices: name -> a value for all sources, or one for each; None for the model's own.
        separator: what stands between turns.
    Returns:
        ``text``, an object array [B] of bytes, and the choices, int32 or float32 [B].
    Raises:
        InputError: what was given cannot be sent.
    """
    if not isinstance(separator, str):
        raise InputError(f"turn_separator is {separator!r}; give a str, as the model's card has it")
    unknown = choices.keys() - CHOICES.keys()
    if unknown:
        raise InputError(f"{sorted(unknown)[0]} is nothing that a request can choose; it can: {_names()}")
    texts = [
        _joined(source, row, separator) for row, source in enumerate(columns_of.rows_of(sources, "text"))
    ]
    columns = columns_of.text_inputs(texts, None)
    for name, dtype in CHOICES.items():
        columns[name] = _column(name, choices.get(name), dtype, len(texts))
    return columns


def chosen(*values: Any) -> dict[str, Any]:
    """The choices by name, from their values in the order of ``CHOICES``."""
    if len(values) != len(CHOICES):
        raise ValueError(f"{len(values)} values for {len(CHOICES)} choices")
    return dict(zip(CHOICES, values))


def _names() -> str:
    return ", ".join(CHOICES)


def _joined(source: Any, row: int, separator: str) -> Any:
    """A source as one text; anything else than a list is left as it is, to be checked later."""
    if not isinstance(source, (list, tuple)):
        return source
    if not source:
        raise InputError(f"row {row} is a dialogue without turns; give at least one")
    turns: list[Any] = [
        turn.get("text", turn.get("content")) if isinstance(turn, Mapping) else turn for turn in source
    ]
    for number, turn in enumerate(turns):
        if not isinstance(turn, (str, bytes)):
            raise InputError(
                f"row {row}, turn {number} is {type(source[number]).__name__}; give a text, or a dict with "
                "its text"
            )
    if all(isinstance(turn, str) for turn in turns):
        return separator.join(turns)
    return separator.encode().join(turn.encode() if isinstance(turn, str) else turn for turn in turns)


def _column(name: str, given: Any, dtype: Any, count: int) -> np.ndarray:
    """The values of a choice, one for each source."""
    if isinstance(given, (list, tuple, np.ndarray)):
        if len(given) != count:
            raise InputError(
                f"{name} has {len(given)} values for {count} texts; give one each, or one for all"
            )
        values = [_number(name, value, dtype) for value in given]
    else:
        values = [_number(name, given, dtype)] * count
    return np.array(values, dtype)


def _number(name: str, value: Optional[Any], dtype: Any) -> Any:
    if value is None:
        return UNSET
    if name == "do_sample":
        if not isinstance(value, (bool, np.bool_)):
            raise InputError(f"do_sample is {value!r}; give True or False")
        return int(value)
    whole = dtype is np.int32
    fits = isinstance(value, numbers.Integral if whole else numbers.Real) and not isinstance(value, bool)
    if not fits or math.isnan(value):
        raise InputError(f"{name} is {value!r}; give a {'whole ' if whole else ''}number")
    if not -_LIMIT <= value < _LIMIT:
        raise InputError(f"{name} is {value!r}; give a {'whole ' if whole else ''}number below {_LIMIT}")
    return value
