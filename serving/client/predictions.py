"""Served answers, row by row, as typed predictions.

An answer is a dict of named arrays, the batch dimension first. What kind of prediction it is, is told by the
names, ranks and kinds of its outputs: one entry of :data:`_KINDS` each. Outputs called ``PART/NAME`` are the answers
of a model of several tasks. Anything else is :class:`NamedOutputs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Callable, NamedTuple, Optional, TypeVar

import numpy as np

from tfpipeline.serving.client.errors import AnswerError

_STRINGS = "OSUT"  # NumPy's letters for arrays of strings


class Prediction:
    """The answer to one text; a frozen dataclass of plain Python values."""

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for ``json.dumps``."""
        return asdict(self)  # type: ignore[call-overload]  # every subclass is a dataclass


@dataclass(frozen=True)
class Classification(Prediction):
    """One class for a text.

    Attributes:
        label: the class the model chose.
        probability: its probability.
        probabilities: every class's, in the model's order.
    """

    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class MultiLabel(Prediction):
    """Several labels, or none, for a text.

    Attributes:
        labels: those whose score reaches their threshold, the highest score first.
        scores: every label's, 0 to 1, in the model's order.
        thresholds: every label's.
    """

    labels: list[str]
    scores: dict[str, float]
    thresholds: dict[str, float]


@dataclass(frozen=True)
class Regression(Prediction):
    """A number for a text.

    Attributes:
        value: in the unit of the training data.
    """

    value: float


@dataclass(frozen=True)
class Entity:
    """A stretch of a text, and what it is.

    Attributes:
        type: what it is, such as PER.
        text: the stretch itself.
        start, end: where it begins and ends in the caller's string, counted in the signature's unit: code points
            (``text[start:end]`` in Python) unless the signature is ``utf8`` (bytes) or ``utf16`` (code units).
        score: its probability.
    """

    type: str
    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Tagging(Prediction):
    """The entities of a text.

    Attributes:
        entities: in the order of the text; the first ones, when there are more than the model answers with.
        count: how many there are in what the model reads of the text.
        margin: by which share the next best tags of the whole text are less probable than the given ones, 0 to 1; 1 for a
            text without words.
    """

    entities: list[Entity]
    count: int
    margin: float


@dataclass(frozen=True)
class Span:
    """A stretch of a text that may be the answer.

    Attributes:
        text: the stretch itself.
        start, end: where it begins and ends, as :class:`Entity`'s.
        score: its probability.
    """

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class QuestionAnswering(Prediction):
    """The stretch of a text that answers a question, or none.

    Attributes:
        answer: the stretch; None when the model says that the text holds no answer. So are start and end.
        start, end: where it begins and ends, as :class:`Entity`'s.
        score: the probability of what is answered, be it a stretch or none.
        no_answer: the probability of none against the best stretch.
        threshold: none is answered when ``no_answer`` is above it, or when there is no stretch at all.
        best: the best stretches, best first, whatever is answered.
    """

    answer: Optional[str]
    start: Optional[int]
    end: Optional[int]
    score: float
    no_answer: float
    threshold: float
    best: list[Span]


@dataclass(frozen=True)
class Multitask(Prediction):
    """The answers of several tasks to one text.

    Attributes:
        answers: a prediction for each part of the model, by the part's name.
    """

    answers: dict[str, Prediction]


@dataclass(frozen=True)
class NamedOutputs(Prediction):
    """An answer of no known kind.

    Attributes:
        outputs: output name -> the row's value: a str, a number or a bool, or nested lists of one of them.
            Bytes that are not UTF-8 show as ``\\xNN``; ``predict_raw`` gives them as they are.
    """

    outputs: dict[str, Any]


def decode(outputs: Mapping[str, np.ndarray], rows: Optional[int] = None) -> list[Prediction]:
    """One prediction a row.

    Args:
        outputs: name -> array [B, ...]; strings are object arrays of bytes or str.
        rows: how many texts were sent; by default not checked.
    Raises:
        AnswerError: the arrays have no common batch dimension, it is not ``rows``, or a known kind of answer
            contradicts itself.
    """
    arrays = {name: np.asarray(array) for name, array in outputs.items()}
    lengths = {name: array.shape[0] if array.ndim else None for name, array in arrays.items()}
    known = set(lengths.values())
    if not arrays or None in known or len(known) > 1 or (rows is not None and known != {rows}):
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in sorted(arrays.items()))
        wanted = "a row for each text" if rows is None else f"{rows} rows, one for each text"
        raise AnswerError(
            f"the answer does not have {wanted} ({shapes or 'it is empty'}); use predict_raw() for this signature"
        )
    return _rows(arrays)


