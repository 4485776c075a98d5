"""Characters as readers see them, by the ``regex`` package: UAX #29 as somebody else has written it."""

from __future__ import annotations

import itertools
import unicodedata

import regex


def is_blank(character):
    return character in "\t\n\r" or unicodedata.category(character) == "Zs"


def edges(text):
    """Where characters begin, and where the text ends; white space is a character of its own, as a text's
    edge is.
    """
    found, start = [], 0
    for _, part in itertools.groupby(text, key=is_blank):
        part = "".join(part)
        pattern = "(?s:.)" if is_blank(part[0]) else r"\X"
        found += [start + match.start() for match in regex.finditer(pattern, part)]
        start += len(part)
    return [*found, len(text)]


def first_of(text, place):
    """Where the character begins that a place is within."""
    return max(edge for edge in edges(text) if edge <= place)


def end_of(text, place):
    """Where the character ends that a place is within."""
    return min(edge for edge in edges(text) if edge >= place)
