"""Rows of tagged texts: converts tags of any scheme, or lists of entities, to the form that a run stores.

That form is JSON in ``Example.label``: ``spans`` [[start, end, type], ...], ``words`` [[start, end], ...] if
the data has them, and ``mended`` if their tags were not quite valid.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpipeline.data.readers.jsonl import Number
from tfpipeline.data.records import Structure, shortened
from tfpipeline.errors import UserError
from tfpipeline.tasks import _spans

if TYPE_CHECKING:
    from tfpipeline.data import Example

Span = tuple[int, int, str]
Words = list[tuple[int, int]]

OUTSIDE = "O"
_NO_TYPE = "_"
# Other names for the first, inner, last and only word of an entity: BILOU, BMES.
_PREFIXES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}
_CHARACTERS = (
    "\u2e80-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"  # each is one word in rows of entities
)
_SHOWN = 8


def prefix_and_type(tag: str) -> tuple[str, str | None] | None:
    """ "B-PER" as ("B", "PER"), "M" as ("I", "_"), "O" as ("O", None); None for what is not an entity tag."""
    if tag == OUTSIDE:
        return OUTSIDE, None
    prefix, dash, kind = tag.partition("-")
    if prefix not in _PREFIXES or (dash and not kind):
        return None
    return _PREFIXES[prefix], kind or _NO_TYPE


def from_tags(example: Example, tags: Sequence[str], *, plain: bool, separator: str) -> Example:
    """A row with a tag for each token, its label as :func:`kept_row` reads it, without its other cells.

    Args:
        example: the row.
        tags: one tag per token. The tokens are those of a text that is a list of tokens, or of the cell
            ``tokens`` if they occur in the text, otherwise the parts between white space.
        plain: whether the tags do not describe entities.
        separator: the string that joins the tokens of a text that is a list.
    Raises:
        UserError: the numbers of tags and tokens differ, or a tag is not an entity tag.
    """
    listed = list_of_tokens(example.columns.get("tokens", ""))
    tags = [tag.strip() for tag in tags]
    text, words = example.text, None
    # The text of a CoNLL file may look like a list itself: [ "x" ].
    joined = listed is not None and text == " ".join(map(str, listed))
    tokens = listed if joined else list_of_tokens(text)
    if tokens is None and listed is not None and len(listed) == len(tags):
        words = _places(listed, text)
    if tokens is not None:
        for number, token in enumerate(tokens, 1):
            if not isinstance(token, str) or not token:
                raise UserError(
                    f"{example.source}: token {number} is {_spans.shown(token)}; expected a text that is not "
                    "empty"
                )
        text, words = separator.join(tokens), []
        start = 0
        for token in tokens:
            words.append((start, start + len(token)))
            start += len(token) + len(separator)
    elif words is None:
        words = [match.span() for match in _between_spaces().finditer(text)]
    if len(words) != len(tags):
        what = "tokens" if tokens is not None else "words between white space"
        raise UserError(f"{example.source}: {len(tags)} tags for {len(words)} {what}; give each one a tag")
    if plain:
        spans, mended = [(*word, tag) for word, tag in zip(words, tags)], False
    else:
        for number, tag in enumerate(tags, 1):
            if prefix_and_type(tag) is None:
                raise UserError(
                    f'{example.source}: the tag of token {number}, "{shortened(tag)}", is neither O nor one '
                    "such as B-PER or I-PER; if each word has a tag "
                    "of its own, set task.scheme to plain"
                )
        spans, mended = entities_of(words, tags)
    return dataclasses.replace(example, text=text, label=_dumped(spans, words, mended), columns={})


def from_entities(example: Example, entities: Sequence[Any]) -> Example:
    """A row with a list of its entities, its label as :func:`kept_row` reads it, without its other cells.

    Raises:
        UserError: an entity is invalid, is outside the text, or overlaps another one.
    """
    tokens = list_of_tokens(example.text)
    if tokens is not None and all(isinstance(token, str) for token in tokens):
        raise UserError(
            f"{example.source}: the text is a list of tokens, but the row has entities; give each token a "
            "tag, or entities of "
            "the text as it is written"
        )
    spans: list[Span] = []
    for number, entity in enumerate(entities, 1):
        what = f"entity {number}"
        start: Any
        end: Any
        if isinstance(entity, dict):
            start, end = (entity.get(name, entity.get(f"{name}_offset")) for name in ("start", "end"))
            kind = next((entity[name] for name in ("type", "label", "entity") if name in entity), None)
        elif isinstance(entity, list) and len(entity) == 3:
            start, end, kind = entity
        else:
            raise UserError(
                f"{example.source}: {what} is {_spans.shown(entity)}; expected "
                '{"start": 0, "end": 4, "type": "PER"}, or [0, 4, "PER"]'
            )
        if kind is not None and not isinstance(kind, str):
            raise UserError(f"{example.source}: {what} has the type {_spans.shown(kind)}; expected its name")
        if kind is None or not kind.strip():
            raise UserError(f'{example.source}: {what} has no type; give it one, such as "type": "PER"')
        _spans.check(example.text, start, end, example.source, what)
        if _word_pattern().search(example.text, start, end) is None:
            raise UserError(
                f"{example.source}: {what} is {example.text[start:end][:_SHOWN]!a}, which has no letter and "
                "no sign; remove it"
            )
        spans.append((start, end, kind.strip()))
    spans.sort()
    for one, two in zip(spans, spans[1:]):
        if two[0] < one[1]:
            raise UserError(
                f"{example.source}: the entities {shortened(one[2])} ({one[0]} to {one[1]}) and "
                f"{shortened(two[2])} ({two[0]} to "
                f"{two[1]}) overlap; keep one of them"
            )
    return dataclasses.replace(example, label=_dumped(spans, None, False), columns={})


def _places(tokens: Sequence[Any], text: str) -> Words | None:
    """The positions of successive tokens in a text; None if they do not occur in it in this order."""
    words, place = [], 0
    for token in tokens:
        start = text.find(token, place) if isinstance(token, str) and token else -1
        if start < 0:
            return None
        place = start + len(token)
        words.append((start, place))
    return words


def list_of_tokens(text: str) -> list[Any] | None:
    """The tokens of a text that is a list of tokens, such as a CoNLL column; numbers stay as they are
    written.
    """
    if not text.startswith("["):
        return None
    try:
        items = _spans.parse(text, "", "", Number)
    except UserError:
        return None  # it only begins like a list
    # "[1]" is a text, such as a footnote mark, unless it is a list in its file.
    tokens = not items or isinstance(text, Structure) or any(type(token) is str for token in items)
    return [str(token) if isinstance(token, Number) else token for token in items] if tokens else None


def entities_of(words: Words, tags: Sequence[str]) -> tuple[list[Span], bool]:
    """The entities that words' tags describe, read as in conlleval, and whether a tag continues an entity
    that did not begin.
    """
    spans: list[Span] = []
    opened: str | None = None
    mended = False
    for (start, end), tag in zip(words, tags):
        prefix, kind = prefix_and_type(tag) or (OUTSIDE, None)
        continues = prefix in ("I", "E")
        if kind is None:
            opened = None
            continue
        if continues and opened == kind:
            spans[-1] = (spans[-1][0], end, kind)
        else:
            mended |= continues
            spans.append((start, end, kind))
        opened = kind if prefix in ("B", "I") else None
    return spans, mended


def _dumped(spans: Sequence[Span], words: Words | None, mended: bool) -> str:
    kept: dict[str, Any] = {"spans": spans}
    if words is not None:
        kept["words"] = words
    if mended:
        kept["mended"] = True
    return json.dumps(kept, ensure_ascii=False)


def kept_row(example: Example) -> tuple[list[Span], Words | None, bool]:
    """The content of a stored row: entities, words, and whether their tags were not quite valid."""
    kept = json.loads(example.label or "{}")
    return kept.get("spans", []), kept.get("words"), kept.get("mended", False)


def words_of(text: str, spans: Sequence[Span]) -> Words:
    """The words of a text; no word crosses the end of an entity."""
    pattern = _word_pattern()
    cuts = sorted({0, len(text), *(place for start, end, _ in spans for place in (start, end))})
    pieces = zip(cuts, cuts[1:])
    return [match.span() for start, end in pieces for match in pattern.finditer(text, start, end)]


def is_of_one_word(before: str, behind: str) -> bool:
    """Whether two neighbouring characters are letters or digits of the same word, for any definition of
    words.
    """
    return not re.search(f"[\\W_{_CHARACTERS}]", before + behind)


def visible_words(text: str, words: Words, *, all_of_them: bool) -> Words:
    """Words, each cut to begin with the first character that can begin a token; words without such a
    character are omitted or stay unchanged.
    """
    if text.isascii() and text.isprintable():
        return words
    visible = []
    for start, end in words:
        # A mark begins a token only if accents are kept, and then that token extends to the letter.
        ends = (_end(pattern, text, start, end) for pattern in _silent_patterns())
        first = next((at for at in ends if at < end), end)
        if first < end:
            visible.append((first, end))
        elif all_of_them:
            visible.append((start, end))
    return visible


def _end(pattern: re.Pattern[str], text: str, start: int, end: int) -> int:
    """The end of the match of a pattern that matches anywhere."""
    match = pattern.match(text, start, end)
    return start if match is None else match.end()


@functools.lru_cache(maxsize=1)
def _word_pattern() -> re.Pattern[str]:
    """A word in rows that only have entities.

    A Chinese or Japanese character, a run of other letters and digits with their marks, or any other symbol.
    """
    dropped, stripped = _silent_classes()
    points = (point for point in range(0x300, 0xE0200) if unicodedata.category(chr(point)).startswith("M"))
    marks = _class_of(points)
    letters, within = f"[^\\W{_CHARACTERS}_]+", f"[{dropped}{marks}]+"
    sign = f"(?![\\s{dropped}{stripped}{marks}])(?:[{_CHARACTERS}]|[^\\w\\s]|_)"
    return re.compile(f"{letters}(?:{letters}|{within})*|{sign}")


@functools.lru_cache(maxsize=1)
def _between_spaces() -> re.Pattern[str]:
    """A run of characters that BERT does not treat as white space."""
    from tfpipeline.text.unicode_tables import space_points

    return re.compile(f"[^{_class_of(space_points())}]+")


@functools.lru_cache(maxsize=1)
def _silent_patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Characters that no token begins with: white space, what BERT drops, and marks that it may strip; and
    the same without marks.
    """
    dropped, stripped = _silent_classes()
    return re.compile(f"[\\s{dropped}{stripped}]*"), re.compile(f"[\\s{dropped}]*")


def _silent_classes() -> tuple[str, str]:
    """For regular expressions: the characters that BERT's cleaning drops, and those that it strips as
    accents.
    """
    from tfpipeline.text.unicode_tables import mark_edges, removed_points

    edges = mark_edges().tolist()
    stripped = itertools.chain.from_iterable(map(range, edges[::2], edges[1::2]))
    return _class_of(removed_points()), _class_of(stripped)


def _class_of(points: Iterable[int]) -> str:
    """Ascending code points as ranges, for use in brackets of a regular expression."""
    codes = np.fromiter(points, np.int64)
    gaps = np.flatnonzero(np.diff(codes) > 1)
    first, last = codes[np.r_[0, gaps + 1]].tolist(), codes[np.r_[gaps, len(codes) - 1]].tolist()
    return "".join(f"\\U{one:08x}-\\U{two:08x}" for one, two in zip(first, last))
