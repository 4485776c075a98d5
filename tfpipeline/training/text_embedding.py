"""Embeds many texts with a trained model, as it embeds them when it is served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfpipeline.console import progress
from tfpipeline.data.text_names import TEXT, TEXT_PAIR
from tfpipeline.errors import UserError
from tfpipeline.models.inputs import INPUTS
from tfpipeline.training.prediction_graph import PredictionGraph

Prompt = Literal["query", "document"]
EMBEDDING = "embedding"
_TEXT_OF: Mapping[str, str] = {"query": TEXT, "document": TEXT_PAIR}
_BATCH = 32
_PIECE = 4096  # texts that are tokenized and sorted by length together


class TextEmbedder:
    """The vectors that a model predicts for texts.

    Args:
        graph: the model, the task and the tokenizer.
        name: the model's, for messages.
        prompt: whose prompt the texts get: a "query"'s or a "document"'s.
    Raises:
        UserError: the task predicts no vectors.

    Attributes:
        dimension: D, the numbers of a vector.
    """

    def __init__(self, graph: PredictionGraph, name: str, prompt: Prompt) -> None:
        own = graph.text_inputs
        self._text_inputs = own.with_prompt(own.prompts.get(_TEXT_OF[prompt], ""))
        specs = {name: tf.TensorSpec([None, None], tf.int32) for name in INPUTS}

        def embed(inputs: dict[str, tf.Tensor]) -> Any:
            return graph(inputs).get(EMBEDDING)

        # Texts that have offsets or a second text are those of tasks that predict no vectors.
        if own.names != (TEXT,) or own.offsets:
            raise _no_vectors(graph, name)
        self._embed = tf.function(embed, input_signature=[specs], autograph=False).get_concrete_function()
        if self._embed.structured_outputs is None:
            raise _no_vectors(graph, name)
        self.dimension = int(self._embed.structured_outputs.shape[1])

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors of texts, in order, float32 [N, D].

        Texts of similar lengths share a batch; the same texts in the same order always give the same bits.
        """
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for start in range(0, len(texts), _PIECE):
            tokens = self._text_inputs({TEXT: list(texts[start : start + _PIECE])})
            for rows, batch in batches_by_length(tokens):
                vectors[start + rows] = self._embed(batch).numpy()
        return vectors


def batches_by_length(tokens: Mapping[str, tf.Tensor]) -> Iterator[tuple[np.ndarray, dict[str, tf.Tensor]]]:
    """Divide the tokens of many texts, [N, T] each, into batches of similar lengths.

    Yields:
        The numbers of a batch's rows, and their tokens, as wide as the longest of them.
    """
    arrays = {name: tokens[name].numpy() for name in INPUTS}
    lengths = arrays["attention_mask"].sum(axis=1)
    # The longest first: memory runs out at once or never.
    order = np.argsort(-lengths, kind="stable")
    for first in range(0, len(order), _BATCH):
        rows = order[first : first + _BATCH]
        width = int(lengths[rows].max())
        yield rows, {name: tf.constant(array[rows, :width]) for name, array in arrays.items()}


def _no_vectors(graph: PredictionGraph, name: str) -> UserError:
    return UserError(
        f"{name} is of the task {graph.task.options.name}, which predicts no vectors; use a run of the task "
        "similarity, or a checkpoint of sentence-transformers"
    )


def embed_all(embedder: TextEmbedder, texts: Sequence[str], title: str) -> np.ndarray:
    """The vectors of many texts, float32 [N, D], with progress under ``title``."""
    vectors = np.empty((len(texts), embedder.dimension), np.float32)
    with progress(title, len(texts)) as bar:
        for start in range(0, len(texts), _PIECE):
            piece = texts[start : start + _PIECE]
            vectors[start : start + _PIECE] = embedder(piece)
            bar.advance(len(piece))
    return vectors
