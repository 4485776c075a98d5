from __future__ import annotations

import subprocess
import sys

import pytest

from tfpipeline.runtime import harmless


def test_importing_tensorflow_prints_nothing():
    code = "from tfpipeline.runtime import import_tensorflow as f; tf = f(); import keras; keras.ops.ones(2) + tf.ones(2)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_importing_leaves_the_runtime_to_be_configured():
    """Logical devices can still be made: tests, and collectives, must configure before the runtime starts."""
    code = (
        "from tfpipeline.runtime import import_tensorflow as f; tf = f(); cpu = tf.config.list_physical_devices('CPU')[0]; "
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2); "
        "print(len(tf.config.list_logical_devices('CPU')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"


@pytest.mark.parametrize(
    "line",
    [
        "2026-01-01 00:00:00.1: E tensorflow/core/framework/op_kernel.cc:1] OOM when allocating tensor",
        "E0000 00:00:1.2 3 cuda_platform.cc:52] out of memory",
        "Traceback (most recent call last):",
    ],
)
def test_real_errors_are_shown(line):
    assert not harmless(line)
