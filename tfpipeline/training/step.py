"""One training step under any tf.distribute strategy, exact by construction.

Every replica is handed the global batch and takes its own slice, so the division of work is arithmetic on
the replica's index. The loss is the sum of weighted losses per example over the weights of the *global*
batch; gradients are summed over the parts of a batch (accumulation) and over replicas, then clipped, then
applied; dropout masks depend on an example's place in the global batch. The result is therefore that of one
device, whatever the number of replicas and parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpipeline.models.inputs import encoder_inputs
from tfpipeline.models.kernels import Noise
from tfpipeline.tasks import Task
from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.strategy import is_tpu

WEIGHTS = "example_weights"

Batch = Mapping[str, np.ndarray]
Tensors = dict[str, tf.Tensor]


def pad_batch(batch: Batch, multiple: int, size: int = 0) -> dict[str, np.ndarray]:
    """Repeat the first example with weight 0 until the batch divides by ``multiple`` and has ``size`` examples."""
    rows = len(batch[WEIGHTS])
    extra = max(size, rows + -rows % multiple) - rows
    if not extra:
        return dict(batch)
    filled = {name: np.concatenate([array, np.repeat(array[:1], extra, 0)]) for name, array in batch.items()}
    filled[WEIGHTS][rows:] = 0
    return filled


def numeric_targets(targets: Batch) -> dict[str, np.ndarray]:
    """Those of a task's targets that are numbers; objects are for its metrics alone."""
    return {name: array for name, array in targets.items() if array.dtype != object}


