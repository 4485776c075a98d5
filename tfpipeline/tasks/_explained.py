"""Finds the prediction to explain by its name, in the graph; for tasks that support explanations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

_SHOWN = 10  # names in a message


def require(known: tf.Tensor, wanted: tf.Tensor, choices: str) -> tf.Tensor:
    """Return ``wanted`` unchanged, string [B]. An unknown name raises an InvalidArgumentError that lists the
    unknown names, each once.

    Args:
        known: bool [B], whether each name is valid.
        wanted: the requested names, string [B].
        choices: a description of the valid names, without quotation marks, because TensorFlow escapes them.
    """
    import tensorflow as tf

    unknown = tf.unique(tf.boolean_mask(wanted, tf.logical_not(known))).y
    names = tf.strings.reduce_join(unknown[:_SHOWN], separator=", ")
    message = f"label must be empty (for the predicted answer) or {choices}; found "
    check = tf.debugging.Assert(tf.reduce_all(known), [tf.strings.join([message, names])])
    with tf.control_dependencies([check] if check is not None else []):  # eager mode returns None
        return tf.identity(wanted)


def label_indices(
    labels: Sequence[str], wanted: tf.Tensor, predicted: tf.Tensor, choices: str | None = None
) -> tf.Tensor:
    """The index of each requested label, int32 [B]; for "", the predicted label's index.

    Args:
        labels: all labels.
        wanted: the requested names, string [B].
        predicted: the indices of the predicted labels, int32 [B].
        choices: a description of the valid labels; by default it lists the first ones.
    """
    import tensorflow as tf

    same = tf.equal(wanted[:, None], tf.constant(labels)[None])
    is_label = tf.reduce_any(same, axis=1)
    if choices is None:
        more = ", ..." if len(labels) > _SHOWN else ""
        choices = f"one of {', '.join(labels[:_SHOWN])}{more}"
    known = is_label | tf.equal(wanted, "")
    wanted = require(known, wanted, choices)
    with tf.control_dependencies([wanted]):
        return tf.where(is_label, tf.argmax(same, axis=1, output_type=tf.int32), predicted)


def picked(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Pick one value per row, [B], from ``values`` [B, N] at ``index``, int32 [B]."""
    import tensorflow as tf

    return tf.gather(values, index, batch_dims=1)


def number_of(wanted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Whether each name is a whole number, bool [B], and its value, int32 [B]; 0 if it is not a number."""
    import tensorflow as tf

    is_number = tf.strings.regex_full_match(wanted, "[0-9]{1,9}")
    return is_number, tf.strings.to_number(tf.where(is_number, wanted, "0"), tf.int32)
