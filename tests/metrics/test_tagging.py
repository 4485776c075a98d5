from __future__ import annotations

import numpy as np
import pytest
import seqeval.metrics as seqeval
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from tfpipeline.errors import UserError
from tfpipeline.metrics import tagging

TRUTH = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-ORG", "O"], ["B-LOC"]]
# Anna for Anna Berg, the place right; the organisation missed, another found beside it; the place right.
PREDICTED = [["B-PER", "O", "O", "B-LOC"], ["B-ORG", "O", "O"], ["B-LOC"]]


def test_entities_by_hand():
    scores = tagging.compute(TRUTH, PREDICTED, entities=True)
    assert scores == pytest.approx(
        {
            "precision": 2 / 4,
            "recall": 2 / 4,
            "f1": 2 / 4,
            "macro_f1": 1 / 3,
            "token_accuracy": 5 / 8,
            "f1/LOC": 1,
            "f1/ORG": 0,
            "f1/PER": 0,
        }
    )
    assert all(type(score) is float for score in scores.values())
    scores = tagging.compute([["B-PER", "B-PER", "I-PER"]], [["B-PER", "O", "O"]], entities=True)
    assert (scores["precision"], scores["recall"]) == (1, 1 / 2)
    assert scores["f1"] == scores["macro_f1"] == scores["f1/PER"] == pytest.approx(2 / 3)


