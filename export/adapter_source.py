"""Exports the adapters of several runs as one model; see docs/many-adapters.md."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tfpipeline.export import adapter_names, adapters, model_card, versions
from tfpipeline.export.adapters import NamedRun
from tfpipeline.export.model_directory import ModelDirectory
from tfpipeline.export.options import ExportOptions
from tfpipeline.export.parity import PARITY_ROWS, Reference
from tfpipeline.export.servable import ServableModel
from tfpipeline.export.source import Source
from tfpipeline.models.adapted_model import AdaptedModel
from tfpipeline.paths import AnyPath
from tfpipeline.training.adapter_graph import ADAPTER, AdapterGraph
from tfpipeline.training.prediction_graph import PredictionGraph

_FEWEST_ROWS = 16  # held-out rows of an adapter that no version has yet
_AGAIN, _ROWS_AGAIN = 4, 4  # adapters of the newest version that are compared again, and rows of each


class AdapterSource(Source):
    """The adapters of several runs.

    Args:
        runs: see :func:`tfpipeline.export.adapter_names.named`.
        directory: of the model; its newest version tells which adapters were compared before.
        options: of the export.
    Raises:
        UserError: two adapters have one name, or an option cannot be used with adapters.
    """

    def __init__(
        self,
        runs: Sequence[AnyPath] | Mapping[str, AnyPath],
        directory: ModelDirectory,
        options: ExportOptions,
    ) -> None:
        self._names, self._directory, self._options = adapter_names.named(runs), directory, options
        self._runs: list[NamedRun] = []
        self._identities: Mapping[str, str] = {}
        adapter_names.require_fitting(options)

    def check(self) -> None:
        self._runs = adapters.open_runs(self._names, self._options.weights)

    def prepare(self) -> ServableModel:
        weights = self._options.weights
        found = adapters.read(self._runs, weights)
        first = self._runs[0].run
        self._identities = found.identities
        task = first.task.by_row([run.task for _, run in self._runs])
        model = AdaptedModel(found.base, list(found.adapters.values()))
        served = AdapterGraph(model, task, first.text_inputs, list(found.adapters))
        decisive = [
            self._identities,
            first.text_identity,
            first.truncation.identity(),
            self._options.identity(),
        ]
        self.identity = hashlib.sha256(json.dumps(decisive, default=str).encode()).hexdigest()
        return ServableModel(first.graph(found.base), served, self._references())

    def _references(self) -> list[Reference]:
        """Every adapter that the newest version does not have, and a few of the others again."""
        newest = max(self._directory.versions(), default=None)
        card = {} if newest is None else versions.read_card(self._directory, newest)
        known = {name: told.get("identity") for name, told in card.get("adapters", {}).items()}
        new = [each for each in self._runs if known.get(each.name) != self._identities[each.name]]
        old = [each for each in self._runs if each not in new]
        again = old[:: max(1, -(-len(old) // _AGAIN))]
        rows = {each.name: max(_FEWEST_ROWS, PARITY_ROWS // len(new)) for each in new}
        return [self._reference(each, rows.get(each.name, _ROWS_AGAIN)) for each in [*new, *again]]

    def _reference(self, each: NamedRun, rows: int) -> Reference:
        name, run = each

        def graph() -> PredictionGraph:
            return run.graph(run.model(self._options.weights, precision="float32").merge())

        return Reference(run, graph, {ADAPTER: name}, rows)

    def facts(self, name: str) -> dict[str, Any]:
        weights, licence = self._options.weights, self._options.licence
        first, *others = (model_card.describe(run, name, weights, licence) for _, run in self._runs)
        own = {
            each.name: {
                "run": facts["run"],
                "method": each.run.config.peft.method,  # type: ignore[union-attr]  # checked
                "labels": facts["labels"],
                "scores": facts["metrics"].get("values", {}),
                "identity": self._identities[each.name],
            }
            for each, facts in zip(self._runs, [first, *others])
        }
        shared = {key: value for key, value in first.items() if key not in ("labels", "metrics", "data")}
        return {**shared, "run": ", ".join(each.run.name for each in self._runs), "adapters": own}
