"""A model's predictions for a whole data set, in the order of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.console import progress
from tfpipeline.data import Example, TokenCache, batch_width, evaluation_batches
from tfpipeline.errors import UserError
from tfpipeline.metrics.intervals import means
from tfpipeline.tasks import Task
from tfpipeline.tasks.scorer import Embed
from tfpipeline.training.augmentation import Augmentation
from tfpipeline.training.global_batch import WEIGHTS, numeric_targets, pad_batch, replica_slice
from tfpipeline.training.gradients import whole_batch_losses
from tfpipeline.training.prediction_graph import PredictionGraph

# Row numbers, the model's outputs, the other inputs of the predictions, the whole batch: each [B, ...].
See = Callable[
    [np.ndarray, Mapping[str, tf.Tensor], Mapping[str, tf.Tensor], Mapping[str, tf.Tensor]], object
]


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for N rows.

    Attributes:
        predictions: the task's ``scored_predictions``, each [N, ...].
        losses: float32 [N].
        terms: float32 [N], the number of terms that each loss is the mean of (``Task.loss_terms``); None if
            every row counts alike.
    """

    predictions: Mapping[str, np.ndarray]
    losses: np.ndarray
    terms: np.ndarray | None = None

    def completed(
        self, task: Task, targets: Mapping[str, np.ndarray], embed: Embed | None = None
    ) -> Predictions:
        """These with what follows from all rows together; see :meth:`Scorer.complete`."""
        complete = task.scorer.complete(self.predictions, targets, embed)
        return Predictions(complete, self.losses, self.terms)

    def scores(self, task: Task, targets: Mapping[str, np.ndarray], weights: np.ndarray) -> dict[str, float]:
        """The weighted mean ``loss`` and the task's metrics."""
        if not (weights > 0).any():
            raise UserError("there is nothing to score: no row has a weight above 0; check the weight column")
        of_losses = self._weights_of_losses(weights)
        if not (of_losses > 0).any():
            raise UserError(
                "there is nothing to score: no row has anything that the model could predict; check the rows"
            )
        return {
            "loss": float(np.average(self.losses, weights=of_losses)),
            **task.scorer.metrics(self.completed(task, targets).predictions, targets, weights),
        }

    def intervals(
        self, task: Task, targets: Mapping[str, np.ndarray], weights: np.ndarray
    ) -> dict[str, tuple[float, float]]:
        """95 % confidence intervals of the ``loss`` and of some of the task's metrics."""
        of_losses = self._weights_of_losses(weights)
        counted = of_losses > 0
        return {
            **means({"loss": self.losses[counted]}, of_losses[counted]),
            **task.scorer.intervals(self.completed(task, targets).predictions, targets, weights),
        }

    def _weights_of_losses(self, weights: np.ndarray) -> np.ndarray:
        return weights if self.terms is None else weights * self.terms


