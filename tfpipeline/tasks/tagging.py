"""Tagging: a tag for each word of a text; entities (NER), parts of speech, segmentation.

Loss: cross-entropy of each word's tag, or with ``crf`` the negative log-likelihood of all of them, divided by their
number. Decoding, in the graph: the best sequence of tags that the scheme allows.
Served answer, E ``max_entities``: ``types``, ``texts`` string [B, E], ``starts``, ``ends`` int32 [B, E], ``scores`` float32
[B, E], filled up with "" and 0; ``count`` int32 [B], how many there are, and ``margin`` float32 [B]: by which share
the next best tags of the whole text are less probable, 1 for a text without words. With the scheme ``plain`` each word is an entity.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Optional

import numpy as np
from pydantic import Field, model_validator

from tfpipeline.config import Section
from tfpipeline.console import plural, say
from tfpipeline.data.records import shortened
from tfpipeline.errors import UserError
from tfpipeline.tasks import _spans, _word_starts
from tfpipeline.tasks._pooled import LabelCounts, check_labels, unknown_label
from tfpipeline.tasks._tagged_rows import (
    OUTSIDE,
    Span,
    Words,
    entities_of,
    from_entities,
    from_tags,
    is_of_one_word,
    kept_of,
    list_of_tokens,
    prefix_and_type,
    seen,
    words_of,
)
from tfpipeline.tasks.base import Task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.checkpoints.checkpoint import Checkpoint
    from tfpipeline.data import Example
    from tfpipeline.data.options import DataOptions
    from tfpipeline.models import BertConfig

_HEAD = "token_classifier"
_MISSED = ""  # what a word counts as that was cut off, with the scheme plain
_PREFIXED = {"bio": "BI", "bioes": "BIES"}
_MAX_ENTITIES = 128  # of a checkpoint that comes without rows
_LEAST_ENTITIES = 16
_AS_MANY_AS_READ = 2**31 - 1  # until it is known how many that are: Tagging.limit_length
_SPECIAL = 2  # [CLS] and [SEP]
_SHOWN = 8


class TaggingOptions(Section):
    """The ``task`` section of a run file for tagging."""

    name: Literal["tagging"] = "tagging"
    scheme: Literal["bio", "bioes", "plain"] = Field(
        "bio",
        description="The model's tagging scheme: `bio` (B-PER, I-PER, O) or `bioes` for entities, independent of the scheme "
        "in the data; `plain` for one tag per word, such as parts of speech.",
    )
    labels: Optional[list[str]] = Field(
        None,
        min_length=1,
        description="The entity types (for `plain`: the tags), in order; default: those in the training rows, sorted.",
    )
    words: Literal["punctuation", "whitespace"] = Field(
        "punctuation",
        description="How a text is divided into words, each of which gets one tag: at white space and `punctuation`, as BERT "
        "does; or at `whitespace` only.",
    )
    sub_words: Literal["first", "all"] = Field(
        "first",
        description="Which of a word's tokens are trained on its tag. The prediction is always that of the `first`.",
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
        description="Maximum number of entities returned per text (the first ones); default: twice the most in any training "
        "row, at least 16, and at most the number of tokens that the model reads.",
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the head.")

    @model_validator(mode="after")
    def _are_types(self) -> TaggingOptions:
        tags = [label for label in self.labels or [] if label == OUTSIDE or re.match("[BIESLUM]-", label)]
        if tags and self.scheme != "plain":
            raise ValueError(
                f"labels: {tags[0]} is a tag; name the types of entities alone, such as PER, as scheme says what tags there are"
            )
        return self


class Tagging(Task):
    """Tags from texts; see the module.

    Args:
        options: of the run file.
        fitted: ``tags``, in the order of the head's outputs, and ``max_entities``.
    """

    Options = TaggingOptions
    offsets: Mapping[str, str] = {"starts": "text", "ends": "text"}

    def __init__(self, options: TaggingOptions, fitted: Mapping[str, Any]) -> None:
        super().__init__(options, dict(fitted))
        self.tags = tuple(fitted["tags"])
        self.best_metric = "token_accuracy" if options.scheme == "plain" else "f1"
        parts = [self._parts(tag) for tag in self.tags]
        self._types = tuple(dict.fromkeys(kind for _, kind in parts if kind is not None))
        self._kinds = [prefix for prefix, _ in parts]
        # By the tag as this module writes it, whatever the data calls an inner or a last word.
        self._index = {
            prefix if kind is None else f"{prefix}-{kind}" if self.entities else kind: index
            for index, (prefix, kind) in enumerate(parts)
        }
        self._type_of = [-1 if kind is None else self._types.index(kind) for _, kind in parts]

    @property
    def entities(self) -> bool:
        """Whether tags are of parts of several words, and of none."""
        return bool(self.options.scheme != "plain")

    def _parts(self, tag: str) -> tuple[str, str | None]:
        """A tag's prefix and type; none of what is outside."""
        return ("S", tag) if not self.entities else prefix_and_type(tag) or ("S", tag)

    @classmethod
    def check(cls, options: TaggingOptions, data: DataOptions) -> None:
        if data.label is None:
            raise ValueError("data.label is null, but tagging learns from tags; name their column")

    @classmethod
    def preprocess(cls, options: TaggingOptions, example: Example) -> Example:
        """The same row with its label as JSON: ``spans`` [[start, end, type], ...], and the words if they are known."""
        if example.label is None:
            raise UserError(
                f"{example.source}: the row has no tags; write a tag for each token, or a list of entities ([] for none)"
            )
        what = 'tags ["B-PER", "O"], or entities [{"start": 0, "end": 4, "type": "PER"}]'
        if example.label.startswith("["):
            found = _spans.parse(example.label, example.source, what)
        else:
            found = example.label.split()
            if example.label.startswith("{") and example.label.endswith("}"):
                raise UserError(
                    f"{example.source}: the label is {shortened(example.label)}; expected a list: {what}"
                )
        for number, one in enumerate(found, 1):
            if one is None or isinstance(one, (int, float)):
                raise UserError(
                    f"{example.source}: tag {number} is {_spans.shown(one)}; write the tags' names, such as B-PER (a data set of "
                    "Hugging Face has them in features[COLUMN].feature.names)"
                )
        tags = all(isinstance(one, str) for one in found)
        if not found:  # no entities, or no tags for no words
            tags = options.scheme == "plain" or list_of_tokens(example.text) is not None
        plain = options.scheme == "plain"
        if not tags and any(isinstance(one, str) for one in found):
            odd = next(one for one in found if not isinstance(one, str))
            raise UserError(f"{example.source}: {_spans.shown(odd)} stands among tags; expected {what}")
        if tags:
            return from_tags(example, found, plain=plain, separator=options.separator)
        if plain:
            raise UserError(
                f"{example.source}: the row has entities, but task.scheme is plain; set it to bio, or give each word a tag"
            )
        return from_entities(example, found)

    @classmethod
    def strata(cls, options: TaggingOptions, example: Example) -> Collection[Hashable]:
        # In the text's order: a set's changes from process to process, and the split would with it.
        return list(dict.fromkeys(kind for _, _, kind in kept_of(example)[0]))

    @classmethod
    def from_examples(cls, options: TaggingOptions, examples: Sequence[Example]) -> Tagging:
        counts = LabelCounts()
        most = mended = parted = 0
        first = first_parted = ""
        for example in examples:
            spans, _, wrong = kept_of(example)
            for kind in dict.fromkeys(kind for _, _, kind in spans):
                if options.labels is not None and kind not in options.labels:
                    raise UserError(unknown_label(options.labels, example, kind, options.labels))
                counts.add(kind, example)
            most = max(most, len(spans))
            mended, first = mended + wrong, first or (example.source if wrong else "")
            within = sum(cls._parts_a_word(options, example.text, span) for span in spans)
            parted, first_parted = parted + within, first_parted or (example.source if within else "")
        labels = options.labels or sorted(counts.rows)
        if not labels or (options.scheme == "plain" and len(labels) < 2):
            found = (
                f'only the tag "{labels[0]}"'
                if labels
                else "no entity"
                if options.scheme != "plain"
                else "no tag"
            )
            raise UserError(f"the training rows have {found}; there is nothing to tell apart")
        check_labels(labels, counts, "task.labels" if options.labels else None)
        if mended:
            say(
                f"warning: {mended} training rows continue an entity that has not begun (I- after O or after another type), "
                f"the first is {first}; it is read as the entity's beginning"
            )
        if parted:
            what = "tagged words" if options.scheme == "plain" else "entities"
            how = (
                'as task.words is whitespace: "(Anna)" has that of the bracket; set task.words to punctuation'
                if options.words == "whitespace"
                else "and entities are answered with whole words; check the offsets"
            )
            say(
                f"warning: {parted} {what} of the training rows begin or end within a word, the first of them in "
                f"{first_parted}; a word has the tag of its first letter or sign, {how}"
            )
        prefixes = _PREFIXED.get(options.scheme)
        tags = (
            list(labels)
            if prefixes is None
            else [OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in prefixes)]
        )
        if options.max_entities is not None and most > options.max_entities:
            say(
                f"warning: a training row has {most} entities, task.max_entities is {options.max_entities}: those behind are "
                "not answered"
            )
        size = options.max_entities or max(_LEAST_ENTITIES, 2 * most)
        return cls(options, {"tags": tags, "max_entities": size})

    @staticmethod
    def _parts_a_word(options: TaggingOptions, text: str, span: Span) -> bool:
        """Whether an entity begins or ends within what is one word."""
        start, end, _ = span
        edges = [(text[place - 1], text[place]) for place in (start, end) if 0 < place < len(text)]
        if options.words == "whitespace":
            return any(_word_starts.spaces().isdisjoint(edge) for edge in edges)
        return any(is_of_one_word(*edge) for edge in edges)

    @classmethod
    def serves(cls, checkpoint: Checkpoint) -> bool:
        return _HEAD in checkpoint.head_names

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Tagging:
        tags = checkpoint.labels
        parts = [prefix_and_type(tag) for tag in tags]
        scheme = "plain"
        prefixes = {part[0] if part else None for part in parts}
        # Of the segmentation of a text into words none is outside: B, M, E, S.
        if None not in prefixes and (OUTSIDE in prefixes or {"B", "E"} <= prefixes):
            scheme = "bioes" if prefixes & {"E", "S"} else "bio"
        # In the old IOB, B- only parts what follows another one of its type, and the names of tags do not say which it is.
        options = TaggingOptions.model_validate({"scheme": scheme, "constrained": False})
        most = _AS_MANY_AS_READ if scheme == "plain" else _MAX_ENTITIES
        return cls(options, {"tags": list(tags), "max_entities": most})

    def limit_length(self, tokens: int) -> Tagging:
        if self.options.max_entities is not None:
            return self
        # Not a word more than is read: a training row may be a whole book, and every answer has this room.
        most = min(self.fitted["max_entities"], max(tokens - _SPECIAL, 1))
        return type(self)(self.options, {**self.fitted, "max_entities": most})

    def with_options(self, options: TaggingOptions) -> Tagging:
        most = options.max_entities or self.fitted["max_entities"]
        return type(self)(options, {**self.fitted, "max_entities": most})

    def head_variables(self, head: Any) -> dict[str, Any]:
        return {f"{_HEAD}/kernel": head.dense.kernel, f"{_HEAD}/bias": head.dense.bias}

    def targets(self, examples: Sequence[Example], *, training: bool = False) -> dict[str, np.ndarray]:
        """``words``: of each row its words as (start, end, tag), the tags in BIO or plain; for the metrics."""
        if training:
            return {}
        found = np.empty(len(examples), object)
        for row, example in enumerate(examples):
            spans, words, _ = kept_of(example)
            for _, _, kind in spans:
                if kind not in self._types:
                    raise UserError(unknown_label(self.options.labels, example, kind, self._types))
            if words is None:
                places = words_of(example.text, spans)
            else:
                places = seen(example.text, words, all_of_them=not self.entities)
            found[row] = tuple((*place, tag) for place, tag in zip(places, self._word_tags(places, spans)))
        return {"words": found}

    def token_targets(
        self, examples: Sequence[Example], tokens: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        """``tags``: of each token that learns one its number from 1 on, 0 of the others."""
        tags = np.zeros(tokens["input_ids"].shape, np.int32)
        for row, example in enumerate(examples):
            spans, _, _ = kept_of(example)
            own = {name: array[row] for name, array in tokens.items()}
            real = _is_text(own)
            begins = (
                (own["word_starts"] > 0)
                & real
                & _word_starts.begins_a_character(example.text, own["offsets"], real)
            )
            if self.options.words == "whitespace":
                begins &= _word_starts.behind_space(example.text, own["offsets"], real)
            tags[row] = self._token_tags(own["offsets"], real, begins, spans)
        return {"tags": tags}

    def _token_tags(
        self, offsets: np.ndarray, real: np.ndarray, begins: np.ndarray, spans: Sequence[Span]
    ) -> np.ndarray:
        """int32 [T], of one row."""
        tags = np.zeros(len(real), np.int32)
        starts = np.array([start for start, _, _ in spans], np.int64)
        first = np.flatnonzero(begins)
        # Which span each word's first token begins in; -1 in none.
        number = np.searchsorted(starts, offsets[first, 0], side="right") - 1
        ends = np.array([0, *(end for _, end, _ in spans)], np.int64)
        number[offsets[first, 0] >= ends[number + 1]] = -1
        every = self.options.sub_words == "all"
        learns = np.flatnonzero(real if every else begins)
        word = np.cumsum(begins)[learns] - 1
        there = word >= 0
        learns, span = learns[there], number[word[there]]
        for position, token in enumerate(learns):
            at = int(span[position])
            before = position > 0 and span[position - 1] == at
            behind = position + 1 < len(span) and span[position + 1] == at
            kind = None if at < 0 else spans[at][2]
            # A plain tag that a word lacks is not learnt.
            tags[token] = 1 + self._index.get(self._tag(kind, before, behind), -1)
        return tags

    def _tag(self, kind: str | None, before: bool, behind: bool) -> str:
        """The model's tag of a word of a type: is the one before it of the same entity, and the one behind?"""
        if kind is None:
            return OUTSIDE if self.entities else _MISSED
        if not self.entities:
            return kind
        if self.options.scheme == "bio":
            return f"{'I' if before else 'B'}-{kind}"
        return f"{('I' if behind else 'E') if before else ('B' if behind else 'S')}-{kind}"

    def head(self, config: BertConfig, seed: int) -> keras.layers.Layer:
        from tfpipeline.models import TaggingHead

        return TaggingHead(len(self.tags), crf=self.options.crf, dropout=self.options.dropout, seed=seed)

    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        import tensorflow as tf

        logits = outputs["logits"]
        mask = targets["tags"] > 0
        tags = tf.maximum(targets["tags"] - 1, 0)
        if self.options.crf:
            from tfpipeline.models import crf

            transitions = self._transitions(outputs)
            total = crf.log_partition(logits, mask, transitions) - crf.sequence_score(
                logits, tags, mask, transitions
            )
        else:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tags, logits)
            total = tf.reduce_sum(tf.where(mask, losses, 0.0), axis=1)
        count = tf.reduce_sum(tf.cast(mask, total.dtype), axis=1)
        return total / tf.maximum(count, 1.0)

    def predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        import tensorflow as tf

        from tfpipeline.text.code_points import CodePoints

        logits = tf.cast(outputs["logits"], tf.float32)
        texts = CodePoints(inputs["text"])
        real = _is_text(inputs)
        begins = (inputs["word_starts"] > 0) & real
        begins &= _word_starts.begins_a_character_in_graph(texts, inputs["offsets"])
        if self.options.words == "whitespace":
            begins &= _word_starts.behind_space_in_graph(texts, inputs["offsets"], real)
        tags, probabilities, lead = self._decoded(
            logits, real if self.options.sub_words == "all" else begins, outputs
        )
        best = tf.gather(probabilities, tags, batch_dims=2)
        # Words' tags may be sure each and the sequence not, where the scheme leaves a choice between two of them.
        margin = -tf.math.expm1(-tf.reduce_min(tf.where(begins, lead, float("inf")), axis=1))
        found = self._entities(tags, best, real, begins, inputs["offsets"], texts)
        return {**found, "margin": margin}

    def _decoded(
        self, logits: tf.Tensor, positions: tf.Tensor, outputs: Mapping[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The tags int32 [B, T]; every tag's probability [B, T, C]; the tags' lead over all sequences with another one [B, T].

        A lead is a difference of logarithms of probabilities, 0 or more.
        """
        import tensorflow as tf

        from tfpipeline.models import crf

        constrained = self.options.constrained and self.entities
        if not self.options.crf:
            probabilities = tf.nn.softmax(logits)
            if not constrained:
                tags = tf.argmax(logits, axis=-1, output_type=tf.int32)
                chosen = tf.one_hot(tags, len(self.tags), on_value=True, off_value=False)
                others = tf.reduce_max(tf.where(chosen, float("-inf"), logits), axis=-1)
                return tags, probabilities, tf.reduce_max(logits, axis=-1) - others
            tags, _, lead = crf.viterbi(tf.nn.log_softmax(logits), positions, self._allowed())
            return tags, probabilities, lead
        transitions = self._transitions({"transitions": tf.cast(outputs["transitions"], tf.float32)})
        if constrained:
            allowed = self._allowed()
            transitions = crf.Transitions(
                *(getattr(transitions, part) + getattr(allowed, part) for part in ("between", "start", "end"))
            )
        tags, _, lead = crf.viterbi(logits, positions, transitions)
        return tags, crf.marginals(logits, positions, transitions), lead

    def _transitions(self, outputs: Mapping[str, tf.Tensor]) -> Any:
        import tensorflow as tf

        from tfpipeline.models.crf import Transitions

        size = len(self.tags)
        # The same for every row; there may be no row.
        found = tf.reduce_sum(outputs["transitions"][:1], axis=0)
        return Transitions(found[:size], found[size], found[size + 1])

    def _follows(self, before: int | None, behind: int | None) -> bool:
        """Whether the scheme has a tag behind another one; None stands for what is outside of the text."""
        opened = before is not None and self._kinds[before] in ("B", "I")
        continues = behind is not None and self._kinds[behind] in ("I", "E")
        same = before is not None and behind is not None and self._type_of[before] == self._type_of[behind]
        if self.options.scheme == "bioes":
            return same if opened and continues else opened == continues
        return not continues or (opened and same)

    def _allowed(self) -> Any:
        """0 for what may follow what, -inf for the rest."""
        from tfpipeline.models.crf import Transitions

        tags = range(len(self.tags))

        def scores(pairs: Iterable[bool]) -> np.ndarray:
            return np.where(list(pairs), 0.0, -np.inf).astype(np.float32)

        between = scores(self._follows(one, two) for one in tags for two in tags)
        return Transitions(
            between.reshape(len(tags), -1),
            scores(self._follows(None, tag) for tag in tags),
            scores(self._follows(tag, None) for tag in tags),
        )

    def _entities(
        self,
        tags: tf.Tensor,
        probability: tf.Tensor,
        real: tf.Tensor,
        begins: tf.Tensor,
        offsets: tf.Tensor,
        texts: Any,
    ) -> dict[str, tf.Tensor]:
        """What the tags of words say, read as conlleval reads them.

        Args:
            tags: int32 [B, T].
            probability: float32 [B, T], of these.
            real: bool [B, T], the tokens of the text.
            begins: bool [B, T], those that begin a word.
            offsets: int32 [B, T, 2], where they stand.
            texts: where the code points of the texts are.
        """
        import tensorflow as tf

        # Words one after the other, of all texts: [W].
        where = tf.where(begins)
        row = tf.cast(where[:, 0], tf.int32)
        tag = tf.gather_nd(tags, where)
        kind = tf.gather(tf.constant(self._type_of, tf.int32), tag)
        prefix = tf.gather(tf.constant(["BIES".find(prefix) for prefix in self._kinds]), tag)
        token = tf.where(real)
        word = tf.cast(
            tf.gather_nd(tf.cumsum(tf.reshape(tf.cast(begins, tf.int32), [-1])), _flat(token, tags)), tf.int32
        )
        count = tf.size(row)
        ends = tf.math.unsorted_segment_max(tf.gather_nd(offsets[:, :, 1], token), word - 1, count)
        piece = tf.gather_nd(texts.pieces(offsets), where)
        inside = kind >= 0

        def before(values: tf.Tensor, first: Any) -> tf.Tensor:
            return tf.concat([[first], values], axis=0)[:-1]

        begin = inside & (
            tf.not_equal(row, before(row, -1))
            | tf.not_equal(piece, before(piece, 0))
            | tf.not_equal(kind, before(kind, -1))
            | (prefix == 0)
            | (prefix == 3)
            | (before(prefix, 0) >= 2)
        )
        # Entities: [N].
        number = tf.cumsum(tf.cast(begin, tf.int32)) - 1
        number = tf.where(inside, number, -1)
        first = tf.where(begin)[:, 0]
        size = tf.size(first)
        owner = tf.gather(row, first)
        start = tf.gather(tf.gather_nd(offsets[:, :, 0], where), first)
        end = tf.math.unsorted_segment_max(ends, number, size)
        score = tf.math.unsorted_segment_mean(tf.gather_nd(probability, where), number, size)
        rows = tf.shape(tags)[0]
        counts = tf.math.unsorted_segment_sum(tf.ones_like(owner), owner, rows)
        place = tf.range(size) - tf.gather(tf.cumsum(counts, exclusive=True), owner)
        most = self.fitted["max_entities"]
        kept = tf.where(place < most)[:, 0]
        slots = tf.stack([tf.gather(owner, kept), tf.gather(place, kept)], axis=-1)

        def dense(values: tf.Tensor) -> tf.Tensor:
            return tf.scatter_nd(slots, tf.gather(values, kept), tf.stack([rows, most]))

        # No word begins within a character of the word before, so whole characters do not overlap.
        starts, places = texts.first(dense(start)), texts.whole(dense(end))
        names = tf.constant(["", *self._types])
        return {
            "types": tf.gather(names, dense(tf.gather(kind, first) + 1)),
            "texts": texts.cut(starts, places),
            "starts": starts,
            "ends": places,
            "scores": dense(score),
            "count": counts,
        }

    def metrics(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], weights: np.ndarray
    ) -> dict[str, float]:
        from tfpipeline.metrics import tagging

        truth, answered = self._sequences(answers, targets)
        scores = tagging.compute(truth, answered, weights, entities=self.entities)
        # Also of what does not occur here, that a run may choose its best weights by it.
        return {**scores, **{name: 0.0 for kind in self._types if (name := f"f1/{kind}") not in scores}}

    def report(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], weights: np.ndarray
    ) -> str:
        from tfpipeline.metrics import tagging

        truth, answered = self._sequences(answers, targets)
        report = tagging.report(truth, answered, weights, entities=self.entities)
        most = answers["starts"].shape[1]
        cut = int(((answers["count"] > most) & (weights > 0)).sum())
        if not cut:
            return report
        what = "entities" if self.entities else "words"
        return f"{report}\nIn {cut} {plural(cut, 'row')} the {what} after the first {most} are not predicted (task.max_entities)\n"

    def baseline(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> tuple[str, dict[str, np.ndarray]] | None:
        from tfpipeline.metrics.baseline import most_frequent_tags

        def rows(examples: Sequence[Example]) -> Iterator[tuple[Words, list[str], list[str]]]:
            for example in examples:  # not all at once: there may be more words than memory
                (found,) = self.targets([example])["words"]
                words = [example.text[start:end] for start, end, _ in found]
                yield [(start, end) for start, end, _ in found], words, [tag for _, _, tag in found]

        asked, found = list(rows(test)), []
        learnt = ((words, tags) for _, words, tags in rows(train))
        for (row, _, _), answered in zip(asked, most_frequent_tags(learnt, (words for _, words, _ in asked))):
            if self.entities:
                found.append(entities_of(row, answered)[0])
            else:
                found.append([(*place, tag) for place, tag in zip(row, answered)])
        return "the most frequent tag of each word", _as_answers(found)

    def mistakes(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> list[tuple[int, str, str]]:
        truth, answered = self._sequences(answers, targets)
        wrong = []
        for row, (want, got) in enumerate(zip(truth, answered)):
            different = [index for index, (one, two) in enumerate(zip(want, got)) if one != two]
            if different:
                wrong.append((len(different), row, different[:_SHOWN]))
        wrong.sort(key=lambda found: -found[0])

        def said(tags: Sequence[str], shown: Sequence[int]) -> str:
            return " ".join(f"{index + 1}:{tags[index]}" for index in shown)

        return [(row, said(truth[row], shown), said(answered[row], shown)) for _, row, shown in wrong]

    def near_ties(self, answers: Mapping[str, np.ndarray], tolerance: float) -> np.ndarray:
        return np.asarray(answers["margin"] <= tolerance)

    def _sequences(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> tuple[list[list[str]], list[list[str]]]:
        """The right tags of each row's words, and the answered ones: a word is what it begins in."""
        truth, answered = [], []
        most = answers["starts"].shape[1]
        for row, words in enumerate(targets["words"]):
            count = min(int(answers["count"][row]), most)
            spans = [
                (int(start), int(end), kind.decode() if isinstance(kind, bytes) else kind)
                for start, end, kind in zip(
                    answers["starts"][row, :count],
                    answers["ends"][row, :count],
                    answers["types"][row, :count],
                )
            ]
            truth.append([tag for _, _, tag in words])
            answered.append(self._word_tags([(start, end) for start, end, _ in words], spans))
        return truth, answered

    def _word_tags(self, words: Words, spans: Sequence[Span]) -> list[str]:
        """The words' tags, in BIO or plain."""
        tags = []
        at, before = 0, -1
        for start, _ in words:
            while at < len(spans) and spans[at][1] <= start:
                at += 1
            found = at if at < len(spans) and spans[at][0] <= start else -1
            if found < 0:
                tags.append(OUTSIDE if self.entities else _MISSED)
            elif not self.entities:
                tags.append(spans[found][2])
            else:
                tags.append(f"{'I' if found == before else 'B'}-{spans[found][2]}")
            before = found
        return tags


def _is_text(tokens: Mapping[str, Any]) -> Any:
    """Which tokens are the (first) text's own, bool [..., T]; arrays or tensors."""
    offsets = tokens["offsets"]
    return (
        (offsets[..., 1] > offsets[..., 0]) & (tokens["attention_mask"] > 0) & (tokens["token_type_ids"] < 1)
    )


def _flat(where: Any, like: Any) -> Any:
    """Indices [N, 2] into a matrix as indices [N, 1] into its values in one row."""
    import tensorflow as tf

    width = tf.shape(like, out_type=tf.int64)[1]
    return (where[:, 0] * width + where[:, 1])[:, None]


def _as_answers(found: Sequence[Sequence[Span]]) -> dict[str, np.ndarray]:
    """Entities of rows as :meth:`Tagging.predictions` gives them, without scores."""
    most = max((len(row) for row in found), default=0)
    answers = {
        "types": np.full((len(found), most), "", object),
        "starts": np.zeros((len(found), most), np.int32),
        "ends": np.zeros((len(found), most), np.int32),
    }
    for number, row in enumerate(found):
        for place, (start, end, kind) in enumerate(row):
            for name, value in (("types", kind), ("starts", start), ("ends", end)):
                answers[name][number, place] = value
    return {**answers, "count": np.array([len(row) for row in found], np.int32)}


TASK: type[Any] = Tagging
