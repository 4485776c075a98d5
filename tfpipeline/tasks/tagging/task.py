"""The task of tagging words: targets of tokens, loss, and decoding in the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpipeline.checkpoints.heads import CheckpointHead
from tfpipeline.errors import UserError
from tfpipeline.tasks import _explained
from tfpipeline.tasks._pooled import unknown_label
from tfpipeline.tasks.base import Task
from tfpipeline.tasks.scorer import Arrays
from tfpipeline.tasks.tagging import words
from tfpipeline.tasks.tagging.decoding import entities, is_text
from tfpipeline.tasks.tagging.rows import Span, kept_row, visible_words, words_of
from tfpipeline.tasks.tagging.scheme import Scheme
from tfpipeline.tasks.tagging.scorer import TaggingScorer

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.data import Example
    from tfpipeline.models import EncoderConfig
    from tfpipeline.tasks.tagging.options import TaggingOptions

HEAD = "token_classifier"  # the name of the head in checkpoints


class Tagging(Task):
    """Predicts tags of words; see the package.

    Args:
        options: the run file's ``task`` section.
        fitted: ``tags``, in the order of the head's outputs, and ``max_entities``.

    Attributes:
        tags: in the order of the head's outputs.
        scheme: the meaning of the tags.
    """

    options: TaggingOptions
    scorer_class = TaggingScorer
    offsets: Mapping[str, str] = {"starts": "text", "ends": "text"}
    has_token_targets = True
    explains = True

    def __init__(self, options: TaggingOptions, fitted: Mapping[str, Any]) -> None:
        super().__init__(options, dict(fitted))
        self.tags = tuple(fitted["tags"])
        self.scheme = Scheme(options.scheme, self.tags)

    def limit_length(self, tokens: int) -> Tagging:
        if self.options.max_entities is not None:
            return self
        # Limited to what is read: a training row may be a whole book, and every prediction has this size.
        most = min(self.fitted["max_entities"], max(tokens, 1))
        return type(self)(self.options, {**self.fitted, "max_entities": most})

    def with_options(self, options: TaggingOptions) -> Tagging:
        most = options.max_entities or self.fitted["max_entities"]
        return type(self)(options, {**self.fitted, "max_entities": most})

    def head_variables(self, head: Any) -> dict[str, Any]:
        return {f"{HEAD}/kernel": head.dense.kernel, f"{HEAD}/bias": head.dense.bias}

    def checkpoint_head(self, head: Any) -> CheckpointHead:
        options, settings, notes = self.options, {}, []
        if options.constrained and options.scheme != "plain":
            settings["task.constrained"] = "true"
            notes.append(
                "other programs tag each token on its own, also with sequences that the scheme does not "
                "have, such as "
                "I-PER after O"
            )
        if options.words != "punctuation":
            settings["task.words"] = options.words
        if options.max_entities is not None:
            settings["task.max_entities"] = str(options.max_entities)
        if options.crf:
            notes.append(
                "the CRF's transition scores are omitted: no format supports them. Without them, the "
                "classifier predicts some other tags: evaluate it before you use it"
            )
        return CheckpointHead(self.head_tensors(head), self.tags, None, settings, notes)

    def targets(self, examples: Sequence[Example], *, training: bool = False) -> dict[str, np.ndarray]:
        """``words``: each row's words as (start, end, tag), with tags in BIO or plain; for the metrics."""
        if training:
            return {}
        tagged = np.empty(len(examples), object)
        for row, example in enumerate(examples):
            spans, given, _ = kept_row(example)
            for _, _, kind in spans:
                if kind not in self.scheme.types:
                    raise UserError(unknown_label(self.options.labels, example, kind, self.scheme.types))
            if given is None:
                places = words_of(example.text, spans)
            else:
                places = visible_words(example.text, given, all_of_them=not self.scheme.entities)
            tagged[row] = tuple(
                (*place, tag) for place, tag in zip(places, self.scheme.word_tags(places, spans))
            )
        return {"words": tagged}

    def token_targets(self, examples: Sequence[Example], tokens: Arrays) -> Arrays:
        """``tags``: for each token with a target, the tag's number, starting at 1; 0 for the others."""
        tags = np.zeros(tokens["input_ids"].shape, np.int32)
        for row, example in enumerate(examples):
            spans, _, _ = kept_row(example)
            own = {name: array[row] for name, array in tokens.items()}
            real = is_text(own)
            begins = (
                (own["word_starts"] > 0) & real & words.begins_a_character(example.text, own["offsets"], real)
            )
            if self.options.words == "whitespace":
                begins &= words.behind_space(example.text, own["offsets"], real)
            tags[row] = self._token_tags(own["offsets"], real, begins, spans)
        return {"tags": tags}

    def _token_tags(
        self, offsets: np.ndarray, real: np.ndarray, begins: np.ndarray, spans: Sequence[Span]
    ) -> np.ndarray:
        """The targets of one row, int32 [T]."""
        tags = np.zeros(len(real), np.int32)
        starts = np.array([start for start, _, _ in spans], np.int64)
        first = np.flatnonzero(begins)
        # The span in which each word's first token begins; -1 for none.
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
            # Words without a plain tag are not trained on.
            tags[token] = 1 + self.scheme.number(kind, before, behind)
        return tags

    def head(self, config: EncoderConfig, seed: int) -> keras.layers.Layer:
        from tfpipeline.models import TaggingHead

        return TaggingHead(len(self.tags), crf=self.options.crf, dropout=self.options.dropout, seed=seed)

    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        import tensorflow as tf

        total = self.likelihood_losses(outputs, targets)
        count = tf.reduce_sum(tf.cast(targets["tags"] > 0, total.dtype), axis=1)
        return total / tf.maximum(count, 1.0)

    def likelihood_losses(
        self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """The sum over a row's tags; for a CRF, that of the whole sequence."""
        import tensorflow as tf

        logits = outputs["logits"]
        mask = targets["tags"] > 0
        tags = tf.maximum(targets["tags"] - 1, 0)
        if self.options.crf:
            from tfpipeline.models import crf

            transitions = self._transitions(outputs)
            partition: tf.Tensor = crf.log_partition(logits, mask, transitions)
            return partition - crf.sequence_score(logits, tags, mask, transitions)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tags, logits)
        return tf.reduce_sum(tf.where(mask, losses, tf.zeros_like(losses)), axis=1)

    def temperatures(self) -> Mapping[str, tuple[int, ...]]:
        return {"temperature": ()}

    def at_temperatures(
        self, outputs: Mapping[str, tf.Tensor], temperatures: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """With a CRF, the scores of sequences are divided, so the best sequence stays the same."""
        scores = {name: outputs[name] for name in ("logits", "transitions") if name in outputs}
        return {
            **outputs,
            **{name: score / temperatures["temperature"] for name, score in scores.items()},
        }

    def abstains(self) -> Sequence[str]:
        raise UserError(
            "tagging predicts any number of entities, each with its own score, so it cannot abstain as a "
            "whole; ignore entities with low scores instead"
        )

    def predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        predictions, _, _ = self._read(outputs, inputs)
        return predictions

    def explanation_target(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor], wanted: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """An entity: by number, starting at 0 in text order; or the one with the highest score of a type or
        of all types.
        """
        import tensorflow as tf

        decoded, tags, begins = self._read(outputs, inputs)
        types, scores, most = decoded["types"], decoded["scores"], self.fitted["max_entities"]
        is_number, number = _explained.number_of(wanted)
        names = tf.constant(self.scheme.types)
        is_type = tf.reduce_any(tf.equal(wanted[:, None], names[None]), axis=1)
        no_name = tf.equal(wanted, "")
        kinds = ", ".join(self.scheme.types)
        wanted = _explained.require(
            is_number | is_type | no_name,
            wanted,
            f"the number of an entity or one of the types {kinds}",
        )
        slot = tf.range(most)[None]
        fits = tf.where(
            is_type[:, None],
            tf.equal(types, wanted[:, None]),
            no_name[:, None] | (is_number[:, None] & tf.equal(slot, number[:, None])),
        )
        fits &= slot < decoded["count"][:, None]
        index = tf.argmax(tf.where(fits, scores, -1.0), axis=1, output_type=tf.int32)
        there = tf.reduce_any(fits, axis=1)
        entity = {
            name: _explained.picked(decoded[name], index) for name in ("types", "texts", "starts", "ends")
        }
        first = inputs["offsets"][:, :, 0]
        inside = (first >= entity["starts"][:, None]) & (first < entity["ends"][:, None])
        name = tf.strings.join([entity["types"], entity["texts"]], separator=": ")
        return {
            "label": tf.where(there, name, ""),
            "words": begins & inside & there[:, None],
            "tags": tags,
        }

    def explained(self, outputs: Mapping[str, tf.Tensor], target: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The mean, over the entity's words, of the logits of their tags. A CRF's transition scores are
        excluded, because they are the same for all texts.
        """
        import tensorflow as tf

        logits = tf.gather(outputs["logits"], target["tags"], batch_dims=2)
        counted = tf.cast(target["words"], logits.dtype)
        return tf.reduce_sum(logits * counted, axis=1) / tf.maximum(tf.reduce_sum(counted, axis=1), 1.0)

    def _read(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        """The predictions, the tags int32 [B, T], and whether each token begins a word, bool [B, T]."""
        import tensorflow as tf

        from tfpipeline.text.code_points import CodePoints

        logits = tf.cast(outputs["logits"], tf.float32)
        texts = CodePoints(inputs["text"])
        real = is_text(inputs)
        begins = (inputs["word_starts"] > 0) & real
        begins &= texts.begin_a_character(inputs["offsets"])
        if self.options.words == "whitespace":
            begins &= words.behind_space_in_graph(texts, inputs["offsets"], real)
        tags, probabilities, lead = self._decoded(
            logits, real if self.options.sub_words == "all" else begins, outputs
        )
        best = tf.gather(probabilities, tags, batch_dims=2)
        # Each word's tag may be certain while the sequence is not, if the scheme leaves a choice between two
        # sequences.
        margin = -tf.math.expm1(-tf.reduce_min(tf.where(begins, lead, float("inf")), axis=1))
        most = self.fitted["max_entities"]
        named = entities(self.scheme, most, tags, best, real, begins, inputs["offsets"], texts)
        return {**named, "margin": margin}, tags, begins

    def _decoded(
        self, logits: tf.Tensor, positions: tf.Tensor, outputs: Mapping[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The tags int32 [B, T]; every tag's probability [B, T, C]; the tags' lead over all sequences with
        another one [B, T].

        A lead is a difference of log-probabilities, at least 0.
        """
        import tensorflow as tf

        from tfpipeline.models import crf

        constrained = self.options.constrained and self.scheme.entities
        if not self.options.crf:
            probabilities = tf.nn.softmax(logits)
            if not constrained:
                tags = tf.argmax(logits, axis=-1, output_type=tf.int32)
                chosen = tf.one_hot(tags, len(self.tags), on_value=True, off_value=False)
                others = tf.reduce_max(tf.where(chosen, float("-inf"), logits), axis=-1)
                return tags, probabilities, tf.reduce_max(logits, axis=-1) - others
            tags, _, lead = crf.viterbi(tf.nn.log_softmax(logits), positions, self.scheme.allowed())
            return tags, probabilities, lead
        transitions = self._transitions({"transitions": tf.cast(outputs["transitions"], tf.float32)})
        if constrained:
            allowed = self.scheme.allowed()
            transitions = crf.Transitions(
                *(getattr(transitions, part) + getattr(allowed, part) for part in ("between", "start", "end"))
            )
        tags, _, lead = crf.viterbi(logits, positions, transitions)
        return tags, crf.marginals(logits, positions, transitions), lead

    def _transitions(self, outputs: Mapping[str, tf.Tensor]) -> Any:
        import tensorflow as tf

        from tfpipeline.models.crf import Transitions

        size = len(self.tags)
        # The same for every row; the batch may be empty.
        scores = tf.reduce_sum(outputs["transitions"][:1], axis=0)
        return Transitions(scores[:size], scores[size], scores[size + 1])
