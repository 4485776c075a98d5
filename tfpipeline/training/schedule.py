"""Learning-rate schedules: pure functions of the step."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfpipeline")
class LinearWarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """From 0 up to the peak over the warm-up, then straight down to 0 at the last step.

    ``rate(t) = peak * t / warmup_steps`` for ``t < warmup_steps``, then
    ``peak * (total_steps - t) / (total_steps - warmup_steps)``, never below 0; ``t`` counts from 0.

    Source: transformers' ``get_linear_schedule_with_warmup``.
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int) -> None:
        super().__init__()
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rising = step / max(1, self.warmup_steps)
        falling = (self.total_steps - step) / max(1, self.total_steps - self.warmup_steps)
        share = ops.where(step < self.warmup_steps, rising, ops.maximum(falling, 0.0))
        return self.peak * share

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "total_steps": self.total_steps}
