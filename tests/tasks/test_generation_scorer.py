"""The scorer of written texts: rows that were not decoded, baselines and mistakes, with a task made up here."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tfpipeline.data import Example
from tfpipeline.tasks.generation import baselines
from tfpipeline.tasks.generation.scorer import GenerationScorer


def references(*rows):
    found = np.empty(len(rows), object)
    found[:] = [tuple(row) for row in rows]
    return {"references": found}


def scorer(uncased=False, lead_sentences=1):
    task = SimpleNamespace(
        uncased=uncased,
        options=SimpleNamespace(lead_sentences=lead_sentences),
        targets=lambda examples: references(*([example.text_pair] for example in examples)),
    )
    return GenerationScorer(task)


def predictions(*texts):
    """Of a model that gives every token a half; None stands for a row that was not decoded."""
    return {
        "text": np.array([b"" if text is None else text.encode() for text in texts], object),
        "decoded": np.array([text is not None for text in texts]),
        "loss": np.log(2) * np.arange(1, len(texts) + 1),
        "tokens": np.arange(1, len(texts) + 1),
    }


def test_only_decoded_rows_are_scored_and_all_have_a_loss():
    written = predictions("a b", None, "c d", None)
    targets, weights = references(["a b"], ["x"], ["p", "C d"], ["y"]), np.ones(4)
    found = scorer().metrics(scorer().complete(written, targets), targets, weights)
    assert found["perplexity"] == pytest.approx(2)
    assert (found["exact_match"], found["rouge_2"]) == (0.5, 1)
    assert scorer(uncased=True).metrics(written, targets, weights)["exact_match"] == 1
    # A row that is empty in truth is another thing than one that was not decoded.
    empty = scorer().metrics(predictions("a b", "", "c d", None), targets, weights)
    assert empty["exact_match"] == pytest.approx(1 / 3)
    assert scorer().metrics(written, targets, np.array([0, 1, 1, 0.0]))["exact_match"] == 0
    only_loss = predictions(None, None, None, None)
    assert set(scorer().metrics(only_loss, targets, weights)) == {"perplexity"}
    assert set(scorer().intervals(only_loss, targets, weights)) == {"perplexity"}
    assert set(scorer().intervals(written, targets, weights)) == set(found)
    assert scorer().figures(only_loss, targets) == {}
    assert list(scorer().figures(written, targets)) == ["texts"]


def test_a_completed_result_is_not_scored_again(monkeypatch):
    targets = references(["a"], ["b"])
    complete = scorer().complete(predictions("a", None), targets)
    monkeypatch.setattr("tfpipeline.metrics.generation.score", None)
    assert scorer().complete(complete, targets) is complete
    assert scorer().metrics(complete, targets, np.ones(2))["exact_match"] == 1


def test_the_report_says_what_is_not_in_its_numbers():
    targets = references(["a"], ["b"])
    written = predictions("a", None)
    told = scorer(uncased=True).report(written, targets, np.ones(2))
    assert "exact_match      1.0000\n" in told
    assert "Texts of 1 of 2 rows were written and scored." in told
    assert "case is ignored" in told
    told = scorer().report(predictions("a", "b"), targets, np.ones(2))
    assert "Texts of" not in told
    assert "case" not in told


TRAIN = [
    Example("old grey horse", "one"),
    Example("small red fox", "two"),
    Example("small red cat", "three"),
    Example("small red cat", "four"),
]
TEST = [Example("A red cat. It ran.", "three"), Example("A horse.", "A horse."), Example("zebra", "x")]


def test_baselines():
    found = dict(scorer().baselines(TRAIN, TEST))
    assert {name: each["text"].tolist() for name, each in found.items()} == {
        "the first sentence of the source": ["A red cat.", "A horse.", "zebra"],
        "the source, copied": ["A red cat. It ran.", "A horse.", "zebra"],
        "the answer of the nearest training row": ["three", "one", ""],
    }
    targets, weights = scorer().task.targets(TEST), np.ones(3)
    exact = {
        name: scorer().metrics(each, targets, weights)["exact_match"] * 3 for name, each in found.items()
    }
    assert list(exact.values()) == pytest.approx([1, 1, 1])
    assert "perplexity" not in scorer().metrics(found[baselines.COPY], targets, weights)
    # No training rows, no nearest one; sources of two sentences have no shorter beginning.
    assert [name for name, _ in scorer(lead_sentences=2).baselines(None, TEST)] == [baselines.COPY]
    assert [name for name, _ in scorer(lead_sentences=2).baselines(TRAIN, TEST[2:])] == [baselines.COPY]


def test_the_nearest_row_is_found_in_blocks(monkeypatch):
    whole = baselines.nearest_answers(TRAIN, [example.text for example in TEST * 3])
    monkeypatch.setattr(baselines, "_CELLS", 8)
    assert baselines.nearest_answers(TRAIN, [example.text for example in TEST * 3]) == whole


@pytest.mark.parametrize(
    ("text", "count", "first"),
    [
        ("A b. C d! E f? G", 1, "A b."),
        ("A b. C d! E f? G", 3, "A b. C d! E f?"),
        ("A b. C d! E f? G", 9, "A b. C d! E f? G"),
        ('He said "No." Then he left.', 1, 'He said "No."'),
        ("It costs 3.5 a day. Yes.", 1, "It costs 3.5 a day."),
        ("你好。再见！好", 2, "你好。再见！"),
        ("“一。”二。三", 1, "“一。”"),
        ("\n\nOne line\nanother", 1, "One line"),
        ("Wait... what? No.", 1, "Wait..."),
        (" ", 3, ""),
    ],
)
def test_first_sentences(text, count, first):
    assert baselines.first_sentences(text, count) == first
    assert baselines.has_more_sentences(text, count) == (first != text.strip())


def test_mistakes_are_shown_with_their_source_the_worst_first():
    written = predictions("right", "zzz", None, "nearly rght")
    targets = references(["right"], ["wrong", "false"], ["x"], ["nearly right"])
    rows = [Example(f"source {number}", "target", file="d.csv", line=number) for number in range(1, 5)]
    found = scorer().shown_mistakes(written, targets, rows, 9)
    assert [tuple(each) for each in found] == [
        ("source 2", "wrong / false", "zzz", "d.csv:2"),
        ("source 4", "nearly right", "nearly rght", "d.csv:4"),
    ]
    assert scorer().shown_mistakes(written, targets, rows, 1) == found[:1]
