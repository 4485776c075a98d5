"""What a training is made of; the trainer and ``train --dry-run`` make it here, so that they cannot
differ.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfpipeline.models import TextModel
from tfpipeline.text import Truncation
from tfpipeline.training import freezing
from tfpipeline.training.batching import choose_widths
from tfpipeline.training.optimizer import build_optimizer
from tfpipeline.training.precision import policy
from tfpipeline.training.run_config import RunConfig
from tfpipeline.training.strategy import has_static_shapes


@dataclass(frozen=True)
class Setup:
    """A training's parts and sizes.

    Attributes:
        batch_size: rows of a global batch.
        static: whether batches have one size and few widths, as a step is compiled for each shape.
        widths: the only widths of batches; None for multiples of 8.
        steps_per_epoch, total_steps: steps.
        model: the model.
        phases: the variables that are trained in each epoch; the last entry stands for all later ones.
        optimizer: built for the variables that are trained at some time.
    """

    batch_size: int
    static: bool
    widths: list[int] | None
    steps_per_epoch: int
    total_steps: int
    model: TextModel
    phases: Sequence[list[keras.Variable]]
    optimizer: keras.optimizers.Optimizer

    @property
    def trained(self) -> list[keras.Variable]:
        """The variables that are trained at some time."""
        return list(freezing.union(self.phases))


def set_up(
    run_config: RunConfig,
    truncation: Truncation,
    strategy: tf.distribute.Strategy,
    batch_size: int,
    rows: int,
    build_model: Callable[[], TextModel],
    *,
    on_devices: bool = True,
) -> Setup:
    """Decide a training's sizes, and make its model and its optimizer.

    Args:
        run_config: the run file.
        truncation: how long texts are handled, with the special tokens of the tokenizer.
        strategy: built.
        batch_size: rows of a global batch.
        rows: training rows.
        build_model: makes the model; called with the run's precision set.
        on_devices: whether the variables are made where the strategy wants them.
    Raises:
        UserError: ``training.widths`` or ``training.freeze`` does not fit.
    """
    options = run_config.training
    pair = run_config.has_joint_pairs
    static = has_static_shapes(strategy, options)
    widths = choose_widths(options, truncation.max_length, static=static, beyond=truncation.widths(pair))
    steps_per_epoch = -(-rows // batch_size)
    total_steps = options.steps or steps_per_epoch * options.epochs
    scope: Any = strategy.scope() if on_devices else contextlib.nullcontext()
    with scope, policy(options.precision):
        model = build_model()
        phases = freezing.phases(model, options)
        optimizer = build_optimizer(options, model, total_steps, freezing.union(phases))
    return Setup(batch_size, static, widths, steps_per_epoch, total_steps, model, phases, optimizer)
