"""What is exported: a run, or the adapters of several (``adapter_source.py``)."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tfpipeline import paths
from tfpipeline.errors import UserError
from tfpipeline.export import explanations, model_card, requirements
from tfpipeline.export.identity import identity
from tfpipeline.export.options import ExportOptions
from tfpipeline.export.servable import ServableModel, check_options, prepare
from tfpipeline.index import served
from tfpipeline.index.embedder import require_same_model
from tfpipeline.index.stored import Index, open_index
from tfpipeline.tasks import Signature
from tfpipeline.training.trained_model import TrainedModel


class Source(abc.ABC):
    """What a version is made of. The methods are called in this order, once each.

    Attributes:
        identity: of the version, once it is prepared.
        further: the signatures beside those that every task has, once it is prepared.
    """

    identity: str
    further: Mapping[str, Signature] = MappingProxyType({})

    @abc.abstractmethod
    def check(self) -> None:
        """Refuse what cannot be exported, before the expensive work.

        Raises:
            UserError: says why.
        """

    @abc.abstractmethod
    def prepare(self) -> ServableModel:
        """The model that is served."""

    @abc.abstractmethod
    def facts(self, name: str) -> dict[str, Any]:
        """The facts for the card of a model of this name."""


class RunSource(Source):
    """A run.

    Args:
        run: it.
        options: of the export.
    """

    def __init__(self, run: TrainedModel, options: ExportOptions) -> None:
        self._run, self._options = run, options
        self._index: Index | None = None
        self._passed: dict[str, float] = {}
        self._facts: dict[str, Any] = {}

    def check(self) -> None:
        run, options = self._run, self._options
        if not run.has_weights(options.weights):
            raise UserError(
                f"{run.path} has not finished an epoch yet; train it first: tfpipeline train RUN_FILE"
            )
        run.vocabulary  # noqa: B018 - the first access refuses files that were edited
        if options.explain:
            explanations.check(run.task, run.model_config)
        check_options(run, options)

    def prepare(self) -> ServableModel:
        run, options = self._run, self._options
        self._passed = requirements.check_known(run, options)
        self._index = None if options.index is None else open_index(options.index)
        ready = prepare(run, options)
        if self._index is not None:
            require_same_model(self._index, run, ready.trained)
        self._passed.update(requirements.check_measured(options, ready))
        self.further = self._further(ready)
        self.identity = identity(run, ready.trained, options, self.further)
        self._facts = dict(ready.facts)
        return ready

    def _further(self, ready: ServableModel) -> dict[str, Signature]:
        options = self._options
        further = dict(self._run.task.signatures())
        if options.explain:
            explained = explanations.Explanations(ready.trained, options.explain_steps, ready.served.model)
            further[explanations.SIGNATURE] = explained.signature()
        if self._index is not None:
            further[served.SIGNATURE] = served.search_signature(self._index, options.max_k)
        return further

    def facts(self, name: str) -> dict[str, Any]:
        options = self._options
        facts = model_card.describe(
            self._run,
            name,
            options.weights,
            options.licence,
            calibrated=options.calibrate,
            report=None if options.report is None else paths.local(options.report),
        )
        if options.explain:
            facts["explanations"] = explanations.describe(options.explain_steps)
        facts.update(self._facts)
        if self._index is not None:
            facts["index"] = served.facts(self._index, options.max_k)
        return {**facts, "require": self._passed}
