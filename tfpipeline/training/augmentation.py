"""Inputs that a task changes at random, in training and in evaluation (:meth:`Task.augment`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfpipeline.data.text_names import joined
from tfpipeline.models.inputs import by_text, encoder_inputs
from tfpipeline.models.row_noise import RowNoise
from tfpipeline.tasks import Task
from tfpipeline.text import Tokenizer
from tfpipeline.text.vocabulary import special_token_ids
from tfpipeline.training.global_batch import WEIGHTS, Tensors, row_count

SPECIAL = "special_tokens_mask"
# The step of all evaluations, for any seed of the run; no training step has this number.
EVALUATION_SEED, EVALUATION_STEP = 0, -1


class Augmentation:
    """Changes batches as a task says.

    Args:
        task: the task.
        tokenizer: the run's tokenizer; needed only by tasks that augment.
    """

    def __init__(self, task: Task, tokenizer: Tokenizer | None) -> None:
        self._task, self._tokenizer = task, tokenizer
        if task.augments and tokenizer is None:
            raise ValueError(f"{type(task).__name__} augments its inputs, so a tokenizer must be given")

    def train(self, batch: Mapping[str, tf.Tensor], seed: int, step: tf.Tensor) -> Tensors:
        """Change the global batch of a training step. A row's number is its index in the batch.

        Args:
            batch: inputs, targets and ``example_weights``, [B, ...] each.
            seed: the run's seed.
            step: number of steps done before.
        """
        if not self._task.augments:
            return dict(batch)
        rows = tf.range(tf.cast(row_count(batch[WEIGHTS]), tf.int64))
        return self._change(batch, RowNoise(seed, step, rows))[0]

    def evaluate(self, batch: Mapping[str, tf.Tensor], rows: tf.Tensor) -> tuple[Tensors, Tensors]:
        """Change a batch of an evaluation, always in the same way.

        Args:
            batch: as for :meth:`train`.
            rows: int64 [B], the number of each row in its data set.
        Returns:
            The batch, and the task's inputs in it.
        """
        if not self._task.augments:
            return dict(batch), {}
        return self._change(batch, RowNoise(EVALUATION_SEED, EVALUATION_STEP, rows))

    def _change(self, batch: Mapping[str, tf.Tensor], noise: RowNoise) -> tuple[Tensors, Tensors]:
        tokenizer: Any = self._tokenizer
        inputs = encoder_inputs(batch)
        names = tuple(inputs)
        others = {name: tensor for name, tensor in batch.items() if name not in (*names, WEIGHTS)}
        ids = tf.constant(special_token_ids(tokenizer.vocabulary, tokenizer.options), tf.int32)
        inputs |= joined({text: {SPECIAL: _is_special(own, ids)} for text, own in by_text(inputs).items()})
        changed, targets = self._task.augment(inputs, others, noise, tokenizer)
        missing = [name for name in names if name not in changed]
        if missing:
            raise ValueError(f"{type(self._task).__name__}.augment returned no {', '.join(missing)}")
        return {**batch, **targets, **changed}, dict(changed)


def _is_special(sequence: Mapping[str, tf.Tensor], ids: tf.Tensor) -> tf.Tensor:
    """Whether each token is a special token, including padding: bool [B, T]."""
    special = tf.reduce_any(sequence["input_ids"][..., None] == ids, axis=-1)
    return special | (sequence["attention_mask"] == 0)
