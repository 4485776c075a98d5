"""Collects the errors of rows, so that a user can correct a file in one go."""

from __future__ import annotations

from tfpipeline.errors import MissingExtraError, UserError

_SHOWN = 10


class RowErrors:
    """Collects the errors of rows that cannot be used.

    Attributes:
        count: the number of errors; only the first ten are kept.
    """

    def __init__(self) -> None:
        self.count = 0
        self._first: list[UserError] = []

    def add(self, error: UserError) -> None:
        """Add a row's error, which :meth:`check` raises later.

        Raises:
            MissingExtraError: the error is one, which is not the fault of a row.
        """
        if isinstance(error, MissingExtraError):
            raise error
        self.count += 1
        if len(self._first) < _SHOWN:
            self._first.append(error)

    def check(self) -> None:
        """Raise the collected errors, if any: a single one unchanged, several with their number."""
        if self.count == 1:
            raise self._first[0]
        if self.count:
            first = ", the first ten" if self.count > _SHOWN else ""
            lines = "".join(f"\n  {error}" for error in self._first)
            raise UserError(f"{self.count} rows cannot be used{first}:{lines}")
