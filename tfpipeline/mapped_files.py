"""Memory-mapped files of numbers, whose pages the process does not keep."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any, Optional

import numpy as np


def open_mapped(path: Path, dtype: Any) -> np.ndarray:
    """The numbers of a file, [N], read when they are used."""
    if path.stat().st_size == 0:  # nothing to map
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="r")


def release_pages(*arrays: np.ndarray) -> None:
    """Release the pages of mapped files: the system may cache them, but the process does not hold them.

    The arrays, and views of them, stay valid.
    """
    for array in arrays:
        mapped: Optional[Any] = getattr(array, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            mapped.madvise(mmap.MADV_DONTNEED)
