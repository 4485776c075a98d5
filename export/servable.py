"""The model that an export serves, with values fitted and measured on the run's validation rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tfpipeline.export import calibration, precision
from tfpipeline.export.options import ExportOptions
from tfpipeline.export.parity import Reference
from tfpipeline.training.prediction_graph import PredictionGraph
from tfpipeline.training.trained_model import TrainedModel
from tfpipeline.training.validation import ValidationRows, require_validation_rows


@dataclasses.dataclass(frozen=True)
class ServableModel:
    """A model that is ready to be written.

    Attributes:
        trained: the trained model, in float32, with the fitted temperatures and thresholds; of many adapters
            the base without them.
        served: the same model in its serving form, in the requested precision.
        references: the trained models that the served one must answer like.
        scores: the served model's scores on the validation rows; empty if they were not needed.
        facts: entries for the card.
    """

    trained: PredictionGraph
    served: PredictionGraph
    references: Sequence[Reference]
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def check_options(run: TrainedModel, options: ExportOptions) -> None:
    """Refuse options that do not suit the run, before the work.

    Raises:
        UserError: an option needs validation rows and there are none, or it is about probabilities and the
            task has none.
    """
    asked = {
        "--calibrate": options.calibrate,
        "--abstain": options.abstain is not None,
        f"--precision {options.precision} (unless with --max-accuracy-loss inf)": options.measures_precision,
    }
    for option, given in asked.items():
        if given:
            require_validation_rows(run, option)
    if options.calibrate:
        run.task.temperatures()
    if options.abstain is not None:
        run.task.abstains()


def prepare(run: TrainedModel, options: ExportOptions) -> ServableModel:
    """Prepare a run's model in the requested precision, fitted and measured according to the options.

    Raises:
        UserError: a requested accuracy or share cannot be reached.
    """
    model = run.model(options.weights, precision="float32")
    trained = run.graph(model.merge() if model.mergeable else model)
    served = trained.for_serving(options.precision)
    if not options.uses_validation_rows:
        return ServableModel(trained, served, _reference(run, trained))
    rows = ValidationRows(run)
    confidence, predictions, scores, facts = calibration.fit(served, rows, options)
    trained, served = trained.fitted(confidence), served.fitted(confidence)
    if options.measures_precision:
        metric = run.config.training.best_metric or run.task.scorer.best_metric
        facts["precision"] = precision.measure(trained, served, rows, predictions, scores, metric, options)
    return ServableModel(trained, served, _reference(run, trained), scores, facts)


def _reference(run: TrainedModel, trained: PredictionGraph) -> list[Reference]:
    return [Reference(run, lambda: trained)]
