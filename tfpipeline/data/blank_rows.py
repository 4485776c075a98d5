"""Rows with nothing in them, which programs save by accident: every reader leaves them out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tfpipeline.console import plural, say


class BlankRows:
    """Finds the rows of a file that have nothing in them, and counts them.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        self._first = ""

    def count_if_blank(self, cells: Iterable[str], place: str) -> bool:
        """Whether a row is to be left out.

        The caller does not ask for a row of a file's only column: an empty text may be meant.

        Args:
            cells: the row's cells.
            place: where the row stands in the file, such as ``line 3``.
        """
        if any(map(str.strip, cells)):
            return False
        self._count += 1
        self._first = self._first or place
        return True

    def tell(self) -> None:
        """Say how many rows were left out, if any were."""
        if self._count:
            first = plural(self._count, "in", "the first in")
            rows = f"{self._count} blank {plural(self._count, 'row was', 'rows were')}"
            say(f"{self._path}: {rows} left out, {first} {self._first}")
