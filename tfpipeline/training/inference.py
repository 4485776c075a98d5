"""A model's answers to a whole data set, in the order of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfpipeline.console import progress
from tfpipeline.data import TokenCache, evaluation_batches, original_order
from tfpipeline.tasks import Task
from tfpipeline.training.step import INPUTS


@dataclass(frozen=True)
class Answers:
    """What a model says of N rows.

    Attributes:
        answers: the task's finished answers, each [N, ...].
        losses: float32 [N].
    """

    answers: Mapping[str, np.ndarray]
    losses: np.ndarray

    def scores(self, task: Task, targets: Mapping[str, np.ndarray], weights: np.ndarray) -> dict[str, float]:
        """The weighted mean ``loss`` and the task's metrics."""
        return {
            "loss": float(np.average(self.losses, weights=weights)),
            **task.metrics(self.answers, targets, weights),
        }


class Inference:
    """Runs a model over token caches; traced once, for every batch size and width."""

    def __init__(self, model: keras.Model, task: Task, batch_size: int = 64) -> None:
        self.batch_size = batch_size

        @tf.function(reduce_retracing=True, autograph=False)
        def answer(
            inputs: dict[str, tf.Tensor], targets: dict[str, tf.Tensor]
        ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            outputs = model(inputs, training=False)
            return task.answers(outputs), tf.cast(task.loss(outputs, targets), tf.float32)

        self._answer = answer

    def __call__(self, cache: TokenCache, targets: Mapping[str, np.ndarray], title: str) -> Answers:
        """Answer every row of ``cache``, showing progress under ``title``."""
        parts: list[tuple[dict[str, np.ndarray], np.ndarray]] = []
        batches = evaluation_batches(cache.lengths, self.batch_size)
        with progress(title, len(cache.lengths)) as bar:
            for rows in batches:
                batch = cache.batch(rows)
                answers, losses = self._answer(
                    {name: tf.constant(batch[name]) for name in INPUTS},
                    {name: tf.constant(array[rows]) for name, array in targets.items()},
                )
                parts.append(({name: tensor.numpy() for name, tensor in answers.items()}, losses.numpy()))
                bar.advance(len(rows))
        back = original_order(batches)
        joined = {name: np.concatenate([answers[name] for answers, _ in parts])[back] for name in parts[0][0]}
        return Answers(joined, np.concatenate([losses for _, losses in parts])[back])
