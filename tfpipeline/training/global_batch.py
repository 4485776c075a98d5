"""A global batch: its contents, its padding, and the division of its rows.

Every replica is given the global batch and takes its own slice, so the division is arithmetic on its index.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.tasks.base import EXAMPLE_WEIGHTS

WEIGHTS = EXAMPLE_WEIGHTS

Batch = Mapping[str, np.ndarray]
Tensors = dict[str, tf.Tensor]


def pad_batch(batch: Batch, multiple: int, size: int = 0) -> dict[str, np.ndarray]:
    """Repeat the first example with weight 0 until the batch has ``size`` examples and divides by
    ``multiple``.
    """
    rows = len(batch[WEIGHTS])
    wanted = max(size, rows)
    extra = wanted + -wanted % multiple - rows
    if not extra:
        return dict(batch)
    padded = {name: np.concatenate([array, np.repeat(array[:1], extra, 0)]) for name, array in batch.items()}
    padded[WEIGHTS][rows:] = 0
    return padded


def numeric_targets(targets: Batch) -> dict[str, np.ndarray]:
    """The numeric targets of a task; arrays of objects are only for its metrics."""
    return {name: array for name, array in targets.items() if array.dtype != object}


def row_count(tensor: tf.Tensor) -> Any:
    """The number of rows of a tensor [B, ...]: an int if the shape is known, as XLA needs; else an int32
    scalar.
    """
    rows = tensor.shape[0]
    return tf.shape(tensor)[0] if rows is None else rows


def slice_rows(tensor: tf.Tensor, start: Any, size: Any) -> tf.Tensor:
    """``tensor[start : start + size]``, with a static size for XLA if ``size`` is an int."""
    rest = tensor.shape.rank - 1
    return tf.slice(tensor, tf.stack([start, *[0] * rest]), tf.stack([size, *[-1] * rest]))


def replica_slice(batch: Mapping[str, tf.Tensor], replicas: int) -> tuple[Tensors, tf.Tensor]:
    """The rows of the current replica, and the index of the first of them in the global batch (int32 scalar).

    Args:
        batch: tensors [B, ...], including ``example_weights``; B is divisible by ``replicas``.
        replicas: the number of replicas of the strategy.
    """
    context = tf.distribute.get_replica_context()
    local = row_count(batch[WEIGHTS]) // replicas
    first = tf.cast(context.replica_id_in_sync_group, tf.int32) * local
    return {name: slice_rows(tensor, first, local) for name, tensor in batch.items()}, first


def gather_rows(tensors: Mapping[str, tf.Tensor], replicas: int) -> Tensors:
    """Gather the rows of all replicas, in order, on each replica: [B / replicas, ...] becomes [B, ...].

    Gradients do not pass through. The tensors are summed over replicas, where each is 0 outside its own rows:
    this is exact, and all strategies support it.
    """
    if replicas == 1:
        return dict(tensors)
    context = tf.distribute.get_replica_context()
    own = tf.range(replicas) == tf.cast(context.replica_id_in_sync_group, tf.int32)
    gathered = {}
    for name, tensor in sorted(tensors.items()):  # the same order on all workers
        place = tf.reshape(own, [replicas, *[1] * tensor.shape.rank])
        padded = tf.where(place, tensor[None], tf.zeros([], tensor.dtype))  # [replicas, B / replicas, ...]
        gathered[name] = join_rows(context.all_reduce(tf.distribute.ReduceOp.SUM, padded))
    return gathered


def join_rows(parts: tf.Tensor) -> tf.Tensor:
    """Join the rows of several parts: [P, B, ...] becomes [P * B, ...]."""
    known = parts.shape[1:]
    if known.is_fully_defined():
        return tf.reshape(parts, [parts.shape[0] * known[0], *known[1:]])
    sizes = tf.shape(parts)
    joined = tf.reshape(parts, tf.concat([sizes[:1] * sizes[1:2], sizes[2:]], 0))
    return tf.ensure_shape(joined, [None, *known[1:]])
