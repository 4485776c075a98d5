"""The ``task`` section of tagging: checks the data, and makes the task from the rows."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable
from typing import TYPE_CHECKING, ClassVar, Literal, Optional

from pydantic import Field, model_validator

from tfpipeline.console import say
from tfpipeline.data.records import shortened
from tfpipeline.errors import UserError
from tfpipeline.tasks import _spans
from tfpipeline.tasks._pooled import LabelCounts, check_labels, unknown_label
from tfpipeline.tasks.options import Fitter, TaskOptions
from tfpipeline.tasks.tagging.rows import (
    OUTSIDE,
    Span,
    from_entities,
    from_tags,
    is_of_one_word,
    kept_row,
    list_of_tokens,
    prefix_and_type,
)
from tfpipeline.tasks.tagging.scheme import tags_of
from tfpipeline.tasks.tagging.task import HEAD, Tagging
from tfpipeline.tasks.tagging.words import spaces

if TYPE_CHECKING:
    from tfpipeline.checkpoints.checkpoint import Checkpoint
    from tfpipeline.data import Example
    from tfpipeline.data.options import DataOptions

_MAX_ENTITIES = 128  # for a checkpoint, which has no rows
_MIN_ENTITIES = 16
_AS_MANY_AS_READ = 2**31 - 1  # until the number is known: Tagging.limit_length


class TaggingOptions(TaskOptions):
    """The ``task`` section of a run file for tagging."""

    task_class = Tagging
    fixed_by_head: ClassVar[tuple[str, ...]] = ("labels", "scheme", "crf")

    name: Literal["tagging"] = "tagging"
    scheme: Literal["bio", "bioes", "plain"] = Field(
        "bio",
        description="The model's tagging scheme: `bio` (B-PER, I-PER, O) or `bioes` for entities, "
        "independent of the scheme "
        "in the data; `plain` for one tag per word, such as parts of speech.",
    )
    labels: Optional[list[str]] = Field(
        None,
        min_length=1,
        description="The entity types (for `plain`: the tags), in order; default: those in the training "
        "rows, sorted.",
    )
    words: Literal["punctuation", "whitespace"] = Field(
        "punctuation",
        description="How a text is divided into words, each of which gets one tag: at white space and "
        "`punctuation`, as BERT "
        "does; or at `whitespace` only.",
    )
    sub_words: Literal["first", "all"] = Field(
        "first",
        description="Which of a word's tokens are trained on its tag. The prediction is always that of the "
        "`first`.",
    )
    crf: bool = Field(
        False, description="Add a conditional random field, which also scores pairs of neighbouring tags."
    )
    constrained: bool = Field(
        True, description="Never predict sequences that are invalid in the scheme, such as I-PER after O."
    )
    separator: str = Field(
        " ",
        description='Joins the tokens of rows that are lists of tokens; "" for Chinese.',
    )
    max_entities: Optional[int] = Field(
        None,
        ge=1,
        description="Maximum number of entities returned per text (the first ones); default: twice the most "
        "in any training "
        "row, at least 16, and at most the number of tokens that the model reads.",
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the head.")

    @model_validator(mode="after")
    def _are_types(self) -> TaggingOptions:
        tags = [label for label in self.labels or [] if label == OUTSIDE or re.match("[BIESLUM]-", label)]
        if tags and self.scheme != "plain":
            raise ValueError(
                f"labels: {tags[0]} is a tag; name the types of entities alone, such as PER, as scheme says "
                "what tags there are"
            )
        return self

    @property
    def token_separator(self) -> str:
        return self.separator

    def check(self, data: DataOptions) -> None:
        if data.label is None:
            raise ValueError("data.label is null, but tagging learns from tags; name their column")

    def preprocess(self, example: Example) -> Example:
        """The same row with its label as JSON: ``spans`` [[start, end, type], ...], and the words if they are
        known.
        """
        if example.label is None:
            raise UserError(
                f"{example.source}: the row has no tags; write a tag for each token, or a list of entities "
                "([] for none)"
            )
        what = 'tags ["B-PER", "O"], or entities [{"start": 0, "end": 4, "type": "PER"}]'
        if example.label.startswith("["):
            items = _spans.parse(example.label, example.source, what)
        else:
            items = example.label.split()
            if example.label.startswith("{") and example.label.endswith("}"):
                raise UserError(
                    f"{example.source}: the label is {shortened(example.label)}; expected a list: {what}"
                )
        for number, one in enumerate(items, 1):
            if one is None or isinstance(one, (int, float)):
                raise UserError(
                    f"{example.source}: tag {number} is {_spans.shown(one)}; write the tags' names, such as "
                    "B-PER (a data set of "
                    "Hugging Face has them in features[COLUMN].feature.names)"
                )
        tags = all(isinstance(one, str) for one in items)
        if not items:  # no entities, or no words and so no tags
            tags = self.scheme == "plain" or list_of_tokens(example.text) is not None
        plain = self.scheme == "plain"
        if not tags and any(isinstance(one, str) for one in items):
            odd = next(one for one in items if not isinstance(one, str))
            raise UserError(f"{example.source}: {_spans.shown(odd)} is not a tag; expected {what}")
        if tags:
            return from_tags(example, items, plain=plain, separator=self.separator)
        if plain:
            raise UserError(
                f"{example.source}: the row has entities, but task.scheme is plain; set it to bio, or give "
                "each word a tag"
            )
        return from_entities(example, items)

    def strata(self, example: Example) -> Collection[Hashable]:
        # In text order: the order of a set changes between processes, and the split would change with it.
        return list(dict.fromkeys(kind for _, _, kind in kept_row(example)[0]))

    def fitter(self) -> Fitter:
        return _TaggingFitter(self)

    def parts_a_word(self, text: str, span: Span) -> bool:
        """Whether an entity begins or ends within a word."""
        start, end, _ = span
        edges = [(text[place - 1], text[place]) for place in (start, end) if 0 < place < len(text)]
        if self.words == "whitespace":
            return any(spaces().isdisjoint(edge) for edge in edges)
        return any(is_of_one_word(*edge) for edge in edges)

    @classmethod
    def serves(cls, checkpoint: Checkpoint) -> bool:
        return HEAD in checkpoint.head_names

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Tagging:
        tags = checkpoint.labels
        parts = [prefix_and_type(tag) for tag in tags]
        scheme = "plain"
        prefixes = {part[0] if part else None for part in parts}
        # The tags of word segmentation (B, M, E, S) have no outside.
        if None not in prefixes and (OUTSIDE in prefixes or {"B", "E"} <= prefixes):
            scheme = "bioes" if prefixes & {"E", "S"} else "bio"
        # In the older IOB1, B- only separates adjacent entities of one type, and tag names do not show which
        # variant it is.
        options = cls.model_validate({"scheme": scheme, "constrained": False})
        most = _AS_MANY_AS_READ if scheme == "plain" else _MAX_ENTITIES
        return Tagging(options, {"tags": list(tags), "max_entities": most})


class _TaggingFitter(Fitter):
    """Collects the types, and the notes about the rows."""

    def __init__(self, options: TaggingOptions) -> None:
        self._options, self._counts = options, LabelCounts()
        self._most = self._mended = self._parted = 0
        self._first_mended = self._first_parted = ""

    def add(self, example: Example) -> None:
        options = self._options
        spans, _, mended = kept_row(example)
        kinds = list(dict.fromkeys(kind for _, _, kind in spans))
        for kind in kinds:
            if options.labels is not None and kind not in options.labels:
                raise UserError(unknown_label(options.labels, example, kind, options.labels))
        for kind in kinds:
            self._counts.add(kind, example)
        self._most = max(self._most, len(spans))
        if mended:
            self._mended += 1
            self._first_mended = self._first_mended or example.source
        parted = sum(options.parts_a_word(example.text, span) for span in spans)
        if parted:
            self._parted += parted
            self._first_parted = self._first_parted or example.source

    def finish(self) -> Tagging:
        options, counts = self._options, self._counts
        plain = options.scheme == "plain"
        labels = options.labels or sorted(counts.rows)
        if not labels or (plain and len(labels) < 2):
            present = f'only the tag "{labels[0]}"' if labels else "no tag" if plain else "no entity"
            raise UserError(f"the training rows have {present}; there is nothing to tell apart")
        check_labels(labels, counts, "task.labels" if options.labels else None)
        self._warn()
        size = options.max_entities or max(_MIN_ENTITIES, 2 * self._most)
        return Tagging(options, {"tags": tags_of(options.scheme, labels), "max_entities": size})

    def _warn(self) -> None:
        options = self._options
        if self._mended:
            say(
                f"warning: {self._mended} training rows continue an entity that has not begun (I- after O or "
                "after another "
                f"type), the first is {self._first_mended}; it is read as the entity's beginning"
            )
        if self._parted:
            what = "tagged words" if options.scheme == "plain" else "entities"
            how = (
                'as task.words is whitespace: "(Anna)" has that of the bracket; set task.words to punctuation'
                if options.words == "whitespace"
                else "and entities are answered with whole words; check the offsets"
            )
            say(
                f"warning: {self._parted} {what} of the training rows begin or end within a word, the first "
                "of them in "
                f"{self._first_parted}; a word has the tag of its first letter or sign, {how}"
            )
        if options.max_entities is not None and self._most > options.max_entities:
            say(
                f"warning: a training row has {self._most} entities, task.max_entities is "
                f"{options.max_entities}: those behind "
                "are not answered"
            )
