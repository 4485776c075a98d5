"""How a run is exported: what a caller may choose besides the run and the target."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfpipeline.errors import UserError

WEIGHTS = ("best", "last")


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """The options of an export; checked when made, before any work.

    Args:
        weights: "best" or "last".
    Raises:
        UserError: an option has a value that it cannot have.
    """

    weights: str = "best"

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise UserError(f'weights is "{self.weights}"; it must be best or last')

    def identity(self) -> dict[str, Any]:
        """The options that change answers, signatures or files: another value of these is another version.

        Not the weights' name: the weights themselves are part of the identity.
        """
        return {}
