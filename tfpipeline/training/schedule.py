"""Learning-rate schedules: pure functions of the step."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from tfpipeline.config import steps_of
from tfpipeline.errors import UserError
from tfpipeline.training.options import TrainingOptions


@keras.saving.register_keras_serializable(package="tfpipeline")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from 0 to the peak during the warm-up, then falls to a share of the peak.

    With ``t`` the steps done before (so the first step has ``t = 0``), ``W`` steps of warm-up and ``T`` steps
    in all, ``rate(t) = peak * t / W`` for ``t < W``. After that
    ``rate(t) = peak * (end + (1 - end) * f(r))``, where ``r = max(0, (T - t) / (T - W))`` goes from 1 at the
    peak to 0 after the last step:

    - ``linear``: ``f(r) = r``; transformers' ``get_linear_schedule_with_warmup``.
    - ``cosine``: ``f(r) = (1 - cos(pi r)) / 2``; Loshchilov and Hutter 2017 (arXiv:1608.03983, equation 5),
      one period; transformers' ``get_cosine_schedule_with_warmup``.
    - ``polynomial``: ``f(r) = r ** power``; transformers' ``get_polynomial_decay_schedule_with_warmup``.
    - ``constant``: ``f(r) = 1``; transformers' ``get_constant_schedule_with_warmup``.

    Args:
        name: one of these four.
        peak: the rate after the warm-up.
        warmup_steps: W; 0 for none.
        total_steps: T.
        power: the exponent of ``polynomial``.
        end: the learning rate after the last step, as a share of the peak; ignored by ``constant``.
        dtype: the dtype of the learning rates.
    """

    def __init__(
        self,
        name: str,
        peak: float,
        warmup_steps: int,
        total_steps: int,
        power: float = 1.0,
        end: float = 0.0,
        dtype: str = "float32",
    ) -> None:
        super().__init__()
        if name not in ("linear", "cosine", "polynomial", "constant"):
            raise ValueError(f'no schedule is called "{name}"')
        self.name, self.peak, self.power, self.end = name, peak, power, end
        self.warmup_steps, self.total_steps, self.dtype = warmup_steps, total_steps, dtype

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step.

        Args:
            step: t, an integer or an integer scalar of any kind.
        Returns:
            scalar of ``dtype``.
        """
        # Whole numbers are subtracted as such: float32 has no odd ones above 2 ** 24.
        step = ops.cast(step, "int64")
        rising = ops.cast(step, self.dtype) / max(1, self.warmup_steps)
        share = ops.where(step < self.warmup_steps, rising, self._after(step))
        return self.peak * share

    def _after(self, step: Any) -> Any:
        if self.name == "constant":
            return 1.0
        left = ops.cast(ops.maximum(self.total_steps - step, 0), self.dtype)
        left = left / max(1, self.total_steps - self.warmup_steps)
        if self.name == "cosine":  # (1 - cos x) / 2 without its cancellation near 0, the last steps
            left = ops.square(ops.sin(left * (math.pi / 2)))
        elif self.name == "polynomial":
            left = ops.power(left, self.power)
        return self.end + (1.0 - self.end) * left

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        names = ("name", "peak", "warmup_steps", "total_steps", "power", "end", "dtype")
        return {name: getattr(self, name) for name in names}


def warmup_steps(options: TrainingOptions, total_steps: int) -> int:
    """The number of warm-up steps: ``training.warmup`` if it is 1 or more, otherwise that share of all steps.

    Raises:
        UserError: the warm-up is longer than the training.
    """
    if options.warmup > total_steps:
        raise UserError(
            f"training.warmup is {options.warmup} steps, but the whole training has only {total_steps}; "
            "give fewer, or a share below 1 such as 0.1"
        )
    return steps_of(options.warmup, total_steps)


def build_schedule(options: TrainingOptions, total_steps: int) -> Schedule:
    """The schedule of a run; errors as :func:`warmup_steps`."""
    chosen = options.schedule
    return Schedule(
        chosen.name,
        options.learning_rate,
        warmup_steps(options, total_steps),
        total_steps,
        power=chosen.power,
        end=chosen.end,
        dtype="float64" if options.precision == "float64" else "float32",
    )
