"""One replica's share of the loss and gradients of a global batch: for its own rows, part by part.

A loss of single rows is computed for each part. A loss of the whole batch (:attr:`Task.batch_loss`) first
needs the head's outputs of all parts and all replicas. The outputs are computed and gathered. Every replica
computes the loss and its gradient with respect to the outputs, then propagates the gradient of its own rows
back through the model. No gradient passes through a collective operation, so nothing is counted twice. With
accumulation, the outputs are first computed in parts without keeping activations, then computed again, part
by part and with the same dropout masks, for backpropagation (GradCache: Gao et al. 2021, arXiv:2101.06983,
section 3).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfpipeline.models.inputs import encoder_inputs
from tfpipeline.models.kernels import Noise
from tfpipeline.tasks import Task
from tfpipeline.tasks.base import EXAMPLE_MASK, EXAMPLE_WEIGHTS, relative_weights
from tfpipeline.training.global_batch import (
    WEIGHTS,
    Tensors,
    gather_rows,
    join_rows,
    replica_slice,
    row_count,
    slice_rows,
)

LossAndGradients = tuple[tf.Tensor, list[tf.Tensor]]


class Gradients:
    """The common base of both kinds of loss.

    Args:
        model, task, optimizer, variables: as in :class:`tfpipeline.training.step.TrainStep`.
        replicas: the number of replicas of the strategy.
        parts: the number of parts of a replica's rows.
        seed: the seed of dropout.
        loss_dtype: the dtype of the sum of the losses.
        compiled: whether code on one device is compiled with XLA.
    """

    def __init__(
        self,
        model: keras.Model,
        task: Task,
        optimizer: keras.optimizers.Optimizer,
        variables: Sequence[keras.Variable],
        *,
        replicas: int,
        parts: int,
        seed: int,
        loss_dtype: tf.DType,
        compiled: bool,
    ) -> None:
        self._model, self._task, self._optimizer = model, task, optimizer
        self._variables = list(variables)
        self._replicas, self._parts, self._seed, self._loss_dtype = replicas, parts, seed, loss_dtype
        self._jit = _with_xla if compiled else _as_it_is

    def __call__(self, batch: Tensors, step: tf.Tensor) -> LossAndGradients:
        """The current replica's share of the loss and of the (scaled, dense) gradients: to be summed over
        replicas.

        Args:
            batch: the global batch, [B, ...]; ``example_weights`` are shares of the batch's total weight.
            step: number of steps done before.
        """
        raise NotImplementedError

    @contextlib.contextmanager
    def _tape(self) -> Iterator[tf.GradientTape]:
        """A tape that watches the trained variables only: no gradient is computed below the lowest one."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in self._variables])
            yield tape

    def _outputs(self, part: Mapping[str, tf.Tensor], step: tf.Tensor, first: tf.Tensor) -> Tensors:
        noise = Noise(seed=self._seed, step=step, first_example=first)
        outputs: Tensors = self._model(encoder_inputs(part), training=True, noise=noise)
        return outputs

    def _loss_of(self, losses: tf.Tensor, shares: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The weighted sum of losses, and the same multiplied by the loss scale."""
        loss = tf.reduce_sum(losses * tf.cast(shares, losses.dtype))
        return loss, loss * tf.cast(loss_scale(self._optimizer), loss.dtype)

    def _dense_gradients(
        self, tape: tf.GradientTape, of: Any, output_gradients: Any = None
    ) -> list[tf.Tensor]:
        gradients = tape.gradient(
            of,
            [variable.value for variable in self._variables],
            output_gradients=output_gradients,
            unconnected_gradients="zero",
        )
        # Dense, as clipping a sparse gradient with repeated rows would use a wrong norm.
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _sum_over_parts(
        self, tensors: Tensors, of_part: Callable[[Tensors, tf.Tensor], LossAndGradients]
    ) -> LossAndGradients:
        """The sum over parts of ``of_part``, which receives the part and the index of its first row."""
        size = row_count(tensors[WEIGHTS]) // self._parts

        def body(index: tf.Tensor, loss: tf.Tensor, sums: list[tf.Tensor]) -> Any:
            part = {name: slice_rows(tensor, index * size, size) for name, tensor in tensors.items()}
            more, gradients = of_part(part, index * size)
            return index + 1, loss + more, [a + b for a, b in zip(sums, gradients)]

        zeros = [tf.zeros(variable.shape, variable.dtype) for variable in self._variables]
        start = (tf.constant(0), tf.zeros([], self._loss_dtype), zeros)
        _, loss, gradients = tf.while_loop(
            lambda index, *_: index < self._parts, body, start, maximum_iterations=self._parts
        )
        return loss, gradients


class RowGradients(Gradients):
    """The gradients of a loss of single rows."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._own_rows = self._jit(self._sum)

    def __call__(self, batch: Tensors, step: tf.Tensor) -> LossAndGradients:
        own, first = replica_slice(batch, self._replicas)
        result: LossAndGradients = self._own_rows(own, step, first)
        return result

    def _sum(self, own: Tensors, step: tf.Tensor, first: tf.Tensor) -> LossAndGradients:
        if self._parts == 1:
            return self._part(own, step, first)
        return self._sum_over_parts(own, lambda part, start: self._part(part, step, first + start))

    def _part(self, part: Tensors, step: tf.Tensor, first: tf.Tensor) -> LossAndGradients:
        with self._tape() as tape:
            outputs = self._outputs(part, step, first)
            loss, scaled = self._loss_of(self._task.loss(outputs, part), part[WEIGHTS])
        return loss, self._dense_gradients(tape, scaled)


class BatchGradients(Gradients):
    """The gradients of a loss of the whole batch; see the module."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._outputs_of = self._jit(self._outputs)
        self._outputs_of_parts = self._jit(self._outputs_in_parts)
        self._loss_by_outputs = self._jit(self._by_outputs)
        self._back_in_parts = self._jit(self._backpropagate_in_parts)

    def __call__(self, batch: Tensors, step: tf.Tensor) -> LossAndGradients:
        own, first = replica_slice(batch, self._replicas)
        local = row_count(own[WEIGHTS])
        whole = self._parts == 1
        with self._tape() as tape:  # for outputs of a replica's rows in a single part
            outputs = self._outputs_of(own, step, first) if whole else {}
        if not whole:
            outputs = self._outputs_of_parts(own, step, first)
        losses, gradients = self._loss_by_outputs(gather_rows(outputs, self._replicas), batch)
        loss = tf.reduce_sum(slice_rows(losses, first, local))
        by_outputs = {name: slice_rows(gradient, first, local) for name, gradient in gradients.items()}
        if not whole:
            return loss, self._back_in_parts(own, by_outputs, step, first)
        names = sorted(by_outputs)
        return loss, self._dense_gradients(
            tape, [outputs[name] for name in names], [by_outputs[name] for name in names]
        )

    def _by_outputs(self, outputs: Tensors, batch: Tensors) -> tuple[tf.Tensor, Tensors]:
        """Each row's share of the loss, [B], and the gradient of the (scaled) sum with respect to the
        outputs, [B, ...] each.
        """
        floats = {name: tensor for name, tensor in outputs.items() if tensor.dtype.is_floating}
        with tf.GradientTape() as tape:
            tape.watch(floats)
            losses = whole_batch_losses(self._task, outputs, batch)
            shares = losses * tf.cast(batch[WEIGHTS], losses.dtype)
            total = tf.reduce_sum(shares)
            scaled = total * tf.cast(loss_scale(self._optimizer), total.dtype)
        gradients: Tensors = tape.gradient(scaled, floats, unconnected_gradients="zero")
        return shares, gradients

    def _outputs_in_parts(self, own: Tensors, step: tf.Tensor, first: tf.Tensor) -> Tensors:
        """The outputs of a replica's rows, part by part."""
        size, inputs = row_count(own[WEIGHTS]) // self._parts, encoder_inputs(own)

        def outputs_of(index: Any) -> Tensors:
            part = {name: slice_rows(value, index * size, size) for name, value in inputs.items()}
            return self._outputs(part, step, first + index * size)

        # The names and shapes of the outputs are known after the first part.
        begun = outputs_of(0)
        names = sorted(begun)
        arrays = [
            tf.TensorArray(begun[name].dtype, self._parts, element_shape=begun[name].shape).write(
                0, begun[name]
            )
            for name in names
        ]

        def body(index: tf.Tensor, arrays: list[tf.TensorArray]) -> Any:
            outputs = outputs_of(index)
            return index + 1, [array.write(index, outputs[name]) for name, array in zip(names, arrays)]

        _, arrays = tf.while_loop(
            lambda index, _: index < self._parts,
            body,
            (tf.constant(1), arrays),
            maximum_iterations=self._parts - 1,
        )
        return {name: join_rows(array.stack()) for name, array in zip(names, arrays)}

    def _backpropagate_in_parts(
        self, own: Tensors, by_outputs: Tensors, step: tf.Tensor, first: tf.Tensor
    ) -> list[tf.Tensor]:
        names = sorted(by_outputs)
        # One dict for everything that is divided into parts; "/" keeps the names of gradients apart from
        # those of inputs.
        prefixed = {f"/gradient/{name}": by_outputs[name] for name in names}

        def of_part(part: Tensors, start: tf.Tensor) -> LossAndGradients:
            with self._tape() as tape:
                outputs = self._outputs(part, step, first + start)
                targets = [outputs[name] for name in names]
            given = [part[f"/gradient/{name}"] for name in names]
            return tf.zeros([], self._loss_dtype), self._dense_gradients(tape, targets, given)

        inputs = {**encoder_inputs(own), WEIGHTS: own[WEIGHTS]}
        return self._sum_over_parts({**inputs, **prefixed}, of_part)[1]


def whole_batch_losses(
    task: Task, outputs: Mapping[str, tf.Tensor], batch: Mapping[str, tf.Tensor]
) -> tf.Tensor:
    """The losses [B] of a task with :attr:`Task.batch_loss`; 0 for rows of weight 0, whatever the task
    returns for them.

    Args:
        outputs: the outputs of the head for the whole batch, [B, ...] each.
        batch: inputs, targets and ``example_weights``, [B, ...] each.
    """
    counted = batch[WEIGHTS] > 0
    relative = relative_weights(batch[WEIGHTS])
    losses = task.loss(outputs, {**batch, EXAMPLE_MASK: counted, EXAMPLE_WEIGHTS: relative})
    return tf.where(counted, losses, tf.zeros([], losses.dtype))


def loss_scale(optimizer: keras.optimizers.Optimizer) -> Any:
    """The factor on the loss that keeps 16-bit gradients from vanishing; 1 without loss scaling."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer.dynamic_scale.value
    return 1.0


def _with_xla(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = tf.function(function, jit_compile=True, autograph=False)
    return compiled


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
