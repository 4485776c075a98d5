from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as reference

from tfpipeline.errors import UserError
from tfpipeline.metrics import multilabel

LABELS = ["sport", "politics", "weather"]
THRESHOLDS = np.array([0.5, 0.3, 0.9], np.float32)
TARGETS = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], bool)
# Answers: sport and politics; politics; politics; sport.
SCORES = np.array([[0.9, 0.3, 0.1], [0.4, 0.6, 0.2], [0.1, 0.8, 0.3], [0.5, 0.2, 0.0]], np.float32)
THRESHOLDS[1] = SCORES[0, 1]  # a score on the threshold is answered


def test_by_hand():
    scores = multilabel.compute(TARGETS, SCORES, THRESHOLDS, labels=LABELS)
    assert scores == pytest.approx(
        {
            "f1/sport": 1 / 2,  # right 1, true 2, answered 2
            "f1/politics": 2 * 2 / 5,  # right 2, true 2, answered 3
            "f1/weather": 0.0,  # nowhere
            "macro_f1": (0.5 + 0.8) / 2,  # of those that occur
            "micro_f1": 2 * 3 / (4 + 5),
            "weighted_f1": (2 * 0.5 + 2 * 0.8) / 4,
            "samples_f1": (1 + 0 + 1 + 0) / 4,
            # sport: rows 0, 3, 1, 2 by score, right at places 1 and 3; politics: rows 2, 1, 0, at 1 and 3.
            "map": ((1 / 1 + 2 / 3) / 2 + (1 / 1 + 2 / 3) / 2) / 2,
            "subset_accuracy": 2 / 4,
            "hamming_loss": 3 / 12,
            # Every score is in a bin of its own, so it is the mean of |score - target|, and that over labels.
            "expected_calibration_error": (1.3 / 4 + 1.7 / 4 + 0.6 / 4) / 3,
        }
    )
    assert list(scores)[-3:] == ["f1/sport", "f1/politics", "f1/weather"]


def random_rows(seed, rows=200, labels=3):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 21, (rows, labels)).astype(np.float32) / 20  # many are equal
    targets = rng.uniform(size=scores.shape) < 0.1 + scores / 2
    return targets, scores, rng.uniform(0.2, 0.8, labels), rng.integers(0, 4, rows).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_scikit_learn(seed, weighted):
    targets, scores, thresholds, weights = random_rows(seed)
    weights = weights * 0.37 if weighted else None
    found = multilabel.compute(targets, scores, thresholds, weights, labels=LABELS)
    answers = scores >= thresholds
    kept = {"sample_weight": weights}
    assert not targets.any(-1).all()  # a row without a label that gets none is right
    for average, nothing in (("macro", 0), ("micro", 0), ("weighted", 0), ("samples", 1)):
        assert found[f"{average}_f1"] == pytest.approx(
            reference.f1_score(targets, answers, average=average, zero_division=nothing, **kept)
        )
    each = reference.f1_score(targets, answers, average=None, zero_division=0, **kept)
    assert [found[f"f1/{label}"] for label in LABELS] == pytest.approx(each)
    assert found["map"] == pytest.approx(reference.average_precision_score(targets, scores, **kept))
    assert found["subset_accuracy"] == pytest.approx(reference.accuracy_score(targets, answers, **kept))
    assert found["hamming_loss"] == pytest.approx(reference.hamming_loss(targets, answers, **kept))


@pytest.mark.parametrize("seed", range(3))
def test_a_weight_counts_as_so_many_copies(seed):
    targets, scores, thresholds, weights = random_rows(seed)
    copies = np.repeat(np.arange(200), weights.astype(int))
    weighted = multilabel.compute(targets, scores, thresholds, weights, labels=LABELS)
    repeated = multilabel.compute(targets[copies], scores[copies], thresholds, labels=LABELS)
    assert weighted == pytest.approx(repeated)
    assert weighted != pytest.approx(multilabel.compute(targets, scores, thresholds, labels=LABELS))
    assert (
        multilabel.tune_thresholds(targets, scores, weights)
        == multilabel.tune_thresholds(targets[copies], scores[copies])
    ).all()


def test_the_order_of_rows_and_labels_changes_nothing():
    targets, scores, thresholds, weights = random_rows(0)
    rows, columns = np.random.default_rng(1).permutation(200), [2, 0, 1]
    moved = np.ix_(rows, columns)
    want = multilabel.compute(targets, scores, thresholds, weights, labels=LABELS)
    got = multilabel.compute(
        targets[moved],
        scores[moved],
        thresholds[columns],
        weights[rows],
        labels=[LABELS[index] for index in columns],
    )
    assert got == pytest.approx(want)
    uneven = weights / 3  # their sums depend on the order
    assert (
        multilabel.tune_thresholds(targets[moved], scores[moved], uneven[rows])
        == multilabel.tune_thresholds(targets, scores, uneven)[columns]
    ).all()


