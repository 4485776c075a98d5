"""The made-up tasks of writing: their rows are right, and none of the test is trained on."""

from __future__ import annotations

import datetime
import random
import re

import pytest

from examples.made_up_tasks import prepare as made_up
from examples.made_up_tasks import recipe
from tfpipeline.text import TokenizerOptions


def right(task, source):
    """What is to be written, worked out in another way."""
    if task == "copy":
        return source
    if task == "reverse":
        return " ".join(reversed(source.split(" ")))
    if task == "sums":
        return str(sum(map(int, source.split(" + "))))
    plain = re.sub("the |of |,|(?<=[0-9])(st|nd|rd|th)", "", source)
    for style in ("%d %B %Y", "%B %d %Y", "%d %b %Y", "%d.%m.%Y", "%m/%d/%Y"):
        try:
            return datetime.datetime.strptime(plain, style).date().isoformat()
        except ValueError:
            continue
    raise AssertionError(source)


@pytest.mark.parametrize("task", made_up.TASKS)
def test_made_up_rows_are_right(task):
    chance = random.Random(7)
    rows = [made_up.TASKS[task](chance) for _ in range(400)]
    assert [row.target for row in rows] == [right(task, row.source) for row in rows]
    assert len({row.source for row in rows}) > 350


@pytest.mark.parametrize("task", ["dates", "sums"])
def test_no_question_of_the_test_is_trained_on(task, monkeypatch):
    monkeypatch.setattr(made_up, "TRAINING_ROWS", 3_000)
    train, test = made_up.rows(task)
    assert (len(train), len(test)) == (3_000, 1_000)
    assert not {row.key for row in train} & {row.key for row in test}
    assert len({row.key for row in test}) == 1_000
    if task == "sums":  # in whatever order; small sums are learnt and tested too
        for rows in (train, test):
            assert {len(row.target) for row in rows} == {1, 2, 3, 4}
        pairs = [frozenset(row.source.split(" + ")) for row in (*train, *test)]
        assert not {*pairs[:3_000]} & {*pairs[3_000:]}


def test_the_vocabulary_spells_all_made_up_rows():
    from tfpipeline.text import WordPieceTokenizer

    options = TokenizerOptions()
    vocabulary = made_up.vocabulary(options)
    assert len(vocabulary) == len({*vocabulary})
    chance = random.Random(3)
    rows = [draw(chance) for draw in made_up.TASKS.values() for _ in range(100)]
    texts = [text for row in rows for text in (row.source, row.target)]
    ids = WordPieceTokenizer(vocabulary, options).tokenize(texts).flat_values.numpy()
    assert vocabulary.index("[UNK]") not in ids


def test_the_table_of_made_up_tasks():
    found = {
        "the source, copied": {"copy": [1.0], "sums": [0.0]},
        recipe.AFTER: {"copy": [1.0, 0.5], "sums": [1.0, 1.0]},
        recipe.MINUTES: {"copy": [3.0, 4.04], "sums": [10.0, 9.0]},
    }
    assert recipe.table(found, ["copy", "sums"]) == [
        "| test exact_match | copy | sums |",
        "|---|---|---|",
        "| the source, copied | 1.000 | 0.000 |",
        "| after fine-tuning | 0.750 (0.500 to 1.000) | 1.000 |",
        "| minutes to train, on 2 cores | 4.0 | 10.0 |",
    ]
