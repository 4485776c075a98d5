"""The optimizers of runs: Keras's, with a decay and a learning rate per variable, and a learning rate that
callbacks may set.

All five use decoupled weight decay: each step first subtracts ``rate * weight_decay * w`` from a weight w
(Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2, where the schedule scales both), then applies the
optimizer's own update. For LAMB this follows Keras; in its paper, the trust ratio also scales the decay.

None of them clips gradients: Keras would clip each replica's gradient before the sum over replicas, while the
training step clips the sum.

In float64, the constants are float64 too: Keras's optimizers cast theirs with ``ops.cast(0.9, "float64")``,
for which TensorFlow first rounds a Python number to float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfpipeline import _keras_internals
from tfpipeline.errors import UserError
from tfpipeline.models import TextModel
from tfpipeline.training.freezing import layer_groups, phases, union
from tfpipeline.training.options import OptimizerOptions, TrainingOptions
from tfpipeline.training.schedule import build_schedule

# Ends of the paths of variables that weight decay leaves alone, as in google-research/bert's
# optimization.py ("LayerNorm", "layer_norm", "bias"); a CRF's transitions are biases too, and a learnt
# temperature has no reason to go to 1.
UNDECAYED = ("bias", "scale", "transitions")

_INITIAL_LOSS_SCALE = 2.0**15


class _ByVariable(_keras_internals.OptimizerHooks):
    """A mixin for Keras optimizers that gives each variable its own learning rate and decay.

    Both are applied where the variable is updated. Keras would decay all variables before that, with one
    rate, which it computes again for each of them.

    ``learning_rate`` can be set, as Keras's callbacks do, although it comes from a schedule. A variable holds
    a factor on the whole schedule, so the factor is on every replica, is saved and restored with the
    optimizer, and needs no new trace.

    Args:
        factors: factor on the learning rate by the variable's path; 1 for variables that are not named.
    """

    def __init__(self, *arguments: Any, factors: Mapping[str, float] | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._factors = dict(factors or {})
        self.times_set = 0  # how often the learning rate was set in this process

    def build(self, variables: Sequence[keras.Variable]) -> None:
        super().build(variables)  # type: ignore[misc]
        self._prepare(variables)

    def _prepare(self, variables: Sequence[keras.Variable]) -> None:
        self._factor_at = tuple(self._factors.get(variable.path, 1.0) for variable in variables)
        self.schedule_factor = self.add_variable(  # type: ignore[attr-defined]
            (), "ones", dtype=variables[0].dtype, name="schedule_factor"
        )

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next step, including the factor; with layer-wise decay, that of the
        head.
        """
        return self.scheduled_rate(self.iterations) * self.schedule_factor  # type: ignore[attr-defined]

    @learning_rate.setter
    def learning_rate(self, rate: Any) -> None:
        """Scale the schedule so that the next step has this rate; where the schedule is at 0, so that this is
        its peak.

        Raises:
            UserError: ``rate`` is not a number of at least 0.
        """
        try:
            wanted = float(ops.convert_to_numpy(rate))
        except (TypeError, ValueError):
            wanted = math.nan
        if not (0 <= wanted < math.inf):
            raise UserError(
                f"a callback set the learning rate to {rate!r}, which is not a number of at least 0; set a "
                f"number (the "
                "schedule itself is chosen with training.schedule)"
            )
        self.times_set += 1
        scheduled = float(ops.convert_to_numpy(self.scheduled_rate(self.iterations)))  # type: ignore[attr-defined]
        if scheduled > 0:
            self.schedule_factor.assign(wanted / scheduled)
        elif wanted > 0:  # at the first step of a warm-up, and after the last step
            self.schedule_factor.assign(wanted / _keras_internals.schedule_of(self).peak)

    def scheduled_rate(self, step: Any) -> Any:
        """The schedule's rate of a step, before the factor."""
        return _keras_internals.schedule_of(self)(step)

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any) -> None:
        optimizer: Any = super()
        factor = self._factor_at[_keras_internals.variable_index(self, variable)]
        if factor != 1:
            learning_rate = learning_rate * factor
        self._decay(variable, learning_rate)
        optimizer.update_step(gradient, variable, learning_rate)

    def _decay(self, variable: tf.Variable, learning_rate: Any) -> None:
        if self.weight_decay and _keras_internals.is_decayed(self, variable):  # type: ignore[attr-defined]
            rate = ops.cast(learning_rate, variable.dtype)
            decay = ops.cast(self.weight_decay, variable.dtype)  # type: ignore[attr-defined]
            variable.assign_sub(variable * (decay * rate))


