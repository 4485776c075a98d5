"""Served answers, row by row, as typed predictions.

An answer is a dict of named arrays, the batch dimension first. What kind of prediction it is, is told by the
names, ranks and kinds of its outputs: one entry of :data:`_KINDS` each. Outputs called ``PART/NAME`` are the answers
of a model of several tasks. Anything else is :class:`NamedOutputs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

from tfpipeline.serving.client.errors import AnswerError


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
            raise AnswerError(
                f"row {row} of the answer contradicts itself: label {label!r}, classes {classes[row]}, "
                f"{len(probabilities[row])} probabilities; export the model again"
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
            raise AnswerError(
                f"row {row} of the answer contradicts itself: labels {labels}, classes {names}, "
                f"{len(scores[row])} scores, {len(thresholds[row])} thresholds; export the model again"
            )
        predictions.append(MultiLabel(labels, by_class, dict(zip(names, thresholds[row]))))
    return predictions


def _regression(arrays: Mapping[str, np.ndarray]) -> list[Prediction]:
    return [Regression(value) for value in arrays["value"].tolist()]


def _named_outputs(arrays: Mapping[str, np.ndarray]) -> list[Prediction]:
    values = {}
    for name, array in sorted(arrays.items()):
        if array.dtype.kind == "c":
            raise AnswerError(f'output "{name}" is complex, which JSON cannot hold; use predict_raw()')
        values[name] = _text(array) if array.dtype.kind in "OSUT" else array.tolist()
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


_STRINGS = "OSUT"


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
    )
}
