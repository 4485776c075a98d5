"""The signature ``search`` of an exported model: from texts to the best rows of an index.

``k`` is given for each row, not once for a request. With batching, servers join the rows of several callers;
TensorFlow Serving then refuses an input without rows. In REST's row format, too, each row has its own values.
The outputs have ``most`` places whatever ``k`` is, so that their shapes do not depend on who shares a batch;
``count`` says how many are filled.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.index.graph import SearchGraph
from tfpipeline.index.stored import Index
from tfpipeline.index.strings import Strings
from tfpipeline.tasks.signature import TEXT, Input, Signature
from tfpipeline.training.text_embedding import EMBEDDING

SIGNATURE = "search"
_ROWS_AT_ONCE = 4


class SearchModule(tf.Module):
    """What a served search reads: the vectors, the ids, the texts and the kept columns.

    Args:
        index: the index.
        most: the largest k.
    """

    def __init__(self, index: Index, most: int) -> None:
        super().__init__(name=SIGNATURE)
        self.graph = SearchGraph(index.vectors, most, index.lists)
        columns = {"ids": index.ids, "texts": index.texts, **index.columns}
        # A list, because the name of a column may be any text, and that of a variable may not.
        self._names = list(columns)
        self.columns = [
            tf.Variable(_strings(column), trainable=False, name=f"column_{number}")
            for number, column in enumerate(columns.values())
        ]

    def __call__(self, queries: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """Search.

        Args:
            queries: float32 [B, D].
            k: int32 [B], 1 to ``most``.
        Returns:
            ``ids``, ``texts`` and the kept columns, string [B, most]; ``scores``, float32 [B, most]; and
            ``count``, int32 [B], how many of the places are filled: the first ones. The others hold "" and 0.
        """
        numbers, scores, found = self.graph(queries)
        count = tf.minimum(found, k)
        filled = tf.sequence_mask(count, self.graph.most)
        chosen = tf.where(filled, numbers, 0)
        # Static, because no operation keeps the width of a mask that is a constant.
        shape = [None, self.graph.most]
        filled, chosen = tf.ensure_shape(filled, shape), tf.ensure_shape(chosen, shape)
        outputs = {
            name: tf.where(filled, tf.gather(column.read_value(), chosen), "")
            for name, column in zip(self._names, self.columns)
        }
        return {**outputs, "scores": tf.where(filled, scores, 0.0), "count": count}


def search_signature(index: Index, most: int) -> Signature:
    """The signature ``search``.

    Args:
        index: the index.
        most: the largest k.
    """
    module = functools.cache(lambda: SearchModule(index, most))

    def function(graph: Any, inputs: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        return module()(_embedded(graph, inputs["text"]), inputs["k"])

    return Signature(
        {"text": TEXT, "k": Input("int32", least=1, most=most, examples=tuple(sorted({1, min(10, most)})))},
        function,
        resources=module,
        identity={"index": index.facts["content"], "most": most},
        expected=lambda graph, asked: _in_numpy(index, most, _vectors(graph, asked), asked["k"]),
        near_ties=lambda graph, asked, outputs, tolerance: _near_ties(
            index, _vectors(graph, asked), asked["k"], tolerance
        ),
    )


def facts(index: Index, most: int) -> dict[str, Any]:
    """The entry of a model card about an index."""
    kept = ("rows", "dimension", "precision", "lists", "probes", "recall", "columns", "created", "content")
    return {**{name: index.facts[name] for name in kept}, "data": index.facts["data"], "max_k": most}


def _embedded(graph: Any, texts: tf.Tensor) -> tf.Tensor:
    return graph(graph.text_inputs({"text": texts}))[EMBEDDING]


def _vectors(graph: Any, asked: Mapping[str, np.ndarray]) -> np.ndarray:
    """The vectors of queries from the trained model, float32 [N, D], a few at a time."""
    texts = asked["text"]
    parts = [
        _embedded(graph, tf.constant(texts[start : start + _ROWS_AT_ONCE])).numpy()
        for start in range(0, len(texts), _ROWS_AT_ONCE)
    ]
    return np.concatenate(parts)


def _in_numpy(index: Index, most: int, queries: np.ndarray, k: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of the signature, found without a graph."""
    numbers, scores, found = index.search(queries, most)
    shape = (len(queries), most)
    columns = {"ids": index.ids, "texts": index.texts, **index.columns}
    outputs: dict[str, np.ndarray] = {name: np.full(shape, b"", object) for name in columns}
    outputs.update(scores=np.zeros(shape, np.float32), count=np.minimum(found, k).astype(np.int32))
    for row, count in enumerate(outputs["count"]):
        outputs["scores"][row, :count] = scores[row, :count]
        for name, column in columns.items():
            outputs[name][row, :count] = [column.raw(int(number)) for number in numbers[row, :count]]
    return outputs


def _near_ties(index: Index, queries: np.ndarray, k: np.ndarray, tolerance: float) -> np.ndarray:
    """The rows in which two scores, or the distances of the last list and the next, differ by rounding."""
    ties = np.zeros(len(queries), bool)
    _, scores, found = index.search(queries, int(k.max(initial=1)) + 1)
    for row, count in enumerate(np.minimum(found, k + 1)):
        ties[row] = (np.diff(-scores[row, :count]) <= tolerance).any()
    lists = index.lists
    if lists is not None and lists.probes < len(lists.centroids):
        products = -np.sort(-(queries @ lists.centroids.T), axis=1)
        ties |= products[:, lists.probes - 1] - products[:, lists.probes] <= tolerance
    return ties


def _strings(column: Strings) -> tf.Tensor:
    # A variable has at least one row: an empty index is searched like any other.
    texts = [column.raw(row) for row in range(len(column))] or [b""]
    return tf.constant(texts, tf.string)
