"""Embeds the texts of an index with a run or a checkpoint, and recognises the model again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfpipeline import paths
from tfpipeline.errors import SettingsError, UserError
from tfpipeline.index.stored import Index
from tfpipeline.paths import AnyPath
from tfpipeline.training.model_identity import model_identity
from tfpipeline.training.opening import open_run
from tfpipeline.training.prediction_graph import PredictionGraph
from tfpipeline.training.text_embedding import Prompt, TextEmbedder
from tfpipeline.training.trained_model import TrainedModel

WEIGHTS = ("best", "last")


class ModelEmbedder:
    """Embeds texts in float32, in the model's serving form.

    Args:
        run: a run directory or a checkpoint.
        overrides: for a checkpoint, settings that its files do not hold, such as ``task.pooling=mean``.
        weights: "best" or "last".
        prompt: whose prompt the texts get, a "document"'s or a "query"'s.
    Raises:
        UserError: there is no such model, or it predicts no vectors.

    Attributes:
        facts: what an index says of its model: ``identity``, and how it is opened.
        dimension: D.
    """

    def __init__(
        self,
        run: AnyPath,
        overrides: Sequence[str] = (),
        weights: str = "best",
        prompt: Prompt = "document",
    ) -> None:
        if weights not in WEIGHTS:
            raise UserError(f'weights is "{weights}"; it must be best or last')
        opened = open_run(run, overrides)
        if not opened.has_weights(weights):
            raise UserError(f'{run} has no "{weights}" weights; train it first: tfpipeline train RUN_FILE')
        graph = opened.graph(opened.model(weights, precision="float32"))
        self._embed = TextEmbedder(graph.for_serving(), opened.name, prompt)
        self.dimension = self._embed.dimension
        self.facts: dict[str, Any] = {
            "identity": model_identity(opened, graph),
            "path": paths.absolute(run),
            "settings": list(overrides),
            "weights": weights,
            "task": opened.config.task.model_dump(mode="json"),
        }

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors of texts, float32 [N, D]."""
        return self._embed(texts)


def settings(pooling: str | None, overrides: Iterable[str] = ()) -> list[str]:
    """Settings of a checkpoint in the form of ``--set``: ``overrides``, and a pooling if one is given.

    Any encoder makes vectors with a pooling, so the task similarity is asked for as well.
    """
    own = [] if pooling is None else ["task.name=similarity", f"task.pooling={pooling}"]
    return [*own, *overrides]


def require_same_model(index: Index, run: TrainedModel, graph: PredictionGraph) -> None:
    """Refuse an index that another model embedded.

    Args:
        index: the index.
        run, graph: the model, with its weights.
    Raises:
        UserError: the weights, the tokenizer or the settings are others.
    """
    check_identity(index, model_identity(run, graph), run.name)


def check_identity(index: Index, identity: str, name: str) -> None:
    """Refuse an index that a model of another identity embedded; see :func:`require_same_model`."""
    if index.model["identity"] != identity:
        raise _of_another_model(index, name)


def open_embedder(index: Index, run: AnyPath) -> ModelEmbedder:
    """Open the model that embedded an index, to embed queries.

    Args:
        index: the index.
        run: the model's place now.
    Raises:
        UserError: there is no such model, or it is another one.
    """
    made_by = index.model
    try:
        embedder = ModelEmbedder(run, made_by["settings"], made_by["weights"], "query")
    except SettingsError as error:  # what to set would be no help: another model's vectors are no use
        raise _of_another_model(index, str(run)) from error
    check_identity(index, embedder.facts["identity"], str(run))
    return embedder


def _of_another_model(index: Index, name: str) -> UserError:
    return UserError(
        f"the index {index.path} was embedded by another model than {name} (that of "
        f"{index.model.get('path', 'unknown')}; its weights, tokenizer or settings differ); build it "
        f"again with this model: tfpipeline index RUN --data FILE --to {index.path}"
    )
