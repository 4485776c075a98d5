from __future__ import annotations

import json

from tfpipeline.evaluation import Report
from tfpipeline.evaluation.report import Entry


def report(**changes):
    entries = [
        Entry("TF-IDF", {"accuracy": 0.5}, "table one"),
        Entry("after fine-tuning", {"loss": 0.25, "accuracy": 0.75}, "table two"),
    ]
    given = {"data": "test rows", "rows": 4, "metric": "accuracy", "entries": entries, **changes}
    return Report(**given)


def test_the_headline_is_the_metric_that_picked_the_checkpoint():
    lines = report().text().splitlines()
    assert lines[-3:] == ["accuracy on test rows", "TF-IDF             0.5000", "after fine-tuning  0.7500"]


def test_a_model_may_lack_it():
    """A baseline has no loss; a file may have no row of one head of several."""
    lines = report(metric="loss").text().splitlines()
    assert lines[-2:] == ["TF-IDF             -", "after fine-tuning  0.2500"]


def test_cells_of_the_page_are_escaped(tmp_path):
    mistakes = [("a | text\nof two lines", "x|y", "z")]
    report(mistakes=mistakes, notes=["2 of 4 rows are cut"]).save(tmp_path)
    page = (tmp_path / "report.md").read_text("utf-8")
    assert "| x\\|y | z | a \\| text of two lines |" in page
    assert "\n2 of 4 rows are cut\n" in page
    document = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert document["notes"] == ["2 of 4 rows are cut"]
    assert document["scores"]["after fine-tuning"] == {"loss": 0.25, "accuracy": 0.75}