def _rows(arrays: Mapping[str, np.ndarray]) -> list[Prediction]:
    """One prediction a row; the arrays fit together."""
    kind = _KINDS.get(frozenset(arrays))
    if kind is not None and kind.fits(arrays):
        return kind.rows(arrays)
    if all("/" in name for name in arrays):
        return _multitask(arrays)
    return _named_outputs(arrays)


def _multitask(arrays: Mapping[str, np.ndarray]) -> list[Prediction]:
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        part, _, own = name.partition("/")
        parts.setdefault(part, {})[own] = array
    answers = {part: _rows(own) for part, own in sorted(parts.items())}
    return [Multitask(dict(zip(answers, row))) for row in zip(*answers.values())]


def _classification(arrays: Mapping[str, np.ndarray]) -> list[Prediction]:
    labels = _text(arrays["label"])
    classes = _text(arrays["classes"])
    probabilities = arrays["probabilities"].tolist()
    predictions: list[Prediction] = []
    for row, label in enumerate(labels):
        by_class = dict(zip(classes[row], probabilities[row]))
        if (
            len(by_class) != len(classes[row])
            or len(by_class) != len(probabilities[row])
            or label not in by_class
        ):
            raise _contradiction(
                row, f"label {label!r}, classes {classes[row]}, {len(probabilities[row])} probabilities"
            )
        predictions.append(Classification(label, by_class[label], by_class))
    return predictions


def _multi_label(arrays: Mapping[str, np.ndarray]) -> list[Prediction]:
    classes, given = _text(arrays["classes"]), _text(arrays["labels"])
    scores, thresholds = arrays["scores"].tolist(), arrays["thresholds"].tolist()
    predictions: list[Prediction] = []
    for row, names in enumerate(classes):
        by_class = dict(zip(names, scores[row]))
        labels = sorted((label for label in given[row] if label), key=lambda label: -by_class.get(label, 0.0))
        counts = {len(names), len(set(names)), len(scores[row]), len(thresholds[row])}
        if len(counts) > 1 or not set(labels) <= set(names):
            raise _contradiction(
                row,
                f"labels {labels}, classes {names}, {len(scores[row])} scores, {len(thresholds[row])} thresholds",
            )
        predictions.append(MultiLabel(labels, by_class, dict(zip(names, thresholds[row]))))
    return predictions


def _regression(arrays: Mapping[str, np.ndarray]) -> list[Prediction]:
    return [Regression(value) for value in arrays["value"].tolist()]


def _tagging(arrays: Mapping[str, np.ndarray]) -> list[Prediction]:
    slots = _same_width(arrays, "types", "texts", "starts", "ends", "scores")
    counts = arrays["count"]
    for row in np.flatnonzero(counts < 0).tolist():
        raise _contradiction(row, f"count {counts[row]}")
    filled = np.arange(slots["types"].shape[1]) < counts[:, np.newaxis]
    entities, margins = _filled(slots, filled, Entity), arrays["margin"].tolist()
    return [Tagging(*row) for row in zip(entities, counts.tolist(), margins)]


def _question_answering(arrays: Mapping[str, np.ndarray]) -> list[Prediction]:
    slots = _same_width(arrays, "answers", "starts", "ends", "scores")
    best = _filled(slots, slots["starts"] != slots["ends"], Span)
    answers = _text(arrays["answer"])
    starts, ends = arrays["start"].tolist(), arrays["end"].tolist()
    scores, no_answers = arrays["score"].tolist(), arrays["no_answer"].tolist()
    thresholds = arrays["threshold"].tolist()
    predictions: list[Prediction] = []
    for row, (answer, start, end) in enumerate(zip(answers, starts, ends)):
        none = start == end == -1
        if answer if none else not 0 <= start <= end:
            raise _contradiction(row, f"answer {answer!r}, start {start}, end {end}")
        if none:
            answer = start = end = None
        predictions.append(
            QuestionAnswering(answer, start, end, scores[row], no_answers[row], thresholds[row], best[row])
        )
    return predictions


