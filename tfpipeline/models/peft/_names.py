"""Names of projections and biases in the options of methods. Imports no framework.

A name is the end of a whole name (``query``, ``attention/output``, ``layer_3/feed_forward/inner``), ``all``,
or ``re:PATTERN``, a regular expression that matches the whole name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, TypeVar

import pydantic

from tfpipeline.errors import UserError, did_you_mean, nearest

Value = TypeVar("Value")
Words = TypeVar("Words", bound=Iterable[str])


def matches(known: Iterable[str], field: str, word: str, what: str = "projection") -> list[str]:
    """The whole names that one name of the options means.

    Args:
        known: all whole names.
        field: the field of the options that has the name, for messages.
        word: the name.
        what: what has the names, for messages.
    Raises:
        UserError: there are none.
    """
    known = list(known)
    if word == "all":
        return known
    if word.startswith("re:"):
        found = [name for name in known if re.fullmatch(word[3:], name)]
    else:
        found = [name for name in known if f"/{name}".endswith(f"/{word}")]
    if not found and word.startswith("re:"):
        raise UserError(
            f'peft.{field}: "{word}" matches no {what} of the encoder; the first is called {known[0]}'
        )
    if not found:
        ends = list(dict.fromkeys(name.rpartition("/")[2] for name in known))
        longer = [*ends, *dict.fromkeys(name.partition("/")[2] for name in known)]
        # Where no name is close, all short ones are listed.
        hint = did_you_mean(word, longer if nearest(word, longer) else [*ends, "all"])
        raise UserError(f'peft.{field}: "{word}" matches no {what} of the encoder{hint}')
    return found


def by_pattern(
    names: Sequence[str], field: str, values: Mapping[str, Value], default: Value
) -> dict[str, Value]:
    """A value for each projection: that of the last name in the options that means it.

    Args:
        names: the projections.
        field: the field of the options, for messages.
        values: name in the options -> value.
        default: the value of projections that are not named.
    Raises:
        UserError: a name matches none of the projections.
    """
    found = dict.fromkeys(names, default)
    for word, value in values.items():
        found.update(dict.fromkeys(matches(names, field, word, "adapted projection"), value))
    return found


def _with_regular_expressions(words: Words) -> Words:
    for word in words:
        if word.startswith("re:"):
            try:
                re.compile(word[3:])
            except re.error as error:
                raise ValueError(f'"{word}" is no regular expression: {error}') from error
    return words


# Fields of options: names, and values by name.
Names = Annotated[list[str], pydantic.AfterValidator(_with_regular_expressions)]
Ranks = Annotated[dict[str, int], pydantic.AfterValidator(_with_regular_expressions)]
Factors = Annotated[dict[str, float], pydantic.AfterValidator(_with_regular_expressions)]
