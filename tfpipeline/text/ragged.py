"""Rows of unequal lengths in one flat tensor."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def row_numbers(splits: Any) -> Any:
    """The row of each value, integer [N] as the splits are.

    ``tf.repeat`` gives the same, but makes a matrix of rows x longest row: gigabytes if one of a thousand
    texts is long.

    Args:
        splits: integer [R + 1], where each row begins, and N.
    """
    return tf.searchsorted(splits[1:], tf.range(splits[-1]), side="right", out_type=splits.dtype)
