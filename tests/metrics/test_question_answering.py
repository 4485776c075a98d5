from __future__ import annotations

import itertools
import string
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tfpipeline.errors import UserError
from tfpipeline.metrics import question_answering
from tfpipeline.metrics.question_answering import exact_match, f1, normalize_answer, tune_threshold

# A second implementation, from the description of SQuAD's official script and in other terms than ours: runs of letters
# and digits for the regular expression, lists for the counters, counts for precision and recall.


def their_words(text):
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    runs = ("".join(run) for _, run in itertools.groupby(text, str.isalnum))
    return "".join(" " if run in ("a", "an", "the") else run for run in runs).split()


def their_gold(gold):
    return [their_words(right) for right in gold if their_words(right)] or [[]]


def their_exact_match(answer, gold):
    return int(their_words(answer) in their_gold(gold))


def their_f1(answer, gold):
    scores = []
    for right in their_gold(gold):
        words, left = their_words(answer), list(right)
        if not words or not right:
            scores.append(int(words == right))
            continue
        for word in words:
            if word in left:
                left.remove(word)
        scores.append(2 * (len(right) - len(left)) / (len(words) + len(right)))
    return max(scores)


texts = st.one_of(
    st.text(max_size=8),
    st.lists(
        st.sampled_from(
            [
                "a", "an", "the", "The", "AN", "cat", "Cat", "cats", "é", "É", "İ", "ß", "東京", "1", "2.5", "U.S.", "_", "-",
                "'s", "\u2019s", "\u00a0", "\u3000", "\u200b", "\u0301", " ", "\n", ".", "«", "the-cat", "a_cat", "theatre", "²",
            ]
        ),
        max_size=6,
    ).flatmap(lambda words: st.sampled_from(["", " "]).map(lambda between: between.join(words))),
)  # fmt: skip


@given(answer=texts, gold=st.lists(texts, max_size=3))
@example(answer="the a an", gold=["The."])
@example(answer="", gold=["..."])
def test_equals_a_second_implementation(answer, gold):
    assert normalize_answer(answer).split() == their_words(answer)
    assert exact_match(answer, gold) == their_exact_match(answer, gold)
    assert f1(answer, gold) == pytest.approx(their_f1(answer, gold), rel=1e-12)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The  Cat's\n\u00a0hat!", "cats hat"),
        ("a an the", ""),
        ("theatre an-d A.", "theatre and"),  # what is left without punctuation can be no article any more
        ("the-cat", "thecat"),
        ("t.h.e cat", "cat"),  # or become one
        ("«the» cat", "« » cat"),  # punctuation that is not ASCII parts words
        ("the\u2019s", "\u2019s"),
        ("the\u0301", "\u0301"),  # a combining mark is no letter
        ("ÉTÉ İ", "été i\u0307"),
        ("東京は 首都", "東京は 首都"),
        ("$1,000.50", "100050"),
        ("\u200b", "\u200b"),
        ("_", ""),
    ],
)
def test_normalized_answers(text, found):
    assert normalize_answer(text) == found


@pytest.mark.parametrize(
    ("answer", "gold", "exact", "overlap"),
    [
        ("The Norman conquest.", ["norman conquest"], 1, 1),
        ("norman conquest of England", ["the norman conquest"], 0, 2 * (2 / 4) * (2 / 2) / (2 / 4 + 1)),
        ("conquest", ["Rome", "Norman conquest", "Norman conquest of England"], 0, 2 / 3),
        ("b b c", ["b b b c d"], 0, 2 * 1 * (3 / 5) / (8 / 5)),  # words count as often as they occur
        ("b c", ["c b"], 0, 1),
        ("Rome", ["Oslo"], 0, 0),
        ("", [], 1, 1),
        ("Oslo", [], 0, 0),
        ("the", [], 1, 1),  # as good as empty
        ("?!", [], 1, 1),
        ("", ["Oslo"], 0, 0),
        ("the", ["Oslo"], 0, 0),
        ("", ["the"], 1, 1),  # the right answer normalises to nothing
        ("", ["", "..."], 1, 1),
        ("the", ["a", "Oslo"], 0, 0),  # as long as another does not
        ("Oslo", ["a", "Oslo"], 1, 1),
        ("東京", ["東京都"], 0, 0),  # one word each
    ],
)
def test_by_hand(answer, gold, exact, overlap):
    assert exact_match(answer, gold) == exact
    assert f1(answer, gold) == pytest.approx(overlap)
    assert isinstance(f1(answer, gold), float)


