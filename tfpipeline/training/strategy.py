"""tf.distribute strategies by name."""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf


def _one_device() -> tf.distribute.Strategy:
    return tf.distribute.OneDeviceStrategy("/gpu:0" if tf.config.list_physical_devices("GPU") else "/cpu:0")


def _mirrored() -> tf.distribute.Strategy:
    """Every GPU of this machine; without one, every logical CPU device (how tests run it)."""
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    # NCCL needs GPUs; elsewhere the sum is made on one device.
    operations = None if kind == "GPU" else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=operations)


_STRATEGIES: dict[str, Callable[[], Any]] = {"one_device": _one_device, "mirrored": _mirrored}


def build_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy of that name (``training.strategy`` of the run file)."""
    return _STRATEGIES[name]()
