"""What a served model answers besides ``serving_default``, which embeds texts with the query's prompt.

``similarity``: ``text``, ``text_pair`` -> ``score`` float32 [B]. ``document``, if documents have a prompt of
their own: ``text`` -> ``embedding`` float32 [B, D], with the document's prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfpipeline.data.text_names import TEXT as FIRST
from tfpipeline.data.text_names import TEXT_PAIR as SECOND
from tfpipeline.tasks.signature import TEXT, Signature

if TYPE_CHECKING:
    import tensorflow as tf

SIMILARITY, DOCUMENT = "similarity", "document"


def declared(prompts: Mapping[str, str]) -> dict[str, Signature]:
    """The signatures of a model whose texts have these prompts, by the name of the text."""
    signatures = {SIMILARITY: Signature({FIRST: TEXT, SECOND: TEXT}, _similarity)}
    if prompts.get(FIRST, "") != prompts.get(SECOND, ""):
        signatures[DOCUMENT] = Signature({FIRST: TEXT}, embed_documents)
    return signatures


def embed_documents(graph: Any, inputs: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
    """The predictions for texts that have the prompt of documents.

    Args:
        graph: a :class:`tfpipeline.training.prediction_graph.PredictionGraph`.
        inputs: ``text``, string [B].
    """
    prompt = graph.text_inputs.prompts.get(SECOND, "")
    predictions: Mapping[str, tf.Tensor] = graph(graph.text_inputs.with_prompt(prompt)(inputs))
    return predictions


def _similarity(graph: Any, inputs: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
    predictions: Mapping[str, tf.Tensor] = graph(graph.text_inputs(inputs))
    return predictions
