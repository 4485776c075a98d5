"""The batching parameters of deployed servers, in TensorFlow Serving's text format."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from tfpipeline import paths
from tfpipeline.errors import UserError


def batching_text(file: Optional[str], cpus: int) -> str:
    """A `BatchingParameters` text.

    Args:
        file: a file to use; None for defaults.
        cpus: the cores of a server.
    Raises:
        UserError: the file cannot be read.
    """
    if file is None:
        return (
            "max_batch_size { value: 32 }\n"
            "batch_timeout_micros { value: 2000 }\n"
            f"num_batch_threads {{ value: {cpus} }}\n"
            "max_enqueued_batches { value: 1000 }\n"
        )
    path: Path = paths.local(file)
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read --batching-file {path}: {error}; give a text file") from error