def test_one_label_only():
    scores = multilabel.compute(TARGETS[:, :1], SCORES[:, :1], THRESHOLDS[:1], labels=["sport"])
    assert scores["macro_f1"] == scores["micro_f1"] == scores["weighted_f1"] == scores["f1/sport"] == 0.5
    assert scores["samples_f1"] == (1 + 0 + 1 + 0) / 4  # the third row has no label and gets none
    assert scores["subset_accuracy"] == 1 - scores["hamming_loss"] == 0.5
    text = multilabel.report(TARGETS[:, :1], SCORES[:, :1], THRESHOLDS[:1], labels=["sport"])
    assert ["sport", ">=", "0.500", "0.500", "0.500", "0.500", "2"] in [
        line.split() for line in text.splitlines()
    ]


def test_no_row_has_a_label():
    scores = multilabel.compute(np.zeros((4, 3), int), SCORES, THRESHOLDS, labels=LABELS)
    assert "map" not in scores
    assert scores["micro_f1"] == scores["weighted_f1"] == scores["samples_f1"] == 0
    assert scores["hamming_loss"] == pytest.approx(5 / 12)


@pytest.mark.parametrize("targets", [TARGETS, TARGETS[:, :1], np.zeros((4, 3), bool), np.ones((4, 2), bool)])
def test_a_perfect_model_has_1(targets):
    """Whatever the rows lack: rows without a label, labels without a row, no label at all."""
    labels = LABELS[: targets.shape[1]]
    thresholds = np.full(len(labels), 0.5)
    scores = multilabel.compute(targets, targets * 0.8 + 0.1, thresholds, labels=labels)
    means = ("macro_f1", "micro_f1", "weighted_f1", "samples_f1", "subset_accuracy")
    assert [scores[name] for name in means] == [1] * 5
    assert scores.get("map", 1) == 1 - scores["hamming_loss"] == 1
    text = multilabel.report(targets, targets * 0.8 + 0.1, thresholds, labels=labels)
    if not targets.any():
        assert text == "no row has a label, and none was predicted\n"
    for line in text.splitlines()[2:] if targets.any() else []:
        assert not line.strip() or line.split()[-4:-1] == ["1.000"] * 3, line


def test_precision_and_recall_by_row():
    """Of rows that have labels and get none precision is 0, of rows that have none and get some recall."""
    targets, answers = np.array([[0, 0], [1, 0], [0, 0], [1, 1]]), np.array([[0, 0], [0, 0], [1, 0], [1, 0]])
    text = multilabel.report(targets, answers * 1.0, np.array([0.5, 0.5]), labels=["a", "b"])
    #     rows: precision 1 0 0 1, recall 1 0 0 1/2, F1 1 0 0 2/3; three labels are right
    assert text.splitlines()[-1] == f"{'samples avg':>12}      0.500     0.375     0.417         3"
    wanted = reference.classification_report(
        targets, answers, target_names=["a >= 0.500", "b >= 0.500"], digits=3, zero_division=0
    )
    assert text.splitlines()[:-1] == wanted.rstrip().splitlines()[:-1]


def test_rows_are_ranked_by_what_is_not_saturated():
    """Scores of 32 bits are 1 from a logit of 17 on."""
    logits = np.array([[20.0], [21], [22], [0]], np.float32)
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    given = np.array([[0], [0], [1], [0]])
    tied = multilabel.compute(given, scores, [0.5], labels=["a"])
    assert tied["map"] == pytest.approx(1 / 3)
    assert multilabel.compute(given, scores, [0.5], labels=["a"], logits=logits) == {**tied, "map": 1}
    weights = np.array([1, 0, 1, 1])
    assert multilabel.compute(given, scores, [0.5], weights, labels=["a"], logits=logits)["map"] == 1


def test_report_is_scikit_learns_with_thresholds():
    text = multilabel.report(TARGETS, SCORES, THRESHOLDS, labels=LABELS)
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert lines[0] == ["precision", "recall", "f1-score", "support"]
    assert ["politics", ">=", "0.300", "0.667", "1.000", "0.800", "2"] in lines
    assert next(line for line in lines if line[:2] == ["samples", "avg"])[4] == "0.500"
    weighted = multilabel.report(TARGETS, SCORES, THRESHOLDS, np.array([0.5, 1, 1, 0]), labels=LABELS)
    assert "sport >= 0.500      1.000     0.333     0.500" in weighted


def tuned(targets, scores, weights=None):
    (threshold,) = multilabel.tune_thresholds(
        np.array(targets)[:, None], np.array(scores, np.float32)[:, None], weights
    )
    return threshold


