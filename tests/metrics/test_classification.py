from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn import metrics as reference

from tfpipeline.errors import UserError
from tfpipeline.metrics import classification
from tfpipeline.tasks.classification import Classification

LABELS = ["negative", "neutral", "positive"]
# Rows 0, 1, 3 right, row 2 answered 1 for 2.
TARGETS = np.array([0, 1, 2, 2])
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.1, 0.5, 0.4], [0.0, 0.0, 1.0]])


def test_by_hand():
    scores = classification.compute(TARGETS, PROBABILITIES, labels=LABELS)
    assert scores["accuracy"] == scores["micro_f1"] == 0.75
    # F1: 1, 2/3 (precision 1/2, recall 1), 2/3 (precision 1, recall 1/2).
    assert scores["macro_f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert scores["weighted_f1"] == pytest.approx((1 + 2 / 3 + 2 * 2 / 3) / 4)
    # Right 3 of 4; true counts 1, 1, 2; answered 1, 2, 1: (3*4 - 5) / sqrt((16-6) * (16-6)).
    assert scores["mcc"] == pytest.approx(0.7)
    assert scores["roc_auc"] == 1.0
    # Each row in a bin of its own: |0.8-1| + |0.6-1| + |0.5-0| + |1-1|, over 4.
    assert scores["expected_calibration_error"] == pytest.approx(1.1 / 4)
    assert (
        classification.confusion_matrix(TARGETS, PROBABILITIES, labels=LABELS).toarray()
        == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    ).all()


def random_answers(seed, rows=200, classes=3):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(classes), rows).astype(np.float32)
    return rng.integers(0, classes, rows), probabilities, rng.integers(0, 4, rows).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_a_weight_counts_as_so_many_copies(seed):
    targets, probabilities, weights = random_answers(seed)
    copies = np.repeat(np.arange(200), weights.astype(int))
    weighted = classification.compute(targets, probabilities, weights, labels=LABELS)
    repeated = classification.compute(targets[copies], probabilities[copies], labels=LABELS)
    assert weighted == pytest.approx(repeated)
    assert weighted != pytest.approx(classification.compute(targets, probabilities, labels=LABELS))


@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn(seed):
    targets, probabilities, _ = random_answers(seed)
    scores = classification.compute(targets, probabilities, labels=LABELS)
    answers = probabilities.argmax(-1)
    assert scores["mcc"] == pytest.approx(reference.matthews_corrcoef(targets, answers))
    normalised = probabilities.astype(np.float64) / probabilities.astype(np.float64).sum(-1, keepdims=True)
    assert scores["roc_auc"] == pytest.approx(
        reference.roc_auc_score(targets, normalised, multi_class="ovr"), abs=1e-6
    )
    matrix = classification.confusion_matrix(targets, probabilities, labels=LABELS)
    assert (matrix.toarray() == reference.confusion_matrix(targets, answers)).all()
    two, first, _ = random_answers(seed, classes=2)
    assert classification.compute(two, first, labels=LABELS[:2])["roc_auc"] == pytest.approx(
        reference.roc_auc_score(two, first[:, 1]), abs=1e-6
    )


def test_calibration_of_an_honest_and_of_a_boasting_model():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 50_000)
    targets = (rng.uniform(size=50_000) > confidence).astype(int)  # class 0 as often as it says
    honest = np.stack([confidence, 1 - confidence], -1)
    assert classification.expected_calibration_error(targets, honest) < 0.01
    boasting = np.tile([1.0, 0.0], (50_000, 1))
    assert classification.expected_calibration_error(targets, boasting) == pytest.approx(targets.mean())


