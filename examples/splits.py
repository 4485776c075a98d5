"""A split that depends on nothing but the texts: no copy in two parts, no file of row numbers to keep.

Two rows are copies when their texts differ only in case and white space. A row is in the test set when the
first 32 bits of the sha1 of its text are divisible by 5: a fifth of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional, Protocol, TypeVar

TEST_SHARE = 5  # one in so many


class Labelled(Protocol):
    """What a row must have to be split."""

    @property
    def key(self) -> str:
        """What makes two rows the same."""

    @property
    def label(self) -> str:
        """What two copies must agree on."""


AnyRow = TypeVar("AnyRow", bound=Labelled)


@dataclass(frozen=True)
class Row:
    """A text, or a pair of them, and its label.

    Attributes:
        text: the text.
        label: a class, or a number as text.
        text_pair: the second text of a pair.
    """

    text: str
    label: str
    text_pair: Optional[str] = None

    @property
    def key(self) -> str:
        """What makes two rows the same."""
        return fold(self.text if self.text_pair is None else f"{self.text} {self.text_pair}")


def fold(text: str) -> str:
    """Lower-cased, white space folded."""
    return " ".join(text.lower().split())


def digest(key: str) -> str:
    """sha1 in hexadecimal: as good as random, and the same everywhere."""
    return hashlib.sha1(key.encode()).hexdigest()


def unique(rows: Iterable[AnyRow]) -> list[AnyRow]:
    """The first of each row's copies, in order; none of them where the copies' labels disagree."""
    copies: dict[str, list[AnyRow]] = {}
    for row in rows:
        copies.setdefault(row.key, []).append(row)
    return [same[0] for same in copies.values() if len({row.label for row in same}) == 1]


def split(rows: Iterable[AnyRow]) -> tuple[list[AnyRow], list[AnyRow]]:
    """(train, test): copies and contradictions removed, then by hash of the text."""
    train: list[AnyRow] = []
    test: list[AnyRow] = []
    for row in unique(rows):
        (test if int(digest(row.key)[:8], 16) % TEST_SHARE == 0 else train).append(row)
    return train, test


def at_most(rows: Iterable[AnyRow], count: int) -> list[AnyRow]:
    """The first ``count`` rows by hash of the text, in that order, whatever order they came in."""
    return sorted(rows, key=lambda row: digest(row.key))[:count]
