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
    tokens = model.tokenizer(TEXTS, max_length=40)
    answers = model.task.answers(model(tokens), tokens)
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
    answers = run.task.answers(run.model()(tokens), tokens)
    np.testing.assert_allclose(answers["probabilities"], expected(source, run, TEXTS), rtol=0, atol=1e-5)


def test_settings_of_a_checkpoint(source):
    run = open_run(source, ["text.max_length=12"])
    assert run.config.text.max_length == 12
    assert open_run(source).config.text.max_length == 40
    with pytest.raises(
        UserError, match=r'--set text\.max_len=3  .*unknown field; did you mean "text\.max_length"'
    ):
        open_run(source, ["text.max_len=3"])


def changed_copy(source, folder, config, tensors=lambda raw: raw):
    """Their files with another configuration, and other tensors."""
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    old = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**old, **config}))
    save_file(tensors(load_file(source / "model.safetensors")), folder / "model.safetensors")
    return folder


def test_a_classifier_of_several_labels(source, tmp_path):
    """transformers' problem_type multi_label_classification: a sigmoid each, given from 0.5 on."""
    copy = changed_copy(source, tmp_path / "copy", {"problem_type": "multi_label_classification"})
    run = open_run(copy)
    odds = expected(source, open_run(source), TEXTS)
    # Softmax knows the logits but for a constant of each text, which the classifier's own numbers give.
    checkpoint, raw = checkpoints.load(source), load_file(source / "model.safetensors")
    tokens = run.encode(TEXTS, None, 40)
    names = ("input_ids", "token_type_ids", "attention_mask")
    _, pooled = encode(checkpoint.config, checkpoint.tensors, *(tokens[name] for name in names))
    logits = pooled @ raw["classifier.weight"].T + raw["classifier.bias"]
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), odds, rtol=1e-6)
    want = 1 / (1 + np.exp(-logits))
    assert 0 < (want >= 0.5).sum() < want.size
    export_run(copy, tmp_path / "models")
    for path in (copy, tmp_path / "models"):
        with predictors.open_local(path) as predictor:
            answers = predictor.predict(TEXTS)
        got = np.array([[answer.scores[label] for label in tiny.LABELS] for answer in answers])
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
        for answer, scores in zip(answers, want):
            order = np.argsort(-scores)
            assert answer.labels == [tiny.LABELS[index] for index in order if scores[index] >= 0.5]


def test_task_settings_of_a_checkpoint(source, tmp_path):
    copy = changed_copy(source, tmp_path / "copy", {"problem_type": "multi_label_classification"})
    with predictors.open_local(copy) as predictor:
        assert predictor.predict(["x"])[0].thresholds == dict.fromkeys(tiny.LABELS, 0.5)
    run = open_run(copy, ["task.threshold=0.25", "task.separator=;"])
    np.testing.assert_array_equal(run.model().head.thresholds, [0.25] * 3)
    assert run.task.options.separator == ";"
    for override in ("task.labels=[a, b, c]", "task.pooling=mean", "task.name=regression"):
        with pytest.raises(UserError):
            open_run(copy, [override])


def test_a_regression(source, tmp_path):
    """transformers' rule: one output is a regression, whose number is the answer."""

    def one_output(raw):
        return {
            name: np.ascontiguousarray(a[:1]) if name.startswith("classifier") else a
            for name, a in raw.items()
        }

    only = {"problem_type": "single_label_classification", "id2label": {"0": "x"}}
    with pytest.raises(UserError, match="is a classifier of one label, which has nothing to tell apart"):
        open_run(changed_copy(source, tmp_path / "one", only, one_output))
    copy = changed_copy(source, tmp_path / "copy", {"id2label": {"0": "LABEL_0"}}, one_output)
    run = open_run(copy)
    raw = load_file(copy / "model.safetensors")
    tokens = run.encode(TEXTS, None, 40)
    checkpoint = checkpoints.load(copy)
    names = ("input_ids", "token_type_ids", "attention_mask")
    _, pooled = encode(checkpoint.config, checkpoint.tensors, *(tokens[name] for name in names))
    want = (pooled @ raw["classifier.weight"].T + raw["classifier.bias"])[:, 0]
    export_run(copy, tmp_path / "models")
    for path in (copy, tmp_path / "models"):
        with predictors.open_local(path) as predictor:
            got = [answer.value for answer in predictor.predict(TEXTS)]
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"architectures": ["BertModel"]}, "is not fine-tuned for a task here: it has no head; train one"),
        (
            {"architectures": ["BertForTokenClassification"]},
            "its only heads are those of token_classifier, which no task serves",
        ),
        (
            {"problem_type": "token_counting"},
            "its only heads are those of sequence_classifier for token_counting, which no task serves",
        ),
        (
            {"problem_type": "regression"},
            "is a regression of 3 numbers; one of a single number can be used",
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
