from __future__ import annotations

import json

import huggingface_hub
import pytest

from tests import random_runs
from tfpipeline.errors import UserError
from tfpipeline.export import model_card

FACTS = {
    "identity": "abc",
    "name": "tiny | model",
    "run": "run",
    "licence": "apache-2.0",
    "task": "classification",
    "labels": ["good", "b|ad <i>", "two\nlines"],
    "metrics": {
        "data": "test rows",
        "rows": 40,
        "metric": "accuracy",
        "values": {"accuracy": 0.9, "loss": float("nan"), "f1/one: two": 0.25},
        "intervals": {"accuracy": [0.7695, 0.9604]},
    },
    "precision": {"weights": "bfloat16", "largest": {"probabilities": 0.001}},
}


def test_hugging_face_reads_the_card():
    card = huggingface_hub.ModelCard(model_card.render(FACTS))
    assert card.data.license == "apache-2.0"
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.model_name == "tiny | model"
    assert card.data.metrics == ["accuracy"]
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found == {"accuracy": 0.9, "f1/one: two": 0.25}  # what is no number has no place there
    assert {result.dataset_name for result in card.data.eval_results} == {"test rows"}


def test_a_card_without_metrics_or_licence_is_one_as_well():
    card = huggingface_hub.ModelCard(model_card.render({"name": "x", "task": "own.module"}))
    assert card.data.license is None
    assert card.data.eval_results is None
    assert "Not measured: `tfpipeline evaluate RUN`" in card.text
    assert "| licence | not stated |" in card.text


def test_what_else_an_export_notes_is_a_section():
    text = model_card.render(FACTS)
    assert (
        "## Precision\n\n|  |  |\n|---|---|\n| weights | bfloat16 |\n| largest.probabilities | 0.001 |\n"
        in text
    )
    assert "| accuracy | 0.9000 | 0.7695 to 0.9604 |" in text


def test_texts_of_data_are_no_markup():
    text = model_card.render(FACTS)
    assert "- b&#124;ad &#60;i&#62;\n- two&#92;nlines\n" in text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return random_runs.random_run(folder, *random_runs.TASKS["classifier"])


def test_what_is_said_of_a_run(run, tmp_path, capsys):
    report = {
        "data": "test rows",
        "rows": 10,
        "metric": "accuracy",
        "scores": {
            "before fine-tuning": {"accuracy": 0.1},
            "after fine-tuning": {"accuracy": 0.5, "macro_f1": 0.4},
        },
    }
    (run.path / "report.json").write_text(json.dumps(report))
    facts = model_card.describe(run, "m", "best", None)
    assert facts["metrics"]["values"] == {"accuracy": 0.5, "macro_f1": 0.4}
    assert facts["metrics"]["intervals"] == {"accuracy": [0.2366, 0.7634]}
    report["intervals"] = {"after fine-tuning": {"macro_f1": [0.123456, 0.7], "accuracy": [0.2, 0.8]}}
    (run.path / "report.json").write_text(json.dumps(report))
    found = model_card.describe(run, "m", "best", None)["metrics"]["intervals"]
    assert found == {"macro_f1": [0.1235, 0.7], "accuracy": [0.2, 0.8]}  # the report knows its rows better
    assert facts["labels"] == ["negative", "neutral", "positive"]
    assert facts["data"]["columns"] == {"text": "text", "separator": " "}  # for later files
    assert sum(facts["data"]["rows"].values()) == 12
    assert set(facts["data"]["sha256"]) == {"checkpoint", "data.train"}
    assert facts["text"]["max_length"] == 24
    assert json.loads(json.dumps(facts)) == facts
    assert model_card.describe(run, "m", "last", None)["metrics"] == {}  # these were of other weights
    report["weights"] = run.weights_id("best")
    other = tmp_path / "report-june.json"
    other.write_text(json.dumps({**report, "data": "june.csv"}))
    assert model_card.describe(run, "m", "best", None, report=other)["metrics"]["data"] == "june.csv"
    # A run that was trained on after its evaluation.
    (run.path / "report.json").write_text(json.dumps({**report, "weights": "step 3"}))
    capsys.readouterr()
    assert model_card.describe(run, "m", "best", None)["metrics"] == {}
    assert "has the scores of other weights (step 3) than the exported ones" in capsys.readouterr().err
    (run.path / "report.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot read .*report\.json: .*; write it again"):
        model_card.describe(run, "m", "best", None)
    (run.path / "report.json").unlink()
    assert model_card.describe(run, "m", "best", None)["metrics"] == {}
