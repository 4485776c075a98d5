"""Writes ``unicode.npz``: the effect of the reference BERT normaliser on every Unicode code point.

Run it as ``python -m tfpipeline.text.generate_unicode`` after an upgrade of ``tokenizers``; a test compares
the packaged file with the results of this module. Nothing is taken from Python's own ``unicodedata``: the
reference is compiled against Unicode versions of its own (an old one for categories, a newer one for letter
case).

Source: the ``tokenizers`` package, ``BertNormalizer`` and ``BertPreTokenizer``, probed one code point at a
time. The properties of UAX #29, which BERT does not use, come from the ``regex`` package.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tfpipeline.files import atomic_file

CODE_POINTS = 0x110000
SURROGATES = range(0xD800, 0xE000)
PATH = Path(__file__).with_name("unicode.npz")

# Canonical combining classes 1 and 240, the lowest and the highest.
_LOWEST_MARK, _HIGHEST_MARK = "\u0334", "\u0345"


def _ranges(points: Iterable[int]) -> np.ndarray:
    """Sorted code points as int32 [ranges, 2], first and one past the last."""
    array = np.asarray(sorted(points), np.int64)
    if not array.size:
        return np.zeros((0, 2), np.int32)
    breaks = np.flatnonzero(np.diff(array) != 1)
    first = array[np.concatenate([[0], breaks + 1])]
    last = array[np.concatenate([breaks, [array.size - 1]])]
    return np.stack([first, last + 1], axis=1).astype(np.int32)


def _mapping(name: str, mapping: dict[int, str]) -> dict[str, np.ndarray]:
    """A map from code point to string as three int32 arrays: keys, lengths, all values in one row."""
    keys = sorted(mapping)
    return {
        f"{name}_keys": np.asarray(keys, np.int32),
        f"{name}_lengths": np.asarray([len(mapping[key]) for key in keys], np.int32),
        f"{name}_values": np.asarray([ord(c) for key in keys for c in mapping[key]], np.int32),
    }


def graphemes() -> np.ndarray:
    """Classes of code points for :mod:`tfpipeline.text.graphemes`, int32 [n, 3]: first, last + 1, class."""
    import regex

    from tfpipeline.text.graphemes import GraphemeClass

    text = "".join("\ufffd" if point in SURROGATES else chr(point) for point in range(CODE_POINTS))

    def having(what: str) -> list[int]:
        return [match.start() for match in regex.finditer(rf"\p{{{what}}}", text)]

    classes = np.zeros(CODE_POINTS, np.int32)
    for kind, properties in (
        (GraphemeClass.BREAK, ("GCB=Control", "GCB=CR", "GCB=LF")),
        (GraphemeClass.MARK, ("GCB=Extend",)),
        (GraphemeClass.LINKER, ("InCB=Linker",)),
        (GraphemeClass.LINKED_MARK, ("InCB=Extend",)),
        (GraphemeClass.JOINER, ("GCB=ZWJ",)),
        (GraphemeClass.SPACING_MARK, ("GCB=SpacingMark",)),
        (GraphemeClass.PREPEND, ("GCB=Prepend",)),
        (GraphemeClass.REGIONAL, ("GCB=Regional_Indicator",)),
        (GraphemeClass.L, ("GCB=L",)),
        (GraphemeClass.V, ("GCB=V",)),
        (GraphemeClass.T, ("GCB=T",)),
        (GraphemeClass.LV, ("GCB=LV",)),
        (GraphemeClass.LVT, ("GCB=LVT",)),
        (GraphemeClass.PICTOGRAPH, ("Extended_Pictographic",)),
        (GraphemeClass.CONSONANT, ("InCB=Consonant",)),
        (GraphemeClass.LINKING_LETTER, ("InCB=Linker",)),
    ):
        for name in properties:
            points = np.asarray(having(name))
            marks = kind in (GraphemeClass.LINKED_MARK, GraphemeClass.LINKER)
            within = GraphemeClass.MARK if marks else GraphemeClass.OTHER
            classes[points[classes[points] == within]] = kind
    first = np.flatnonzero(np.diff(classes, prepend=-1))
    runs = np.stack([first, [*first[1:], CODE_POINTS], classes[first]], axis=1)
    return runs[runs[:, 2] > 0].astype(np.int32)


def probe() -> dict[str, np.ndarray]:
    """Query the reference for all 1,112,064 code points (takes about ten seconds).

    Returns:
        int32 arrays. Ranges [n, 2] (first, one past the last): ``removed`` (dropped by the cleaning step),
        ``space`` (cleaned to a space), ``isolated`` (a word of its own for the pre-tokeniser), ``chinese``
        (set between spaces when Chinese characters are split), ``nonstarter`` (canonical combining class
        above 0, of all it decomposes to), ``word`` (characters that may not touch an added token with
        ``single_word``). Maps (keys, lengths, values): ``stripped`` (decomposed and without non-spacing
        marks) and ``lower``, without the code points that stay as they are; ``order`` (keys, values): the
        rank of the combining class of each non-starter, from 1; of one that decomposes, that of the first it
        decomposes to. ``graphemes``: see :func:`graphemes`.
    """
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

    def bert(**on: bool) -> normalizers.BertNormalizer:
        off = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
        return normalizers.BertNormalizer(**{**off, **on})

    clean = bert(clean_text=True).normalize_str
    chinese = bert(handle_chinese_chars=True).normalize_str
    strip = bert(strip_accents=True).normalize_str
    lower = bert(lowercase=True).normalize_str
    decompose = normalizers.NFD().normalize_str
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    whole = Tokenizer(models.WordPiece({"?": 0}, unk_token="?"))
    whole.add_tokens([AddedToken("token", single_word=True, normalized=False)])

    sets: dict[str, list[int]] = {
        name: [] for name in ("removed", "space", "isolated", "chinese", "nonstarter", "word")
    }
    decomposed: dict[int, str] = {}
    stripped: dict[int, str] = {}
    lowered: dict[int, str] = {}
    for point in range(CODE_POINTS):
        if point in SURROGATES:
            continue
        character = chr(point)
        cleaned = clean(character)
        if cleaned != character or cleaned == " ":
            sets["space" if cleaned else "removed"].append(point)
        if chinese(character) != character:
            sets["chinese"].append(point)
        if whole.encode(f"token{character}").ids == [0]:
            sets["word"].append(point)
        if (to := strip(character)) != character:
            stripped[point] = to
        if (to := lower(character)) != character:
            lowered[point] = to
        words = [word for word, _ in split(f"a{character}b")]
        if words == ["a", character, "b"]:
            sets["isolated"].append(point)
        elif words == ["a", "b"]:
            # White space that the cleaning step keeps would need a class of its own.
            if cleaned not in ("", " "):
                raise AssertionError(f"U+{point:04X} splits words but is not cleaned to a space")
        elif words != [f"a{character}b"]:
            raise AssertionError(f"U+{point:04X} splits 'a?b' into {words}")
        # A starter keeps its position, whatever mark is next to it.
        if (to := decompose(character)) != character:
            decomposed[point] = to
        elif (
            decompose(_HIGHEST_MARK + character) != _HIGHEST_MARK + character
            or decompose(character + _LOWEST_MARK) != character + _LOWEST_MARK
        ):
            sets["nonstarter"].append(point)
    marks = set(sets["nonstarter"])
    # Those that move before a mark have a lower class, so their number orders the classes.
    lower_ones = [
        sum(decompose(chr(a) + chr(b)) == chr(b) + chr(a) != chr(a) + chr(b) for b in marks) for a in marks
    ]
    ranks = dict(zip(marks, np.unique(lower_ones, return_inverse=True)[1].tolist()))
    made_of_marks = {point: to for point, to in decomposed.items() if marks.issuperset(map(ord, to))}
    ranks.update({point: ranks[ord(to[0])] for point, to in made_of_marks.items()})
    sets["nonstarter"] += made_of_marks
    order = sorted(ranks)
    return {
        **{name: _ranges(points) for name, points in sets.items()},
        **_mapping("stripped", stripped),
        **_mapping("lower", lowered),
        "order_keys": np.asarray(order, np.int32),
        "order_values": np.asarray([ranks[point] for point in order], np.int32) + 1,
        "graphemes": graphemes(),
    }


def main() -> None:
    """Probe the reference and write the packaged file."""
    arrays = probe()
    with atomic_file(PATH) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    print(f"{PATH}: {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