@pytest.mark.parametrize(
    ("targets", "scores", "weights", "threshold"),
    [
        ([0, 1], [0.125, 0.375], None, 0.25),  # midway between the two
        ([0, 1, 1], [0.125, 0.25, 0.75], None, 0.1875),
        ([1, 1], [0.25, 0.5], None, 0.125),  # midway between the lowest and 0
        ([1, 1], [0.0, 0.5], None, 0.25),  # a score of 0 is below every threshold
        ([1, 1], [1.0, 1.0], None, 0.5),
        ([1, 0, 0, 1], [0.875, 0.75, 0.625, 0.5], [1, 0.5, 0.5, 0], 0.8125),
        ([0, 1], [0.9, 0.1], [1, 0], 0.5),  # no row that counts has the label
        ([0, 0], [0.2, 0.9], None, 0.5),
        ([1, 0], [0.0, 0.9], None, 0.5),
    ],
)
def test_thresholds_by_hand(targets, scores, weights, threshold):
    assert tuned(targets, scores, weights) == threshold


def test_of_equal_f1s_the_threshold_nearest_to_a_half():
    # Answering the first row or all four: F1 2 * 1/(2 + 1) and 2 * 2/(2 + 4).
    targets = [1, 0, 0, 1]
    assert tuned(targets, [0.875, 0.625, 0.5, 0.375]) == 0.75  # not 0.1875
    assert tuned(targets, [0.875, 0.75, 0.625, 0.5]) == 0.25  # not 0.8125
    assert tuned(targets, [1.0, 0.96875, 0.9375, 0.875]) == 0.4375  # not 0.984375


def test_neighbouring_floats_are_told_apart():
    lower = np.float32(0.3)
    upper = np.nextafter(lower, np.float32(1))
    threshold = tuned([0, 1], [lower, upper])
    assert lower < threshold <= upper
    last = np.nextafter(np.float32(1), np.float32(0))
    assert 0 < tuned([0, 1], [last, 1.0]) <= last  # only 1 would part them


floats = st.one_of(
    st.floats(0, 1, width=32),
    st.sampled_from(
        [0.0, 0.25, 0.5, 0.75, 1.0, np.float32(1e-45), np.nextafter(np.float32(1), np.float32(0))]
    ),
)


@given(data=st.data(), rows=st.integers(1, 8))
def test_no_other_threshold_has_a_higher_f1(data, rows):
    scores = data.draw(hnp.arrays(np.float32, rows, elements=floats))
    targets = data.draw(hnp.arrays(bool, rows))
    weights = data.draw(hnp.arrays(np.float64, rows, elements=st.integers(0, 3)))
    if not weights.any():
        return

    def f1(threshold):
        answers = scores >= threshold
        total = weights @ targets + weights @ answers
        return 2 * (weights @ (targets & answers)) / total if total else 0.0

    threshold = tuned(targets, scores, weights)
    assert threshold.dtype == np.float32
    assert 0 < threshold < 1
    tiny, last = np.float32(1e-45), np.nextafter(np.float32(1), np.float32(0))
    every = [tiny, *scores[(scores > 0) & (scores < 1)], last]  # one where each other set is answered
    assert f1(threshold) == pytest.approx(max(map(f1, every)), abs=1e-12)


def test_thresholds_of_many_rows_are_fast():
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=(100_000, 50)).astype(np.float32)
    targets = rng.uniform(size=scores.shape) < scores**2
    start = time.perf_counter()
    thresholds = multilabel.tune_thresholds(targets, scores)
    assert time.perf_counter() - start < 20  # 0.6 s where nothing else runs
    # At t, F1 is 2 (1 - t^3)/3 / (1/3 + 1 - t), largest where 2 t^3 - 4 t^2 + 1 = 0.
    assert thresholds == pytest.approx(0.597, abs=0.05)


def test_nothing_to_score_and_scores_that_are_not_numbers():
    broken = SCORES.copy()
    broken[1, 2] = np.nan
    for score in (
        lambda scores, weights: multilabel.compute(TARGETS, scores, THRESHOLDS, weights, labels=LABELS),
        lambda scores, weights: multilabel.report(TARGETS, scores, THRESHOLDS, weights, labels=LABELS),
        lambda scores, weights: multilabel.tune_thresholds(TARGETS, scores, weights),
    ):
        with pytest.raises(UserError, match="no row has a weight above 0"):
            score(SCORES, np.zeros(4))
        with pytest.raises(
            UserError, match="1 of 4 predictions are NaN or infinite, so training has diverged"
        ):
            score(broken, None)
        with pytest.raises(ValueError, match="do not fit together"):
            score(SCORES[:, :2], None)
