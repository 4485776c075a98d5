"""The origins of the bytes of joined texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpipeline.text.ragged import row_numbers


def places_of(texts: Any, joined: Any) -> tuple[Any, Any]:
    """The position of each byte of a joined text in its own text, and one past it; int32 [bytes] each.

    Args:
        texts: string [B].
        joined: string [], with a blank before, between and after them.
    """
    size = tf.strings.length(joined)
    begins = _begins(texts)
    place = tf.range(size) - tf.gather(begins, _owners(begins, size))
    return place, place + 1


def _begins(texts: Any) -> Any:
    """int32 [B + 1], where each text begins in the joined text, and where the blanks after the last begin."""
    return tf.cumsum(tf.concat([[1], tf.strings.length(texts) + 1], axis=0))


def _owners(begins: Any, size: Any) -> Any:
    """int32 [size], the text of each byte; the blank before a text belongs to the previous text."""
    marks = tf.scatter_nd(begins[:, tf.newaxis], tf.ones_like(begins), [tf.maximum(size, begins[-1] + 1)])
    return tf.maximum(tf.cumsum(marks)[:size] - 1, 0)


def updated(origins: tuple[Any, Any], changes: Sequence[Any], rows: Any, texts: Any) -> tuple[Any, ...]:
    """Origins of bytes, with those of some texts replaced.

    Args:
        origins: int32 [bytes] each, the origins of the joined text's bytes.
        changes: the same for the bytes of some texts, one after the other.
        rows: int64 [R], the indices of these texts.
        texts: string [B], the texts that are joined.
    """
    splits = tf.concat([[0], tf.cumsum(tf.gather(tf.strings.length(texts), rows))], axis=0)
    shift = tf.gather(tf.gather(_begins(texts), rows) - splits[:-1], row_numbers(splits))
    where = (tf.range(tf.size(shift)) + shift)[:, tf.newaxis]
    return tuple(
        tf.tensor_scatter_nd_update(origin, where, change) for origin, change in zip(origins, changes)
    )
