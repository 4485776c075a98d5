"""Applies temperatures to probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def scaled_probability(probability: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
    """Divide the log-odds of a probability or threshold by a temperature. 0 and 1 stay unchanged.

    Args:
        probability: probabilities, 0 to 1, any float dtype.
        temperature: temperatures above 0, of a shape that broadcasts.
    """
    import tensorflow as tf

    log_odds = tf.math.log(probability) - tf.math.log1p(-probability)
    return tf.sigmoid(log_odds / temperature)
