"""Tables of the normal form of each code point, for given options; NumPy only.

In normalised text, spaces surround everything that is a word of its own. Later steps therefore need no
Unicode: they split at spaces and at ASCII punctuation.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfpipeline.text.options import TokenizerOptions

CODE_POINTS = 0x110000
PAGE = 256
SPACE = 0x20

# Rows of `NormalizationTable.outputs` that many code points share. ITSELF stands for the code point.
ITSELF = -1
_PLAIN, REMOVED, _SPACE, _ISOLATED = range(4)
_SHARED_ROWS = ((ITSELF,), (), (SPACE,), (SPACE, ITSELF, SPACE))


@dataclasses.dataclass(frozen=True)
class NormalizationTable:
    """A two-level table from code point to its normalised form.

    Attributes:
        pages: int32 [CODE_POINTS / PAGE], the page of each block of PAGE code points.
        rows: int32 [pages * PAGE], the row of `outputs` for each code point of a page.
        outputs: int32 [R, K], the normalised code points, ITSELF for the code point itself, 0 for none.
        first_mark: rows from this one on hold combining marks that survive and so may change places.
        order: int32 [R, K], rank of the canonical combining class of each output, 0 for a starter.
        mark: int32 [R], the rank of a combining mark's own class, whether it is stripped or not; 0 for other
            code points.
        starter: int32 [R], 1 where the decomposed code point, before stripping, holds a starter, which marks
            never cross.
    """

    pages: np.ndarray
    rows: np.ndarray
    outputs: np.ndarray
    first_mark: int
    order: np.ndarray
    mark: np.ndarray
    starter: np.ndarray

    def normalize(self, point: int) -> list[int]:
        """The normalised form of one code point."""
        row = self.rows[self.pages[point // PAGE] * PAGE + point % PAGE]
        return [point if output == ITSELF else int(output) for output in self.outputs[row] if output]


@functools.lru_cache(maxsize=1)
def _packaged() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_name("unicode.npz"), allow_pickle=False) as file:
        return dict(file)


def _mapping(name: str) -> dict[int, tuple[int, ...]]:
    data = _packaged()
    ends = np.cumsum(data[f"{name}_lengths"]).tolist()
    values = data[f"{name}_values"].tolist()
    starts = [0, *ends[:-1]]
    return {
        key: tuple(values[start:end]) for key, start, end in zip(data[f"{name}_keys"].tolist(), starts, ends)
    }


def _points(name: str) -> Iterator[int]:
    for first, end in _packaged()[name].tolist():
        yield from range(first, end)


def isolated_points(options: TokenizerOptions) -> frozenset[int]:
    """Code points that are always a word of their own in normalised text."""
    points = set(_points("isolated"))
    if options.tokenize_chinese_chars:
        points.update(_points("chinese"))
    return frozenset(points)


def space_points() -> Iterator[int]:
    """Code points that the reference turns into a space, in ascending order."""
    return _points("space")


def removed_points() -> Iterator[int]:
    """Code points that the reference drops from any text, in ascending order."""
    return _points("removed")


def grapheme_ranges() -> np.ndarray:
    """Ranges of code points by class, int32 [n, 3]: first, last + 1, a ``graphemes.GraphemeClass``."""
    return _packaged()["graphemes"]


def word_ranges() -> list[tuple[int, int]]:
    """Letters, digits, marks and the like: ranges of code points, first and one past the last.

    An added token with ``single_word`` does not match where one of these touches it.
    """
    return [(first, end) for first, end in _packaged()["word"].tolist()]


@functools.lru_cache(maxsize=1)
def mark_edges() -> np.ndarray:
    """Where runs of combining marks begin and end among the code points, int32, rising.

    They are those that the reference strips, and those that change places.
    """
    stripped = (point for point, to in _mapping("stripped").items() if not to)
    marks = np.zeros(CODE_POINTS + 1, bool)
    marks[[*stripped, *_points("nonstarter")]] = True
    return np.flatnonzero(np.diff(marks, prepend=False)).astype(np.int32)


def normalization_table(
    options: TokenizerOptions, markers: range, *, split: bool = True
) -> NormalizationTable:
    """Build the table for these options.

    Args:
        options: case, accents and Chinese characters.
        markers: code points, dropped from ordinary text, that stand for special tokens; each becomes a word.
        split: whether to set punctuation and markers apart; else the text becomes what the reference's
            normaliser makes of it, and :func:`splitting_table` does the rest.
    """
    return _normalization_table(
        options.lowercase, options.strips_accents, options.tokenize_chinese_chars, markers, split
    )


@functools.lru_cache(maxsize=8)  # a process builds tokenizers of several vocabularies, with few options
def _normalization_table(
    lowercase: bool, strips_accents: bool, tokenize_chinese_chars: bool, markers: range, split: bool
) -> NormalizationTable:
    data = _packaged()
    lower = _mapping("lower") if lowercase else {}
    stripped = _mapping("stripped") if strips_accents else {}
    isolated = set(_points("isolated")) if split else set()

    index = np.full(CODE_POINTS, _PLAIN, np.int32)
    for name in ("isolated", "chinese"):
        if split if name == "isolated" else tokenize_chinese_chars:
            for first, end in data[name]:
                index[first:end] = _ISOLATED
    chinese = {int(p) for p in stripped.keys() | lower.keys() if index[p] == _ISOLATED and p not in isolated}

    known: dict[tuple[int, ...], int] = {row: i for i, row in enumerate(_SHARED_ROWS)}
    nonstarters = set(_points("nonstarter"))
    order = dict(zip(data["order_keys"].tolist(), data["order_values"].tolist())) if stripped else {}
    begins: dict[int, int] = {}
    classes: dict[int, int] = {}
    keyed: dict[tuple[tuple[int, ...], bool, int], int] = {}
    rows: list[tuple[int, ...]] = list(_SHARED_ROWS)
    # Marks that survive stripping need rows of their own although they normalise to themselves or to a
    # letter.
    for point in sorted({*stripped, *lower, *order}):
        parts = stripped.get(point, (point,))
        letters = [letter for part in parts for letter in lower.get(part, (part,))]
        row: list[int] = []
        for letter in letters:
            row += [SPACE, letter, SPACE] if letter in isolated else [letter]
        if point in chinese:
            row = [SPACE, *row, SPACE]
        starts = point not in nonstarters
        key = (tuple(row), starts, 0 if starts else order.get(point, 0))
        if key not in keyed:
            # A starter that is stripped still keeps marks from crossing it: not a row that does nothing.
            shared = known.get(tuple(row)) if row and starts else None
            keyed[key] = len(rows) if shared is None else shared
            if shared is None:
                begins[len(rows)], classes[len(rows)] = int(starts), key[2]
                rows.append(tuple(row))
        index[point] = keyed[key]
    for name, shared_row in (("removed", REMOVED), ("space", _SPACE)):
        for first, end in data[name]:
            index[first:end] = shared_row
    index[markers.start : markers.stop] = _ISOLATED if split else _PLAIN

    width = max(map(len, rows))
    outputs = np.zeros((len(rows), width), np.int32)
    ranks = np.zeros_like(outputs)
    for i, outcome in enumerate(rows):
        outputs[i, : len(outcome)] = outcome
        ranks[i, : len(outcome)] = [order.get(output, 0) for output in outcome]
    starter = np.ones(len(rows), np.int32)
    starter[REMOVED] = 0  # it is removed before anything is decomposed
    mark = np.zeros(len(rows), np.int32)
    for i, flag in begins.items():
        starter[i], mark[i] = flag, classes[i]
    # The rows with marks go last, so that one comparison tells whether there is anything to reorder.
    marked = ranks.max(axis=1) > 0
    last = np.argsort(marked, kind="stable")
    place = np.empty_like(last)
    place[last] = np.arange(len(rows))
    pages, paged = _pages(place[index])
    return NormalizationTable(
        pages=pages,
        rows=paged,
        outputs=outputs[last],
        first_mark=len(rows) - int(marked.sum()),
        order=ranks[last],
        mark=mark[last],
        starter=starter[last],
    )


def splitting_table(markers: range) -> NormalizationTable:
    """The table that separates punctuation and markers in text that is already normalised."""
    index = np.full(CODE_POINTS, _PLAIN, np.int32)
    for first, end in _packaged()["isolated"]:
        index[first:end] = _ISOLATED
    index[markers.start : markers.stop] = _ISOLATED
    outputs = np.zeros((len(_SHARED_ROWS), 3), np.int32)
    for i, outcome in enumerate(_SHARED_ROWS):
        outputs[i, : len(outcome)] = outcome
    pages, rows = _pages(index)
    zeros = np.zeros(len(outputs), np.int32)
    return NormalizationTable(
        pages, rows, outputs, first_mark=len(outputs), order=np.zeros_like(outputs), mark=zeros, starter=zeros
    )


def _pages(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn a row for each code point into a two-level table: the page of each block, and the rows of the
    pages.
    """
    blocks = [block.tobytes() for block in index.reshape(-1, PAGE)]  # np.unique would sort them all
    numbers = {block: number for number, block in enumerate(dict.fromkeys(blocks))}
    pages = np.array([numbers[block] for block in blocks], np.int32)
    return pages, np.frombuffer(b"".join(numbers), index.dtype).astype(np.int32)
