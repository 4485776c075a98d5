"""The task of finding answers in contexts: targets of tokens, loss, and decoding in the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpipeline.checkpoints.heads import CheckpointHead
from tfpipeline.errors import UserError
from tfpipeline.tasks import _explained
from tfpipeline.tasks._temperature import scaled_probability
from tfpipeline.tasks.base import ABSTAINED, Task
from tfpipeline.tasks.question_answering.rows import kept_answers
from tfpipeline.tasks.question_answering.scorer import QuestionAnsweringScorer
from tfpipeline.tasks.scorer import Arrays

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.data import Example
    from tfpipeline.models import EncoderConfig
    from tfpipeline.tasks.question_answering.options import QuestionAnsweringOptions

HEAD = "span"  # the name of the head in checkpoints
EVEN_ODDS = 0.5
_FIRST, _LAST = 1, 2  # bits of a token's target
_NO_ANSWER = "no answer"  # its name in explanations
_NEVER = -1e9  # the logit of impossible tokens; infinities would give NaN gradients


class QuestionAnswering(Task):
    """Finds answers in contexts; see the package.

    Args:
        options: the run file's ``task`` section.
        fitted: ``no_answer``, whether questions may be unanswerable.
    """

    options: QuestionAnsweringOptions
    scorer_class = QuestionAnsweringScorer
    offsets: Mapping[str, str] = dict.fromkeys(("start", "end", "starts", "ends"), "text_pair")
    has_token_targets = True
    explains = True

    def __init__(self, options: QuestionAnsweringOptions, fitted: Mapping[str, Any]) -> None:
        super().__init__(options, dict(fitted))
        self.may_be_none = bool(fitted["no_answer"])

    def with_options(self, options: QuestionAnsweringOptions) -> QuestionAnswering:
        threshold = options.no_answer_threshold
        if threshold == "tuned":
            raise UserError(
                "task.no_answer_threshold is tuned, but a checkpoint is not trained on, which is when it is "
                "chosen; set it to a "
                "number"
            )
        if threshold != EVEN_ODDS and not options.no_answer:
            raise UserError(
                f"task.no_answer_threshold is {threshold}, but a checkpoint answers none only if "
                "task.no_answer is true; set that "
                "too"
            )
        return type(self)(options, {"no_answer": bool(options.no_answer)})

    def head_variables(self, head: Any) -> dict[str, Any]:
        return {f"{HEAD}/kernel": head.dense.kernel, f"{HEAD}/bias": head.dense.bias}

    def checkpoint_head(self, head: Any) -> CheckpointHead:
        options, defaults = self.options, type(self.options)()
        settings = {
            f"task.{name}": str(getattr(options, name))
            for name in ("max_answer_tokens", "best")
            if getattr(options, name) != getattr(defaults, name)
        }
        if self.may_be_none:
            settings["task.no_answer"] = "true"
            threshold = head.threshold.numpy()
            if threshold != EVEN_ODDS:
                settings["task.no_answer_threshold"] = str(threshold)
        return CheckpointHead(self.head_tensors(head), settings=settings)

    def targets(self, examples: Sequence[Example], *, training: bool = False) -> dict[str, np.ndarray]:
        """``gold``: the texts of each row's answers; in training ``answered``, int32: whether the row has
        answers.
        """
        if training:
            return {"answered": np.array([bool(kept_answers(example)) for example in examples], np.int32)}
        gold = np.empty(len(examples), object)
        for row, example in enumerate(examples):
            gold[row] = tuple(text for _, text in kept_answers(example))
        return {"gold": gold}

    def token_targets(self, examples: Sequence[Example], tokens: Arrays) -> Arrays:
        """``answer``: 1 for the first token of a row's first answer, 2 for its last token, 3 for its only
        token; else 0.

        All 0 for an answer that is not completely among the tokens.
        """
        answer = np.zeros(tokens["input_ids"].shape, np.int32)
        offsets, context = tokens["offsets"], _is_context(tokens)
        for row, example in enumerate(examples):
            for start, text in kept_answers(example)[:1]:
                end = start + len(text)
                inside = np.flatnonzero(
                    context[row] & (offsets[row, :, 1] > start) & (offsets[row, :, 0] < end)
                )
                if len(inside) and self._is_whole(example, offsets[row, inside], start, end):
                    answer[row, inside[0]] |= _FIRST
                    answer[row, inside[-1]] |= _LAST
        return {"answer": answer}

    def count_kept_targets(self, targets: Arrays, tokens: Arrays) -> np.ndarray:
        """Count the first answer, which is the one that a row trains on."""
        kept = (tokens["answer"] > 0).any(axis=1)
        return np.stack([targets["answered"], kept], axis=1).astype(np.int64)

    @staticmethod
    def _is_whole(example: Example, offsets: np.ndarray, start: int, end: int) -> bool:
        """Whether all tokens of an answer exist: its characters around and between the tokens contain no
        words.
        """
        context = example.text_pair or ""
        gaps = zip([start, *offsets[:, 1]], [*offsets[:, 0], end])
        return not any(character.isalnum() for left, right in gaps for character in context[left:right])

    def head(self, config: EncoderConfig, seed: int) -> keras.layers.Layer:
        from tfpipeline.models import SpanHead

        threshold = self.options.no_answer_threshold
        return SpanHead(
            threshold=EVEN_ODDS if threshold == "tuned" else threshold,
            dropout=self.options.dropout,
            seed=seed,
        )

    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        import tensorflow as tf

        logs, none = self._log_probabilities(outputs, targets)
        total: Any = 0.0
        for place, bit in enumerate((_FIRST, _LAST)):
            here = tf.bitwise.bitwise_and(targets["answer"], bit) > 0
            picked = tf.reduce_sum(tf.where(here, logs[:, :, place], 0.0), axis=1)
            otherwise = none[:, place] if self.may_be_none else tf.zeros_like(picked)
            total -= tf.where(tf.reduce_any(here, axis=1), picked, otherwise) / 2
        return total

    def _log_probabilities(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The log-probabilities of each token as the answer's first and last token [B, T, 2], and of "no
        answer" as both [B, 2].
        """
        import tensorflow as tf

        never = tf.cast(_NEVER, outputs["span"].dtype)
        context = _is_context(inputs)
        span, none = tf.where(context[:, :, None], outputs["span"], never), outputs["none"]
        if not self.may_be_none:  # unless there are no context tokens
            none = tf.where(tf.reduce_any(context, axis=1)[:, None], never, none)
        logs = tf.nn.log_softmax(tf.concat([none[:, None], span], axis=1), axis=1)
        return logs[:, 1:], logs[:, 0]

    def temperatures(self) -> Mapping[str, tuple[int, ...]]:
        return {"temperature": ()}

    def at_temperatures(
        self, outputs: Mapping[str, tf.Tensor], temperatures: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Scale the threshold of "no answer" with its probability, so that the same rows have an answer."""
        temperature = temperatures["temperature"]
        return {
            "span": outputs["span"] / temperature,
            "none": outputs["none"] / temperature,
            "threshold": scaled_probability(outputs["threshold"], temperature),
        }

    def abstains(self) -> Sequence[str]:
        return [ABSTAINED]

    def confidences(self, predictions: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {ABSTAINED: predictions["score"]}

    def predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        predictions, _, _ = self._read(outputs, inputs)
        return predictions

    def explanation_target(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor], wanted: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The predicted answer; or one of the best spans by its number, starting at 0; or "no answer"."""
        import tensorflow as tf

        decoded, first, last = self._read(outputs, inputs)
        best = self.options.best
        is_number, number = _explained.number_of(wanted)
        no_name, no_answer = tf.equal(wanted, ""), tf.equal(wanted, _NO_ANSWER)
        known = (is_number & (number < best)) | no_name | no_answer
        choices = f"the number of a span from 0 to {best - 1}, or {_NO_ANSWER}"
        wanted = _explained.require(known, wanted, choices)
        with tf.control_dependencies([wanted]):
            index = tf.minimum(number, best - 1)
        none = no_answer | (no_name & (decoded["start"] < 0))
        there = none | (_explained.picked(decoded["ends"], index) > 0)  # a text may have fewer spans
        label = tf.where(none, _NO_ANSWER, _explained.picked(decoded["answers"], index))
        return {
            "label": tf.where(there, label, ""),
            "first": _explained.picked(first, index),
            "last": _explained.picked(last, index),
            "none": none,
            "there": there,
        }

    def explained(self, outputs: Mapping[str, tf.Tensor], target: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The sum of the logits of the answer's first and last token, or of the two logits of "no answer"."""
        import tensorflow as tf

        span = outputs["span"]
        total = _explained.picked(span[:, :, 0], target["first"])
        total += _explained.picked(span[:, :, 1], target["last"])
        total = tf.where(target["none"], tf.reduce_sum(outputs["none"], axis=1), total)
        return tf.where(target["there"], total, tf.zeros_like(total))

    def _read(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        """The predictions, and the first and last token of each of the best spans, int32 [B, best] each."""
        import tensorflow as tf

        from tfpipeline.text.code_points import CodePoints

        wide = {name: tf.cast(tensor, tf.float32) for name, tensor in outputs.items()}
        logs, none = self._log_probabilities(wide, inputs)
        context = _is_context(inputs)
        rows, width = tf.unstack(tf.shape(context))
        length, best = tf.minimum(self.options.max_answer_tokens, width), self.options.best
        # Every span, by its first token and its number of further tokens: [B, T, length].
        last = tf.range(width)[:, None] + tf.range(length)[None]
        ends = tf.gather(tf.pad(logs[:, :, 1], [[0, 0], [0, length]]), last, axis=1)
        texts, offsets = CodePoints(inputs["text_pair"]), inputs["offsets"]
        piece = tf.where(context, texts.pieces(offsets), -1)
        there = tf.gather(tf.pad(piece, [[0, 0], [0, length]], constant_values=-1), last, axis=1)
        there = context[:, :, None] & (there == piece[:, :, None])
        scores = tf.where(there, logs[:, :, :1] + ends, float("-inf"))
        flat = tf.pad(
            tf.reshape(scores, [rows, width * length]), [[0, 0], [0, best]], constant_values=float("-inf")
        )
        values, place = tf.math.top_k(flat, best)
        real = values > float("-inf")
        place = tf.where(real, place, 0)
        first = place // length
        starts = texts.first(tf.where(real, tf.gather(offsets[:, :, 0], first, batch_dims=1), 0))
        final = first + place % length
        stops = tf.gather(offsets[:, :, 1], final, batch_dims=1)
        stops = texts.whole(tf.where(real, stops, 0))
        scores = tf.where(real, tf.exp(values), 0.0)
        names = texts.cut(starts, stops)

        score_of_none = tf.reduce_sum(none, axis=1)
        no_answer = tf.sigmoid(score_of_none - values[:, 0]) if self.may_be_none else tf.zeros([rows])
        no_answer = tf.where(real[:, 0], no_answer, 1.0)
        threshold = wide["threshold"]
        is_none = (no_answer > threshold) | tf.logical_not(real[:, 0])
        predictions = {
            "answer": tf.where(is_none, "", names[:, 0]),
            "start": tf.where(is_none, -1, starts[:, 0]),
            "end": tf.where(is_none, -1, stops[:, 0]),
            "score": tf.where(is_none, tf.exp(score_of_none), scores[:, 0]),
            "no_answer": no_answer,
            "threshold": threshold,
            "answers": names,
            "starts": starts,
            "ends": stops,
            "scores": scores,
        }
        return predictions, first, final


def _is_context(tokens: Mapping[str, Any]) -> Any:
    """Whether each token belongs to the context, bool [..., T]; for arrays or tensors."""
    offsets = tokens["offsets"]
    return (
        (offsets[..., 1] > offsets[..., 0]) & (tokens["attention_mask"] > 0) & (tokens["token_type_ids"] > 0)
    )