@pytest.mark.parametrize(
    ("logits", "wanted"),
    [
        ([[20, -3], [20, -2], [20, -1], [0, 1]], 1),  # the first class's probability is 1 of three rows
        ([[-3, 20], [-2, 20], [-1, 20], [1, 0]], 0),  # the second one's
        ([[0, 20], [0, 22], [0, 21], [0, 40]], 3 / 4),
        ([[0, -20], [0, -22], [0, -21], [0, -40]], 1 / 4),
        ([[20, -3], [20, -3], [20, -3], [0, 1]], 3 / 4),  # equal numbers stay so
    ],
)
def test_rows_are_ranked_where_32_bits_are_saturated(logits, wanted):
    logits = np.array(logits, np.float64)
    probabilities = np.exp(logits - np.logaddexp.reduce(logits, -1, keepdims=True)).astype(np.float32)
    targets = np.array([0, 0, 1, 1])
    found = classification.compute(targets, probabilities, labels=LABELS[:2])
    assert found["roc_auc"] == pytest.approx(wanted, abs=1e-12)
    assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(targets, logits[:, 1] - logits[:, 0]))
    # A third class that no row has: one class against the rest, twice.
    three = np.concatenate([probabilities, np.full((4, 1), 1e-30, np.float32)], -1)
    assert classification.compute(targets, three, labels=LABELS)["roc_auc"] == pytest.approx(wanted)


def test_many_classes_take_no_square_of_them():
    """A matrix of 50,000 classes would have 20 GB."""
    classes, rows = 50_000, 20
    targets = np.arange(rows) * 7
    probabilities = np.full((rows, classes), 0.5 / classes, np.float32)
    probabilities[np.arange(rows), targets + (targets > 50)] = 0.5
    labels = [str(index) for index in range(classes)]
    tracemalloc.start()
    scores = classification.compute(targets, probabilities, labels=labels)
    classification.report(targets, probabilities, labels=labels)
    matrix = classification.confusion_matrix(targets, probabilities, labels=labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert scores["accuracy"] == 8 / 20
    assert matrix.nnz == rows
    assert matrix[56, 57] == matrix[0, 0] == 1
    assert peak < 10 * probabilities.nbytes


def test_one_class_only():
    targets, probabilities = np.zeros(3, int), np.tile([0.9, 0.05, 0.05], (3, 1))
    scores = classification.compute(targets, probabilities, labels=LABELS)
    assert scores["accuracy"] == scores["macro_f1"] == 1
    assert scores["mcc"] == 0
    assert "roc_auc" not in scores
    assert "negative" in classification.report(targets, probabilities, labels=LABELS)


def test_classes_that_never_occur_or_are_never_answered():
    targets, probabilities = np.array([0, 0, 2]), np.tile([0.9, 0.05, 0.05], (3, 1))
    scores = classification.compute(targets, probabilities, labels=LABELS)
    assert scores["macro_f1"] == pytest.approx(
        0.8 / 2
    )  # F1 of class 0 is 0.8, of class 2 is 0, class 1 is nowhere
    text = classification.report(targets, probabilities, labels=LABELS)
    assert "positive" in text
    assert "neutral" not in text


def test_report_is_scikit_learns():
    text = classification.report(TARGETS, PROBABILITIES, labels=LABELS)
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert lines[0] == ["precision", "recall", "f1-score", "support"]
    assert ["neutral", "0.500", "1.000", "0.667", "1"] in lines
    assert next(line for line in lines if line[:2] == ["macro", "avg"])[4] == "0.778"


def test_the_direction_of_every_score_is_known():
    scores = classification.compute(TARGETS, PROBABILITIES, labels=LABELS)
    assert Classification.scorer_class.lower_is_better < scores.keys()
    wrong = classification.compute((TARGETS + 1) % 3, PROBABILITIES, labels=LABELS)
    for name, score in scores.items():
        assert (score > wrong[name]) == (name not in Classification.scorer_class.lower_is_better), name


def test_nothing_to_score_and_answers_that_are_not_numbers():
    with pytest.raises(UserError, match="no row has a weight above 0"):
        classification.compute(TARGETS, PROBABILITIES, np.zeros(4), labels=LABELS)
    broken = PROBABILITIES.copy()
    broken[1] = np.nan
    with pytest.raises(UserError, match="1 of 4 predictions are NaN or infinite, so training has diverged"):
        classification.compute(TARGETS, broken, labels=LABELS)
    with pytest.raises(ValueError, match="do not fit together"):
        classification.compute(TARGETS, PROBABILITIES, labels=LABELS[:2])
