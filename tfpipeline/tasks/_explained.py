"""How a requested answer is found by its name, in the graph; for the tasks that can be explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

_SHOWN = 10  # names in a message


def require(known: tf.Tensor, wanted: tf.Tensor, choices: str) -> tf.Tensor:
    """``wanted`` as it is, string [B]; an InvalidArgumentError, which shows the names, unless all are known.

    Args:
        known: bool [B]; whether there can be an answer of that name.
        wanted: string [B].
        choices: what a name may be, in words without quotation marks, which TensorFlow escapes.
    """
    import tensorflow as tf

    unknown = tf.boolean_mask(wanted, tf.logical_not(known))
    message = f"label must be empty (for the predicted answer) or {choices}; found"
    check = tf.debugging.Assert(tf.reduce_all(known), [message, unknown], summarize=_SHOWN)
    with tf.control_dependencies([check] if check is not None else []):  # eager mode returns None
        return tf.identity(wanted)


def label_indices(
    labels: Sequence[str], wanted: tf.Tensor, predicted: tf.Tensor, choices: str | None = None
) -> tf.Tensor:
    """The index of each wanted label, int32 [B]; of "" the predicted one.

    Args:
        labels: all of them.
        wanted: string [B].
        predicted: int32 [B].
        choices: what a label may be, in words; by default the first labels.
    """
    import tensorflow as tf

    same = tf.equal(wanted[:, None], tf.constant(labels)[None])
    found = tf.reduce_any(same, axis=1)
    if choices is None:
        more = ", ..." if len(labels) > _SHOWN else ""
        choices = f"one of {', '.join(labels[:_SHOWN])}{more}"
    known = found | tf.equal(wanted, "")
    wanted = require(known, wanted, choices)
    with tf.control_dependencies([wanted]):
        return tf.where(found, tf.argmax(same, axis=1, output_type=tf.int32), predicted)


def picked(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """One value of each row, [B], of values [B, N] at int32 [B]."""
    import tensorflow as tf

    return tf.gather(values, index, batch_dims=1)


def number_of(wanted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Which names are whole numbers, bool [B], and these numbers, int32 [B]; 0 of the others."""
    import tensorflow as tf

    is_number = tf.strings.regex_full_match(wanted, "[0-9]{1,9}")
    return is_number, tf.strings.to_number(tf.where(is_number, wanted, "0"), tf.int32)