def _same_width(arrays: Mapping[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    """These arrays, [B, N] each; a row's slot is a column of all of them."""
    slots = {name: arrays[name] for name in names}
    widths = {name: array.shape[1] for name, array in slots.items()}
    if len(set(widths.values())) > 1:
        raise _contradiction(0, ", ".join(f"{width} {name}" for name, width in widths.items()))
    return slots


_Slot = TypeVar("_Slot", Entity, Span)


def _filled(
    slots: Mapping[str, np.ndarray], filled: np.ndarray, make: Callable[..., _Slot]
) -> list[list[_Slot]]:
    """Each row's filled slots. The others, most of them, are padding: they are not decoded.

    Args:
        slots: name -> array [B, N], in the order of ``make``'s arguments.
        filled: bool [B, N].
    """
    starts, ends = slots["starts"], slots["ends"]
    for row, slot in np.argwhere(filled & ((starts < 0) | (starts > ends))).tolist():
        raise _contradiction(row, f"slot {slot} starts at {starts[row, slot]}, ends at {ends[row, slot]}")
    columns = [array[filled] for array in slots.values()]  # row after row
    made = map(make, *(_text(own) if own.dtype.kind in _STRINGS else own.tolist() for own in columns))
    return [list(islice(made, count)) for count in filled.sum(axis=1).tolist()]


def _contradiction(row: int, what: str) -> AnswerError:
    return AnswerError(f"row {row} of the answer contradicts itself: {what}; export the model again")


def _named_outputs(arrays: Mapping[str, np.ndarray]) -> list[Prediction]:
    values = {}
    for name, array in sorted(arrays.items()):
        if array.dtype.kind == "c":
            raise AnswerError(f'output "{name}" is complex, which JSON cannot hold; use predict_raw()')
        values[name] = _text(array) if array.dtype.kind in _STRINGS else array.tolist()
    count = len(next(iter(values.values())))
    return [NamedOutputs({name: value[row] for name, value in values.items()}) for row in range(count)]


def _text(array: np.ndarray) -> list[Any]:
    """Nested lists of str. A model repeats few strings often (its classes), so each is decoded once."""
    decoded: dict[Any, str] = {}

    def text(value: Any) -> str:
        found = decoded.get(value)
        if found is None:
            found = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
            decoded[value] = found
        return found

    def walk(values: list[Any], depth: int) -> list[Any]:
        if depth == 1:
            return [text(value) for value in values]
        return [walk(value, depth - 1) for value in values]

    return walk(array.tolist(), array.ndim)


class _Output(NamedTuple):
    rank: int  # the batch dimension counted
    dtype_kinds: str  # NumPy's letters


class _Kind(NamedTuple):
    outputs: Mapping[str, _Output]
    rows: Callable[[Mapping[str, np.ndarray]], list[Prediction]]

    def fits(self, arrays: Mapping[str, np.ndarray]) -> bool:
        """Whether they are what our exports write, and not another maker's outputs of the same names."""
        return all(
            arrays[name].ndim == output.rank and arrays[name].dtype.kind in output.dtype_kinds
            for name, output in self.outputs.items()
        )


# A new kind of answer is one dataclass, one function and one entry here.
_KINDS: dict[frozenset[str], _Kind] = {
    frozenset(kind.outputs): kind
    for kind in (
        _Kind(
            {
                "label": _Output(1, _STRINGS),
                "classes": _Output(2, _STRINGS),
                "probabilities": _Output(2, "f"),
            },
            _classification,
        ),
        _Kind(
            {
                "labels": _Output(2, _STRINGS),
                "classes": _Output(2, _STRINGS),
                "scores": _Output(2, "f"),
                "thresholds": _Output(2, "f"),
            },
            _multi_label,
        ),
        _Kind({"value": _Output(1, "f")}, _regression),
        _Kind(
            {
                "types": _Output(2, _STRINGS),
                "texts": _Output(2, _STRINGS),
                "starts": _Output(2, "i"),
                "ends": _Output(2, "i"),
                "scores": _Output(2, "f"),
                "count": _Output(1, "i"),
                "margin": _Output(1, "f"),
            },
            _tagging,
        ),
        _Kind(
            {
                "answer": _Output(1, _STRINGS),
                "start": _Output(1, "i"),
                "end": _Output(1, "i"),
                "score": _Output(1, "f"),
                "no_answer": _Output(1, "f"),
                "threshold": _Output(1, "f"),
                "answers": _Output(2, _STRINGS),
                "starts": _Output(2, "i"),
                "ends": _Output(2, "i"),
                "scores": _Output(2, "f"),
            },
            _question_answering,
        ),
    )
}
