"""The table of measured scores, from reports made up here."""

from __future__ import annotations

import csv
import json

import pytest

from examples import measure, squad
from examples.few_labels import recipe
from examples.squad import Question
from tests import tiny
from tfpipeline.errors import UserError
from tfpipeline.training import Interrupted


def report(after: float) -> dict:
    scores = {"accuracy": 0.5, "macro_f1": 0.25, "micro_f1": 0.5, "roc_auc": 0.5, "mcc": 0.0}
    before = {name: score / 2 for name, score in scores.items() if name != "roc_auc"}
    return {
        "data": "test rows",
        "rows": 4_000,
        "metric": "accuracy",
        "scores": {
            "TF-IDF": scores,
            "before fine-tuning": before,
            "after fine-tuning": {**scores, "accuracy": after},
        },
    }


def test_the_table_holds_mean_and_range():
    reports = [report(0.8), report(0.9), report(0.85)]
    assert measure.table(reports, "the most frequent label", {"accuracy": 0.6}) == [
        "| | accuracy | macro_f1 | roc_auc | mcc |",
        "|---|---|---|---|---|",
        "| always the most frequent label | 0.600 |  |  |  |",
        "| TF-IDF | 0.500 | 0.250 | 0.500 | 0.000 |",
        "| before fine-tuning | 0.250 | 0.125 |  | 0.000 |",
        "| after fine-tuning | 0.850 (0.800 to 0.900) | 0.250 | 0.500 | 0.000 |",
    ]
    assert measure.table([report(0.8)], "x", {})[2].startswith("| TF-IDF |")


def test_the_headline_comes_first_and_heads_keep_their_names():
    scores = dict.fromkeys(("tweet/mcc", "tweet/accuracy", "tweet/odd", "movie/accuracy", "mean"), 0.0)
    assert measure.columns("mean", scores) == ["mean", "tweet/accuracy", "movie/accuracy", "tweet/mcc"]
    numbers = dict.fromkeys(("pearson", "spearman", "rmse", "mae", "r2"), 0.0)
    assert measure.columns("pearson", numbers) == ["pearson", "spearman", "mae", "rmse"]
    entities = dict.fromkeys(("precision", "recall", "f1", "macro_f1", "token_accuracy", "f1/PER"), 0.0)
    assert measure.columns("f1", entities) == ["f1", "precision", "recall", "macro_f1"]
    tags = dict.fromkeys(("macro_f1", "token_accuracy", "f1/NOUN"), 0.0)
    assert measure.columns("token_accuracy", tags) == ["token_accuracy", "macro_f1"]
    answers = dict.fromkeys(
        ("exact_match", "f1", "has_answer_exact_match", "has_answer_f1", "no_answer_accuracy"), 0.0
    )
    assert measure.columns("f1", answers) == ["f1", "exact_match", "has_answer_f1", "no_answer_accuracy"]


def test_shares_of_the_most_frequent_label(tmp_path):
    path = tmp_path / "test.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [["text", "tweet", "movie"], ["a", "x", ""], ["b", "", "y"], ["c", "", "z"], ["d", "", "z"]]
        csv.writer(file).writerows(rows)

    def shares(*metrics, label=None):
        answer, found = measure.constant_answer(
            str(path), {"scores": {"model": dict.fromkeys(metrics, 0.0)}}, label
        )
        assert answer == "the most frequent label"
        return found

    assert shares("mean", "tweet/accuracy", "movie/accuracy") == {
        "tweet/accuracy": 1,
        "movie/accuracy": 2 / 3,
    }
    assert shares("accuracy", "mcc", label="movie") == {"accuracy": 2 / 3}
    assert shares("pearson", label="movie") == {}


def test_what_no_answer_reaches(tmp_path):
    path = tmp_path / "test.json"
    rows = [Question("a?", "a", ((0, 1),)), Question("b?", "a", ()), Question("c?", "c", ((0, 1), (0, 1)))]
    with path.open("w", encoding="utf-8") as file:
        squad.write(file, rows)
    scores = dict.fromkeys(("exact_match", "f1", "has_answer_f1", "no_answer_accuracy"), 0.0)
    answer, found = measure.constant_answer(str(path), {"scores": {"model": scores}}, "answers")
    assert answer == "no answer"
    assert found == {"exact_match": 1 / 3, "f1": 1 / 3, "has_answer_f1": 0, "no_answer_accuracy": 1}
    tags = {"scores": {"model": {"token_accuracy": 0.0, "macro_f1": 0.0}}}
    assert measure.constant_answer("never read", tags, "1")[1] == {}


