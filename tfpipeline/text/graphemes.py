"""User-perceived characters: where they begin among a text's code points.

The extended grapheme clusters of Unicode's UAX #29 (revision 49 of Unicode 18, rules GB4 to GB13), but white
space, as BERT defines it, is never part of one: a mark after a blank begins a word.

The rules are written once, for NumPy here and for the graph in :mod:`tfpipeline.text.code_points`.
"""

from __future__ import annotations

import enum
import functools
from typing import Any, Protocol

import numpy as np

from tfpipeline.text.unicode_tables import grapheme_ranges, space_points

# Code points below this one are characters of their own.
FIRST_JOINED = 0x300


class GraphemeClass(enum.IntEnum):
    """The Grapheme_Cluster_Break of a code point, subdivided where the rules use other properties too.

    ``BREAK`` is Control, CR, LF and BERT's white space; ``MARK`` is an Extend outside Indic_Conjunct_Break,
    ``LINKER`` and ``LINKED_MARK`` are inside it; ``LINKING_LETTER``, ``CONSONANT`` and ``PICTOGRAPH``
    (Extended_Pictographic) are parts of Other.
    """

    OTHER = 0
    BREAK = 1
    MARK = 2
    LINKED_MARK = 3
    LINKER = 4
    JOINER = 5
    SPACING_MARK = 6
    PREPEND = 7
    REGIONAL = 8
    L = 9
    V = 10
    T = 11
    LV = 12
    LVT = 13
    PICTOGRAPH = 14
    CONSONANT = 15
    LINKING_LETTER = 16


_C = GraphemeClass
_MARKS = (_C.MARK, _C.LINKED_MARK, _C.LINKER)
_LINKERS = (_C.LINKER, _C.LINKING_LETTER)


class Arrays(Protocol):
    """The operations on arrays of rank 1 that the rules need, for NumPy or TensorFlow."""

    def gather(self, values: Any, at: Any) -> Any:
        """Values at places."""

    def count(self, which: Any) -> Any:
        """For each position, the number of True values up to and including it."""

    def last(self, which: Any) -> Any:
        """For each position, the nearest True position up to and including it. The first value must be
        True.
        """


def begins(classes: Any, arrays: Arrays) -> Any:
    """Whether a character begins at each position except the first.

    Args:
        classes: int [N + 1], values of `GraphemeClass`; the first is ``BREAK``, and so is the one between two
            texts.
        arrays: the operations of the library of ``classes``.
    Returns:
        bool [N].
    """

    def among(some: tuple[GraphemeClass, ...]) -> Any:
        return arrays.gather(np.isin(np.arange(len(_C)), some), classes)

    before, behind = classes[:-1], classes[1:]
    joined = arrays.gather(_pairs(), before * len(_C) + behind)
    # GB9c: a consonant after a linker and its marks. Before Unicode 18, a consonant had to come before the
    # linker too.
    base = arrays.last(~among((*_LINKERS, _C.LINKED_MARK, _C.JOINER)))[:-1]
    linkers = arrays.count(among(_LINKERS))
    joined = joined | (among((_C.CONSONANT,))[1:] & (linkers[:-1] > arrays.gather(linkers, base)))
    # GB11: a pictograph after a pictograph, its marks and a joiner.
    base = arrays.last(~among((*_MARKS, _C.JOINER)))[:-1]
    single = arrays.count(among((_C.JOINER,)))
    single = single[:-1] - arrays.gather(single, base) == 1
    after = among((_C.JOINER,))[:-1] & among((_C.PICTOGRAPH,))[1:]
    joined = joined | (after & single & arrays.gather(among((_C.PICTOGRAPH,)), base))
    # GB12, GB13: letters of flags are pairs.
    regional = arrays.count(among((_C.REGIONAL,)))
    base = arrays.last(~among((_C.REGIONAL,)))[:-1]
    odd = (regional[:-1] - arrays.gather(regional, base)) % 2 == 1
    return ~(joined | (among((_C.REGIONAL,))[1:] & odd))


@functools.lru_cache(maxsize=1)
def _pairs() -> np.ndarray:
    """Whether two adjacent classes are one character, regardless of what precedes them, bool [classes *
    classes].
    """
    joined = np.zeros((len(_C), len(_C)), bool)
    joined[_C.L, [_C.L, _C.V, _C.LV, _C.LVT]] = True  # GB6
    joined[_C.LV, [_C.V, _C.T]] = joined[_C.V, [_C.V, _C.T]] = True  # GB7
    joined[_C.LVT, _C.T] = joined[_C.T, _C.T] = True  # GB8
    joined[:, [*_MARKS, _C.JOINER, _C.SPACING_MARK]] = True  # GB9, GB9a
    joined[_C.PREPEND] = True  # GB9b
    joined[_C.BREAK] = joined[:, _C.BREAK] = False  # GB4, GB5
    return joined.reshape(-1)


@functools.lru_cache(maxsize=1)
def grapheme_edges() -> tuple[np.ndarray, np.ndarray]:
    """The code points at which the class changes, int32, ascending from 0, and the class from each on,
    int32.
    """
    classes = np.zeros(0x110000, np.int32)
    for first, end, kind in grapheme_ranges().tolist():
        classes[first:end] = kind
    classes[list(space_points())] = _C.BREAK
    edges = np.flatnonzero(np.diff(classes, prepend=-1))
    return edges.astype(np.int32), classes[edges]


class _NumPy:
    """`Arrays` of NumPy."""

    @staticmethod
    def gather(values: Any, at: Any) -> Any:
        return values[at]

    @staticmethod
    def count(which: Any) -> Any:
        return np.cumsum(which)

    @staticmethod
    def last(which: Any) -> Any:
        return np.maximum.accumulate(np.where(which, np.arange(len(which)), 0))


@functools.lru_cache(maxsize=4)
def character_starts(text: str) -> np.ndarray:
    """Whether a character begins, or the text ends, at each offset: bool [code points + 1]; read-only."""
    if not text or max(text) < chr(FIRST_JOINED):
        starts = np.ones(len(text) + 1, bool)
    else:
        edges, kinds = grapheme_edges()
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        classes = np.full(len(text) + 2, int(_C.BREAK), np.int32)
        classes[1:-1] = kinds[np.searchsorted(edges, points, side="right") - 1]
        starts = begins(classes, _NumPy())
    starts.flags.writeable = False
    return starts
