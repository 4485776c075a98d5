from __future__ import annotations

import json

import pytest

from tests import tiny
from tfpipeline.errors import UserError
from tfpipeline.evaluation import compare, evaluate
from tfpipeline.training import Run

EVALUATED = {"report.json", "report.md", "report-confusion.png"}


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_scores_are_shown_then_saved_then_plotted(untrained, monkeypatch, capfd):
    seen = {}

    def figures(answers, targets):
        seen["plot"] = names(untrained.path) & EVALUATED
        return {}

    monkeypatch.setattr(untrained.task.scorer, "figures", figures)
    report = evaluate(
        untrained,
        baseline=False,
        show=lambda text: seen.update(show=names(untrained.path) & EVALUATED, text=text),
    )
    assert list(seen) == ["show", "text", "plot"]
    assert (seen["show"], seen["plot"]) == (set(), {"report.json", "report.md"})
    assert seen["text"] == report.text()
    assert report.path == untrained.path / "report.md"
    assert f"report: {report.path}\n" in capfd.readouterr().err


def test_rows_that_were_trained_on_are_named(untrained, tmp_path, capfd):
    """Whether they are of a file or of the run's own split, and however they are written."""
    train = tiny.texts(40, seed=1)
    file = tiny.write_csv(tmp_path / "new.csv", [("y x", "neutral"), *train[3:8], ("x y", "neutral")])
    report = evaluate(untrained, file, baseline=False)
    (note,) = report.notes
    assert note == (
        f"5 of 7 rows have a text that was trained on ({file}:3, {file}:4, {file}:5, ...); scores will be "
        f"optimistic"
    )
    assert f"warning: {file}: {note}" in capfd.readouterr().err
    assert json.loads((untrained.path / "report-new.json").read_text())["notes"] == [note]
    assert note.split(" (")[0] in (untrained.path / "report-new.md").read_text()
    (note,) = evaluate(untrained, baseline=False).notes
    own = tmp_path / "test.csv"
    assert note.startswith(f"3 of 13 rows have a text that was trained on ({own}:12, {own}:13, {own}:14);")
    assert "warning" not in capfd.readouterr().err
    assert evaluate(untrained, tiny.write_csv(file, tiny.texts(4, seed=9)), baseline=False).notes == []


def test_a_run_that_cannot_be_written_to(untrained, monkeypatch, capfd):
    """Its scores are shown, and it stays as it is."""
    before = names(untrained.path)
    monkeypatch.setattr(compare.os, "access", lambda path, mode: False)
    monkeypatch.setattr(untrained, "reports", untrained.path / "config.yaml")
    shown = []
    report = evaluate(untrained, baseline=False, show=shown.append)
    assert shown == [report.text()]
    assert report.path is None
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "saved" in line]
    assert line == (
        f"warning: the scores could not be saved: cannot write {untrained.path}/config.yaml/report.json: "
        f"File exists; "
        "a part of that path is a file; choose another path (--to FOLDER)"
    )
    assert names(untrained.path) == before
    assert not (untrained.path / "cache").exists()


def test_a_report_goes_where_it_is_wanted(untrained, tmp_path, monkeypatch):
    before = names(untrained.path)
    monkeypatch.setenv("HOME", str(tmp_path))
    report = evaluate(untrained.path, baseline=False, to="~/reports/one")
    assert report.path == tmp_path / "reports" / "one" / "report.md"
    assert names(report.path.parent) == EVALUATED
    assert names(untrained.path) - before == {"cache"}


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "open_run", None)
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"cannot write .*file/reports: Not a directory; a part of that path is"
    ):
        evaluate(tmp_path / "run", to=tmp_path / "file" / "reports")


def test_a_checkpoints_report_is_written_only_where_it_is_wanted(tmp_path):
    source = tiny.write_checkpoint(tmp_path / "source", **tiny.CLASSIFIER)
    before = names(source)
    data = tiny.write_csv(tmp_path / "rows.csv", tiny.texts(6))
    assert evaluate(source, data).path is None
    report = evaluate(source, data, to=tmp_path / "out")
    assert names(source) == before
    assert names(tmp_path / "out") == {"report-rows.json", "report-rows.md", "report-rows-confusion.png"}
    assert report.path == tmp_path / "out" / "report-rows.md"


def test_an_unfinished_run_is_refused(untrained):
    (untrained.path / "checkpoints" / "index.json").write_text("{}")
    with pytest.raises(UserError, match="has not finished an epoch yet; train it first"):
        evaluate(Run(untrained.path))
