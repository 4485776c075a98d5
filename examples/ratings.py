"""Reads the VADER texts: each rated by about ten people, from -4 (extremely negative) to 4."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass

from examples.packaged import vader

THRESHOLD = 0.5


@dataclass(frozen=True)
class Rated:
    """One rated text.

    Attributes:
        id: as in the source.
        rating: the mean of what people gave it, from -4 to 4, as the source writes it.
        text: HTML escapes resolved, white space folded; its case is kept.
    """

    id: str
    rating: str
    text: str

    @property
    def label(self) -> str:
        """The class of the rating: "negative", "neutral" or "positive"."""
        rating = float(self.rating)
        return "positive" if rating >= THRESHOLD else "negative" if rating <= -THRESHOLD else "neutral"


def read(name: str) -> Iterator[Rated]:
    """The texts called ``name`` ("tweets", "movie"; see :func:`examples.packaged.vader`), in the file's
    order.

    Raises:
        UserError: they cannot be fetched.
    """
    with vader(name).open(encoding="utf-8-sig", newline="") as file:
        # Not csv, not str.splitlines: the texts hold quotes and stray separators such as U+0085.
        for line in file.read().split("\n"):
            if line.strip():
                identifier, rating, text = line.rstrip("\r").split("\t")
                yield Rated(identifier, rating, " ".join(html.unescape(text).split()))
