"""Options of an export: everything a caller may choose besides the run and the target."""

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
DEFAULT_MAX_K = 100
_MOST_K = 1000

# From Python, an option may be anything.
_KINDS: tuple[tuple[tuple[str, ...], Any, str], ...] = (
    (("warmup", "explain_steps", "max_k"), int, "a whole number"),
    (("keep",), (int, type(None)), "a whole number, or None"),
    (("max_accuracy_loss",), (int, float), "a number"),
    (("abstain",), (int, float, type(None)), "a number, or None"),
)


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """The options of an export. They are checked when the object is created, before any work.

    Args:
        weights: "best" or "last".
        precision: "float32", or "bfloat16" for weights and products; LayerNorm, softmax and outputs stay
            float32.
        max_accuracy_loss: how many points (hundredths of the task's main metric, on the validation rows)
            a precision other than float32 may cost; infinity to skip the measurement, which then needs no
            validation rows.
        calibrate: whether to fit temperatures on the validation rows.
        abstain: the required share of correct predictions among those given. The model abstains from the
            others, in an output ``abstained``. None: there is no such output.
        require: conditions on metrics, such as ``macro_f1 >= 0.8``; see :mod:`tfpipeline.export.gates`.
        report: the ``report.json`` with these metrics; by default the run's own.
        target_serving: the release of TensorFlow that will serve the model, such as "2.16"; by default the
            installed one.
        warmup: the maximum number of warm-up requests, 0 to 1000 (TensorFlow Serving's limit).
        keep: how many of the newest versions to keep after the export; None keeps all.
        licence: the model's licence, for its card: an SPDX identifier such as "apache-2.0", or another name.
        explain: whether to add the signature ``explain``.
        explain_steps: number of nodes of its integral; more are more accurate but slower.
        index: an index of this model (``tfpipeline index``), for the signature ``search``.
        max_k: the largest number of rows that a search may ask for; ``search`` has so many places per query.
    Raises:
        UserError: an option has an invalid value.
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
    index: AnyPath | None = None
    max_k: int = DEFAULT_MAX_K

    def __post_init__(self) -> None:
        for names, kinds, what in _KINDS:
            for name in names:
                value = getattr(self, name)
                if isinstance(value, bool) or not isinstance(value, kinds):
                    raise UserError(f"{name} is {value!r}; it must be {what}")
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
        if self.report is not None and not self.require:
            raise UserError("report is given without require; name the conditions that it has to meet")
        if isinstance(self.require, str):
            raise UserError("require is one text; give a list of conditions, such as ['macro_f1 >= 0.8']")
        if not all(isinstance(text, str) for text in self.require):
            raise UserError(f"require is {list(self.require)!r}; give texts, such as ['macro_f1 >= 0.8']")
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
        if not 1 <= self.max_k <= _MOST_K:
            raise UserError(f"max_k is {self.max_k}; it must be from 1 to {_MOST_K}")
        if self.index is None and self.max_k != DEFAULT_MAX_K:
            raise UserError(f"max_k is {self.max_k}, but no index is given, so nothing is searched")
        _ = self.gates

    @property
    def gates(self) -> list[gates.Gate]:
        """The conditions in ``require``."""
        return [gates.parse(text) for text in self.require]

    @property
    def uses_validation_rows(self) -> bool:
        """Whether anything is fitted or measured on the validation rows."""
        return self.calibrate or self.abstain is not None or self.measures_precision

    @property
    def measures_precision(self) -> bool:
        """Whether a precision other than float32 is compared with float32."""
        return self.precision != "float32" and self.max_accuracy_loss != math.inf

    def identity(self) -> dict[str, Any]:
        """The options that affect predictions, signatures or files; other values make another version.

        The weights' name is not included: the weights themselves are part of the identity, and so are fitted
        temperatures and thresholds. Options that only decide whether to export are not included either.
        """
        decides: dict[str, Any] = {"precision": self.precision, "warmup": self.warmup}
        if self.licence:
            decides["licence"] = self.licence
        if self.explain:
            decides["explain_steps"] = self.explain_steps
        return decides
