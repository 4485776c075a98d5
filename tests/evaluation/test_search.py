"""A report of the task similarity with a corpus, computed once more from the run's predictions for pairs."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from tests import tiny
from tfpipeline import checkpoints, config
from tfpipeline.errors import UserError
from tfpipeline.evaluation import evaluate
from tfpipeline.training.run import create_run
from tfpipeline.training.run_config import RunConfig

WORDS = [*tiny.GOOD, *tiny.BAD, *tiny.PLAIN]
PAIRS = [[f"is the {word}", f"so {word} , x"] for word in WORDS]
MORE = ["x y", "very very film", PAIRS[0][1].upper()]  # the last is the text of an earlier row


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return str(path)


def settings(folder, corpus):
    return {
        "checkpoint": str(folder / "checkpoint"),
        "output": str(folder / "run"),
        "data": {
            "train": write(folder / "train.csv", [["q", "a"], *PAIRS[4:]]),
            "test": write(folder / "test.csv", [["q", "a"], *PAIRS[:4]]),
            "text": "q",
            "text_pair": "a",
            "split": {"validation": 0.4, "by": "random"},
        },
        "text": {"max_length": 24},
        "task": {
            "name": "similarity",
            "prompts": {"query": "the film ", "document": "a "},
            "corpus": {"path": write(folder / "corpus.csv", [["id", "text"], *enumerate(corpus)])},
        },
    }


def test_an_evaluation_searches_the_corpus_with_every_model(tmp_path, capsys):
    tiny.write_checkpoint(tmp_path / "checkpoint")
    tiny.write_checkpoint(tmp_path / "other", seed=1)
    run_config = config.resolve(
        settings(tmp_path, [*(answer for _, answer in PAIRS), *MORE]), RunConfig, source="test"
    )
    checkpoint = checkpoints.load(run_config.checkpoint)
    run = create_run(run_config, checkpoint, run_config.task.load_splits(run_config.data))
    for step, (role, source) in enumerate((("initial", "checkpoint"), ("best", "other"))):
        model = run.build_model(checkpoints.load(str(tmp_path / source)).encoder())
        run.store.save([role], step, model, None, {})
    (tmp_path / "corpus.csv").unlink()  # the run has its own

    report = evaluate(run)
    assert [entry.name for entry in report.entries] == [
        "TF-IDF",
        "BM25",
        "before fine-tuning",
        "after fine-tuning",
    ]
    assert report.metric == "mrr@10"
    documents = [*(answer for _, answer in PAIRS), *MORE[:2]]
    ranks = {}
    for entry, role in zip(report.entries[2:], ("initial", "best")):
        asked = [(question, text) for question, _ in PAIRS[:4] for text in documents]
        scores = run.predict(run.model(role), *map(list, zip(*asked)))["score"].reshape(4, -1)
        own = np.arange(4)
        ranks[role] = (scores >= scores[own, own][:, None] - 1e-6).sum(1)
        assert entry.scores["map"] == pytest.approx((1 / ranks[role]).mean())
        assert entry.scores["recall@1"] == (ranks[role] == 1).mean()
        assert entry.table.splitlines()[-1].split() == ["documents", "11"]
    assert ranks["initial"].tolist() != ranks["best"].tolist()
    assert report.entries[0].scores["recall@1"] == 1  # the words of each question are in its answer alone

    worst = int(ranks["best"].argmax())
    first = report.mistakes[0]
    assert first.text == PAIRS[worst][0]
    assert first.expected == f"rank {ranks['best'][worst]}: {PAIRS[worst][1]}"
    assert first.source.endswith(f"test.csv:{worst + 2}")
    number, _, text = first.predicted.partition(": ")
    assert documents[int(number)] == text
    stored = json.loads((run.path / "report.json").read_text("utf-8"))
    assert [mistake["source"] for mistake in stored["mistakes"]] == [each.source for each in report.mistakes]
    assert f"test.csv:{worst + 2} |" in (run.path / "report.md").read_text("utf-8").replace("\\", "")

    other = write(tmp_path / "more.csv", [["q", "a"], PAIRS[0], ["is the x", "not there"]])
    with pytest.raises(
        UserError, match=r"more.csv:3: the second text is not in the corpus .*corpus.csv, so no search"
    ):
        evaluate(run, other, baseline=False)


def test_rows_that_no_search_can_find_are_reported_before_the_training(tmp_path):
    run_config = config.resolve(settings(tmp_path, MORE[:2]), RunConfig, source="test")
    with pytest.raises(
        UserError,
        match=r"test.csv:2: the second text is not in the corpus .* \(nor are those of 3 more rows\)",
    ):
        run_config.task.load_splits(run_config.data)
