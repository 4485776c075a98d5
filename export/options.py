"""How a run is exported: what a caller may choose besides the run and the target."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from tfpipeline.errors import UserError
from tfpipeline.export import gates
from tfpipeline.export.compatibility import check_release
from tfpipeline.paths import AnyPath

WEIGHTS = ("best", "last")
PRECISIONS = ("float32", "bfloat16")
ACCURACY_LOSS = 0.2  # points
DEFAULT_WARMUP = 100
_MOST_WARMUP = 1000  # kMaxNumRecords, tensorflow_serving/servables/tensorflow/saved_model_warmup_util.h
DEFAULT_EXPLAIN_STEPS = 32
_MOST_STEPS = 1024


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """The options of an export; checked when made, before any work.

    Args:
        weights: "best" or "last".
        precision: "float32", or "bfloat16" for weights and products; LayerNorm, softmax and answers stay
            float32.
        max_accuracy_loss: how many points (hundredths of the task's main metric, on the validation rows)
            another precision than float32 may cost; infinity for a precision that is not measured, which
            needs no validation rows.
        calibrate: whether to fit temperatures on the validation rows.
        abstain: the share of right answers among those that are given; the model abstains from the others, in
            an output ``abstained``. None: it has no such output.
        require: conditions on metrics, such as ``macro_f1 >= 0.8``; see :mod:`tfpipeline.export.gates`.
        report: the ``report.json`` whose metrics they are about; by default the run's own.
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
    precision: str = "float32"
    max_accuracy_loss: float = ACCURACY_LOSS
    calibrate: bool = False
    abstain: float | None = None
    require: Sequence[str] = ()
    report: AnyPath | None = None
    warmup: int = DEFAULT_WARMUP
    target_serving: str | None = None
    keep: int | None = None
    licence: str | None = None
    explain: bool = False
    explain_steps: int = DEFAULT_EXPLAIN_STEPS

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise UserError(f'weights is "{self.weights}"; it must be best or last')
        if self.precision not in PRECISIONS:
            raise UserError(f'precision is "{self.precision}"; it must be float32 or bfloat16')
        if math.isnan(self.max_accuracy_loss):
            raise UserError(
                "max_accuracy_loss is not a number; give the points that may be lost, such as 0.2"
            )
        if self.abstain is not None and not 0 < self.abstain <= 1:
            raise UserError(
                f"abstain is {self.abstain:g}; it must be a share above 0 and at most 1, such as 0.95"
            )
        if isinstance(self.require, str):
            raise UserError("require is one text; give a list of conditions, such as ['macro_f1 >= 0.8']")
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
        _ = self.gates

    @property
    def gates(self) -> list[gates.Gate]:
        """The conditions of ``require``."""
        return [gates.parse(text) for text in self.require]

    @property
    def uses_validation_rows(self) -> bool:
        """Whether something is fitted or measured on the validation rows."""
        return self.calibrate or self.abstain is not None or self.measures_precision

    @property
    def measures_precision(self) -> bool:
        """Whether another precision than float32 is compared with it."""
        return self.precision != "float32" and self.max_accuracy_loss != math.inf

    def identity(self) -> dict[str, Any]:
        """The options that change answers, signatures or files: another value of these is another version.

        Not the weights' name: the weights themselves are part of the identity. So are the temperatures and
        thresholds that are fitted. What only decides whether there is an export at all is none of it.
        """
        decides: dict[str, Any] = {"precision": self.precision, "warmup": self.warmup}
        if self.licence:
            decides["licence"] = self.licence
        if self.explain:
            decides["explain_steps"] = self.explain_steps
        return decides
