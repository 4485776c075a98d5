from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from tfpipeline.errors import UserError
from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.schedule import Schedule, build_schedule


def rates(schedule, steps):
    return [float(schedule(step)) for step in range(steps)]


def test_linear_by_hand():
    schedule = Schedule("linear", 0.8, warmup_steps=2, total_steps=6)
    np.testing.assert_allclose(rates(schedule, 8), [0, 0.4, 0.8, 0.6, 0.4, 0.2, 0, 0], rtol=1e-6)


def test_without_warmup_it_starts_at_the_peak():
    schedule = Schedule("linear", 1.0, warmup_steps=0, total_steps=4)
    np.testing.assert_allclose(rates(schedule, 4), [1, 0.75, 0.5, 0.25], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cosine", [0, 0.5, 1, (1 + math.cos(math.pi / 4)) / 2, 0.5, (1 - math.cos(math.pi / 4)) / 2, 0]),
        ("polynomial", [0, 0.5, 1, 0.75**3, 0.5**3, 0.25**3, 0]),
        ("constant", [0, 0.5, 1, 1, 1, 1, 1]),
    ],
)
def test_others_by_hand(name, expected):
    schedule = Schedule(name, 2.0, warmup_steps=2, total_steps=6, power=3.0)
    np.testing.assert_allclose(rates(schedule, 7), 2 * np.array(expected), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["linear", "cosine", "polynomial"])
def test_the_end_is_a_share_of_the_peak(name):
    schedule = Schedule(name, 2.0, 1, 11, power=2.0, end=0.25)
    assert float(schedule(1)) == pytest.approx(2.0)
    assert float(schedule(11)) == float(schedule(20)) == pytest.approx(0.5)
    assert rates(schedule, 12)[1:] == sorted(rates(schedule, 12)[1:], reverse=True)


def test_the_last_steps_of_a_long_run_differ():
    """float32 knows whole numbers up to 2**24 only."""
    total = 2**26
    schedule = Schedule("linear", 1.0, 0, total)
    last = [float(schedule(np.int64(total - left))) for left in (3, 2, 1, 0)]
    np.testing.assert_allclose(last, [3 / total, 2 / total, 1 / total, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("linear", lambda r: 0.1 + 0.9 * r),
        ("cosine", lambda r: 0.1 + 0.9 * (1 - math.cos(math.pi * r)) / 2),
        ("polynomial", lambda r: 0.1 + 0.9 * r**1.7),
    ],
)
def test_float64_has_no_float32_in_it(name, share):
    options = TrainingOptions(
        precision="float64", learning_rate=0.3, warmup=7, schedule={"name": name, "power": 1.7, "end": 0.1}
    )
    schedule = build_schedule(options, 100)
    expected = [0.3 * step / 7 for step in range(7)] + [0.3 * share((100 - t) / 93) for t in range(7, 101)]
    np.testing.assert_allclose(rates(schedule, 101), expected, rtol=1e-15)


@pytest.mark.parametrize(("warmup", "steps"), [(0.1, 10), (0.0, 0), (7, 7), (1, 1), (0.999, 100)])
def test_warmup_is_steps_or_a_share(warmup, steps):
    assert build_schedule(TrainingOptions(warmup=warmup), 100).warmup_steps == steps


def test_a_warmup_longer_than_the_training_is_refused():
    with pytest.raises(
        UserError, match=r"training\.warmup is 101 steps, but the whole training has only 100"
    ):
        build_schedule(TrainingOptions(warmup=101), 100)


def test_it_survives_keras_serialisation():
    schedule = Schedule("polynomial", 2.0, 2, 6, power=3.0, end=0.1)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert rates(again, 7) == rates(schedule, 7)
