"""`predict` with a model that writes texts."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tfpipeline import predictors
from tfpipeline.serving.client import Candidate, Generation

SOURCES = ["the food was good", "a very bad film"]


class Writer(predictors.Predictor):
    """Writes the source in capitals, or, for the signature generate, what was chosen."""

    def __init__(self, signature):
        self.signature = signature

    def predict(self, texts, text_pair=None, adapter=None):
        if self.signature == "generate":
            return self.generate(texts)
        return [Generation(text.upper(), -0.5) for text in texts]

    def generate(self, texts, **choices):
        candidates = [Candidate(str(choices), -1.0), Candidate("b", -2.0)]
        return [Generation(candidates[0].text, -1.0, candidates) for _ in texts]


def test_texts_and_their_candidates(monkeypatch, tfpipeline):
    monkeypatch.setattr(predictors, "open_local", lambda source, signature: Writer(signature))
    ask = ["predict", "--from", "x", *SOURCES]

    def rows(*more):
        return [json.loads(line) for line in tfpipeline(*ask, *more, check=True).stdout.splitlines()]

    assert rows() == [{"input_text": text, "text": text.upper(), "score": -0.5} for text in SOURCES]
    written = {
        "text": "{}",
        "score": -1.0,
        "candidates": [{"text": "{}", "score": -1.0}, {"text": "b", "score": -2.0}],
    }
    assert rows("--signature", "generate") == [{"input_text": text, **written} for text in SOURCES]
    options = ["seed=3", "do_sample=true", "temperature=0.5", "top_p=1e-1", "num_beams=-1"]
    row, _ = rows(*(word for option in options for word in ("--choose", option)))
    chosen = {"seed": 3, "do_sample": True, "temperature": 0.5, "top_p": 0.1, "num_beams": -1}
    assert row["text"] == str(chosen)
    table = tfpipeline(*ask, "--csv", check=True).stdout
    assert [line["text"] for line in csv.DictReader(io.StringIO(table))] == [text.upper() for text in SOURCES]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--choose", "beams=2"],
            "--choose beams=2: give NAME=VALUE; the names are seed, do_sample, temperature",
        ),
        (["--choose", "seed"], "--choose seed: give NAME=VALUE"),
        (["--choose", "seed=x"], "--choose seed=x: the value must be a number"),
        (["--choose", "do_sample=1"], "--choose do_sample=1: the value must be true or false"),
        (
            ["--choose", "seed=1", "--explain"],
            "--choose is for texts that a model writes; leave out --explain",
        ),
        (
            ["--choose", "seed=1", "--signature", "utf8"],
            'seed is a choice of the signature "generate", not of "utf8"',
        ),
    ],
)
def test_choices_that_make_no_sense_are_one_sentence(tfpipeline, arguments, says):
    done = tfpipeline("predict", "--from", "x", "a", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
