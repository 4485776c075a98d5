"""Replicas in this process: a strategy over some of its logical devices, which conftest.py makes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import tensorflow as tf

from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.strategy import build_strategy


@contextlib.contextmanager
def devices(count: int) -> Iterator[None]:
    """``mirrored`` takes the first ``count`` devices, as if there were no more."""
    kept = tf.config.list_logical_devices("CPU")[:count]
    assert len(kept) == count

    def listed(kind: str = "CPU") -> list[tf.config.LogicalDevice]:
        return kept if kind == "CPU" else []

    with mock.patch.object(tf.config, "list_logical_devices", listed):
        yield


def mirrored(count: int) -> tf.distribute.Strategy:
    """The product's own strategy over this many devices."""
    with devices(count):
        strategy = build_strategy("mirrored", TrainingOptions())
    assert strategy.num_replicas_in_sync == count
    return strategy
