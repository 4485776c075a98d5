"""Rows that cannot be used, named all at once: whoever mends a file wants to do it in one go."""

from __future__ import annotations

from tfpipeline.errors import MissingExtraError, UserError

_SHOWN = 10


class RowErrors:
    """Collects the sentences of rows that cannot be used.

    Attributes:
        count: how many there are; only the first ten are kept.
    """

    def __init__(self) -> None:
        self.count = 0
        self._first: list[UserError] = []

    def add(self, error: UserError) -> None:
        """Keep a row's sentence, to be raised by :meth:`check`.

        Raises:
            MissingExtraError: it is one, which no row is to blame for.
        """
        if isinstance(error, MissingExtraError):
            raise error
        self.count += 1
        if len(self._first) < _SHOWN:
            self._first.append(error)

    def check(self) -> None:
        """Raise the errors collected, if any: one as it is, several with their number."""
        if self.count == 1:
            raise self._first[0]
        if self.count:
            first = ", the first ten" if self.count > _SHOWN else ""
            lines = "".join(f"\n  {error}" for error in self._first)
            raise UserError(f"{self.count} rows cannot be used{first}:{lines}")