def test_an_entity_may_begin_with_i():
    """As in conlleval: after O, after another type; B begins a new one."""
    truth = [["O", "B-PER", "I-PER", "B-LOC", "B-LOC"]]
    assert tagging.compute(truth, [["O", "I-PER", "I-PER", "I-LOC", "B-LOC"]], entities=True)["f1"] == 1
    scores = tagging.compute(truth, [["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]], entities=True)
    assert (scores["f1/PER"], scores["f1/LOC"]) == (1, 0)
    assert tagging.compute([["B-a-b"], ["B"]], [["I-a-b"], ["I"]], entities=True).keys() >= {"f1/a-b", "f1/_"}


def test_an_entity_ends_with_its_row():
    apart, together = [["B-PER"], ["I-PER"]], [["B-PER", "I-PER"]]
    assert tagging.compute(apart, apart, entities=True)["f1"] == 1
    assert tagging.report(apart, apart, entities=True).split()[8] == "2"
    assert tagging.report(together, together, entities=True).split()[8] == "1"


def test_tags_by_hand():
    truth, predicted = [["N", "V", "N"], ["D"]], [["N", "N", "N"], ["A"]]
    assert tagging.compute(truth, predicted, entities=False) == pytest.approx(
        {
            "macro_f1": (0.8 + 0 + 0 + 0) / 4,
            "token_accuracy": 2 / 4,
            "f1/A": 0,
            "f1/D": 0,
            "f1/N": 2 * (2 / 3) * 1 / (2 / 3 + 1),
            "f1/V": 0,
        }
    )


tags = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "I-x"])
answers = st.lists(st.lists(st.tuples(tags, tags), max_size=5), min_size=1, max_size=5)


@given(rows=answers)
def test_equals_seqeval_and_scikit_learn(rows):
    truth, predicted = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
    quiet = {"zero_division": 0}
    scores = tagging.compute(truth, predicted, entities=True)
    if any(name.startswith("f1/") for name in scores):
        for name in ("precision", "recall", "f1"):
            want = getattr(seqeval, f"{name}_score")(truth, predicted, **quiet)
            assert scores[name] == pytest.approx(want, abs=1e-12)
        want = seqeval.f1_score(truth, predicted, average="macro", **quiet)
        assert scores["macro_f1"] == pytest.approx(want)
        table = seqeval.classification_report(truth, predicted, digits=4, **quiet)
        assert tagging.report(truth, predicted, entities=True).startswith(table.rstrip("\n") + "\n")
    one, two = ([pair[side] for row in rows for pair in row] for side in (0, 1))
    if one:
        assert scores["token_accuracy"] == pytest.approx(seqeval.accuracy_score(truth, predicted))
        scores = tagging.compute(truth, predicted, entities=False)
        assert scores["token_accuracy"] == pytest.approx(sklearn.accuracy_score(one, two))
        want = sklearn.f1_score(one, two, average="macro", **quiet)
        assert scores["macro_f1"] == pytest.approx(want)
        table = sklearn.classification_report(one, two, digits=4, **quiet)
        assert tagging.report(truth, predicted, entities=False).startswith(table.rstrip("\n") + "\n")


@pytest.mark.parametrize("entities", [True, False])
def test_rows_of_weight_0_are_left_out_and_the_others_count_once(entities):
    for score in (tagging.compute, tagging.report):
        weighted = score(TRUTH, PREDICTED, np.array([0.5, 0, 7], np.float32), entities=entities)
        assert weighted == score(TRUTH[::2], PREDICTED[::2], entities=entities)
        assert weighted != score(TRUTH, PREDICTED, entities=entities)


PERFECT = dict.fromkeys(("precision", "recall", "f1", "macro_f1", "token_accuracy"), 1)


@pytest.mark.parametrize(
    ("truth", "predicted", "found"),
    [
        ([["O", "O"]], [["O", "O"]], PERFECT),
        ([["O", "B-PER"]], [["O", "O"]], {"token_accuracy": 0.5, "f1/PER": 0}),
        ([["O", "O"]], [["B-PER", "O"]], {"token_accuracy": 0.5, "f1/PER": 0}),
        ([[], []], [[], []], PERFECT),
        ([[], ["B-PER"]], [[], ["B-PER"]], {**PERFECT, "f1/PER": 1}),
    ],
)  # fmt: skip
def test_no_entities(truth, predicted, found):
    wanted = {**dict.fromkeys(("precision", "recall", "f1", "macro_f1"), 0), **found}
    assert tagging.compute(truth, predicted, entities=True) == wanted
    text = tagging.report(truth, predicted, entities=True)
    assert text.endswith(f"\n\ntoken accuracy {found['token_accuracy']:.4f}\n")
    assert text.startswith("no entities\n") == (found == PERFECT)


def test_no_words():
    assert tagging.compute([[], []], [[], []], entities=False) == {"macro_f1": 1, "token_accuracy": 1}
    assert tagging.report([[]], [[]], entities=False) == "no words\n\ntoken accuracy 1.0000\n"


def test_a_tag_for_each_word():
    """Nothing here is worth a warning to the user: not that there are as many tags as words."""
    truth = [[f"T{number}" for number in range(50)]]
    scores = tagging.compute(truth, [truth[0][::-1]], entities=False)
    assert scores["macro_f1"] == 0
    assert len(scores) == 52


@pytest.mark.parametrize("entities", [True, False])
def test_tuples_and_arrays_are_sequences_too(entities):
    arrays = np.array([np.array(row, object) for row in PREDICTED], object)
    found = tagging.compute(tuple(map(tuple, TRUTH)), arrays, entities=entities)
    assert found == tagging.compute(TRUTH, PREDICTED, entities=entities)


def test_reports():
    lines = tagging.report(TRUTH, PREDICTED, entities=True).splitlines()
    assert lines[0].split() == ["precision", "recall", "f1-score", "support"]
    assert ["LOC", "1.0000", "1.0000", "1.0000", "2"] in [line.split() for line in lines]
    assert ["micro", "avg", "0.5000", "0.5000", "0.5000", "4"] in [line.split() for line in lines]
    assert lines[-2:] == ["", "token accuracy 0.6250"]
    lines = tagging.report(TRUTH, PREDICTED, entities=False).splitlines()
    assert ["B-LOC", "1.0000", "1.0000", "1.0000", "2"] in [line.split() for line in lines]
    assert lines[-1] == "token accuracy 0.6250"


def test_nothing_to_score_and_rows_that_do_not_fit():
    for score in (tagging.compute, tagging.report):
        for entities in (True, False):
            with pytest.raises(UserError, match="no row has a weight above 0"):
                score(TRUTH, PREDICTED, np.zeros(3), entities=entities)
            with pytest.raises(UserError, match="no row has a weight above 0"):
                score([], [], entities=entities)
            for predicted, weights in (
                (PREDICTED[:2], None),
                (PREDICTED, np.ones(2)),
                ([["O"], *PREDICTED[1:]], None),
            ):
                with pytest.raises(ValueError, match="do not fit together"):
                    score(TRUTH, predicted, weights, entities=entities)


@pytest.mark.parametrize("tag", ["PER", "", "O-PER", "b-PER", "BI", "o"])
def test_tags_that_are_not_of_entities(tag):
    wanted = f'the tag "{tag}" is not a BIO tag; expected "O", or "B-" or "I-" and a type'
    for truth, predicted in (([[tag]], [["O"]]), ([["O"]], [[tag]])):
        with pytest.raises(UserError) as caught:
            tagging.compute(truth, predicted, entities=True)
        assert str(caught.value) == wanted
        assert tagging.compute(truth, predicted, entities=False)["token_accuracy"] == 0


def test_a_word_without_an_answer_is_no_tag_of_its_own():
    truth, predicted = [["A", "B", "A", "B"]], [["A", "B", "A", ""]]
    found = tagging.compute(truth, predicted, entities=False)
    assert found == {
        "macro_f1": pytest.approx((1 + 2 / 3) / 2),
        "token_accuracy": 0.75,
        "f1/A": 1.0,
        "f1/B": pytest.approx(2 / 3),
    }
    table = tagging.report(truth, predicted, entities=False)
    assert [line.split()[0] for line in table.splitlines() if line.strip()][1:3] == ["A", "B"]