class Inference:
    """Runs a model on the rows of token caches; batches are divided among the replicas of a strategy.

    Args:
        graph: a prediction graph whose model was built in the scope of ``strategy``.
        batch_size: rows per batch, over all replicas.
        strategy: the strategy; by default the one whose scope is active.
        widths: if given, batches have only these widths and the same size, as XLA and TPUs require; otherwise
            one trace covers all sizes and widths.
    """

    def __init__(
        self,
        graph: PredictionGraph,
        batch_size: int = 64,
        strategy: tf.distribute.Strategy | None = None,
        widths: list[int] | None = None,
    ) -> None:
        self._strategy = strategy or tf.distribute.get_strategy()
        replicas = self._replicas = self._strategy.num_replicas_in_sync
        task = self._task = graph.task
        # A loss of whole batches depends on which rows share a batch, so the batch size must not depend on
        # the number of replicas.
        self.batch_size = batch_size if task.batch_loss else batch_size + -batch_size % replicas
        self._text_inputs, self._widths = graph.text_inputs, widths
        augmentation = Augmentation(task, graph.text_inputs.tokenizer)

        def replica(
            batch: dict[str, tf.Tensor], decoding: bool
        ) -> tuple[Mapping[str, tf.Tensor], Mapping[str, tf.Tensor]]:
            own, _ = replica_slice(batch, replicas)
            call = graph.call(own)
            decoded = task.decode(call) if decoding else call.outputs
            if task.batch_loss:
                return decoded, call.outputs
            outputs = graph.confidence.calibrated(task, decoded)
            for_loss = outputs if graph.confidence.temperatures else call.outputs
            return outputs, {"losses": task.loss(for_loss, own)}

        @tf.function(reduce_retracing=True, autograph=False)
        def forward(
            batch: dict[str, tf.Tensor], rows: tf.Tensor, decoding: bool
        ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], dict[str, tf.Tensor]]:
            batch, inputs = augmentation.evaluate(batch, rows)
            outputs, for_loss = self._strategy.run(replica, args=(batch, decoding))
            if replicas > 1:
                outputs, for_loss = (
                    {name: self._strategy.gather(value, axis=0) for name, value in tensors.items()}
                    for tensors in (outputs, for_loss)
                )
            losses = whole_batch_losses(task, for_loss, batch) if task.batch_loss else for_loss["losses"]
            terms = task.loss_terms(batch)
            found = {"losses": losses} if terms is None else {"losses": losses, "terms": terms}
            return outputs, {name: tf.cast(tensor, tf.float32) for name, tensor in found.items()}, inputs

        # Predictions may be strings, which accelerators do not support.
        @tf.function(reduce_retracing=True, autograph=False)
        def predict(outputs: dict[str, tf.Tensor], inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return task.scored_predictions(outputs, inputs)

        self._forward, self._predict = forward, predict
        self._strings: dict[bytes, bytes] = {}
        self._traced = False

    def __call__(
        self,
        examples: Sequence[Example],
        cache: TokenCache,
        targets: Mapping[str, np.ndarray],
        title: str,
        weights: np.ndarray | None = None,
        see: See | None = None,
        decode: int | None = None,
    ) -> Predictions:
        """Predict every row, showing progress under ``title``.

        Args:
            examples: the rows.
            cache: their tokens.
            targets: the targets of the rows, as the task defines them.
            title: the title of the progress display.
            weights: the weights of the rows, [N]; only a loss of whole batches reads them. By default all
                are 1.
            see: called with each batch.
            decode: call :meth:`Task.decode` for this many rows at most, spread evenly over the data set and
                always the same ones. The predictions of the others are made from one call of the model. By
                default all rows are decoded.
        """
        weights = np.ones(len(cache.lengths)) if weights is None else weights
        self._strings.clear()
        size = len(cache.lengths)
        # Each batch is written to its rows' positions in the result, so only one copy of the predictions,
        # which may be large, is held.
        joined: dict[str, np.ndarray] = {}
        found: dict[str, np.ndarray] = {"losses": np.empty(size, np.float32)}
        note = "" if self._traced else "compiling the model"
        with progress(title, size, note=note) as bar:
            # Rows of a batch may be each other's negatives: of like lengths, they would be unlike others.
            by_length = not self._task.batch_loss
            for rows, decoding in self._batches(cache.lengths, decode, by_length=by_length):
                predictions, losses = self._batch(examples, cache, targets, weights, rows, see, decoding)
                for name, array in predictions.items():
                    if name not in joined:
                        joined[name] = np.empty((size, *array.shape[1:]), array.dtype)
                    joined[name][rows] = array
                for name, array in losses.items():
                    found.setdefault(name, np.empty(size, np.float32))[rows] = array
                self._traced = True
                bar.advance(len(rows))
        return Predictions(joined, **found)

    def _batches(
        self, lengths: np.ndarray, decode: int | None, *, by_length: bool
    ) -> Iterator[tuple[np.ndarray, bool]]:
        """The batches, and whether they are decoded."""
        size = len(lengths)
        if decode is None or decode >= size:
            parts = [(np.arange(size), True)]
        else:
            sample = np.arange(decode) * size // max(decode, 1)
            parts = [(sample, True), (np.setdiff1d(np.arange(size), sample), False)]
        for part, decoding in parts:
            for rows in evaluation_batches(lengths[part], self.batch_size, by_length=by_length):
                yield part[rows], decoding

    def _batch(
        self,
        examples: Sequence[Example],
        cache: TokenCache,
        targets: Mapping[str, np.ndarray],
        weights: np.ndarray,
        rows: np.ndarray,
        see: See | None,
        decoding: bool,
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        width = None
        if self._widths:
            widths = self._widths
            width = cache.widths(rows, lambda longest: batch_width(longest, cache.max_length, widths))
        batch = {
            **cache.batch(rows, width=width),
            **{name: array[rows] for name, array in numeric_targets(targets).items()},
            WEIGHTS: weights[rows].astype(np.float32),
        }
        batch = pad_batch(batch, self._replicas, self.batch_size if self._widths else 0)
        padding = len(batch[WEIGHTS]) - len(rows)
        outputs, losses, augmented = self._forward(
            {name: tf.constant(array) for name, array in batch.items()},
            tf.constant(np.pad(rows, (0, padding)), tf.int64),
            decoding,
        )
        texts: dict[str, Any] = {}
        if self._text_inputs.offsets:
            texts = _texts([examples[int(row)] for row in rows], len(batch[WEIGHTS]))
        inputs = {**self._text_inputs.join(batch, texts), **augmented}
        real = len(rows)
        with tf.device("/cpu:0"):
            asked = {name: tf.constant(array) for name, array in inputs.items()}
            predictions = self._predict(outputs, asked)
            if see is not None:
                seen = {name: tf.constant(array[:real]) for name, array in batch.items()}
                see(rows, _first(real, outputs), _first(real, asked), seen)
        arrays = {name: self._interned(tensor.numpy()[:real]) for name, tensor in predictions.items()}
        return arrays, {name: tensor.numpy()[:real] for name, tensor in losses.items()}

    def _interned(self, array: np.ndarray) -> np.ndarray:
        """Store equal strings once: TensorFlow returns a separate object for every cell."""
        if array.dtype != object:
            return array
        known = self._strings
        same = np.empty(array.size, object)
        for index, value in enumerate(array.flat):
            same[index] = known.setdefault(value, value)
        return same.reshape(array.shape)


def _first(rows: int, tensors: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {name: tensor[:rows] for name, tensor in tensors.items()}


def _texts(examples: Sequence[Example], size: int) -> dict[str, np.ndarray]:
    """The texts of a batch as bytes, padded with empty texts to ``size`` rows."""
    empty = [b""] * (size - len(examples))
    texts = {"text": np.array([*(example.text.encode() for example in examples), *empty], object)}
    if examples[0].text_pair is not None:
        second = [(example.text_pair or "").encode() for example in examples]
        texts["text_pair"] = np.array([*second, *empty], object)
    return texts
