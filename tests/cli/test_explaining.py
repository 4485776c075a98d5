"""`predict --explain`."""

from __future__ import annotations

import json

import pytest

from tests import tiny
from tfpipeline import predictors


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A fine-tuned checkpoint."""
    return tiny.write_checkpoint(tmp_path_factory.mktemp("their") / "model", seed=7, **tiny.CLASSIFIER)


@pytest.fixture(scope="module")
def opened(source):
    """A predictor that keeps its graph."""
    return predictors.RunPredictor(source)


@pytest.fixture
def cheap(monkeypatch, opened):
    """Whoever opens the model is given the one that is open."""
    monkeypatch.setattr(predictors, "open_local", lambda *_: opened)


@pytest.mark.usefixtures("cheap")
def test_predict_explains(tfpipeline, source, tmp_path):
    asked = ["predict", "--from", source, "--explain"]
    done = tfpipeline(*asked, "so good", "--label", "positive", "--label", "negative", check=True)
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines if ": " in line] == [
        "text",
        "positive",
        "text",
        "negative",
    ]
    assert len([line for line in lines if line.endswith(("  so", "  good"))]) == 4
    assert any(" * " in line for line in lines)

    done = tfpipeline(*asked, "--json", "so good", "😀", check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["text"] for row in rows] == ["so good", "😀"]
    assert [word["word"] for word in rows[0]["words"]] == ["so", "good"]

    page = tmp_path / "why.html"
    done = tfpipeline(*asked, "--html", page, "so <good>", check=True)
    assert done.stdout == f"{page}\n"
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert "&lt;" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--label", "x"], "--label is for explanations; add --explain"),
        (["--html", "x"], "--html is for explanations; add --explain"),
        (["--json"], "--json is for explanations; add --explain"),
        (["--explain", "--json", "--html", "x"], "--html and --json were both given; choose one"),
        (["--explain", "--signature", "utf8"], "--signature has no meaning with --explain"),
        (["--explain", "--html", "."], "--html . is a directory; name a file"),
    ],
)
def test_what_does_not_go_together(tfpipeline, options, sentence):
    done = tfpipeline("predict", "--from", "nowhere", *options, "text")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {sentence}")
