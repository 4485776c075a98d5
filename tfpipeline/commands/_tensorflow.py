"""Loads TensorFlow for a command, with a message while it loads."""

from __future__ import annotations

from typing import Any

from tfpipeline.console import notice
from tfpipeline.errors import explain_missing_extra


def load_tensorflow() -> Any:
    """Import TensorFlow quietly; see :func:`tfpipeline.runtime.import_tensorflow`."""
    with explain_missing_extra(), notice("loading TensorFlow"):
        from tfpipeline.runtime import import_tensorflow

        return import_tensorflow()
