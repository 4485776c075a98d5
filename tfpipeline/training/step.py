"""One training step under any tf.distribute strategy, exact by construction.

Every replica is handed the global batch and takes its own slice, so the division of work is arithmetic on
the replica's index. The loss is the sum of weighted losses per example over the weights of the *global*
batch; gradients are summed over replicas, then clipped, then applied; dropout masks depend on an example's
place in the global batch. The result is therefore that of one device, whatever the number of replicas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

import keras
import numpy as np
import tensorflow as tf

from tfpipeline.models.kernels import Noise
from tfpipeline.tasks import Task
from tfpipeline.training.options import TrainingOptions

INPUTS = ("input_ids", "token_type_ids", "attention_mask")
WEIGHTS = "example_weights"


def fill_up(batch: Mapping[str, np.ndarray], multiple: int) -> dict[str, np.ndarray]:
    """Repeat the first example with weight 0 until the batch divides by ``multiple``."""
    size = len(batch[WEIGHTS])
    extra = -size % multiple
    if not extra:
        return dict(batch)
    filled = {name: np.concatenate([array, np.repeat(array[:1], extra, 0)]) for name, array in batch.items()}
    filled[WEIGHTS][size:] = 0
    return filled


def build_train_step(
    strategy: tf.distribute.Strategy,
    model: keras.Model,
    task: Task,
    optimizer: keras.optimizers.Optimizer,
    options: TrainingOptions,
) -> Callable[[Mapping[str, np.ndarray], int], dict[str, tf.Tensor]]:
    """The function that trains on one global batch.

    Returns:
        ``train_step(batch, step)``: ``batch`` holds the encoder's inputs (int32 [B, T]), the task's targets
        ([B, ...]) and ``example_weights`` (float32 [B]); ``step`` counts from 0 over the whole run. It
        returns scalars, not yet read from the device: ``loss`` (the weighted mean over the global batch)
        and ``gradient_norm`` (before clipping).
    """
    variables = model.trainable_variables
    replicas = strategy.num_replicas_in_sync

    def replica_step(batch: dict[str, tf.Tensor], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        context = tf.distribute.get_replica_context()
        local_size = tf.shape(batch[WEIGHTS])[0] // replicas
        first = tf.cast(context.replica_id_in_sync_group, tf.int32) * local_size
        local = {name: tensor[first : first + local_size] for name, tensor in batch.items()}
        noise = Noise(seed=options.seed, step=step, first_example=first)
        with tf.GradientTape() as tape:
            outputs = model({name: local[name] for name in INPUTS}, training=True, noise=noise)
            losses = task.loss(outputs, local)
            # A batch whose weights are all 0 has the loss 0, not NaN.
            share = tf.math.divide_no_nan(local[WEIGHTS], tf.reduce_sum(batch[WEIGHTS]))
            loss = tf.reduce_sum(losses * tf.cast(share, losses.dtype))
        gradients = tape.gradient(loss, [v.value for v in variables], unconnected_gradients="zero")
        # Dense, as clipping a sparse gradient with repeated rows would use a wrong norm.
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        if replicas > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            loss = context.all_reduce(tf.distribute.ReduceOp.SUM, loss)
        norm = tf.linalg.global_norm(gradients)
        if options.clip_norm is not None:
            scale = options.clip_norm / tf.maximum(norm, options.clip_norm)
            gradients = [gradient * tf.cast(scale, gradient.dtype) for gradient in gradients]
        # Keras sums over replicas once more when it applies; equal terms of 1/replicas undo that.
        optimizer.apply([gradient / replicas for gradient in gradients] if replicas > 1 else gradients)
        return loss, norm

    def traced(batch: dict[str, tf.Tensor], step: tf.Tensor) -> dict[str, tf.Tensor]:
        loss, norm = strategy.run(replica_step, args=(batch, step))
        first = strategy.experimental_local_results
        return {"loss": first(loss)[0], "gradient_norm": first(norm)[0]}

    compiled: Any = None

    def train_step(batch: Mapping[str, np.ndarray], step: int) -> dict[str, tf.Tensor]:
        nonlocal compiled
        filled = fill_up(batch, replicas)
        if compiled is None:  # one trace for every batch size and width
            spec = {k: tf.TensorSpec([None] * v.ndim, v.dtype) for k, v in filled.items()}
            compiled = tf.function(
                traced, input_signature=[spec, tf.TensorSpec([], tf.int64)], autograph=False
            )
        result: dict[str, tf.Tensor] = compiled(
            {name: tf.constant(array) for name, array in filled.items()}, tf.constant(step, tf.int64)
        )
        return result

    return train_step
