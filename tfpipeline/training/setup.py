"""Builds the parts of a training, both for the trainer and for ``train --dry-run``."""

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
    """The parts and sizes of a training.

    Attributes:
        batch_size: rows per global batch.
        static: whether batches have one size and few widths, because a step is compiled for each shape.
        widths: the widths to which batches are padded; None: any multiple of 8.
        steps_per_epoch, total_steps: numbers of steps.
        model: the model.
        phases: the variables that are trained in each epoch; the last entry applies to all later epochs.
        optimizer: the optimizer, built for all variables that are trained in any epoch.
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
        """All variables that are trained in any epoch."""
        return list(freezing.union(self.phases))

    @property
    def frozen(self) -> list[keras.Variable]:
        """The variables of the encoder that are never trained, if the settings freeze any."""
        return freezing.never_trained(self.model, self.phases)


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
    """Determine the sizes of a training, and build its model and optimizer.

    Args:
        run_config: the run file.
        truncation: how texts that are too long are handled, with the special tokens of the tokenizer.
        strategy: the strategy, already built.
        batch_size: rows per global batch.
        rows: number of training rows.
        build_model: builds the model; called with the run's precision policy active.
        on_devices: whether the variables are created in the strategy's scope.
    Raises:
        UserError: ``training.widths`` or ``training.freeze`` does not fit the texts or the model.
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
        if model.adaptation is not None:
            model.adaptation.prepare(total_steps)
        phases = freezing.phases(model, options)
        optimizer = build_optimizer(options, model, total_steps, freezing.union(phases))
    return Setup(batch_size, static, widths, steps_per_epoch, total_steps, model, phases, optimizer)
