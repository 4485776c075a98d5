"""One training step under any tf.distribute strategy, exact by construction.

Every replica receives the global batch and takes its own slice by its index. The loss is the sum of the
examples' weighted losses, divided by the sum of the weights of the *global* batch. Gradients are summed over
the parts of a batch (accumulation) and over replicas, then clipped, then applied. Dropout masks depend on an
example's index in the global batch. The result is therefore that of one device, for any number of replicas
and parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpipeline._tensorflow_internals import forget_custom_gradients
from tfpipeline.models.peft import Adaptation
from tfpipeline.tasks import Task
from tfpipeline.text import Tokenizer
from tfpipeline.training.augmentation import Augmentation
from tfpipeline.training.global_batch import WEIGHTS, Batch, Tensors, pad_batch
from tfpipeline.training.gradients import BatchGradients, RowGradients, loss_scale
from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.strategy import is_tpu


class TrainStep:
    """Trains on global batches; see the module.

    Args:
        variables: the variables to train; by default all trainable ones.
        static: compile with XLA. Batches must then have one size and few widths, because each shape is
            compiled.
        tokenizer: the tokenizer of the run, for a task that augments its inputs.
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
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self._strategy, self._model, self._task = strategy, model, task
        self._optimizer, self._options = optimizer, options
        self._variables = list(model.trainable_variables if variables is None else variables)
        self._adaptation: Adaptation | None = getattr(model, "adaptation", None)
        self._replicas = strategy.num_replicas_in_sync
        self._parts = options.accumulation
        self._static = static
        self._augmentation = Augmentation(task, tokenizer)
        # A TPU always compiles. Elsewhere compilation must be requested, and only code on a single device can
        # be compiled.
        compile_here = static and not is_tpu(strategy)
        kind = BatchGradients if task.batch_loss else RowGradients
        self._gradients = kind(
            model,
            task,
            optimizer,
            self._variables,
            replicas=self._replicas,
            parts=self._parts,
            seed=options.seed,
            loss_dtype=self._loss_dtype(),
            compiled=compile_here,
        )
        self._compiled: dict[Any, Callable[[Tensors, tf.Tensor, tf.Tensor], Tensors]] = {}

    @property
    def is_traced(self) -> bool:
        """Whether the next step is likely to start at once, because one has been traced, and perhaps
        compiled.
        """
        return bool(self._compiled)

    def __call__(self, batch: Batch, step: int) -> Tensors:
        """Train on one batch.

        Args:
            batch: the encoder's inputs (int32 [B, T]), the task's targets ([B, ...]) and ``example_weights``
                (floats [B]).
            step: number of steps done before, in the whole run.
        Returns:
            Scalars, not yet read from the device: ``loss`` (the weighted mean over the global batch),
            ``weight`` (the sum of the weights of its terms) and ``gradient_norm`` (before clipping).
        """
        return {name: tensor[0] for name, tensor in self.many([batch], step).items()}

    def many(self, batches: Sequence[Batch], step: int, *, stop: bool = False) -> Tensors:
        """Train on several batches of one shape, without returning to Python in between.

        Args:
            stop: whether this process asks to stop.
        Returns:
            ``loss``, ``weight`` and ``gradient_norm``, [K], and ``stop``, [K]: the number of processes that
            ask to stop.
        """
        filled = [pad_batch(batch, self._replicas * self._parts) for batch in batches]
        stacked = {name: self._as_loss(np.stack([batch[name] for batch in filled])) for name in filled[0]}
        # One trace for all batch sizes and widths, or one for each if shapes must be known.
        shapes = {
            name: array.shape if self._static else (len(filled), *[None] * (array.ndim - 1))
            for name, array in stacked.items()
        }
        key = tuple(shapes.values())
        arguments = (
            {name: tf.constant(array) for name, array in stacked.items()},
            tf.constant(step, tf.int64),
            tf.constant(int(stop), tf.int32),
        )
        if key not in self._compiled:
            signature = {name: tf.TensorSpec(shapes[name], array.dtype) for name, array in stacked.items()}
            self._compiled[key] = tf.function(
                self._steps,
                input_signature=[signature, tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.int32)],
                autograph=False,
            )
            with forget_custom_gradients():
                return self._compiled[key](*arguments)
        return self._compiled[key](*arguments)

    def _steps(self, batches: Tensors, step: tf.Tensor, stop: tf.Tensor) -> Tensors:
        """The graph: one ``strategy.run`` per batch."""
        count = batches[WEIGHTS].shape[0]
        if count == 1:
            return self._one({name: tensor[0] for name, tensor in batches.items()}, step, stop)
        if self._replicas > 1 and not is_tpu(self._strategy):
            # Unrolled, because a loop around MirroredStrategy's replicas loses their results (TensorFlow
            # 2.21).
            results = [
                self._one({name: tensor[index] for name, tensor in batches.items()}, step + index, stop)
                for index in range(count)
            ]
            return {name: tf.concat([result[name] for result in results], 0) for name in results[0]}
        dtypes = {**dict.fromkeys(("loss", "weight", "gradient_norm"), self._loss_dtype()), "stop": tf.int32}

        def body(index: tf.Tensor, latest: Tensors) -> Any:
            batch = {name: tensor[index] for name, tensor in batches.items()}
            result = self._one(batch, step + tf.cast(index, tf.int64), stop)
            here = tf.range(count) == index
            return index + 1, {name: tf.where(here, result[name], latest[name]) for name in latest}

        start = {name: tf.zeros([count], dtype) for name, dtype in dtypes.items()}
        _, latest = tf.while_loop(
            lambda index, _: index < count, body, (tf.constant(0), start), maximum_iterations=count
        )
        return latest

    def _one(self, batch: Tensors, step: tf.Tensor, stop: tf.Tensor) -> Tensors:
        batch = self._augmentation.train(batch, self._options.seed, step)
        terms = self._task.loss_terms(batch)
        if terms is not None:
            batch = {**batch, WEIGHTS: batch[WEIGHTS] * tf.cast(terms, batch[WEIGHTS].dtype)}
        results = self._strategy.run(self._replica_step, args=(batch, step, stop))
        found = {
            name: self._strategy.experimental_local_results(value)[0][None] for name, value in results.items()
        }
        return {**found, "weight": tf.reduce_sum(batch[WEIGHTS])[None]}

    def _replica_step(self, batch: Tensors, step: tf.Tensor, stop: tf.Tensor) -> Tensors:
        """The work of one replica on a global batch."""
        context = tf.distribute.get_replica_context()
        replicas, optimizer = self._replicas, self._optimizer
        # A batch in which all weights are 0 has the loss 0, not NaN.
        share = tf.math.divide_no_nan(batch[WEIGHTS], tf.reduce_sum(batch[WEIGHTS]))
        loss, gradients = self._gradients({**batch, WEIGHTS: share}, step)
        if replicas > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            loss = context.all_reduce(tf.distribute.ReduceOp.SUM, loss)
            stop = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(stop))
        scale = loss_scale(optimizer)
        gradients = self._with_penalty(gradients, scale)
        whole = gradients
        norm = tf.linalg.global_norm(gradients) / tf.cast(scale, gradients[0].dtype)
        if self._options.clip_norm is not None:
            factor = self._options.clip_norm / tf.maximum(norm, self._options.clip_norm)
            gradients = [gradient * tf.cast(factor, gradient.dtype) for gradient in gradients]
        # Keras sums over replicas once more when it applies gradients; equal terms of 1/replicas cancel that.
        if replicas > 1:
            gradients = [gradient / replicas for gradient in gradients]
        optimizer.apply(gradients, self._variables)
        if self._adaptation is not None:
            unscaled = [gradient / tf.cast(scale, gradient.dtype) for gradient in whole]
            paths = [variable.path for variable in self._variables]
            self._adaptation.after_step(dict(zip(paths, unscaled)), step)
        return {"loss": loss, "gradient_norm": norm, "stop": stop}

    def _with_penalty(self, gradients: list[tf.Tensor], scale: Any) -> list[tf.Tensor]:
        """The gradients with those of the adaptation's penalty, which depends on no rows: every replica adds
        it to the sum over replicas.
        """
        if self._adaptation is None:
            return gradients
        values = [variable.value for variable in self._variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            penalty = self._adaptation.penalty()
        if penalty is None:
            return gradients
        added = tape.gradient(penalty, values)
        return [
            gradient if more is None else gradient + more * tf.cast(scale, more.dtype)
            for gradient, more in zip(gradients, added)
        ]

    def _loss_dtype(self) -> tf.DType:
        return tf.float64 if self._options.precision == "float64" else tf.float32

    def _as_loss(self, array: np.ndarray) -> np.ndarray:
        """Cast fractional weights and targets to the loss's dtype; leave others unchanged."""
        return array.astype(self._loss_dtype().as_numpy_dtype) if array.dtype.kind == "f" else array
