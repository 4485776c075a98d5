from __future__ import annotations

import numpy as np

from tfpipeline.training.schedule import LinearWarmupDecay


def test_whole_schedule_by_hand():
    schedule = LinearWarmupDecay(0.8, warmup_steps=2, total_steps=6)
    rates = [float(schedule(step)) for step in range(8)]
    np.testing.assert_allclose(rates, [0, 0.4, 0.8, 0.6, 0.4, 0.2, 0, 0], rtol=1e-6)


def test_without_warmup_it_starts_at_the_peak():
    schedule = LinearWarmupDecay(1.0, warmup_steps=0, total_steps=4)
    np.testing.assert_allclose([float(schedule(step)) for step in range(4)], [1, 0.75, 0.5, 0.25], rtol=1e-6)