class AdamW(_ByVariable, keras.optimizers.AdamW):
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), with one pass over memory per step instead of
    ten.

    Epsilon is added to the root of the corrected second moment, as in the paper and in PyTorch; Keras adds it
    before the correction, which at the first step makes it 32 times as large.
    """

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any) -> None:
        index = _keras_internals.variable_index(self, variable)
        momentum, velocity = _keras_internals.moments(self, index)
        rate = ops.cast(learning_rate, variable.dtype) * self._factor_at[index]
        self._decay(variable, rate)
        steps = ops.cast(self.iterations + 1, variable.dtype)
        beta_1, beta_2 = (ops.cast(beta, variable.dtype) for beta in (self.beta_1, self.beta_2))
        power_1, power_2 = ops.power(beta_1, steps), ops.power(beta_2, steps)
        tf.raw_ops.ResourceApplyAdam(
            var=_resource(variable),
            m=_resource(momentum),
            v=_resource(velocity),
            beta1_power=power_1,
            beta2_power=power_2,
            lr=rate,
            beta1=beta_1,
            beta2=beta_2,
            # The operation leaves epsilon as it is where it corrects; see above.
            epsilon=ops.cast(self.epsilon, variable.dtype) * ops.sqrt(1 - power_2),
            grad=gradient,
            use_locking=False,
            use_nesterov=False,
        )


class SGD(_ByVariable, keras.optimizers.SGD):
    """Stochastic gradient descent with momentum; weight decay does not go through the momentum."""


class Lamb(_ByVariable, keras.optimizers.Lamb):
    """LAMB (You et al. 2020, arXiv:1904.00962)."""


class Lion(_ByVariable, keras.optimizers.Lion):
    """Lion (Chen et al. 2023, arXiv:2302.06675)."""


class Adafactor(_ByVariable, keras.optimizers.Adafactor):
    """Adafactor (Shazeer and Stern 2018, arXiv:1804.04235), with a given learning rate.

    A step's size is the learning rate (at most 1 / sqrt(t)) times the root mean square of the variable.
    """

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Build slots with unique names: Keras names those of all kernels alike; checkpoints use paths."""
        if self.built:
            return
        super(keras.optimizers.Adafactor, self).build(variables)
        rows: list[Any] = []
        columns: list[Any] = []
        whole: list[Any] = []
        for variable in variables:
            name, shape = variable.path.replace("/", "_"), tuple(variable.shape)
            factored = len(shape) >= 2
            for slots, role, slot_shape in (
                (rows, "row", shape[:-1]),
                (columns, "column", (*shape[:-2], shape[-1])),
            ):
                slots.append(
                    self.add_variable(slot_shape, dtype=variable.dtype, name=f"{name}_{role}")
                    if factored
                    else None
                )
            whole.append(self.add_variable_from_reference(variable, name="velocity"))
        _keras_internals.set_adafactor_slots(self, rows, columns, whole)
        self._prepare(variables)


def build_optimizer(
    options: TrainingOptions,
    model: TextModel,
    total_steps: int,
    variables: Sequence[keras.Variable] | None = None,
) -> keras.optimizers.Optimizer:
    """The run's optimizer, built; under mixed_float16 in a dynamic
    :class:`keras.optimizers.LossScaleOptimizer`.

    Args:
        options: of the run.
        model: built.
        total_steps: of the whole training.
        variables: all that will ever be trained; by default those of all phases of :func:`freezing.phases`.
    Raises:
        UserError: the settings do not fit the model, the training's length or the optimizer.
    """
    variables = union(phases(model, options)) if variables is None else list(variables)
    make = _MAKERS[options.optimizer.name]
    optimizer = make(
        options.optimizer,
        learning_rate=build_schedule(options, total_steps),
        weight_decay=options.weight_decay,
        factors={**layer_factors(model, options.layer_decay), **head_factors(model, options.learning_rate)},
        name="optimizer",  # Keras would number them, and checkpoints store variables by path
    )
    if options.precision == "float64":
        _widen(optimizer)
    optimizer.exclude_from_weight_decay(
        var_list=[variable for variable in variables if variable.path.endswith(UNDECAYED)]
    )
    if options.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(
            optimizer, initial_scale=_INITIAL_LOSS_SCALE, name="loss_scale"
        )
    optimizer.build(variables)
    return optimizer


