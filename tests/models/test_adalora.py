"""AdaLoRA's importance, budget and choice of singular values, by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.models import adapted
from tfpipeline import checkpoints
from tfpipeline.errors import UserError
from tfpipeline.models.peft._rank_allocation import Budget, choose, score

OPTIONS = {
    "method": "adalora",
    "projections": ["query", "outer"],
    "initial_rank": 3,
    "target_rank": 1,
    "warmup": 2,
    "final": 3,
    "interval": 2,
    "beta_1": 0.8,
    "beta_2": 0.6,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adalora") / "checkpoint"
    return checkpoints.load(tiny.write_checkpoint(folder, num_hidden_layers=1))


def prepared(checkpoint, total=10, **changes):
    made = adapted.disturb(adapted.model(checkpoint, {**OPTIONS, **changes}))
    made.adaptation.prepare(total)
    return made.adaptation


def variable(adaptation, role, name="query"):
    (found,) = [each for each in adaptation.added if each.path.endswith(f"/{name}_{role}")]
    return found


def random_gradients(adaptation, seed):
    random = np.random.default_rng(seed)
    return {
        each.path: tf.constant(random.normal(0, 1, each.shape), each.dtype) for each in adaptation.trained
    }


def after(adaptation, gradients, step):
    adaptation.after_step(gradients, tf.constant(step, tf.int64))


def test_the_budget_falls_as_the_cube_of_what_is_left():
    """From 12 to 4, between steps 2 and 7: 4 + 8 * (left / 5) ** 3, rounded down."""
    budget = Budget(initial=12, target=4, start=2, end=7, interval=1)
    sizes = [int(budget.size(tf.constant(done, tf.int64))) for done in range(1, 11)]
    assert sizes == [12, 12, 8, 5, 4, 4, 4, 4, 4, 4]
    chooses = [bool(budget.chooses(tf.constant(done, tf.int64))) for done in range(1, 11)]
    assert chooses == [False, False, True, True, True, True, True, False, False, False]


@pytest.mark.parametrize(("start", "end"), [(0, 7), (123, 100_003), (1000, 2_000_000)])
def test_the_budget_is_exact(start, end):
    budget = Budget(initial=288, target=192, start=start, end=end, interval=100)
    for done in np.linspace(start, end, 23, dtype=np.int64):
        exact = 192 + 96 * Fraction(int(end - done), end - start) ** 3
        assert int(budget.size(tf.constant(done))) == int(exact)


def test_choices_are_made_at_the_interval_and_at_the_end():
    budget = Budget(initial=12, target=4, start=5, end=33, interval=10)
    chosen = [done for done in range(1, 50) if bool(budget.chooses(tf.constant(done, tf.int64)))]
    assert chosen == [10, 20, 30, 33]


def test_the_score_of_a_singular_value_adds_the_means_of_its_vectors():
    """Two inputs, three outputs, rank 2."""
    sensitivity = tf.constant([[1.0, 2], [3, 4], [5, 6], [1, 0], [2, 0], [6, 3]], tf.float64)
    uncertainty = tf.constant([[1.0, 1], [1, 2], [2, 1], [3, 9], [0, 9], [1, 2]], tf.float64)
    # (1 * 1 + 3 * 1) / 2 + 5 * 2 + (1 * 3 + 2 * 0 + 6 * 1) / 3, and likewise.
    np.testing.assert_allclose(score(sensitivity, uncertainty, 2), [2 + 10 + 3, 5 + 6 + 2])


def test_the_highest_scores_of_all_projections_are_kept():
    scores = [tf.constant([5.0, 1, 3]), tf.constant([4.0, 3])]
    for budget, masks in (
        (0, [[0, 0, 0], [0, 0]]),
        (2, [[1, 0, 0], [1, 0]]),
        (3, [[1, 0, 1], [1, 0]]),  # of the two that are equal, the first
        (5, [[1, 1, 1], [1, 1]]),
    ):
        assert [mask.numpy().tolist() for mask in choose(scores, tf.constant(budget, tf.int64))] == masks


def test_importance_is_smoothed_as_in_the_paper(checkpoint):
    """Two steps by hand, of the weights after the step."""
    adaptation = prepared(checkpoint)
    a, values, b = (variable(adaptation, role) for role in ("a", "lambda", "b"))
    mean = change = 0.0
    for step in (0, 1):
        gradients = random_gradients(adaptation, step)
        adapted_weights = np.concatenate([a.numpy(), values.numpy()[None], b.numpy().T])
        slopes = [gradients[each.path].numpy() for each in (a, values, b)]
        product = np.abs(adapted_weights * np.concatenate([slopes[0], slopes[1][None], slopes[2].T]))
        mean = 0.8 * mean + 0.2 * product
        change = 0.6 * change + 0.4 * np.abs(product - mean)
        after(adaptation, gradients, step)
        np.testing.assert_allclose(variable(adaptation, "sensitivity"), mean, rtol=1e-12)
        np.testing.assert_allclose(variable(adaptation, "uncertainty"), change, rtol=1e-12)


def singular_values(adaptation):
    return np.stack([variable(adaptation, "lambda", name).numpy() for name in ("query", "outer")])


def masks(adaptation):
    return np.stack([variable(adaptation, "mask", name).numpy() for name in ("query", "outer")])


def regrow(adaptation):
    """As the optimizer does, whose gradient of a singular value of 0 is not 0."""
    for name in ("query", "outer"):
        values = variable(adaptation, "lambda", name)
        values.assign(values + 0.25)


def test_values_are_removed_return_and_are_gone_at_the_end(checkpoint):
    """10 steps, of which 2 before and 3 after the choices; every second step is one, and the seventh.

    The budget of 2 matrices from rank 3 to rank 1: after 4 steps 2 + 4 * (3 / 5) ** 3 = 2.86, after 6 steps
    2.03, after 7 steps 2.
    """
    adaptation = prepared(checkpoint)
    kept = []
    for step in range(10):
        regrow(adaptation)
        before = singular_values(adaptation)
        after(adaptation, random_gradients(adaptation, step), step)
        values = singular_values(adaptation)
        kept.append(int(np.count_nonzero(values)))
        if step + 1 in (4, 6, 7):
            scores = np.stack(
                [
                    score(
                        variable(adaptation, "sensitivity", name),
                        variable(adaptation, "uncertainty", name),
                        {"query": 16, "outer": 32}[name],
                    )
                    for name in ("query", "outer")
                ]
            )
            chosen = scores >= np.sort(scores.ravel())[-2]
            np.testing.assert_array_equal(masks(adaptation), chosen)
        assert set(values[masks(adaptation) == 1]) == set(before[masks(adaptation) == 1])
        if step + 1 in (4, 6, 7, 8, 9, 10):
            assert not values[masks(adaptation) == 0].any()
    assert kept == [6, 6, 6, 2, 6, 2, 2, 2, 2, 2]
    assert adaptation.report() == {
        "rank": {
            "layer_0/attention/query": int(masks(adaptation)[0].sum()),
            "layer_0/feed_forward/outer": int(masks(adaptation)[1].sum()),
        }
    }


def test_importance_rests_after_the_last_choice(checkpoint):
    """The step of the last choice does not count any more, as in the authors' code."""
    adaptation = prepared(checkpoint)
    moves = []
    for step in range(10):
        before = variable(adaptation, "sensitivity").numpy()
        after(adaptation, random_gradients(adaptation, step), step)
        moves.append(bool((variable(adaptation, "sensitivity").numpy() != before).any()))
    assert moves == [True] * 6 + [False] * 4


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["query_a", "outer_lambda"])
def test_a_step_without_finite_gradients_does_not_count(checkpoint, bad, where):
    adaptation = prepared(checkpoint)
    after(adaptation, random_gradients(adaptation, 0), 0)
    before = [each.numpy() for each in adaptation.added]
    gradients = random_gradients(adaptation, 1)
    (path,) = [path for path in gradients if path.endswith(where)]
    broken = gradients[path].numpy()
    broken.flat[1] = bad
    after(adaptation, {**gradients, path: tf.constant(broken)}, 1)
    for each, old in zip(adaptation.added, before, strict=True):
        np.testing.assert_array_equal(each, old, err_msg=each.path)
    after(adaptation, gradients, 2)
    assert all(np.isfinite(each).all() for each in adaptation.added)


