"""Which requests may share a batch, and how many tokens their rows have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np

# English, as WordPiece cuts it. It only has to be right in proportion: a batch's size is not exact.
_BYTES_PER_TOKEN = 4
# An input of exported models' signature `input_ids`: the number of real tokens of each row. The rest is
# padding.
_LENGTHS = "lengths"


def batch_key(inputs: Mapping[str, np.ndarray], signature: Any) -> Optional[tuple[tuple[int, ...], ...]]:
    """The part of a batch key that depends on the inputs, or None if they should run by themselves.

    Args:
        inputs: alias -> array.
        signature: the `SignatureDef`; see :func:`batchable`.
    Returns:
        The dimensions after the first of each input, in the order of the sorted aliases; unknown widths are
        left out if `lengths` says how many values of a row count. None if the inputs do not match the
        signature (TensorFlow then reports the error in its own words) or have no rows.
    """
    rows = set()
    key = []
    padded = _LENGTHS in inputs and inputs[_LENGTHS].ndim == 1
    for alias in sorted(inputs):
        array, info = inputs[alias], signature.inputs[alias]
        dims = [dim.size for dim in info.tensor_shape.dim]
        if array.ndim != len(dims) or any(want not in (-1, got) for want, got in zip(dims, array.shape)):
            return None
        if not _same_type(array, info.dtype):
            return None
        # In a wider batch, the graph could not see that a length is more than its row's width.
        if padded and array.ndim > 1 and not _within(inputs[_LENGTHS], array.shape[1]):
            return None
        rows.add(array.shape[0])
        key.append(tuple(dims[1:]) if padded else array.shape[1:])
    return tuple(key) if len(rows) == 1 and rows != {0} else None


def row_tokens(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The number of tokens of each row, int [B]: exact for token ids, by the length of texts otherwise.

    Args:
        inputs: alias -> array [B, ...], with a key; see :func:`batch_key`.
    """
    rows = len(next(iter(inputs.values())))
    if _LENGTHS in inputs and inputs[_LENGTHS].ndim == 1:
        return inputs[_LENGTHS].astype(np.int64)
    total = np.zeros(rows, np.int64)
    for array in inputs.values():
        if array.dtype.kind == "O" and array.ndim == 1:
            total += [len(text) // _BYTES_PER_TOKEN for text in array]
        elif array.ndim > 1:
            total = np.maximum(total, math.prod(array.shape[1:]))
    return np.maximum(total, 1)


def _within(lengths: np.ndarray, width: int) -> bool:
    return lengths.size > 0 and int(lengths.min()) >= 0 and int(lengths.max()) <= width


def batchable(signature: Any) -> bool:
    """Whether rows of different requests may be computed together.

    Every input and output must have an unknown first dimension, and no output may have another unknown one:
    an output padded to the longest row of a batch would depend on the other requests.
    """
    inputs, outputs = list(signature.inputs.values()), list(signature.outputs.values())
    return (
        bool(inputs)
        and all(_rows_unknown(info) for info in inputs)
        and all(
            _rows_unknown(info) and all(d.size >= 0 for d in info.tensor_shape.dim[1:]) for info in outputs
        )
        and len({info.name for info in inputs}) == len(inputs)
    )


def _rows_unknown(info: Any) -> bool:
    shape = info.tensor_shape
    return bool(info.name) and not shape.unknown_rank and len(shape.dim) > 0 and shape.dim[0].size == -1


def _same_type(array: np.ndarray, enum: int) -> bool:
    import tensorflow as tf  # here: the rest of this module does not need it, and its tests run without

    dtype = tf.as_dtype(enum)
    return array.dtype.kind == "O" if dtype == tf.string else array.dtype == dtype.as_numpy_dtype
