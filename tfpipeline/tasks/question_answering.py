"""Extractive question answering: the part of a context that answers a question, or that there is none.

Both go through the encoder together, ``[CLS] question [SEP] context [SEP]``; a context that is too long is read in
overlapping windows (``text.long: windows``), whose tokens' scores are put together before anything is decided: they are
normalised over the whole context (Clark and Gardner 2018, arXiv:1710.10723, "shared normalization").
Loss: the mean of the cross-entropies of the answer's first and last token (Devlin et al. 2018, arXiv:1810.04805,
sections 4.2 and 4.3); [CLS] stands for "no answer".
Served answer, N ``best``: ``answer`` string [B] ("" if there is none), ``start``, ``end`` int32 [B] in the context (-1 if
there is none), ``score`` float32 [B], the probability of what is answered; ``no_answer`` float32 [B], the probability of
"none" beside the best part of the context, and the ``threshold`` above which that is the answer; ``answers`` string
[B, N], ``starts``, ``ends`` int32 [B, N], ``scores`` float32 [B, N]: the best parts, filled up with "" and 0.
``serving_default`` takes ``text``, the question, and ``text_pair``, the context.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional, Union

import numpy as np
from pydantic import Field

from tfpipeline.config import Section
from tfpipeline.data.records import shortened
from tfpipeline.errors import UserError
from tfpipeline.tasks import _spans
from tfpipeline.tasks.base import Task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.checkpoints.checkpoint import Checkpoint
    from tfpipeline.data import Example
    from tfpipeline.data.options import DataOptions
    from tfpipeline.models import BertConfig

_HEAD = "span"
_FIRST, _LAST = 1, 2  # bits of a token's target
_NEVER = -1e9  # a logit of what cannot be; infinities make gradients of NaN
_EVEN_ODDS = 0.5
_SAME_RANK = 1e-4  # of two logarithms of scores
_WHAT = '{"text": ["..."], "answer_start": [0]}, or a text that stands in the context'


class QuestionAnsweringOptions(Section):
    """The ``task`` section of a run file for question answering."""

    name: Literal["question_answering"] = "question_answering"
    no_answer: Optional[bool] = Field(
        None,
        description='Whether "none" may be the answer; by default, whether any training row has none.',
    )
    no_answer_threshold: Union[Literal["tuned"], float] = Field(
        _EVEN_ODDS,
        description='The probability of "none" beside the best answer above which it is given; `tuned`: where F1 on the '
        "validation rows is best, chosen at each validation.",
    )
    max_answer_tokens: int = Field(30, ge=1, description="Tokens of an answer at most.")
    best: int = Field(5, ge=1, le=100, description="How many of the best answers are given.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the head.")


class QuestionAnswering(Task):
    """Answers from contexts; see the module.

    Args:
        options: of the run file.
        learnt: ``no_answer``, whether there may be none.
    """

    Options = QuestionAnsweringOptions
    best_metric = "f1"
    alone = True
    offsets: Mapping[str, str] = dict.fromkeys(("start", "end", "starts", "ends"), "text_pair")
    data_defaults: ClassVar[Mapping[str, str]] = {
        "text": "question",
        "text_pair": "context",
        "label": "answers",
    }

    def __init__(self, options: QuestionAnsweringOptions, learnt: Mapping[str, Any]) -> None:
        super().__init__(options, dict(learnt))
        self.may_be_none = bool(learnt["no_answer"])

    @classmethod
    def check(cls, options: QuestionAnsweringOptions, data: DataOptions) -> None:
        if data.text_pair is None or data.label is None:
            missing = "text_pair" if data.text_pair is None else "label"
            raise ValueError(
                f"data.{missing} is null, but question answering reads a question (data.text), a context (data.text_pair) and "
                "answers (data.label); name its column"
            )

    @classmethod
    def prepared(cls, options: QuestionAnsweringOptions, example: Example) -> Example:
        """The same row with its label as JSON: ``answers`` [[start, text], ...], none where there is none."""
        answers = [[start, text] for start, text in _answers(example)]
        return dataclasses.replace(example, label=json.dumps({"answers": answers}, ensure_ascii=False))

    @classmethod
    def strata(cls, options: QuestionAnsweringOptions, example: Example) -> Collection[Hashable]:
        return ("answer" if _kept(example) else "none",)

    @classmethod
    def from_examples(
        cls, options: QuestionAnsweringOptions, examples: Sequence[Example]
    ) -> QuestionAnswering:
        some = [bool(_kept(example)) for example in examples]
        if not any(some):
            raise UserError("no training row has an answer; check the column of the answers (data.label)")
        may_be_none = options.no_answer if options.no_answer is not None else not all(some)
        return cls(options, {"no_answer": may_be_none})

    @classmethod
    def serves(cls, checkpoint: Checkpoint) -> bool:
        return _HEAD in checkpoint.head_names

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> QuestionAnswering:
        # Its files do not say whether it was trained with questions that have no answer.
        return cls(QuestionAnsweringOptions(), {"no_answer": False})

    def with_options(self, options: QuestionAnsweringOptions) -> QuestionAnswering:
        return type(self)(options, {"no_answer": bool(options.no_answer)})

    def head_variables(self, head: Any) -> dict[str, Any]:
        return {f"{_HEAD}/kernel": head.dense.kernel, f"{_HEAD}/bias": head.dense.bias}

    def targets(self, examples: Sequence[Example], *, training: bool = False) -> dict[str, np.ndarray]:
        """``gold``: of each row the texts of its answers; for the metrics."""
        if training:
            return {}
        gold = np.empty(len(examples), object)
        for row, example in enumerate(examples):
            gold[row] = tuple(text for _, text in _kept(example))
        return {"gold": gold}

    def token_targets(
        self, examples: Sequence[Example], tokens: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        """``answer``: 1 of the first token of a row's first answer, 2 of its last one, 3 of its only one; else 0.

        None of an answer that is not all among the tokens.
        """
        found = np.zeros(tokens["input_ids"].shape, np.int32)
        offsets, context = tokens["offsets"], _is_context(tokens)
        for row, example in enumerate(examples):
            for start, text in _kept(example)[:1]:
                end = start + len(text)
                inside = np.flatnonzero(
                    context[row] & (offsets[row, :, 1] > start) & (offsets[row, :, 0] < end)
                )
                if len(inside) and self._is_whole(example, offsets[row, inside], start, end):
                    found[row, inside[0]] |= _FIRST
                    found[row, inside[-1]] |= _LAST
        return {"answer": found}

    @staticmethod
    def _is_whole(example: Example, offsets: np.ndarray, start: int, end: int) -> bool:
        """Whether an answer's tokens are all there: what is left of it at its ends are no words."""
        context = example.text_pair or ""
        left = context[start : offsets[0, 0]] + context[offsets[-1, 1] : end]
        return not any(character.isalnum() for character in left)

    def head(self, config: BertConfig, seed: int) -> keras.layers.Layer:
        from tfpipeline.models import SpanHead

        threshold = self.options.no_answer_threshold
        return SpanHead(
            threshold=_EVEN_ODDS if threshold == "tuned" else threshold,
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
        """Of each token as the answer's first and last one [B, T, 2], and of "no answer" as both [B, 2]."""
        import tensorflow as tf

        never = tf.cast(_NEVER, outputs["span"].dtype)
        span = tf.where(_is_context(inputs)[:, :, None], outputs["span"], never)
        none = outputs["none"] if self.may_be_none else tf.fill(tf.shape(outputs["none"]), never)
        logs = tf.nn.log_softmax(tf.concat([none[:, None], span], axis=1), axis=1)
        return logs[:, 1:], logs[:, 0]

    def answers(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        import tensorflow as tf

        from tfpipeline.text.code_points import CodePoints

        wide = {name: tf.cast(tensor, tf.float32) for name, tensor in outputs.items()}
        logs, none = self._log_probabilities(wide, inputs)
        context = _is_context(inputs)
        length, best = self.options.max_answer_tokens, self.options.best
        rows, width = tf.unstack(tf.shape(context))
        # Every span, by its first token and how many more it has: [B, T, length].
        last = tf.range(width)[:, None] + tf.range(length)[None]
        ends = tf.gather(tf.pad(logs[:, :, 1], [[0, 0], [0, length]]), last, axis=1)
        there = context[:, :, None] & tf.gather(tf.pad(context, [[0, 0], [0, length]]), last, axis=1)
        scores = tf.where(there, logs[:, :, :1] + ends, float("-inf"))
        flat = tf.pad(
            tf.reshape(scores, [rows, width * length]), [[0, 0], [0, best]], constant_values=float("-inf")
        )
        found, place = tf.math.top_k(flat, best)
        real = found > float("-inf")
        place = tf.where(real, place, 0)
        first = place // length
        offsets = inputs["offsets"]
        texts = CodePoints(inputs["text_pair"])
        starts = tf.where(real, tf.gather(offsets[:, :, 0], first, batch_dims=1), 0)
        stops = tf.gather(offsets[:, :, 1], first + place % length, batch_dims=1)
        stops = texts.whole(tf.where(real, stops, 0))
        scores = tf.where(real, tf.exp(found), 0.0)
        names = texts.cut(starts, stops)

        score_of_none = tf.reduce_sum(none, axis=1)
        no_answer = tf.sigmoid(score_of_none - found[:, 0]) if self.may_be_none else tf.zeros([rows])
        no_answer = tf.where(real[:, 0], no_answer, 1.0)
        threshold = wide["threshold"]
        is_none = (no_answer > threshold) | tf.logical_not(real[:, 0])
        return {
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

    def tune(
        self,
        head: Any,
        answers: Mapping[str, np.ndarray],
        targets: Mapping[str, np.ndarray],
        weights: np.ndarray,
    ) -> Mapping[str, np.ndarray]:
        if self.options.no_answer_threshold != "tuned" or not self.may_be_none:
            return answers
        from tfpipeline.metrics.question_answering import tune_threshold

        spans, no_answer = _texts(answers["answers"][:, 0]), answers["no_answer"]
        threshold = np.float32(tune_threshold(spans, no_answer, targets["gold"], weights))
        head.threshold.assign(threshold)
        is_none = (no_answer > threshold) | (answers["scores"][:, 0] == 0)
        odds = no_answer / np.maximum(1 - no_answer, np.finfo(np.float32).tiny)
        of_none = np.where(answers["start"] < 0, answers["score"], answers["scores"][:, 0] * odds)
        return {
            **answers,
            "answer": np.where(is_none, b"", answers["answers"][:, 0]),
            "start": np.where(is_none, -1, answers["starts"][:, 0]),
            "end": np.where(is_none, -1, answers["ends"][:, 0]),
            "score": np.where(is_none, of_none, answers["scores"][:, 0]),
            "threshold": np.full_like(answers["threshold"], threshold),
        }

    def metrics(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], weights: np.ndarray
    ) -> dict[str, float]:
        from tfpipeline.metrics import question_answering

        return question_answering.compute(_texts(answers["answer"]), targets["gold"], weights)

    def report(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], weights: np.ndarray
    ) -> str:
        from tfpipeline.metrics import question_answering

        return question_answering.report(_texts(answers["answer"]), targets["gold"], weights)

    def mistakes(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> list[tuple[int, str, str]]:
        from tfpipeline.metrics.question_answering import exact_match

        given = _texts(answers["answer"])
        wrong = [row for row, gold in enumerate(targets["gold"]) if not exact_match(given[row], gold)]
        wrong.sort(key=lambda row: -answers["score"][row])
        return [(row, " / ".join(targets["gold"][row]) or "none", given[row] or "none") for row in wrong]

    def close_calls(self, answers: Mapping[str, np.ndarray], tolerance: float) -> np.ndarray:
        close = np.abs(answers["no_answer"] - answers["threshold"]) <= tolerance
        scores = answers["scores"]
        first, second = scores[:, :-1], scores[:, 1:]
        # Ranks hang on ratios. A slot that is not filled is equal to its neighbour, and cannot change places.
        tied = (second > 0) & (first <= second * (1 + _SAME_RANK))
        vanished = (answers["ends"] > answers["starts"]) & (scores == 0)
        return np.asarray(close | tied.any(-1) | vanished.any(-1))


def _answers(example: Example) -> list[tuple[int, str]]:
    """A row's answers as its data file has them, each where it stands in the context.

    Raises:
        UserError: one of them does not stand there, or the row has no context.
    """
    if example.text_pair is None:
        raise UserError(f"{example.source}: the row has no context; complete it or remove it")
    cell, source, context = example.label or "", example.source, example.text_pair
    if not cell:
        return []
    found = _spans.parse(cell, source, _WHAT) if cell[0] in "[{" else [cell]
    if isinstance(found, dict):
        texts, starts = found.get("text"), found.get("answer_start")
        texts = [texts] if isinstance(texts, str) else texts
        starts = [starts] if isinstance(starts, int) else starts
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise UserError(f"{source}: the answers are {shortened(cell)}; expected {_WHAT}")
        found = [{"text": text, "answer_start": start} for text, start in zip(texts, starts)]
    answers = []
    for one in found:
        text, start = (one.get("text"), one.get("answer_start")) if isinstance(one, dict) else (one, None)
        if not isinstance(text, str) or not text.strip():
            raise UserError(
                f"{source}: an answer is {json.dumps(one)[:60]}; expected a text that is not empty, and no answer at all "
                "for a question without one"
            )
        if start is None:
            start = context.find(text)
            if start < 0:
                raise UserError(
                    f'{source}: the answer "{shortened(text)}" is not in the context; copy it from there'
                )
        _spans.check(context, start, start + len(text), source, f'the answer "{shortened(text)}"')
        if context[start : start + len(text)] != text:
            at = context.find(text)
            where = f"it is at {at}" if at >= 0 else "it is nowhere in the context"
            raise UserError(
                f'{source}: the answer "{shortened(text)}" is not at {start} of the context, where '
                f'"{shortened(context[start : start + len(text)])}" stands; {where}; offsets count code points from 0'
            )
        answers.append((start, text))
    return answers


def _kept(example: Example) -> list[tuple[int, str]]:
    """What :meth:`QuestionAnswering.prepared` found."""
    return [(start, text) for start, text in json.loads(example.label or "{}").get("answers", [])]


def _is_context(tokens: Mapping[str, Any]) -> Any:
    """Which tokens are the context's own, bool [..., T]; arrays or tensors."""
    offsets = tokens["offsets"]
    return (
        (offsets[..., 1] > offsets[..., 0]) & (tokens["attention_mask"] > 0) & (tokens["token_type_ids"] > 0)
    )


def _texts(answers: np.ndarray) -> list[str]:
    return [
        answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer) for answer in answers
    ]


TASK: type[Any] = QuestionAnswering