ANSWERS = ["Oslo", "red blue", "", "green", "", "x"]
GOLD = [["oslo!"], ["blue", "red"], [], [], ["green"], ["y"]]


def test_means():
    assert question_answering.compute(ANSWERS, GOLD) == pytest.approx(
        {
            "exact_match": 2 / 6,
            "f1": (1 + 2 / 3 + 1 + 0 + 0 + 0) / 6,
            "has_answer_exact_match": 1 / 4,
            "has_answer_f1": (1 + 2 / 3) / 4,
            "no_answer_accuracy": 1 / 2,
        }
    )
    weights = np.array([1, 3, 2, 0, 0, 0])
    assert question_answering.compute(ANSWERS, GOLD, weights) == pytest.approx(
        {
            "exact_match": 3 / 6,
            "f1": (1 + 2 + 2) / 6,
            "has_answer_exact_match": 1 / 4,
            "has_answer_f1": 3 / 4,
            "no_answer_accuracy": 1,
        }
    )


@pytest.mark.parametrize(
    ("weights", "names"),
    [
        ([1, 1, 0, 0, 1, 1], ["exact_match", "f1"]),
        ([0, 0, 1, 1, 0, 0], ["exact_match", "f1", "no_answer_accuracy"]),
        (
            [1, 0, 1, 0, 0, 0],
            ["exact_match", "f1", "has_answer_exact_match", "has_answer_f1", "no_answer_accuracy"],
        ),
    ],
)
def test_scores_are_those_of_rows_that_there_are(weights, names):
    assert list(question_answering.compute(ANSWERS, GOLD, np.array(weights, np.float32))) == names


rows = st.lists(
    st.tuples(texts, st.lists(texts, max_size=2), st.integers(0, 3)), min_size=1, max_size=8
).filter(lambda rows: any(weight for _, _, weight in rows))


@given(rows=rows)
def test_a_weight_counts_as_so_many_copies_and_order_does_not(rows):
    answers, gold, weights = zip(*rows)
    found = question_answering.compute(answers, gold, np.array(weights))
    copies = [row for row in rows[::-1] for _ in range(row[2])]
    assert found == pytest.approx(question_answering.compute(*list(zip(*copies))[:2]))
    assert all(0 <= score <= 1 for score in found.values())


def test_report():
    assert question_answering.report(ANSWERS, GOLD).splitlines() == [
        "              exact match       f1     rows",
        "         all       0.3333   0.4444        6",
        "  has answer       0.2500   0.4167        4",
        "   no answer       0.5000   0.5000        2",
    ]
    lines = question_answering.report(ANSWERS, GOLD, np.array([1, 1, 0, 0, 2, 0])).splitlines()
    assert [line.split() for line in lines[1:]] == [["all", "0.2500", "0.4167", "3"]]
    lines = question_answering.report(ANSWERS, GOLD, np.array([0, 0, 3, 1, 0, 0])).splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["2", "2"]


def test_nothing_to_score_and_rows_that_do_not_fit():
    for score in (question_answering.compute, question_answering.report):
        with pytest.raises(UserError, match="no row has a weight above 0"):
            score(ANSWERS, GOLD, np.zeros(6))
        with pytest.raises(ValueError, match="do not fit together"):
            score(ANSWERS, GOLD[:5])
        with pytest.raises(ValueError, match="do not fit together"):
            score(ANSWERS, GOLD, np.ones(5))
    with pytest.raises(ValueError, match="do not fit together"):
        tune_threshold(ANSWERS, np.zeros(5), GOLD)
    with pytest.raises(UserError, match="1 of 2 predictions are NaN or infinite, so training has diverged"):
        tune_threshold(["a", "b"], np.array([np.nan, 0]), [[], []])


RIGHT, NONE, WRONG = ["Oslo"], [], ["Rome"]  # the right answers of a row whose span is Oslo


def tuned(gold, no_answer, weights=None):
    return tune_threshold(["Oslo"] * len(gold), np.array(no_answer, np.float32), gold, weights)


