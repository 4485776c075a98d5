"""The notebook runs, cell by cell, at a tiny setting on a CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import tiny

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "colab_tpu.ipynb"


def cells():
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            yield cell["metadata"].get("tags", []), "".join(cell["source"])


@pytest.fixture
def settings(tmp_path):
    return {
        "CHECKPOINT": str(
            tiny.write_checkpoint(tmp_path / "checkpoint", max_position_embeddings=64, num_hidden_layers=1)
        ),
        "TRAIN": str(tiny.write_csv(tmp_path / "train.csv", tiny.texts(300, seed=1))),
        "TEST": str(tiny.write_csv(tmp_path / "test.csv", tiny.texts(30, seed=2))),
        "OUTPUT": str(tmp_path / "run"),
        "MODELS": str(tmp_path / "models" / "tiny"),
        "TRAINING": {"epochs": 10, "learning_rate": 0.01, "batch_size": 16},
    }


def test_it_runs_from_top_to_bottom(settings, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for tags, source in cells():
        if "install" in tags:
            # What the magic line installs is what this test runs in.
            source = "\n".join(line for line in source.splitlines() if not line.startswith("%pip"))
        exec(compile(source, str(NOTEBOOK), "exec"), names)
        if "parameters" in tags:
            assert settings.keys() <= names.keys()
            names.update(settings)
    shown = capsys.readouterr().out
    assert "of which" in shown  # the plan
    assert "after fine-tuning" in shown
    assert (Path(settings["MODELS"]) / "1" / "saved_model.pb").exists()
    answers = names["answers"]
    assert len(answers) == 2
    assert all(answer.label in tiny.LABELS for answer in answers)
    assert all(label in shown for label in {answer.label for answer in answers})


def test_it_was_saved_without_output():
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) == 8
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
