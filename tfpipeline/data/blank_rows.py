"""Rows that are skipped and counted: blank rows, which programs save by accident, and rows without text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tfpipeline.console import plural, say


class BlankRows:
    """Detects and counts the blank rows of a file.

    Args:
        source: the file, or another source of rows, for the message.
        one: what happened to a row that was skipped.
        many: the same of several rows.
    """

    def __init__(
        self,
        source: Any,
        one: str = "blank row was left out",
        many: str = "blank rows were left out",
    ) -> None:
        self._source, self._one, self._many = source, one, many
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
            where = plural(self._count, "in", "the first in")
            rows = plural(self._count, self._one, self._many)
            say(f"{self._source}: {self._count} {rows}, {where} {self._first}")