@pytest.mark.parametrize(
    ("gold", "no_answer", "weights", "threshold"),
    [
        ([RIGHT, NONE], [0.125, 0.375], None, 0.25),  # midway between the two
        ([RIGHT, NONE, NONE], [0.125, 0.25, 0.75], None, 0.1875),
        ([RIGHT, RIGHT], [0.25, 0.5], None, 0.75),  # midway between the highest and 1
        ([NONE, NONE], [0.25, 0.5], None, 0.125),  # midway between the lowest and 0
        ([NONE, NONE], [0.0, 0.5], None, 0.25),  # a score of 0 is above no threshold
        ([RIGHT, RIGHT], [0.5, 1.0], None, 1.0),
        ([NONE, NONE], [1.0, 1.0], None, 0.5),
        ([RIGHT, RIGHT], [0.0, 0.0], None, 0.5),
        ([WRONG, WRONG], [0.25, 0.875], None, 0.5625),  # nothing helps: nearest to a half
        ([NONE, RIGHT, RIGHT, NONE], [0.125, 0.25, 0.375, 0.5], [1, 0.5, 0.25, 0], 0.0625),
        ([NONE, RIGHT], [0.9, 0.1], [0, 0], 0.5),
        ([], [], None, 0.5),
    ],
)
def test_thresholds_by_hand(gold, no_answer, weights, threshold):
    assert tuned(gold, no_answer, None if weights is None else np.array(weights)) == threshold


def test_of_equal_f1s_the_threshold_nearest_to_a_half():
    # Right of four: 3 with a threshold below the second score, and 3 above the third.
    gold = [RIGHT, NONE, RIGHT, NONE]
    assert tuned(gold, [0.125, 0.25, 0.375, 0.5]) == 0.4375  # not 0.1875
    assert tuned(gold, [0.375, 0.5, 0.75, 1.0]) == 0.4375  # not 0.875


def test_neighbouring_floats_are_told_apart():
    lower = np.float32(0.3)
    upper = np.nextafter(lower, np.float32(1))
    assert lower <= tuned([RIGHT, NONE], [lower, upper]) < upper
    last = np.nextafter(np.float32(1), np.float32(0))
    assert tuned([RIGHT, NONE], [last, 1.0]) == last
    tiny = np.float32(1e-45)
    assert tuned([RIGHT, NONE], [0.0, tiny]) == 0


spans = st.sampled_from(["Oslo", "Oslo Rome", "the", ""])
golds = st.sampled_from([[], ["Oslo"], ["Rome Oslo Paris", "x"], ["a"], ["Paris"]])
scores = st.one_of(
    st.floats(0, 1, width=32),
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 1e-45, np.nextafter(np.float32(1), np.float32(0)).item()]),
)


@given(rows=st.lists(st.tuples(spans, golds, scores, st.integers(0, 3)), min_size=1, max_size=8))
def test_no_other_threshold_has_a_higher_f1(rows):
    answers, gold, no_answer, weights = zip(*rows)
    no_answer, weights = np.array(no_answer, np.float32), np.array(weights, np.float64)
    threshold = tune_threshold(answers, no_answer, gold, weights)
    assert type(threshold) is float
    assert threshold == np.float32(threshold)
    assert 0 <= threshold <= 1
    if not weights.any():
        assert threshold == 0.5
        return

    def mean(threshold):
        given_ = ["" if score > threshold else span for span, score in zip(answers, no_answer)]
        return question_answering.compute(given_, gold, weights)["f1"]

    counted = np.unique(no_answer[weights > 0])
    every = [0.0, *counted.tolist(), 1.0]  # one for each set of rows without an answer
    best = max(map(mean, every))
    assert mean(threshold) == pytest.approx(best, abs=1e-12)
    for lower, upper in itertools.pairwise(every):
        middle = (lower + upper) / 2
        if mean(middle) > best - 1e-12:
            assert abs(threshold - 0.5) <= abs(middle - 0.5) + 1e-7


def test_the_order_of_rows_changes_nothing():
    rng = np.random.default_rng(0)
    no_answer = (rng.integers(0, 21, 200) / 20).astype(np.float32)
    gold = [
        [] if none else ["x y z", "x"][: 1 + number % 2]
        for number, none in enumerate(rng.random(200) < no_answer)
    ]
    weights = rng.uniform(size=200) / 3  # their sums depend on the order
    answers = ["x w"] * 200
    moved = rng.permutation(200)
    assert tune_threshold(
        answers, no_answer[moved], [gold[row] for row in moved], weights[moved]
    ) == tune_threshold(answers, no_answer, gold, weights)


def test_a_threshold_of_many_rows_is_fast():
    rng = np.random.default_rng(0)
    no_answer = rng.uniform(size=50_000).astype(np.float32)
    gold = [[] if none else ["x"] for none in rng.uniform(size=50_000) < no_answer]
    start = time.perf_counter()
    threshold = tune_threshold(["x"] * 50_000, no_answer, gold)
    assert time.perf_counter() - start < 20  # 0.5 s where nothing else runs
    assert threshold == pytest.approx(0.5, abs=0.05)