class TrainStep:
    """Trains on global batches; see the module.

    Args:
        variables: those to train; by default all that are trainable.
        static: compile with XLA; then batches must have one size and few widths, as each shape is compiled.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: keras.Model,
        task: Task,
        optimizer: keras.optimizers.Optimizer,
        options: TrainingOptions,
        variables: Sequence[keras.Variable] | None = None,
        *,
        static: bool = False,
    ) -> None:
        self._strategy, self._model, self._task = strategy, model, task
        self._optimizer, self._options = optimizer, options
        self._variables = list(model.trainable_variables if variables is None else variables)
        self._replicas = strategy.num_replicas_in_sync
        self._parts = options.accumulation
        self._static = static
        # A TPU compiles whatever it is given; elsewhere it has to be asked for, and only what is on one device.
        compile_here = static and not is_tpu(strategy)
        self._gradients = (
            tf.function(self._sum_gradients, jit_compile=True, autograph=False)
            if compile_here
            else self._sum_gradients
        )
        self._compiled: dict[Any, Callable[[Tensors, tf.Tensor, tf.Tensor], Tensors]] = {}

    @property
    def is_traced(self) -> bool:
        """Whether the next step is likely to begin at once: one has been traced, and perhaps compiled."""
        return bool(self._compiled)

    def __call__(self, batch: Batch, step: int) -> Tensors:
        """Train on one batch.

        Args:
            batch: the encoder's inputs (int32 [B, T]), the task's targets ([B, ...]) and ``example_weights``
                (floats [B]).
            step: steps done before, over the whole run.
        Returns:
            Scalars, not yet read from the device: ``loss`` (the weighted mean over the global batch) and
            ``gradient_norm`` (before clipping).
        """
        return {name: tensor[0] for name, tensor in self.many([batch], step).items()}

    def many(self, batches: Sequence[Batch], step: int, *, stop: bool = False) -> Tensors:
        """Train on several batches of one shape, without returning to Python in between.

        Args:
            stop: whether this process wants to stop.
        Returns:
            ``loss`` and ``gradient_norm``, [K], and ``stop``, [K]: how many processes want to.
        """
        filled = [pad_batch(batch, self._replicas * self._parts) for batch in batches]
        stacked = {name: self._as_loss(np.stack([batch[name] for batch in filled])) for name in filled[0]}
        # One trace for every batch size and width, or one for each where shapes must be known.
        shapes = {
            name: array.shape if self._static else (len(filled), *[None] * (array.ndim - 1))
            for name, array in stacked.items()
        }
        key = tuple(shapes.values())
        if key not in self._compiled:
            signature = {name: tf.TensorSpec(shapes[name], array.dtype) for name, array in stacked.items()}
            self._compiled[key] = tf.function(
                self._steps,
                input_signature=[signature, tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.int32)],
                autograph=False,
            )
        return self._compiled[key](
            {name: tf.constant(array) for name, array in stacked.items()},
            tf.constant(step, tf.int64),
            tf.constant(int(stop), tf.int32),
        )

    def _steps(self, batches: Tensors, step: tf.Tensor, stop: tf.Tensor) -> Tensors:
        """The graph: one ``strategy.run`` a batch."""
        count = batches[WEIGHTS].shape[0]
        if count == 1:
            return self._one({name: tensor[0] for name, tensor in batches.items()}, step, stop)
        if self._replicas > 1 and not is_tpu(self._strategy):
            # Unrolled: what a loop around MirroredStrategy's replicas returns is lost (TensorFlow 2.21).
            results = [
                self._one({name: tensor[index] for name, tensor in batches.items()}, step + index, stop)
                for index in range(count)
            ]
            return {name: tf.concat([result[name] for result in results], 0) for name in results[0]}
        dtypes = {"loss": self._loss_dtype(), "gradient_norm": self._loss_dtype(), "stop": tf.int32}

        def body(index: tf.Tensor, found: Tensors) -> Any:
            batch = {name: tensor[index] for name, tensor in batches.items()}
            result = self._one(batch, step + tf.cast(index, tf.int64), stop)
            here = tf.range(count) == index
            return index + 1, {name: tf.where(here, result[name], found[name]) for name in found}

        start = {name: tf.zeros([count], dtype) for name, dtype in dtypes.items()}
        _, found = tf.while_loop(
            lambda index, _: index < count, body, (tf.constant(0), start), maximum_iterations=count
        )
        return found

    def _one(self, batch: Tensors, step: tf.Tensor, stop: tf.Tensor) -> Tensors:
        found = self._strategy.run(self._replica_step, args=(batch, step, stop))
        return {
            name: self._strategy.experimental_local_results(value)[0][None] for name, value in found.items()
        }

    def _replica_step(self, batch: Tensors, step: tf.Tensor, stop: tf.Tensor) -> Tensors:
        """What one replica does with a global batch."""
        context = tf.distribute.get_replica_context()
        replicas, optimizer = self._replicas, self._optimizer
        rows = batch[WEIGHTS].shape[0]
        local = (tf.shape(batch[WEIGHTS])[0] if rows is None else rows) // replicas
        first = tf.cast(context.replica_id_in_sync_group, tf.int32) * local
        # A batch whose weights are all 0 has the loss 0, not NaN.
        share = tf.math.divide_no_nan(batch[WEIGHTS], tf.reduce_sum(batch[WEIGHTS]))
        mine = {name: slice_rows(tensor, first, local) for name, tensor in {**batch, WEIGHTS: share}.items()}
        loss, gradients = self._gradients(mine, step, first)
        if replicas > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            loss = context.all_reduce(tf.distribute.ReduceOp.SUM, loss)
            stop = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(stop))
        scale = loss_scale(optimizer)
        norm = tf.linalg.global_norm(gradients) / tf.cast(scale, gradients[0].dtype)
        if self._options.clip_norm is not None:
            factor = self._options.clip_norm / tf.maximum(norm, self._options.clip_norm)
            gradients = [gradient * tf.cast(factor, gradient.dtype) for gradient in gradients]
        # Keras sums over replicas once more when it applies; equal terms of 1/replicas undo that.
        if replicas > 1:
            gradients = [gradient / replicas for gradient in gradients]
        optimizer.apply(gradients, self._variables)
        return {"loss": loss, "gradient_norm": norm, "stop": stop}

    def _sum_gradients(
        self, mine: Tensors, step: tf.Tensor, first: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Loss and (scaled) gradients of a replica's examples; ``example_weights`` are shares of the batch's."""
        if self._parts == 1:
            return self._part(mine, step, first)
        rows = mine[WEIGHTS].shape[0]
        size = (tf.shape(mine[WEIGHTS])[0] if rows is None else rows) // self._parts

        def body(index: tf.Tensor, loss: tf.Tensor, sums: list[tf.Tensor]) -> Any:
            part = {name: slice_rows(tensor, index * size, size) for name, tensor in mine.items()}
            more, gradients = self._part(part, step, first + index * size)
            return index + 1, loss + more, [a + b for a, b in zip(sums, gradients)]

        zeros = [tf.zeros(variable.shape, variable.dtype) for variable in self._variables]
        start = (tf.constant(0), tf.zeros([], self._loss_dtype()), zeros)
        _, loss, gradients = tf.while_loop(
            lambda index, *_: index < self._parts, body, start, maximum_iterations=self._parts
        )
        return loss, gradients

    def _part(self, part: Tensors, step: tf.Tensor, first: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        noise = Noise(seed=self._options.seed, step=step, first_example=first)
        with tf.GradientTape() as tape:
            outputs = self._model(encoder_inputs(part), training=True, noise=noise)
            losses = self._task.loss(outputs, part)
            loss = tf.reduce_sum(losses * tf.cast(part[WEIGHTS], losses.dtype))
            scaled = loss * tf.cast(loss_scale(self._optimizer), loss.dtype)
        gradients = tape.gradient(
            scaled, [variable.value for variable in self._variables], unconnected_gradients="zero"
        )
        # Dense, as clipping a sparse gradient with repeated rows would use a wrong norm.
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _loss_dtype(self) -> tf.DType:
        return tf.float64 if self._options.precision == "float64" else tf.float32

    def _as_loss(self, array: np.ndarray) -> np.ndarray:
        """Weights and targets that are fractions in the loss's dtype; others as they are."""
        return array.astype(self._loss_dtype().as_numpy_dtype) if array.dtype.kind == "f" else array


def loss_scale(optimizer: keras.optimizers.Optimizer) -> Any:
    """What the loss is multiplied by so that 16-bit gradients do not vanish; 1 without loss scaling."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer.dynamic_scale.value
    return 1.0


def slice_rows(tensor: tf.Tensor, start: Any, size: Any) -> tf.Tensor:
    """``tensor[start : start + size]``, its size known to XLA when it is a number here."""
    rest = tensor.shape.rank - 1
    return tf.slice(tensor, tf.stack([start, *[0] * rest]), tf.stack([size, *[-1] * rest]))
