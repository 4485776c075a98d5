"""Gates: conditions on a run's metrics that must hold before a version is published.

A gate is written as ``macro_f1 >= 0.8``. Its metric is one of ``report.json``, which ``tfpipeline evaluate``
wrote for the run's test rows. With the prefix ``validation.``, it is a metric of the validation rows.
"""

from __future__ import annotations

import dataclasses
import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfpipeline.errors import UserError, did_you_mean

VALIDATION = "validation."  # the prefix of a metric of the validation rows
REPORT_FILE = "report.json"

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
# A metric's name may hold any character: the name of a label's F1 includes the label.
_GATE = re.compile(
    rf"\s*(?P<metric>.*[^\s<>=!])\s*(?P<sign>{'|'.join(_OPERATORS)})\s*(?P<bound>[^<>=\s]+)\s*", re.S
)


@dataclasses.dataclass(frozen=True)
class Gate:
    """One condition.

    Attributes:
        metric: its name, as in the report.
        sign: ``>=``, ``>``, ``<=``, ``<`` or ``==``.
        bound: the number to compare the metric with.
    """

    metric: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {self.bound:g}"

    def holds(self, value: float) -> bool:
        """Whether a value meets the condition; NaN never does."""
        return _OPERATORS[self.sign](value, self.bound)


def parse(text: str) -> Gate:
    """Parse a gate such as ``macro_f1 >= 0.8``.

    Raises:
        UserError: the text is not a gate.
    """
    found = _GATE.fullmatch(text)
    try:
        bound = float(found["bound"]) if found else math.nan
    except ValueError:
        bound = math.nan
    if found is None or not math.isfinite(bound):
        raise UserError(
            f'--require "{text}" is not a condition; write a metric, one of >=, >, <=, <, == and a number, '
            "such as 'macro_f1 >= 0.8'"
        )
    return Gate(found["metric"], found["sign"], bound)


def check(gates: Sequence[Gate], metrics: Mapping[str, float], source: str) -> dict[str, float]:
    """Refuse a model that does not meet its gates.

    Args:
        gates: the conditions.
        metrics: name -> value.
        source: the origin of the metrics, for the error.
    Returns:
        Gate as text -> the value that met it.
    Raises:
        UserError: a metric is missing, or a condition is not met.
    """
    passed, failed = {}, []
    for gate in gates:
        if gate.metric not in metrics:
            raise UserError(
                f'--require: {source} has no metric "{gate.metric}"{did_you_mean(gate.metric, metrics)}'
            )
        value = passed[str(gate)] = float(metrics[gate.metric])
        if not gate.holds(value):
            failed.append(f"{gate.metric} is {value:.6g}, and --require asks for {gate.sign} {gate.bound:g}")
    if failed:
        raise UserError(f"not exported: {'; '.join(failed)} ({source})")
    return passed


def split(gates: Sequence[Gate]) -> tuple[list[Gate], list[Gate]]:
    """The gates on the report's metrics, and the gates on the validation rows' metrics."""
    of_validation = [gate for gate in gates if gate.metric.startswith(VALIDATION)]
    return [gate for gate in gates if gate not in of_validation], of_validation


def reported(
    path: Path, weights: str | None, evaluated: str, title: str | None = None
) -> dict[str, float] | None:
    """The trained model's metrics in a report; None if it has none with the title.

    Args:
        path: ``report.json``.
        weights: the exported weights, as named by ``TrainedModel.weights_id``.
        evaluated: the command that writes a report, for the error.
        title: of the metrics; by default the last ones.
    Raises:
        UserError: there is no report, it cannot be read, or it is about other weights.
    """
    if not path.is_file():
        raise UserError(f"--require needs {path}, which does not exist; run: {evaluated}")
    try:
        document: Any = json.loads(path.read_text("utf-8"))
        *_, last = document["scores"]
        scores = document["scores"].get(last if title is None else title)
        metrics = scores and {str(name): float(value) for name, value in scores.items()}
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise UserError(f"cannot read {path}: it is not a report; run: {evaluated}") from error
    scored = document.get("weights")
    if scored is not None and weights is not None and scored != weights:
        raise UserError(
            f"{path} has the scores of other weights ({scored}) than the exported ones ({weights}); "
            f"run: {evaluated}"
        )
    return metrics
