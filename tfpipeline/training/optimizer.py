"""The optimizer of a run."""

from __future__ import annotations

import keras

from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.schedule import LinearWarmupDecay

# Last part of a variable's path that weight decay leaves alone, as in google-research/bert's
# optimization.py ("LayerNorm", "layer_norm", "bias").
UNDECAYED = ("bias", "scale")


def build_optimizer(
    options: TrainingOptions, model: keras.Model, total_steps: int
) -> keras.optimizers.Optimizer:
    """AdamW with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), built on ``model``.

    Clips nothing itself: Keras would clip each replica's gradient before the sum over replicas; the
    training step clips the sum.
    """
    schedule = LinearWarmupDecay(options.learning_rate, round(options.warmup * total_steps), total_steps)
    optimizer = keras.optimizers.AdamW(
        learning_rate=schedule,
        weight_decay=options.weight_decay,
        epsilon=options.optimizer.epsilon or 1e-8,
        name="optimizer",  # Keras would number them, and checkpoints store variables by path
    )
    optimizer.exclude_from_weight_decay(
        var_list=[v for v in model.trainable_variables if v.path.rpartition("/")[2] in UNDECAYED]
    )
    optimizer.build(model.trainable_variables)
    return optimizer
