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
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional, Union

import numpy as np
from pydantic import Field, field_validator, model_validator

from tfpipeline.config import Section
from tfpipeline.data.records import Structure, shortened
from tfpipeline.errors import UserError, at_the_ends
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
        description="Whether the model may predict that there is no answer; default: whether any training row has none.",
    )
    no_answer_threshold: Union[Literal["tuned"], float] = Field(
        _EVEN_ODDS,
        description='"No answer" is predicted if its probability against the best span exceeds this threshold; `tuned`: the '
        "threshold with the best F1 on the validation rows, chosen at each validation.",
    )
    max_answer_tokens: int = Field(30, ge=1, le=512, description="Maximum number of tokens in an answer.")
    best: int = Field(5, ge=1, le=100, description="How many of the best spans are returned.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the head.")

    @field_validator("no_answer_threshold")
    @classmethod
    def _is_probability(cls, value: Union[str, float]) -> Union[str, float]:
        if isinstance(value, float) and not 0 <= value <= 1:
            raise ValueError("must lie between 0 and 1")
        return value

    @model_validator(mode="after")
    def _threshold_is_used(self) -> QuestionAnsweringOptions:
        if self.no_answer is False and self.no_answer_threshold != _EVEN_ODDS:
            raise ValueError(
                f"no_answer_threshold is {self.no_answer_threshold}, but no_answer is false, so that there is always an "
                "answer; remove one of them"
            )
        return self


