"""A classifier that someone else has fine-tuned, evaluated, exported and asked without training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tfpipeline
from tests import tiny
from tests.models.numpy_bert import encode
from tfpipeline import checkpoints, predictors
from tfpipeline.errors import UserError
from tfpipeline.evaluation import evaluate
from tfpipeline.export import export_run
from tfpipeline.training import open_run

TEXTS = ["the food was good", "a bad film , very bad", "x y", ""]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.write_checkpoint(
        tmp_path_factory.mktemp("their") / "model", seed=7, std=0.3, **tiny.CLASSIFIER
    )


def expected(source, run, texts):
    """Probabilities by NumPy: transformers' class is a dense layer on the pooler's output."""
    checkpoint, raw = checkpoints.load(source), load_file(source / "model.safetensors")
    tokens = run.encode(texts, None, 40)
    _, pooled = encode(
        checkpoint.config,
        checkpoint.tensors,
        tokens["input_ids"],
        tokens["token_type_ids"],
        tokens["attention_mask"],
    )
    logits = pooled @ raw["classifier.weight"].T + raw["classifier.bias"]
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def test_answers_by_every_way(source, tmp_path):
    run = open_run(source)
    want = expected(source, run, TEXTS)
    assert np.ptp(want, axis=0).max() > 0.1
    version = export_run(source, tmp_path / "models")
    assert version == tmp_path / "models" / "1"
    assert export_run(source, tmp_path / "models") == version  # the same model again
    for path in (source, tmp_path / "models"):
        with predictors.open_local(path) as predictor:
            answers = predictor.predict(TEXTS)
        got = np.array([[answer.probabilities[label] for label in tiny.LABELS] for answer in answers])
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
        assert [answer.label for answer in answers] == [tiny.LABELS[row.argmax()] for row in want]


def test_loaded_as_an_ordinary_model(source):
    model = tfpipeline.load(source)
    answers = model.task.answers(model(model.tokenizer(TEXTS, max_length=40)))
    want = expected(source, open_run(source), TEXTS)
    np.testing.assert_allclose(answers["probabilities"], want, rtol=0, atol=1e-5)
    with pytest.raises(UserError, match='is a checkpoint: it has no "last" weights, only its own'):
        tfpipeline.load(source, "last")


def test_evaluated_on_a_file(source, tmp_path):
    rows = tiny.texts(40)
    data = tmp_path / "reviews.csv"
    data.write_text("review,stars\n" + "".join(f'"{text}",{label}\n' for text, label in rows))
    before = sorted(path.name for path in source.iterdir())
    report = evaluate(source, data, overrides=["data.text=review", "data.label=stars"])
    want = expected(source, open_run(source), [text for text, _ in rows]).argmax(-1)
    right = np.mean([tiny.LABELS[index] == label for index, (_, label) in zip(want, rows)])
    (entry,) = report.entries
    assert entry.name == "as it is"
    assert entry.scores["accuracy"] == pytest.approx(right)
    assert sorted(path.name for path in source.iterdir()) == before
    with pytest.raises(
        UserError, match="is a checkpoint without rows of its own; name a file of rows with --data"
    ):
        evaluate(source)


def test_the_google_format_carries_it_too(source, tmp_path):
    checkpoints.convert(source, tmp_path / "google", to="google")
    run = open_run(tmp_path / "google")
    tokens = run.encode(TEXTS, None, 40)
    answers = run.task.answers(run.model()(tokens))
    np.testing.assert_allclose(answers["probabilities"], expected(source, run, TEXTS), rtol=0, atol=1e-5)


def test_settings_of_a_checkpoint(source):
    run = open_run(source, ["text.max_length=12"])
    assert run.config.text.max_length == 12
    assert open_run(source).config.text.max_length == 40
    with pytest.raises(
        UserError, match=r'--set text\.max_len=3  .*unknown field; did you mean "text\.max_length"'
    ):
        open_run(source, ["text.max_len=3"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"architectures": ["BertModel"]}, "is not fine-tuned for a task here: it has no head; train one"),
        (
            {"architectures": ["BertForTokenClassification"]},
            "its only heads are those of token_classifier, which no task serves",
        ),
        (
            {"problem_type": "multi_label_classification"},
            "answers multi_label_classification; only classifiers",
        ),
        (
            {"problem_type": "regression"},
            "answers regression; only classifiers of one label a text can be used",
        ),
    ],
)
def test_what_no_task_serves(source, tmp_path, change, sentence):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in source.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError) as caught:
        open_run(copy)
    assert sentence in str(caught.value)


def test_without_a_pooler(source, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in source.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    raw = load_file(copy / "model.safetensors")
    save_file(
        {name: array for name, array in raw.items() if "pooler" not in name}, copy / "model.safetensors"
    )
    with pytest.raises(
        UserError, match="has no pooler, which its classifier reads; copy the whole checkpoint"
    ):
        open_run(copy)
