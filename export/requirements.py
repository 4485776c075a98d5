"""Finds the metrics of an export's gates, and checks each gate as soon as its metric is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tfpipeline import paths
from tfpipeline.errors import UserError
from tfpipeline.export import gates
from tfpipeline.export.options import ExportOptions
from tfpipeline.export.servable import ServableModel
from tfpipeline.training.calibration import SCORES_OF_CONFIDENCE, calibrated_title
from tfpipeline.training.trained_model import TrainedModel


def check_known(run: TrainedModel, options: ExportOptions) -> dict[str, float]:
    """Check gates on metrics that are known before the work: the report's, and training's last validation.

    If another precision or a calibration changes the validation metrics, their gates are left to
    :func:`check_measured`.

    Returns:
        Gate as text -> the value that met it.
    Raises:
        UserError: a gate is not met, or its metric is missing.
    """
    of_report, of_validation = gates.split(options.gates)
    passed = {}
    if of_report:
        path = paths.local(options.report) if options.report is not None else run.path / gates.REPORT_FILE
        passed.update(gates.check(of_report, _reported(run, options, of_report, path), str(path)))
    if of_validation and not options.uses_validation_rows:
        scores = run.validation_scores(options.weights)
        if not scores:
            raise UserError(
                f"--require {of_validation[0]}: {run.name} has no validation scores of its {options.weights} "
                "weights; require a metric of report.json instead"
            )
        passed.update(
            _of_validation(of_validation, scores, f"the report on the validation rows of {run.name}")
        )
    return passed


def check_measured(options: ExportOptions, model: ServableModel) -> dict[str, float]:
    """Check the validation metrics of the model that will be served; like :func:`check_known`."""
    _, of_validation = gates.split(options.gates)
    if not model.scores:
        return {}
    return _of_validation(of_validation, model.scores, "the report on the validation rows, as exported,")


def _reported(
    run: TrainedModel, options: ExportOptions, asked: Sequence[gates.Gate], path: Path
) -> Mapping[str, float]:
    """The metrics in a report of the model as it will be exported: calibrated or not.

    A report without calibrated metrics has those that calibration does not change.
    """
    weights, title = run.weights_id(options.weights), run.stages[-1][1]
    if options.calibrate:
        calibrated = gates.reported(path, weights, _evaluate(run, options), calibrated_title(title))
        if calibrated is not None:
            return calibrated
        for gate in asked:
            if gate.metric.rpartition("/")[2] in SCORES_OF_CONFIDENCE:
                raise UserError(
                    f"--require {gate}: {path} does not have the {gate.metric} of the calibrated model; run: "
                    f"{_evaluate(run, options)} --calibrate"
                )
    evaluated = _evaluate(run, options)
    metrics = gates.reported(path, weights, evaluated, title) or gates.reported(path, weights, evaluated)
    return metrics or {}


def _of_validation(asked: Sequence[gates.Gate], scores: Mapping[str, float], source: str) -> dict[str, float]:
    return gates.check(asked, {f"{gates.VALIDATION}{name}": value for name, value in scores.items()}, source)


def _evaluate(run: TrainedModel, options: ExportOptions) -> str:
    """The command that writes the report."""
    if run.reports is None:  # a checkpoint of another program, or a run with other settings than its own
        return f"tfpipeline evaluate {run.path} --data FILE --to FOLDER, and name its report with --report"
    to = "" if options.report is None else f" --to {Path(paths.local(options.report)).parent}"
    return f"tfpipeline evaluate {run.path}{to}"
