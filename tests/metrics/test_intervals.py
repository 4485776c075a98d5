"""Confidence intervals beside scipy's own bootstrap, and the metrics that they are about."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from tfpipeline.metrics import classification, intervals, multilabel, question_answering, regression, tagging

ROWS = 400


def scipys(rows, metric):
    """The percentile interval of a metric of the chosen rows."""
    found = scipy.stats.bootstrap(
        (np.arange(rows),), metric, vectorized=False, method="percentile", n_resamples=1000, rng=7
    )
    return found.confidence_interval.low, found.confidence_interval.high


def close(ours, theirs, value):
    """Both ends, up to the noise of other resamples: an eighth of the width; and around the value."""
    width = theirs[1] - theirs[0]
    assert ours == pytest.approx(theirs, abs=width / 8)
    assert ours[0] <= value <= ours[1]


def classes(rows=ROWS, count=4, seed=0):
    random = np.random.default_rng(seed)
    targets = random.choice(count, rows, p=np.arange(1, count + 1) / (count * (count + 1) / 2))
    scores = random.normal(0, 1, (rows, count)) + 1.5 * np.eye(count)[targets]
    return targets, np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)


def macro_f1(targets, answers, weights, count):
    """The mean over the classes that occur, by hand."""
    right = np.bincount(targets[targets == answers], weights[targets == answers], count)
    both = np.bincount(targets, weights, count) + np.bincount(answers, weights, count)
    return (2 * right[both > 0] / both[both > 0]).mean()


def test_macro_f1_of_weighted_rows():
    targets, probabilities = classes()
    weights = np.random.default_rng(1).choice([0.0, 0.5, 2.0], ROWS)
    found = classification.confidence_intervals(targets, probabilities, weights, labels="abcd")
    kept, answers = np.flatnonzero(weights), probabilities.argmax(-1)

    def f1(rows):
        return macro_f1(targets[kept[rows]], answers[kept[rows]], weights[kept[rows]], 4)

    value = classification.compute(targets, probabilities, weights, labels="abcd")["macro_f1"]
    close(found["macro_f1"], scipys(len(kept), f1), value)


def as_given(monkeypatch):
    """Make every resample the rows themselves, so that both ends of an interval are the metric."""
    monkeypatch.setattr(intervals, "_counts", lambda random, resamples, rows: np.ones((resamples, rows)))


def are_the_metrics(found, metrics, names):
    assert found.keys() == names
    for name, ends in found.items():
        assert ends == pytest.approx([metrics[name]] * 2, rel=1e-9, abs=1e-9), name


def test_what_is_resampled_are_the_metrics(monkeypatch):
    """All that are functions of sums over rows, also at their edges: labels and types that never occur."""
    as_given(monkeypatch)
    random = np.random.default_rng(0)
    weights = random.choice([0.0, 0.5, 2.0], ROWS)
    targets, probabilities = classes()
    want = classification.compute(targets, probabilities, weights, labels="abcd")
    found = classification.confidence_intervals(targets, probabilities, weights, labels="abcd")
    low, high = found.pop("accuracy")
    assert low < want["accuracy"] < high
    are_the_metrics(found, want, {"macro_f1", "micro_f1", "weighted_f1", "mcc"})
    for shares in ([0.1, 0.6, 0.0], [0.0, 0.0, 0.0]):
        sets = random.random((ROWS, 3)) < shares
        scores = np.clip(0.4 * sets + 0.59 * random.random((ROWS, 3)), 0, 1) * (np.array(shares) > 0)
        asked = (sets, scores, np.full(3, 0.5), weights)
        found = multilabel.confidence_intervals(*asked, labels="abc")
        assert found.pop("subset_accuracy")
        names = {"macro_f1", "micro_f1", "weighted_f1", "samples_f1", "hamming_loss", "f1/a", "f1/b", "f1/c"}
        are_the_metrics(found, multilabel.compute(*asked, labels="abc"), names)
    numbers = 1e4 + random.normal(0, 3, ROWS)
    for values in (numbers + random.normal(0, 2, ROWS), numbers, np.full(ROWS, 3.0)):
        found = regression.confidence_intervals(numbers, values, weights)
        are_the_metrics(found, regression.compute(numbers, values, weights), {"pearson", "rmse", "mae", "r2"})


@pytest.mark.parametrize("entities", [True, False])
def test_entities_and_tags(monkeypatch, entities):
    as_given(monkeypatch)
    random = np.random.default_rng(0)
    kinds = np.array(["O", "B-PER", "I-PER", "B-LOC"])
    truth = [list(kinds[random.choice(4, random.integers(0, 12))]) for _ in range(60)]
    predicted = [[tag if random.random() < 0.7 else "O" for tag in tags] for tags in truth]
    for given in (predicted, [["O"] * len(tags) for tags in truth], [[""] * len(tags) for tags in truth]):
        if entities and "" in given[0]:
            continue
        want = tagging.compute(truth, given, entities=entities)
        are_the_metrics(tagging.confidence_intervals(truth, given, entities=entities), want, want.keys())
    none = [["O"]] * 3
    want = tagging.compute(none, none, entities=entities)
    are_the_metrics(tagging.confidence_intervals(none, none, entities=entities), want, want.keys())


def test_numbers():
    random = np.random.default_rng(0)
    targets = 1e4 + random.normal(0, 3, ROWS)
    values = targets + random.normal(0, 2, ROWS)
    found = regression.confidence_intervals(targets, values)
    whole = regression.compute(targets, values)
    theirs = {
        "pearson": lambda rows: np.corrcoef(targets[rows], values[rows])[0, 1],
        "mae": lambda rows: np.abs(targets[rows] - values[rows]).mean(),
    }
    for name, metric in theirs.items():
        close(found[name], scipys(ROWS, metric), whole[name])


def test_answers():
    answers, gold = ["a b", "c", "", "x"] * 50, [["a b c"], ["c"], [], ["y"]] * 50
    found = question_answering.confidence_intervals(answers, gold)
    overlaps = np.array([question_answering.f1(*pair) for pair in zip(answers, gold, strict=True)])
    close(found["f1"], scipys(200, lambda rows: overlaps[rows].mean()), overlaps.mean())
    some = np.array([bool(right) for right in gold])
    value = overlaps[some].mean()
    close(found["has_answer_f1"], scipys(200, lambda rows: overlaps[rows][some[rows]].mean()), value)
    theirs = scipy.stats.binomtest(50, 150).proportion_ci(method="wilson")
    assert found["has_answer_exact_match"] == pytest.approx((theirs.low, theirs.high))
    assert found["no_answer_accuracy"][1] == 1.0


@pytest.mark.parametrize(("right", "rows"), [(5, 10), (20, 20), (0, 5), (36, 40), (813, 1000)])
def test_shares_equal_scipys(right, rows):
    want = scipy.stats.binomtest(right, rows).proportion_ci(method="wilson")
    assert intervals.wilson(right / rows, rows) == pytest.approx((want.low, want.high), abs=1e-9)


def test_the_same_rows_have_the_same_interval_and_one_row_has_a_point():
    targets, probabilities = classes()
    ask = classification.confidence_intervals
    assert ask(targets, probabilities, labels="abcd") == ask(targets, probabilities, labels="abcd")
    assert ask(targets[:1], probabilities[:1], labels="abcd")["micro_f1"] in ((0, 0), (1, 1))


def test_resamples_are_drawn_in_parts_of_bounded_size(monkeypatch):
    monkeypatch.setattr(intervals, "_CELLS", 300)
    asked = []
    real = intervals._counts

    def counts(random, resamples, rows):
        asked.append(resamples)
        drawn = real(random, resamples, rows)
        assert (drawn.sum(-1) == rows).all()
        return drawn

    monkeypatch.setattr(intervals, "_counts", counts)
    intervals.means({"x": np.arange(100.0)}, np.ones(100))
    assert asked == [3] * 333 + [1]


@pytest.mark.parametrize("count", [3, 500])
def test_ten_thousand_rows_take_little_memory(count):
    """The sums of classes are sparse: 10,000 rows of 500 classes would be 120 MB."""
    targets, probabilities = classes(10_000, count)
    found = classification.confidence_intervals(targets, probabilities, labels=range(count))
    assert found["micro_f1"][1] - found["micro_f1"][0] < 0.03
