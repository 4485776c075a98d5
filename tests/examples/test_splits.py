"""The split is a function of the texts: of nothing else."""

from __future__ import annotations

import csv

import hypothesis.strategies as st
import pytest
from hypothesis import given

from examples.few_labels.prepare import draw
from examples.preparing import write_splits
from examples.splits import Row, at_most, digest, fold, split, unique

ROWS = [Row(f"text {number}", "even" if number % 2 == 0 else "odd") for number in range(1000)]
SPACED = st.text(alphabet="aA bB\t\n\u00a0\u0130é", max_size=6)


@given(st.lists(st.builds(Row, SPACED, st.sampled_from("xy"), st.none() | SPACED), max_size=12))
def test_no_text_is_in_two_parts_and_none_twice(rows):
    train, test = split(rows)
    keys = [row.key for row in (*train, *test)]
    assert len(set(keys)) == len(keys)
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row.key, set()).add(row.label)
    assert set(keys) == {key for key, found in labels.items() if len(found) == 1}


@given(st.permutations(ROWS[:40]))
def test_the_order_does_not_matter(rows):
    want, got = split(ROWS[:40]), split(rows)
    assert [set(part) for part in got] == [set(part) for part in want]
    assert at_most(rows, 7) == at_most(ROWS[:40], 7)
    assert draw(rows, 3, 0) == draw(ROWS[:40], 3, 0)


def test_by_hand():
    # sha1("text 4") begins with 3a0121fd: written down here once, so that the rule can't change unnoticed.
    assert [row.text for row in split(ROWS[:12])[1]] == [
        row.text for row in ROWS[:12] if int(digest(row.text)[:8], 16) % 5 == 0
    ]
    assert digest("text 4") == "3a0121fd29bb19e1492b5dce311b75ec8970140d"
    assert fold(" A\u00a0b\n C ") == "a b c"
    first, copy, against = Row("A b", "x"), Row("a  B", "x"), Row("a b", "y")
    assert unique([first, copy]) == [first]
    assert unique([first, copy, against, ROWS[0]]) == [ROWS[0]]


def test_a_fifth_is_tested():
    train, test = split(ROWS)
    assert len(train) + len(test) == 1000
    assert 150 < len(test) < 250


def test_a_pair_is_told_by_both_texts():
    assert unique([Row("a", "x", "b"), Row("a", "y", "c")]) == [Row("a", "x", "b"), Row("a", "y", "c")]
    assert unique([Row("a", "x", "b"), Row("A", "y", "B ")]) == []


def test_fewer_rows_are_among_more():
    assert at_most(ROWS, 30)[:10] == at_most(ROWS, 10)
    assert at_most(ROWS, 2000) == at_most(ROWS, 1000)
    few, many = draw(ROWS, 4, 1), draw(ROWS, 8, 1)
    assert set(few) < set(many)
    assert [row.label for row in few].count("odd") == 4
    assert len(few) == 8
    assert draw(ROWS, 4, 2) != few


def test_files_are_written_unless_both_are_there(tmp_path):
    calls = []

    def rows():
        calls.append(1)
        return ROWS[:1], ROWS[1:3]

    columns = {"text": "text", "answer": "label"}
    train, test = write_splits(tmp_path, columns, rows)
    with test.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["text", "answer"], ["text 1", "odd"], ["text 2", "even"]]
    assert write_splits(tmp_path, columns, rows) == (train, test)
    assert len(calls) == 1
    test.unlink()
    write_splits(tmp_path, columns, rows)
    assert len(calls) == 2
    assert test.is_file()


@pytest.mark.parametrize("count", [0, 1])
def test_at_most_no_more(count):
    assert len(at_most(ROWS, count)) == count
