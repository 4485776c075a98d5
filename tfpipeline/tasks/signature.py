"""Signatures of an exported model beside those that every task has: how a task, or an export, declares one.

A signature names its inputs and has a function from them to its outputs, in the graph. From this alone come
the served function with its checks, the requests that warm a server up, and the comparison with the trained
model in a fresh process. Imports no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional, Union

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

Arrays = Mapping[str, np.ndarray]
Number = Union[int, float]


@dataclass(frozen=True)
class Input:
    """An input of a signature.

    Attributes:
        dtype: "string", or a number of 32 bits such as "int32".
        per_row: whether each row has a value, [B]; if not, the request has one, []. TensorFlow Serving does
            not batch, and with ``--enable_batching`` refuses, requests with an input of the shape [].
        least, most: the range of a number; None for no limit.
        unset: a number outside of the range that is taken as well, for the model's own value.
        choices: the strings that are taken; empty for any.
        examples: values for warm-up requests and for the comparison; they are used in turn. An input called
            ``text`` or ``text_pair`` needs none: it is given texts.
    """

    dtype: str = "string"
    per_row: bool = True
    least: Optional[Number] = None
    most: Optional[Number] = None
    unset: Optional[Number] = None
    choices: tuple[str, ...] = ()
    examples: tuple[Any, ...] = ("",)

    def example(self, rows: int) -> np.ndarray:
        """Values for a request of so many rows, [rows] or []."""
        dtype = object if self.dtype == "string" else np.dtype(self.dtype)
        values = [value.encode() if isinstance(value, str) else value for value in self.examples]
        if not self.per_row:
            return np.array(values[0], dtype)
        return np.array([values[row % len(values)] for row in range(rows)], dtype)


TEXT = Input()


def _no_ties(graph: Any, inputs: Arrays, outputs: Arrays, tolerance: float) -> np.ndarray:
    return np.zeros(len(next(iter(outputs.values()))), bool)


@dataclass(frozen=True)
class Signature:
    """A signature.

    Attributes:
        inputs: name -> the input; those called ``text`` and ``text_pair`` are texts.
        function: called as ``function(graph, inputs)`` with a
            :class:`tfpipeline.training.prediction_graph.PredictionGraph` and name -> tensor. Returns the
            outputs: strings or 32-bit numbers, the batch first. Every other dimension is static if all inputs
            are ``per_row``, because servers then batch the requests of several callers.
        cost: of a row, relative to a prediction; expensive signatures get few and small requests.
        resources: makes the ``tf.Module`` with the variables that the function reads besides the model's.
        identity: what determines the outputs besides the model, in JSON form; None for nothing.
        expected: called as ``expected(graph, arrays)`` with the trained model: computes the outputs in
            another way, to compare with. By default the function itself is called.
        near_ties: called as ``near_ties(graph, arrays, outputs, tolerance)``: the rows, bool [N], in which
            rounding may change strings and integers.
        tolerance: the largest difference of numbers that counts as rounding; None for the usual one.
    """

    inputs: Mapping[str, Input]
    function: Callable[[Any, Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]
    cost: int = 1
    resources: Callable[[], Any] = field(default=lambda: None)
    identity: Any = None
    expected: Optional[Callable[[Any, Arrays], Arrays]] = None
    near_ties: Callable[[Any, Arrays, Arrays, float], np.ndarray] = _no_ties
    tolerance: Optional[float] = None
