"""An answer of no known kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfpipeline.serving.client.errors import AnswerError
from tfpipeline.serving.client.predictions.base import STRINGS, Prediction, text_of


@dataclass(frozen=True)
class NamedOutputs(Prediction):
    """An answer of no known kind.

    Attributes:
        outputs: output name -> the row's value: a str, a number or a bool, or nested lists of these.
            Bytes that are not UTF-8 show as ``\\xNN``; ``predict_raw`` returns them unchanged.
    """

    outputs: dict[str, Any]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> list[NamedOutputs]:
        values = {}
        for name, array in sorted(arrays.items()):
            if array.dtype.kind == "c":
                raise AnswerError(f'output "{name}" is complex, which JSON cannot hold; use predict_raw()')
            values[name] = text_of(array) if array.dtype.kind in STRINGS else array.tolist()
        count = len(next(iter(values.values())))
        return [cls({name: value[row] for name, value in values.items()}) for row in range(count)]
