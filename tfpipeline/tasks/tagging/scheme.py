"""Tagging schemes: the meaning of tags, which tags may follow each other, and the tags for a list of
entities.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfpipeline.tasks.tagging.rows import OUTSIDE, Span, Words, prefix_and_type

MISSED = ""  # the tag of a truncated word in the scheme plain
_PREFIXES_OF = {"bio": "BI", "bioes": "BIES"}


def tags_of(scheme: str, types: Sequence[str]) -> list[str]:
    """All tags of a scheme for these types, in the order of the head's outputs."""
    if scheme not in _PREFIXES_OF:
        return list(types)
    return [OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in _PREFIXES_OF[scheme])]


class Scheme:
    """The tags of a model and their meaning.

    Args:
        name: ``bio``, ``bioes`` or ``plain``.
        tags: in the order of the head's outputs.

    Attributes:
        entities: whether tags describe entities of one or more words.
        types: the types of entities; with ``plain``, the tags.
        prefixes: each tag's prefix: B, I, E or S, and O outside entities.
        type_of: the number of each tag's type; -1 outside entities.
    """

    def __init__(self, name: str, tags: Sequence[str]) -> None:
        self.name, self.tags, self.entities = name, tuple(tags), name != "plain"
        parts = [self._parts(tag) for tag in self.tags]
        self.types = tuple(dict.fromkeys(kind for _, kind in parts if kind is not None))
        self.prefixes = [prefix for prefix, _ in parts]
        # Keyed by the tag as this module writes it, whatever the data calls an inner or last word.
        self._index = {
            prefix if kind is None else f"{prefix}-{kind}" if self.entities else kind: index
            for index, (prefix, kind) in enumerate(parts)
        }
        self.type_of = [-1 if kind is None else self.types.index(kind) for _, kind in parts]

    def _parts(self, tag: str) -> tuple[str, str | None]:
        """A tag's prefix and type; outside entities, the type is None."""
        return ("S", tag) if not self.entities else prefix_and_type(tag) or ("S", tag)

    def number(self, kind: str | None, before: bool, behind: bool) -> int:
        """The number of a word's tag; -1 if there is no such tag. Arguments as for :meth:`tag`."""
        return self._index.get(self.tag(kind, before, behind), -1)

    def tag(self, kind: str | None, before: bool, behind: bool) -> str:
        """The model's tag for a word of a type. The flags say whether the previous and the next word are of
        the same entity.
        """
        if kind is None:
            return OUTSIDE if self.entities else MISSED
        if not self.entities:
            return kind
        if self.name == "bio":
            return f"{'I' if before else 'B'}-{kind}"
        return f"{('I' if behind else 'E') if before else ('B' if behind else 'S')}-{kind}"

    def follows(self, before: int | None, behind: int | None) -> bool:
        """Whether the scheme allows one tag after another; None stands for the edges of the text."""
        opened = before is not None and self.prefixes[before] in ("B", "I")
        continues = behind is not None and self.prefixes[behind] in ("I", "E")
        same = before is not None and behind is not None and self.type_of[before] == self.type_of[behind]
        if self.name == "bioes":
            return same if opened and continues else opened == continues
        return not continues or (opened and same)

    def allowed(self) -> Any:
        """0 for allowed transitions, -inf for all others."""
        from tfpipeline.models.crf import Transitions

        tags = range(len(self.tags))

        def scores(pairs: Iterable[bool]) -> np.ndarray:
            return np.where(list(pairs), 0.0, -np.inf).astype(np.float32)

        between = scores(self.follows(one, two) for one in tags for two in tags)
        return Transitions(
            between.reshape(len(tags), -1),
            scores(self.follows(None, tag) for tag in tags),
            scores(self.follows(tag, None) for tag in tags),
        )

    def word_tags(self, words: Words, spans: Sequence[Span]) -> list[str]:
        """The words' tags, in BIO or plain."""
        tags = []
        at, before = 0, -1
        for start, _ in words:
            while at < len(spans) and spans[at][1] <= start:
                at += 1
            span = at if at < len(spans) and spans[at][0] <= start else -1
            if span < 0:
                tags.append(OUTSIDE if self.entities else MISSED)
            elif not self.entities:
                tags.append(spans[span][2])
            else:
                tags.append(f"{'I' if span == before else 'B'}-{spans[span][2]}")
            before = span
        return tags
