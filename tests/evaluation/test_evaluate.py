"""What `evaluate` puts into a report, computed once more by hand."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest

from tests import tiny
from tfpipeline import checkpoints, config
from tfpipeline.errors import UserError
from tfpipeline.evaluation import compare, evaluate
from tfpipeline.training import Run
from tfpipeline.training.rows import read_rows
from tfpipeline.training.run import create_run
from tfpipeline.training.run_config import RunConfig

CLASS_WEIGHTS = {"positive": 5.0, "negative": 0.5, "neutral": 0.125}


def weighted(path, count, seed):
    """Rows whose weights differ: 1, 2, 3, 0, again and again."""
    rows = [(text, label, index % 4) for index, (text, label) in enumerate(tiny.texts(count, seed=seed), 1)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label", "weight"), *rows])
    return rows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with class weights and weights of rows; its initial, last and best weights differ."""
    folder = tmp_path_factory.mktemp("run")
    settings = json.loads(tiny.write_run_file(folder).read_text())
    weighted(folder / "train.csv", 40, seed=1)
    weighted(folder / "test.csv", 25, seed=2)
    settings["data"]["weight"] = "weight"
    settings["task"]["class_weights"] = CLASS_WEIGHTS
    run_config = config.resolve(settings, RunConfig, source="test")
    checkpoint = checkpoints.load(run_config.checkpoint)
    rows = read_rows(run_config)
    run = create_run(run_config, checkpoint, rows.splits, task=rows.task)
    for number, role in enumerate(("initial", "last", "best")):
        model = run.build_model(checkpoint.encoder(run.model_config))
        random = np.random.default_rng(number)
        for variable in model.head.trainable_variables:
            variable.assign(random.normal(0, 1, variable.shape))
        run.store.save([role], number, model, None, {})
    return run


def scores_by_hand(run, role, rows):
    """Accuracy and mean log loss of rows with weights, and which were wrong with what probability."""
    found = run.predict(run.model(role), [text for text, _, _ in rows])
    (names,) = {tuple(row) for row in found["classes"].tolist()}
    order = np.argsort([names.index(label.encode()) for label in sorted(tiny.LABELS)])
    assert order.tolist() == [0, 1, 2]
    truth = np.array([sorted(tiny.LABELS).index(label) for _, label, _ in rows])
    weights = np.array([weight for _, _, weight in rows], float)
    odds = found["probabilities"].astype(float)
    right = odds.argmax(-1) == truth
    own = odds[np.arange(len(rows)), truth]
    return {
        "accuracy": np.average(right, weights=weights),
        "loss": np.average(-np.log(own), weights=weights),
    }, own


def test_scores_of_each_stage(run):
    """Rows count with their own weights; class weights are of the training loss alone."""
    rows = weighted(run.path.parent / "again.csv", 25, seed=2)
    report = evaluate(run, baseline=False)
    assert (report.data, report.rows, report.metric) == ("test rows", 25, "accuracy")
    assert [entry.name for entry in report.entries] == ["before fine-tuning", "after fine-tuning"]
    for role, entry in zip(("initial", "best"), report.entries):
        want, _ = scores_by_hand(run, role, rows)
        assert {name: entry.scores[name] for name in want} == pytest.approx(want, abs=1e-4)
    assert report.entries[0].scores != report.entries[1].scores
    assert report.weights == run.weights_id("best") != run.weights_id("last")
    first, trained = report.entries
    assert not first.intervals
    for name in ("accuracy", "macro_f1", "loss"):
        low, high = trained.intervals[name]
        assert low < trained.scores[name] < high
    stored = json.loads((run.path / "report.json").read_text())["intervals"]
    assert stored == {"after fine-tuning": {name: list(ends) for name, ends in trained.intervals.items()}}


