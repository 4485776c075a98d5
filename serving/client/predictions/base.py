"""The base class of predictions, and helpers of their decoders.

B rows of an answer, one for each text; N slots of a row, which are padded to the widest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Callable, ClassVar, NamedTuple, Optional, TypeVar

import numpy as np

from tfpipeline.serving.client.errors import AnswerError

STRINGS = "OSUT"  # NumPy's letters for arrays of strings
ABSTAINED = "abstained"  # the output of models exported with --abstain


class Output(NamedTuple):
    """The specification of an output of a model.

    Attributes:
        rank: number of dimensions, including the batch.
        dtype_kinds: the letters of ``numpy.dtype.kind`` that it may have.
    """

    rank: int
    dtype_kinds: str


ABSTENTION = {ABSTAINED: Output(1, "ib")}


class Prediction:
    """The answer to one text; a frozen dataclass of plain Python values.

    A kind of prediction is a subclass that names its ``output_specs`` and overrides :meth:`from_arrays`.
    ``decode`` finds it by the names, ranks and dtypes of a model's outputs, wherever it is defined.

    Attributes:
        output_specs: output name -> its specification; empty for predictions that are not found by their
            outputs.
        optional_specs: the same of outputs that only some models have.
    """

    output_specs: ClassVar[Mapping[str, Output]] = {}
    optional_specs: ClassVar[Mapping[str, Output]] = {}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Sequence[Prediction]:
        """One prediction per row.

        Args:
            arrays: those of ``output_specs`` and perhaps of ``optional_specs``, each [B, ...].
        Raises:
            AnswerError: the arrays contradict each other.
        """
        raise NotImplementedError

    @classmethod
    def fits(cls, arrays: Mapping[str, np.ndarray]) -> bool:
        """Whether arrays are this kind's outputs, and not another model's outputs of the same names."""
        specs = {**cls.output_specs, **cls.optional_specs}
        return (
            cls.output_specs.keys() <= arrays.keys()
            and arrays.keys() <= specs.keys()
            and all(
                array.ndim == specs[name].rank and array.dtype.kind in specs[name].dtype_kinds
                for name, array in arrays.items()
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for ``json.dumps``; without ``abstained`` where the model has no such output."""
        return asdict(self, dict_factory=_without_missing)  # type: ignore[call-overload]  # all are dataclasses


def kinds() -> Iterator[type[Prediction]]:
    """All kinds of predictions that are found by their outputs."""
    return (kind for kind in Prediction.__subclasses__() if kind.output_specs)


def _without_missing(fields: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in fields if name != ABSTAINED or value is not None}


def abstentions(arrays: Mapping[str, np.ndarray], rows: int) -> list[Optional[bool]]:
    """Whether each row's answer is too unsure to be given; None of a model that does not say so.

    Args:
        arrays: a model's outputs.
        rows: how many there are.
    """
    if ABSTAINED not in arrays:
        return [None] * rows
    return [bool(value) for value in arrays[ABSTAINED].tolist()]


@dataclass(frozen=True)
class Span:
    """Part of a text.

    Attributes:
        text: the part itself.
        start, end: offsets in the caller's string, in the signature's unit: code points (``text[start:end]``
            in Python) unless the signature is ``utf8`` (bytes) or ``utf16`` (code units).
        score: its probability, 0 to 1.
    """

    text: str
    start: int
    end: int
    score: float


def contradiction(row: int, what: str) -> AnswerError:
    """The error for a row whose outputs do not fit each other."""
    return AnswerError(f"row {row} of the answer contradicts itself: {what}; export the model again")


def same_width(arrays: Mapping[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    """These arrays, [B, N] each.

    Raises:
        AnswerError: they have different widths.
    """
    slots = {name: arrays[name] for name in names}
    widths = {name: array.shape[1] for name, array in slots.items()}
    if len(set(widths.values())) > 1:
        raise contradiction(0, ", ".join(f"{width} {name}" for name, width in widths.items()))
    return slots


def without_padding(names: list[str]) -> list[str]:
    """The classes of a row; a model of several adapters pads them with "" to the widest."""
    end = len(names)
    while end > 1 and not names[end - 1]:
        end -= 1
    return names[:end]


_Slot = TypeVar("_Slot")


def read_slots(
    slots: Mapping[str, np.ndarray], filled: np.ndarray, make: Callable[..., _Slot]
) -> list[list[_Slot]]:
    """Each row's filled slots. The others, most of them, are padding, which is not decoded.

    Args:
        slots: name -> array [B, N], in the order of ``make``'s arguments; ``starts`` and ``ends`` among them.
        filled: bool [B, N].
        make: makes one slot's value.
    Raises:
        AnswerError: a filled slot ends before it starts.
    """
    starts, ends = slots["starts"], slots["ends"]
    for row, slot in np.argwhere(filled & ((starts < 0) | (starts > ends))).tolist():
        raise contradiction(row, f"slot {slot} starts at {starts[row, slot]}, ends at {ends[row, slot]}")
    columns = [array[filled] for array in slots.values()]  # row after row
    made = map(make, *(text_of(own) if own.dtype.kind in STRINGS else own.tolist() for own in columns))
    return [list(islice(made, count)) for count in filled.sum(axis=1).tolist()]


def text_of(array: np.ndarray) -> list[Any]:
    """Nested lists of str. A model repeats few strings often (its classes), so each is decoded once."""
    decoded: dict[Any, str] = {}

    def text(value: Any) -> str:
        decoded_text = decoded.get(value)
        if decoded_text is None:
            decoded_text = (
                value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
            )
            decoded[value] = decoded_text
        return decoded_text

    def walk(values: list[Any], depth: int) -> list[Any]:
        if depth == 1:
            return [text(value) for value in values]
        return [walk(value, depth - 1) for value in values]

    return walk(array.tolist(), array.ndim)
