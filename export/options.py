"""How a run is exported: what a caller may choose besides the run and the target."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfpipeline.errors import UserError
from tfpipeline.export.compatibility import check_release

WEIGHTS = ("best", "last")
DEFAULT_WARMUP = 100
_MOST_WARMUP = 1000  # kMaxNumRecords, tensorflow_serving/servables/tensorflow/saved_model_warmup_util.h
DEFAULT_EXPLAIN_STEPS = 32
_MOST_STEPS = 1024


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """The options of an export; checked when made, before any work.

    Args:
        weights: "best" or "last".
        target_serving: the release of TensorFlow that is to serve the model, such as "2.16"; by default the
            installed one.
        warmup: the most warm-up requests, 0 to 1000 (TensorFlow Serving's limit).
        keep: how many of the newest versions stay after the export; None keeps all.
        licence: of the model, for its card: SPDX's identifier, such as "apache-2.0", or another name.
        explain: whether there is a signature ``explain``.
        explain_steps: nodes of its integral: more are exacter and slower.
    Raises:
        UserError: an option has a value that it cannot have.
    """

    weights: str = "best"
    warmup: int = DEFAULT_WARMUP
    target_serving: str | None = None
    keep: int | None = None
    licence: str | None = None
    explain: bool = False
    explain_steps: int = DEFAULT_EXPLAIN_STEPS

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise UserError(f'weights is "{self.weights}"; it must be best or last')
        check_release(self.target_serving)
        if not 0 <= self.warmup <= _MOST_WARMUP:
            raise UserError(
                f"warmup is {self.warmup}; it must be from 0 (no warm-up requests) to {_MOST_WARMUP}"
            )
        if self.keep is not None and self.keep < 1:
            raise UserError(f"keep is {self.keep}; keep 1 version or more")
        if self.licence is not None and not self.licence.strip():
            raise UserError("licence is empty; give an SPDX identifier such as apache-2.0, or leave it out")
        if not 1 <= self.explain_steps <= _MOST_STEPS:
            raise UserError(f"explain_steps is {self.explain_steps}; it must be from 1 to {_MOST_STEPS}")

    def identity(self) -> dict[str, Any]:
        """The options that change answers, signatures or files: another value of these is another version.

        Not the weights' name: the weights themselves are part of the identity.
        """
        decides: dict[str, Any] = {"warmup": self.warmup}
        if self.licence:
            decides["licence"] = self.licence
        if self.explain:
            decides["explain_steps"] = self.explain_steps
        return decides
