"""Which validation is the best, worked out by hand."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from tfpipeline.errors import UserError
from tfpipeline.training.state import State


def take_in(state, scores, metric, lower):
    """(metric, loss) of one validation after another: which were the best when they came."""
    return [
        state.validated({"epoch": step, "step": step, "loss": loss, metric: value}, metric, lower=lower)
        for step, (value, loss) in enumerate(scores, len(state.history) + 1)
    ]


@pytest.mark.parametrize(("metric", "sign"), [("accuracy", 1), ("mae", -1)])
def test_of_equally_good_ones_the_least_loss_is_the_best(metric, sign):
    state = State()
    scores = [(0.5, 2.0), (0.7, 1.0), (0.7, 0.9), (0.6, 0.1), (0.7, 0.9), (0.7, 0.95)]
    best = take_in(state, [(sign * value, loss) for value, loss in scores], metric, lower=sign < 0)
    assert best == [True, True, True, False, False, False]
    assert (state.best, state.best_step, state.best_epoch) == (sign * 0.7, 3, 3)
    assert state.validations_since_best == 4  # since the second: a lower loss alone is no better metric


def test_a_resumed_run_knows_the_loss_of_its_best():
    state = State()
    take_in(state, [(0.5, 1.0), (0.4, 0.2)], "accuracy", lower=False)
    again = State(**asdict(state))
    assert take_in(again, [(0.5, 1.0), (0.5, 0.9)], "accuracy", lower=False) == [False, True]
    assert (again.best_step, again.validations_since_best) == (4, 3)


def test_a_loss_that_picks_the_best_breaks_no_ties():
    state = State()
    assert take_in(state, [(2.0, 2.0), (1.0, 1.0), (1.0, 1.0)], "loss", lower=True) == [True, True, False]
    assert state.validations_since_best == 1


def test_a_validation_that_decoded_nothing_decides_nothing():
    """Neither the best weights nor when to stop early."""
    state, best, decoded = State(), [], []
    for step, chrf in enumerate([10.0, None, 30.0, 20.0, None, None], 1):
        state.step = step
        decoded.append(state.decodes(2, 6))
        scores = {"epoch": step, "step": step, "loss": -step, **({} if chrf is None else {"chrf": chrf})}
        best.append(state.validated(scores, "chrf", lower=False))
    assert best == [True, False, True, False, False, False]
    assert decoded == [True, False, True, False, True, True]  # the first, every other one, the last
    assert (state.best, state.best_step, state.validations_since_best) == (30.0, 3, 1)
    assert len(state.history) == 6
    assert all(State(history=[{}] * done).decodes(1, 99) for done in range(4))


def test_the_state_of_another_version_is_refused():
    saved = asdict(State(step=3))
    assert State.from_saved(saved, "runs/x") == State(step=3)
    saved["waited"] = saved.pop("validations_since_best")
    with pytest.raises(
        UserError,
        match=r"^runs/x was trained by another version .* differs in: validations_since_best, waited\)",
    ):
        State.from_saved(saved, "runs/x")
