"""What a run makes of its rows: texts in one sequence or in two, between the special tokens of its
tokenizer.
"""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest

from tests import tiny
from tests.training.separate_task import SeparateNegatives, SeparateOptions
from tests.training.test_step import batch as tokens
from tfpipeline import checkpoints, config
from tfpipeline.data.text_names import joined, key
from tfpipeline.errors import UserError
from tfpipeline.export.publish import export_run
from tfpipeline.models import Noise, TextModel
from tfpipeline.models.inputs import as_second_text, encoder_inputs
from tfpipeline.predictors import open_local
from tfpipeline.tasks.classification import ClassificationOptions
from tfpipeline.text import Template, TokenizerOptions, Truncation
from tfpipeline.training import plan, train
from tfpipeline.training.batching import Batching, Split
from tfpipeline.training.model_settings import truncation_of
from tfpipeline.training.rows import read_rows
from tfpipeline.training.run import lay_out
from tfpipeline.training.run_config import RunConfig, TextOptions

ROBERTA = Template(between=("sep_token", "sep_token"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Rows of a short first text and a second one that is longer by its number."""
    folder = tmp_path_factory.mktemp("pairs")
    path = tiny.write_run_file(folder, train=2)
    with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [("good", "bad film " * number, "ab"[number % 2]) for number in range(16)]
        csv.writer(file).writerows([("text", "second", "label"), *rows])
    overrides = [
        "data.text_pair=second",
        "text.max_length=14",
        "data.test=null",
        "data.split.validation=0.25",
    ]
    return config.load(path, RunConfig, overrides)


def laid_out(settings, folder, template=None):
    checkpoint = checkpoints.load(settings.checkpoint)
    if template is not None:
        tokenizer = dataclasses.replace(checkpoint.tokenizer, template=template)
        checkpoint = dataclasses.replace(checkpoint, tokenizer=tokenizer)
    rows = read_rows(settings)
    folder.mkdir(exist_ok=True)
    return lay_out(settings, checkpoint, rows.task, rows.splits, folder)


def test_a_task_has_its_texts_encoded_separately(settings, tmp_path, monkeypatch):
    joint = Split.of(laid_out(settings, tmp_path / "joint"), "train")
    assert list(joint.cache.sequences) == ["text"]
    monkeypatch.setattr(ClassificationOptions, "encoding", "separate")
    run = laid_out(settings, tmp_path / "separate")
    split = Split.of(run, "train")
    words = [len(example.text_pair.split()) for example in split.examples]
    assert split.cache.sequences["text"].lengths.tolist() == [3] * len(words)
    assert split.cache.sequences["text_pair"].lengths.tolist() == [min(count + 2, 14) for count in words]
    assert split.cache.cut == sum(count > 12 for count in words)
    assert split.cache.text_tokens == len(words) + sum(min(count, 12) for count in words)
    # A group of batches has one shape; each sequence its own.
    options = settings.training.model_copy(update={"steps_per_call": 2})
    batching = Batching(split, options, 4, [4, 9, 14], static=False)
    for group in batching.groups(0, 0, 0, []):
        longest = max(int(split.cache.lengths[rows].max()) for rows in group.rows)
        for batch in group.batches:
            assert batch["input_ids"].shape == (4, 4)
            width = next(width for width in (4, 9, 14) if width >= longest)
            assert batch["text_pair/input_ids"].shape == (4, width)
            assert set(np.unique(batch["text_pair/token_type_ids"])) == {0}
        rows = np.concatenate(group.rows)
        assert group.tokens == 3 * len(rows) + sum(min(words[row] + 2, 14) for row in rows)


def test_a_run_keeps_the_template_of_its_tokenizer(settings, tmp_path):
    run = laid_out(settings, tmp_path / "run", ROBERTA)
    assert (run.path / "id").read_text() != (laid_out(settings, tmp_path / "again").path / "id").read_text()
    assert run.tokenizer.template == run.truncation.template == ROBERTA
    encoded = run.encode(["good"], ["bad film"])
    tokens = [tiny.VOCABULARY[token] for token in encoded["input_ids"][0]]
    assert tokens == ["[CLS]", "good", "[SEP]", "[SEP]", "bad", "film", "[SEP]"]
    cache = Split.of(run, "train").cache
    assert cache.text_tokens == cache.lengths.sum() - 4 * len(cache)


def test_windows_of_texts_that_are_encoded_separately_have_no_first_text_before_them(settings):
    """So an overlap that leaves a pair no way to go on is fine for each text alone, as the model has it."""
    windows = {"max_length": 14, "long": "windows", "overlap": 8}
    changed = {**settings.model_dump(mode="json"), "text": windows}
    with pytest.raises(
        UserError, match=r"text: overlap is 8, .* may share less than 6 behind a first text of 5"
    ):
        config.resolve(changed, RunConfig, source="run.yaml")
    name = "tests.training.separate_task"
    found = config.resolve({**changed, "task": {"name": name}}, RunConfig, source="run.yaml")
    assert truncation_of(found, TokenizerOptions()).step(1) == 14 - 1 - 1 - 8
    changed["text"]["overlap"] = 12
    with pytest.raises(UserError, match=r"text: overlap is 12, but .* may share less than 12; lower overlap"):
        config.resolve({**changed, "task": {"name": name}}, RunConfig, source="run.yaml")


@pytest.mark.parametrize("template", [Template(), Template(before=()), Template(after=("sep_token",) * 3)])
def test_what_is_read_of_a_text_is_what_its_special_tokens_leave(template, tmp_path):
    """Tags of words have room for as many, and windows that get nowhere are found before anything is
    written.
    """
    tokens = " ".join(["good"] * 30)
    tags = " ".join(["A", "B"] * 15)
    run_file = tiny.write_run_file(tmp_path, train=2)
    with (tmp_path / "train.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *[(tokens, tags)] * 8])
    overrides = ["data.test=null", "data.split.validation=0.25", "text.max_length=14", "task.name=tagging"]
    settings = config.load(run_file, RunConfig, [*overrides, "task.scheme=plain"])
    special = len(template.before) + len(template.after)
    assert Truncation(max_length=14, template=template).text_tokens(pair=False) == 14 - special
    run = laid_out(settings, tmp_path / "run", template)
    assert run.task.fitted["max_entities"] == 14 - special
    text = {"text": TextOptions(max_length=14, long="windows", overlap=11)}
    if special > 2:
        with pytest.raises(UserError, match="text: overlap is 11, but windows of 14 tokens"):
            laid_out(settings.model_copy(update=text), tmp_path / "windows", template)
    else:
        laid_out(settings.model_copy(update=text), tmp_path / "windows", template)


@pytest.fixture(scope="module")
def bi_encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bi")
    checkpoint = checkpoints.load(tiny.write_checkpoint(folder / "checkpoint", num_hidden_layers=1))
    config = checkpoint.config.with_dropout(0.2)
    return TextModel(checkpoint.encoder(config), SeparateNegatives(SeparateOptions()).head(config, 0))


def test_a_second_text_is_read_as_a_first_one_by_the_same_weights(bi_encoder):
    first, second = encoder_inputs(tokens(rows=4, width=9)), encoder_inputs(tokens(rows=4, width=6, seed=1))
    weights = [variable.path for variable in bi_encoder.weights]
    outputs = bi_encoder({**first, **as_second_text(second)})
    assert [variable.path for variable in bi_encoder.weights] == weights
    for name, inputs in (("", first), ("text_pair/", second)):
        for output, value in bi_encoder(inputs).items():
            np.testing.assert_allclose(outputs[name + output], value, rtol=1e-6)
    assert set(outputs) == {"query", "key", "text_pair/query", "text_pair/key"}


def test_a_second_text_has_dropout_masks_of_its_own(bi_encoder):
    """One text twice gives two vectors, as in SimCSE (arXiv:2104.08821), the same ones in the same step."""
    text = encoder_inputs(tokens(rows=3))
    inputs = {**text, **as_second_text(text)}
    steps = [bi_encoder(inputs, training=True, noise=Noise(0, step)) for step in (5, 5, 6)]
    assert np.abs(steps[0]["key"] - steps[0]["text_pair/key"]).max() > 1e-3
    np.testing.assert_array_equal(steps[0]["text_pair/key"], steps[1]["text_pair/key"])
    assert np.abs(steps[0]["text_pair/key"] - steps[2]["text_pair/key"]).max() > 1e-3
    np.testing.assert_array_equal(steps[0]["key"], bi_encoder(text, training=True, noise=Noise(0, 5))["key"])


def test_each_of_many_texts_is_read_alike_with_masks_of_its_own(bi_encoder):
    names = ("text", "text_pair", "negative_1", "negative_2", "negative_10")
    given = [encoder_inputs(tokens(rows=3, width=width, seed=width)) for width in (9, 6, 4, 7, 5)]
    outputs = bi_encoder(joined(dict(zip(names, given))))
    for name, inputs in zip(names, given):
        want = bi_encoder(inputs)["key"]
        np.testing.assert_allclose(outputs[key(name, "key")], want, rtol=1e-5, atol=1e-6)
    same = joined(dict.fromkeys(names, given[0]))
    noisy = [
        bi_encoder(inputs, training=True, noise=Noise(0, 5))
        for inputs in (same, dict(reversed(same.items())))
    ]
    vectors = np.stack([noisy[0][key(name, "key")] for name in names])
    apart = np.abs(vectors[:, None] - vectors[None]).max((-2, -1))
    assert (apart[~np.eye(len(names), dtype=bool)] > 1e-3).all()
    for name, value in noisy[0].items():  # whatever the order of the inputs
        np.testing.assert_array_equal(noisy[1][name], value)


def test_texts_are_encoded_separately_from_the_run_file_to_the_signatures(settings, tmp_path):
    own = settings.model_copy(
        update={
            "task": SeparateOptions(),
            "output": str(tmp_path / "run"),
            "training": settings.training.model_copy(update={"epochs": 1, "steps": 2}),
        }
    )
    planned = plan(own)
    assert planned.longest == 3 + 14  # both texts with their special tokens
    run = train(own)
    texts, pairs = ["good", "bad food"], ["bad film", "good good good"]
    model = run.model()
    inputs = run.encode(texts, pairs)
    outputs = model(encoder_inputs(inputs))
    expected = np.sum(outputs["query"] * outputs["text_pair/key"], -1)
    np.testing.assert_allclose(run.predict(model, texts, pairs)["score"], expected, rtol=1e-5)
    alone = model(encoder_inputs(run.encode(pairs)))["key"]
    np.testing.assert_allclose(outputs["text_pair/key"], alone, atol=1e-6)
    # The export compares every signature, that of token ids as well, with the run.
    with open_local(export_run(run, tmp_path / "models")) as predictor:
        served = [prediction.outputs["score"] for prediction in predictor.predict(texts, pairs)]
    np.testing.assert_allclose(served, expected, atol=1e-5)