def test_a_calibrated_model_is_scored_with_its_temperature(run, monkeypatch):
    """Whatever was fitted: a temperature of 2 takes the square root of the odds."""
    fitted = SimpleNamespace(temperatures={"temperature": np.float32(2)})
    monkeypatch.setattr(compare, "fit", lambda graph, rows: (fitted, None, None))
    plain, calibrated = evaluate(run, baseline=False, calibrate=True).entries[-2:]
    assert calibrated.name == "after fine-tuning, calibrated"
    examples = run.examples("test")
    found = run.predict(run.model("best"), [example.text for example in examples])
    roots = np.sqrt(found["probabilities"].astype(float))
    roots /= roots.sum(-1, keepdims=True)
    places = [row.tolist().index(example.label.encode()) for row, example in zip(found["classes"], examples)]
    losses = -np.log(roots[np.arange(len(examples)), places])
    want = np.average(losses, weights=[example.weight for example in examples])
    assert calibrated.scores["loss"] == pytest.approx(want, abs=1e-4)
    assert abs(calibrated.scores["loss"] - plain.scores["loss"]) > 0.01
    assert calibrated.scores["accuracy"] == plain.scores["accuracy"]
    assert calibrated.intervals["loss"] != plain.intervals["loss"]


def test_class_weights_would_change_the_scores(run):
    """So that the test above can tell."""
    rows = weighted(run.path.parent / "again.csv", 25, seed=2)
    with_classes = [(text, label, weight * CLASS_WEIGHTS[label]) for text, label, weight in rows]
    for name in ("accuracy", "loss"):
        (own, _), (other, _) = (scores_by_hand(run, "best", some) for some in (rows, with_classes))
        assert abs(own[name] - other[name]) > 0.01


def test_mistakes_are_those_of_the_best_weights_the_worst_first(run):
    rows = weighted(run.path.parent / "again.csv", 25, seed=2)
    found = run.predict(run.model("best"), [text for text, _, _ in rows])["label"]
    _, own = scores_by_hand(run, "best", rows)
    wrong = [row for row in np.argsort(own) if found[row].decode() != rows[row][1]]
    assert len(wrong) > 3
    report = evaluate(run, baseline=False)
    file = run.examples("test")[0].file
    want = [
        (rows[row][0], rows[row][1], found[row].decode(), f"{file}:{row + 2}")
        for row in wrong[: compare.MISTAKES]
    ]
    assert report.mistakes == want


def test_the_baseline_is_trained_on_the_training_rows(run):
    """Its scores are those of the task's own baseline, with the weights of the rows that are scored."""
    report = evaluate(run)
    name, predictions = run.task.scorer.baseline(run.examples("train"), run.examples("test"))
    assert [entry.name for entry in report.entries] == [name, "before fine-tuning", "after fine-tuning"]
    rows = weighted(run.path.parent / "again.csv", 25, seed=2)
    truth = [sorted(tiny.LABELS).index(label) for _, label, _ in rows]
    right = predictions["probabilities"].argmax(-1) == truth
    want = np.average(right, weights=[weight for _, _, weight in rows])
    assert report.entries[0].scores["accuracy"] == pytest.approx(want)
    assert want > 0.9  # each text has a word that tells


def test_which_rows_are_scored(run, tmp_path):
    """A file where one is named, else the test rows, else the validation rows."""
    file = tmp_path / "more.csv"
    rows = weighted(file, 9, seed=5)
    report = evaluate(run, file, baseline=False)
    assert (report.data, report.rows) == (str(file), 9)
    want, _ = scores_by_hand(run, "best", rows)
    assert report.entries[-1].scores["loss"] == pytest.approx(want["loss"], abs=1e-4)
    assert report.path == run.path / "report-more.md"
    semicolons = tmp_path / "semicolons.csv"
    semicolons.write_text(file.read_text().replace(",", ";"))
    read = evaluate(run, semicolons, baseline=False, reading={"delimiter": ";"})
    assert [entry.scores for entry in read.entries] == [entry.scores for entry in report.entries]

    test = run.path / "data" / "test.jsonl"
    aside = test.rename(tmp_path / "test.jsonl")
    try:
        report = evaluate(Run(run.path), baseline=False)
    finally:
        aside.rename(test)
    assert (report.data, report.rows) == ("validation rows", len(run.examples("validation")))


def test_settings_are_a_runs_own(run):
    with pytest.raises(UserError, match="is a run, whose settings are its own; --set is for checkpoints"):
        evaluate(run.path, overrides=["data.text=review"])


def test_rows_without_weight_cannot_be_scored(run, tmp_path):
    file = tmp_path / "nothing.csv"
    file.write_text("text,label,weight\ngood,positive,0\n")
    with pytest.raises(UserError, match="there is nothing to score: no row has a weight above 0"):
        evaluate(run, file, baseline=False)