def test_the_penalty_is_the_squared_distance_from_orthonormal(checkpoint):
    adaptation = prepared(checkpoint, orthogonality=0.3)
    expected = 0.0
    for name in ("query", "outer"):
        a, b = (variable(adaptation, role, name).numpy() for role in "ab")
        expected += np.sum((a.T @ a - np.eye(3)) ** 2) + np.sum((b @ b.T - np.eye(3)) ** 2)
    np.testing.assert_allclose(adaptation.penalty(), 0.3 * expected, rtol=1e-12)
    for name in ("query", "outer"):
        for role in "ab":
            each = variable(adaptation, role, name)
            orthonormal = np.linalg.qr(np.random.default_rng(0).normal(size=(max(each.shape), 3)))[0]
            each.assign(orthonormal if role == "a" else orthonormal.T)
    np.testing.assert_allclose(adaptation.penalty(), 0, atol=1e-12)
    assert prepared(checkpoint, orthogonality=0).penalty() is None


@pytest.mark.parametrize(
    ("total", "warmup", "final", "start", "end"),
    [(100, 0.1, 0.5, 10, 50), (100, 7, 0.25, 7, 75), (1, 0.1, 0.5, 0, 1), (10, 0, 0, 0, 10)],
)
def test_the_plan_counts_in_steps_or_in_shares(checkpoint, total, warmup, final, start, end):
    budget = prepared(checkpoint, total, warmup=warmup, final=final)._budget
    assert (budget.start, budget.end, budget.initial, budget.target) == (start, end, 6, 2)


@pytest.mark.parametrize(("total", "warmup", "final"), [(10, 5, 5), (10, 0.5, 0.5), (100, 90, 40)])
def test_a_plan_without_steps_for_choices_is_refused(checkpoint, total, warmup, final):
    with pytest.raises(UserError) as caught:
        prepared(checkpoint, total, warmup=warmup, final=final)
    before, after = (round(each * total) if each < 1 else each for each in (warmup, final))
    assert str(caught.value) == (
        f"peft.warmup ({before} steps) and peft.final ({after} steps) leave none of the training's {total} steps in "
        "which ranks can change; make them smaller"
    )


def test_a_step_before_the_plan_is_a_mistake_in_the_program(checkpoint):
    made = adapted.model(checkpoint, OPTIONS)
    with pytest.raises(ValueError, match="call prepare"):
        after(made.adaptation, {}, 0)
