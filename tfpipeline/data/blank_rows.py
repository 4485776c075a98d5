"""Blank rows, which programs save by accident and every reader skips."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tfpipeline.console import plural, say


class BlankRows:
    """Detects and counts the blank rows of a file.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        self._first = ""

    def count_if_blank(self, cells: Iterable[str], place: str) -> bool:
        """Whether to skip a row.

        Not called for files with a single column, where a blank row may be an empty text.

        Args:
            cells: the row's cells.
            place: the position of the row in the file, such as ``line 3``.
        """
        if any(map(str.strip, cells)):
            return False
        self._count += 1
        self._first = self._first or place
        return True

    def tell(self) -> None:
        """Print the number of skipped rows, if there are any."""
        if self._count:
            first = plural(self._count, "in", "the first in")
            rows = f"{self._count} blank {plural(self._count, 'row was', 'rows were')}"
            say(f"{self._path}: {rows} left out, {first} {self._first}")