def layer_factors(model: TextModel, decay: float) -> dict[str, float]:
    """Factors on the learning rate, by the path of the variable.

    The head and the pooler have 1, the last of L layers ``decay``, the first ``decay ** L``, the embeddings
    ``decay ** (L + 1)``: each layer the next higher one's times ``decay`` (Howard and Ruder 2018,
    arXiv:1801.06146, section 3.2; ELECTRA's code has one power more, ``decay ** 2`` for its last layer).
    """
    return {
        variable.path: decay**depth for depth, group in enumerate(layer_groups(model)) for variable in group
    }


def head_factors(model: TextModel, learning_rate: float) -> dict[str, float]:
    """Factors on the learning rate for variables with a minimum learning rate (``min_learning_rates`` of the
    head).

    Returns:
        Factors of at least 1 by the path of the variable.
    """
    return {
        variable.path: max(1.0, least / learning_rate)
        for name, least in model.head.min_learning_rates.items()
        for variable in model.head.trainable_variables
        if variable.path.endswith(f"/{name}")
    }


def learning_rate_at(optimizer: keras.optimizers.Optimizer, step: int) -> float:
    """The learning rate of a step (of the head, under layer-wise decay).

    Args:
        optimizer: any, also inside a :class:`keras.optimizers.LossScaleOptimizer`, whose skipped steps the
            schedule does not count: ``optimizer.iterations`` is what it does count.
        step: number of steps done before.
    """
    inner = innermost(optimizer)
    return float(ops.convert_to_numpy(inner.scheduled_rate(step) * inner.schedule_factor))


def innermost(optimizer: keras.optimizers.Optimizer) -> Any:
    """The optimizer itself, without a surrounding :class:`keras.optimizers.LossScaleOptimizer`."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _widen(optimizer: keras.optimizers.Optimizer) -> None:
    """Make an optimizer's constants float64 wherever they are cast."""
    for name, value in vars(optimizer).items():
        if isinstance(value, float):
            setattr(optimizer, name, np.float64(value))


def _resource(variable: Any) -> tf.Tensor:
    """The handle of a variable; of this replica's copy inside an update of a mirrored one."""
    return (
        getattr(variable, "value", variable).handle
        if isinstance(variable, keras.Variable)
        else variable.handle
    )


def _given(**constants: float | None) -> dict[str, Any]:
    """The options that the user set; Keras has defaults for the others."""
    return {name: value for name, value in constants.items() if value is not None}


def _adamw(options: OptimizerOptions, **common: Any) -> AdamW:
    epsilon = options.epsilon or 1e-8  # of the paper, and of PyTorch; Keras has 1e-7
    return AdamW(epsilon=epsilon, **_given(beta_1=options.beta_1, beta_2=options.beta_2), **common)


def _sgd(options: OptimizerOptions, **common: Any) -> SGD:
    return SGD(momentum=options.momentum, nesterov=options.nesterov, **common)


def _adafactor(_: OptimizerOptions, **common: Any) -> Adafactor:
    return Adafactor(relative_step=False, **common)


def _lamb(options: OptimizerOptions, **common: Any) -> Lamb:
    epsilon = options.epsilon or 1e-6  # of the paper; Keras has 1e-7
    return Lamb(epsilon=epsilon, **_given(beta_1=options.beta_1, beta_2=options.beta_2), **common)


def _lion(options: OptimizerOptions, **common: Any) -> Lion:
    if options.beta_1 == 0:
        raise UserError(
            "training.optimizer.beta_1 is 0, but Lion needs more than 0; leave it out for Keras's 0.9"
        )
    return Lion(**_given(beta_1=options.beta_1, beta_2=options.beta_2), **common)


_MAKERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adamw": _adamw,
    "sgd": _sgd,
    "adafactor": _adafactor,
    "lamb": _lamb,
    "lion": _lion,
}