def test_the_table_replaces_the_one_before(tmp_path):
    start, end = measure.MARKERS
    text = f"# Title\n\n{start}\nold\n{end}\n\nMore.\n"
    want = f"# Title\n\n{start}\n| new |\nrows\n{end}\n\nMore.\n"
    got = measure.insert(text, ["| new |", "rows"], tmp_path)
    assert got == want
    assert measure.insert(got, ["| new |", "rows"], tmp_path) == want
    for broken in ("# Title\n", f"# Title\n{start}\n", f"# Title\n{end}\n"):
        with pytest.raises(UserError, match="has no place for the table; put "):
            measure.insert(broken, ["x"], tmp_path)


def test_what_was_measured_is_said():
    said = measure.remark(
        {"train": 3_000, "validation": 300}, [report(0.8)] * 3, {"python": "3.11", "keras": "3"}
    )
    assert said == (
        "Mean (least to most) of seeds 0 to 2; 3,000 rows trained on, 300 to choose the epoch, 4,000 tested "
        "on. "
        "python 3.11, keras 3."
    )
    assert measure.remark({"train": 1, "validation": 1}, [report(0.8)], {}).startswith("Seed 0; 1 rows")


def test_every_example_has_a_place_for_its_table():
    folders = {path.parent for path in measure.EXAMPLES.glob("*/run.yaml")}
    measured = {folder.name for folder in folders}
    assert {*measure.names(), "few_labels", "made_up_tasks", "basic_english", "peft"} == measured
    for name in measured:
        readme = measure.EXAMPLES / name / "README.md"
        measure.insert(readme.read_text("utf-8"), [], readme)
    with pytest.raises(UserError, match='no example "vader_movies" to measure; did you mean "vader_movie"'):
        measure.measure("vader_movies")


def test_the_table_of_few_labels():
    found = {"one way": {8: [0.5, 0.75], 32: [1.0]}, "another": {8: [0.5], 32: [0.25]}}
    assert recipe.table(found) == [
        "| test accuracy | 8 a class | 32 a class |",
        "|---|---|---|",
        "| one way | 0.625 (0.500 to 0.750) | 1.000 |",
        "| another | 0.500 | 0.250 |",
    ]


def test_a_measured_example_is_not_trained_again(tmp_path, monkeypatch, capsys):
    example = tmp_path / "toy"
    example.mkdir()
    tiny.write_run_file(example, train=40, epochs=1)
    readme = example / "README.md"
    readme.write_text("\n".join(["# Toy", *measure.MARKERS, ""]))
    monkeypatch.setattr(measure, "EXAMPLES", tmp_path)
    monkeypatch.setattr(measure, "make_inputs", lambda name, settings: None)
    measure.main(["toy", "--seeds", "2"])
    assert capsys.readouterr().out.strip() == str(readme)
    text = readme.read_text()
    assert "| always the most frequent label | 0.333 |" in text
    assert (
        "Mean (least to most) of seeds 0 to 1; 36 rows trained on, 4 to choose the epoch, 30 tested on."
        in text
    )
    reports = [example / f"run-{seed}" / "report.json" for seed in (0, 1)]
    accuracies = [json.loads(path.read_text())["scores"]["after fine-tuning"]["accuracy"] for path in reports]
    assert f"| after fine-tuning | {measure.spread(accuracies)} |" in text
    written = [path.stat().st_mtime_ns for path in reports]
    measure.main(["toy", "--seeds", "2"])
    assert "nothing to do" in capsys.readouterr().err
    assert readme.read_text() == text
    assert [path.stat().st_mtime_ns for path in reports] == written


def test_few_labels_keeps_scores_and_not_weights(tmp_path, monkeypatch, capsys):
    example = tmp_path / "few_labels"
    example.mkdir()
    tiny.write_run_file(example, train=40, epochs=1)
    monkeypatch.setattr(recipe, "EXAMPLES", tmp_path)
    files = example / "train.csv", example / "test.csv"
    first = recipe.result(tmp_path / "out", files, ["training.freeze=[all]"], baseline=True)
    assert recipe.BASELINE in first["scores"]
    assert not (tmp_path / "out" / "checkpoints").exists()
    capsys.readouterr()
    assert recipe.result(tmp_path / "out", files, ["training.freeze=[all]"], baseline=True) == first
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [(UserError("no such thing"), 2, "error: no such thing"), (Interrupted("saved"), 130, "saved")],
)
def test_ends_as_the_command_line_does(capsys, error, code, said):
    def action():
        raise error

    with pytest.raises(SystemExit) as ended:
        measure.finish(action)
    assert ended.value.code == code
    assert capsys.readouterr().err.strip() == said
