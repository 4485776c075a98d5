"""Rows of unequal lengths that lie one after the other."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def row_numbers(splits: Any) -> Any:
    """The row of each value, integer [N] as the splits are.

    ``tf.repeat`` gives the same, but makes a matrix of rows by the longest one: gigabytes when one of a
    thousand texts is long.

    Args:
        splits: integer [R + 1], where each row begins, and N.
    """
    return tf.searchsorted(splits[1:], tf.range(splits[-1]), side="right", out_type=splits.dtype)