class QuestionAnswering(Task):
    """Answers from contexts; see the module.

    Args:
        options: of the run file.
        fitted: ``no_answer``, whether there may be none.
    """

    Options = QuestionAnsweringOptions
    best_metric = "f1"
    top_level_only = True
    together = "text_pair"  # questions about a context that was trained on are easier than others
    offsets: Mapping[str, str] = dict.fromkeys(("start", "end", "starts", "ends"), "text_pair")
    data_defaults: ClassVar[Mapping[str, str]] = {
        "text": "question",
        "text_pair": "context",
        "label": "answers",
    }

    def __init__(self, options: QuestionAnsweringOptions, fitted: Mapping[str, Any]) -> None:
        super().__init__(options, dict(fitted))
        self.may_be_none = bool(fitted["no_answer"])

    @classmethod
    def check(cls, options: QuestionAnsweringOptions, data: DataOptions) -> None:
        if data.text_pair is None or data.label is None:
            missing = "text_pair" if data.text_pair is None else "label"
            raise ValueError(
                f"data.{missing} is null, but question answering reads a question (data.text), a context (data.text_pair) and "
                "answers (data.label); name its column"
            )

    @classmethod
    def preprocess(cls, options: QuestionAnsweringOptions, example: Example) -> Example:
        """The same row with its label as JSON: ``answers`` [[start, text], ...], none where there is none."""
        for what, text in (("question", example.text), ("context", example.text_pair)):
            if isinstance(text, Structure):
                raise UserError(
                    f"{example.source}: the {what} is {shortened(text)}, a list or an object; write it as one text"
                )
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
        threshold = options.no_answer_threshold
        if threshold == "tuned":
            raise UserError(
                "task.no_answer_threshold is tuned, but a checkpoint is not trained on, which is when it is chosen; set it to a "
                "number"
            )
        if threshold != _EVEN_ODDS and not options.no_answer:
            raise UserError(
                f"task.no_answer_threshold is {threshold}, but a checkpoint answers none only if task.no_answer is true; set that "
                "too"
            )
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

    def count_kept_targets(self, examples: Sequence[Example], tokens: Mapping[str, np.ndarray]) -> np.ndarray:
        """Of the first answer, which is what a row trains on."""
        given = [bool(_kept(example)) for example in examples]
        return np.stack([given, (tokens["answer"] > 0).any(axis=1)], axis=1).astype(np.int64)

    @staticmethod
    def _is_whole(example: Example, offsets: np.ndarray, start: int, end: int) -> bool:
        """Whether an answer's tokens are all there: what is left of it, around and between them, are no words."""
        context = example.text_pair or ""
        gaps = zip([start, *offsets[:, 1]], [*offsets[:, 0], end])
        return not any(character.isalnum() for left, right in gaps for character in context[left:right])

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
        context = _is_context(inputs)
        span, none = tf.where(context[:, :, None], outputs["span"], never), outputs["none"]
        if not self.may_be_none:  # but where there is nothing else
            none = tf.where(tf.reduce_any(context, axis=1)[:, None], never, none)
        logs = tf.nn.log_softmax(tf.concat([none[:, None], span], axis=1), axis=1)
        return logs[:, 1:], logs[:, 0]

    def predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        import tensorflow as tf

        from tfpipeline.text.code_points import CodePoints

        wide = {name: tf.cast(tensor, tf.float32) for name, tensor in outputs.items()}
        logs, none = self._log_probabilities(wide, inputs)
        context = _is_context(inputs)
        rows, width = tf.unstack(tf.shape(context))
        length, best = tf.minimum(self.options.max_answer_tokens, width), self.options.best
        # Every span, by its first token and how many more it has: [B, T, length].
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
        found, place = tf.math.top_k(flat, best)
        real = found > float("-inf")
        place = tf.where(real, place, 0)
        first = place // length
        starts = texts.first(tf.where(real, tf.gather(offsets[:, :, 0], first, batch_dims=1), 0))
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
        threshold = np.float32(tune_threshold(spans, no_answer, targets["gold"].tolist(), weights))
        head.threshold.assign(threshold)
        is_none = (no_answer > threshold) | (answers["ends"][:, 0] == 0)
        # Where a part of the context was answered, the odds say what "none" has beside it.
        odds = no_answer / np.maximum(1 - no_answer, np.finfo(np.float32).eps)
        of_none = np.minimum(answers["scores"][:, 0] * odds, 1)
        of_none = np.where(answers["start"] < 0, answers["score"], of_none)
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

        return question_answering.compute(_texts(answers["answer"]), targets["gold"].tolist(), weights)

    def report(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], weights: np.ndarray
    ) -> str:
        from tfpipeline.metrics import question_answering

        return question_answering.report(_texts(answers["answer"]), targets["gold"].tolist(), weights)

    def mistakes(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> list[tuple[int, str, str]]:
        from tfpipeline.metrics.question_answering import exact_match

        given = _texts(answers["answer"])
        wrong = [row for row, gold in enumerate(targets["gold"]) if not exact_match(given[row], gold)]
        wrong.sort(key=lambda row: -answers["score"][row])
        return [(row, " / ".join(targets["gold"][row]) or "none", given[row] or "none") for row in wrong]

    def near_ties(self, answers: Mapping[str, np.ndarray], tolerance: float) -> np.ndarray:
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
    found: Any = [cell]
    # What stands in the context is a text of it, however much it looks like JSON; but no answers are none.
    if cell[0] in "[{" and (cell == "[]" or cell not in context):
        found = _spans.parse(cell, source, _WHAT)
    if isinstance(found, dict):
        texts, starts = found.get("text"), found.get("answer_start")
        texts = [texts] if isinstance(texts, str) else texts
        starts = [starts] if isinstance(starts, int) else starts
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise UserError(f"{source}: the answers are {shortened(cell)}; expected {_WHAT}")
        found = [{"text": text, "answer_start": start} for text, start in zip(texts, starts)]
    return [_answer(one, context, source) for one in found]


def _answer(one: Any, context: str, source: str) -> tuple[int, str]:
    """One of a row's answers, as its data file has it; see :func:`_answers`."""
    text, start = (one.get("text"), one.get("answer_start")) if isinstance(one, dict) else (one, None)
    if not isinstance(text, str) or not text.strip():
        raise UserError(
            f"{source}: an answer is {_spans.shown(one)}; expected a text that is not empty, and no answer at all "
            "for a question without one"
        )
    what = f'the answer "{shortened(text)}"{at_the_ends(text)}'
    if start is None:
        start = next(_places(context, text), context.find(text))
        if start < 0:
            raise UserError(f"{source}: {what} is not in the context; copy it from there")
    if type(start) is int and not (start >= 0 and context.startswith(text, start)):
        here = context[start : start + len(text)] if start >= 0 else ""
        stands = f'where "{shortened(here)}" stands' if here else f"which has {len(context)} characters"
        nearest = min(
            _places(context, text), key=lambda place: abs(place - start), default=context.find(text)
        )
        where = "it is nowhere in the context" if nearest < 0 else f"it is at {nearest}"
        raise UserError(
            f"{source}: {what} is not at {_spans.shown(start)} of the context, {stands}; {where}; offsets count code points from 0"
        )
    _spans.check(context, start, start + len(text) if isinstance(start, int) else None, source, what)
    return start, text


def _places(context: str, text: str) -> Iterator[int]:
    """Where a text stands in a context and parts no character."""
    place = context.find(text)
    while place >= 0:
        if not any(_spans.parts_a_character(context, edge) for edge in (place, place + len(text))):
            yield place
        place = context.find(text, place + 1)


def _kept(example: Example) -> list[tuple[int, str]]:
    """What :meth:`QuestionAnswering.preprocess` found."""
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
