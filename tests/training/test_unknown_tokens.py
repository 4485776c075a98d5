"""A training on texts that the vocabulary does not know says so, wherever it looks at them."""

from __future__ import annotations

import json

import pytest

from tests import tiny
from tfpipeline import checkpoints, config
from tfpipeline.errors import UserError
from tfpipeline.predictors import RunPredictor
from tfpipeline.training import batching, loop
from tfpipeline.training.planning import plan
from tfpipeline.training.run_config import RunConfig
from tfpipeline.training.starting import lay_out_run


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Texts in capitals for an uncased vocabulary that is not told to lower-case."""
    folder = tmp_path_factory.mktemp("capitals")
    path = tiny.write_run_file(folder, train=60)
    rows = [(text.upper().replace(" THE ", " the "), label) for text, label in tiny.texts(60)]
    tiny.write_csv(folder / "train.csv", rows)
    return config.load(path, RunConfig, ["text.lowercase=false"])


@pytest.fixture(scope="module")
def run(settings, tmp_path_factory):
    return lay_out_run(tmp_path_factory.mktemp("run") / "run", settings, lambda run: None)


def test_every_place_says_it(settings, run, monkeypatch):
    words = [word for example in run.examples("train") for word in example.text.split()]
    share = round(100 * sum(word != "the" for word in words) / len(words))
    sentence = f"{share} % of the tokens of the training rows are [UNK]"
    assert 20 < share < 100
    said = []
    monkeypatch.setattr(batching, "say", said.append)
    batching.Split.of(run, "train")
    assert [note for note in said if note.startswith(sentence)]
    assert any("set text.lowercase to true" in note for note in said)
    (note,) = [note for note in plan(settings).notes if "[UNK]" in note]
    assert note.startswith(sentence)
    (of_rows,) = run.notes_on(run.token_cache("train", run.examples("train")))  # what the report says
    assert of_rows.startswith(f"{share} % of the tokens of the rows are [UNK]")
    assert run.note_on_texts(["the"]) is None
    assert run.note_on_texts(["the FILM"]).startswith("50 % of the tokens of the texts are [UNK]")


def test_predictions_of_the_first_texts_say_it_once(run, monkeypatch):
    said = []
    monkeypatch.setattr("tfpipeline.predictors.run.say", said.append)
    predictor = RunPredictor.__new__(RunPredictor)
    predictor._run, predictor._asked = run, False
    for texts in ([b"THE FILM"], [b"THE FILM"]):
        predictor._say_what_is_unknown(texts, None)
    assert len(said) == 1


def test_another_tokenizer_ends_the_training_before_anything_is_written(tmp_path):
    path = tiny.write_run_file(tmp_path)
    source = tmp_path / "checkpoint"
    settings = config.load(path, RunConfig)
    (source / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertJapaneseTokenizer"}))
    for begin in (loop.train, plan):
        with pytest.raises(UserError, match="the tokenizer is BertJapaneseTokenizer"):
            begin(settings)
    assert not (tmp_path / "run").exists()


def test_a_difference_ends_the_training_before_anything_is_written(tmp_path, monkeypatch):
    path = tiny.write_run_file(tmp_path)
    (tmp_path / "checkpoint" / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    load = checkpoints.load

    def misread(source, **options):
        import dataclasses

        found = load(source, **options)
        return dataclasses.replace(found, tokenizer=dataclasses.replace(found.tokenizer, lowercase=False))

    monkeypatch.setattr(checkpoints, "load", misread)
    for begin in (loop.train, plan):
        with pytest.raises(UserError, match="texts get other ids here than from the checkpoint's own fast"):
            begin(config.load(path, RunConfig))
    assert not (tmp_path / "run").exists()
