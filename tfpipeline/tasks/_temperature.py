"""Probabilities at other temperatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def scaled_probability(probability: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
    """The probability, or threshold, whose log-odds are divided by a temperature; 0 and 1 stay.

    Args:
        probability: 0 to 1, any float dtype.
        temperature: above 0, of a shape that fits.
    """
    import tensorflow as tf

    log_odds = tf.math.log(probability) - tf.math.log1p(-probability)
    return tf.sigmoid(log_odds / temperature)
