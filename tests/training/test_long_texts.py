"""Texts that are longer than the model reads: what decides is at their end."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tfpipeline import config
from tfpipeline.errors import UserError
from tfpipeline.evaluation import evaluate
from tfpipeline.export import export_run
from tfpipeline.models import TextModel
from tfpipeline.predictors import RunPredictor
from tfpipeline.training import RunConfig, freezing, train
from tfpipeline.training.activations import activation_bytes
from tfpipeline.training.batching import choose_widths
from tfpipeline.training.finetuned import FineTunedCheckpoint
from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.planning import plan

POLICIES = {
    "head": {},
    "head_tail": {"tail": 0.5},
    "windows": {"overlap": 3},
}


def needles(count, seed):
    """Texts of 18 to 26 words, the last one good or bad."""
    random = np.random.default_rng(seed)
    words = {"positive": tiny.GOOD, "negative": tiny.BAD}
    rows = []
    for index in range(count):
        label = ["positive", "negative"][index % 2]
        hay = random.choice(tiny.FILLER[:7], random.integers(17, 26))
        rows.append((" ".join([*hay, str(random.choice(words[label]))]), label))
    return rows


def run_file(folder, long, **changes):
    path = tiny.write_run_file(folder, **{"epochs": 12 if long == "windows" else 4, **changes})
    tiny.write_csv(folder / "train.csv", needles(240, seed=1))
    tiny.write_csv(folder / "test.csv", needles(60, seed=2))
    text = {"max_length": 12, "long": long, **POLICIES[long]}
    return config.load(path, RunConfig, [f"text={json.dumps(text)}"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return {long: train(run_file(tmp_path_factory.mktemp(long), long)) for long in POLICIES}


@pytest.fixture(scope="module")
def reports(runs):
    return {long: evaluate(run, baseline=False) for long, run in runs.items()}


def test_what_is_at_the_end_is_learnt_if_it_is_read(reports):
    accuracy = {long: report.entries[-1].scores["accuracy"] for long, report in reports.items()}
    assert accuracy["head"] < 0.75
    assert accuracy["head_tail"] > 0.95
    assert accuracy["windows"] > 0.95


def test_reports_say_what_was_cut(runs, reports):
    assert reports["windows"].notes == []
    for long in ("head", "head_tail"):
        (note,) = reports[long].notes
        assert note.startswith(
            "60 of 60 rows exceed text.max_length (12) and were truncated (text.long: head"
        )
        assert note in reports[long].text()
        assert f"\n{note}\n" in (runs[long].path / "report.md").read_text("utf-8")
        assert json.loads((runs[long].path / "report.json").read_text("utf-8"))["notes"] == [note]


def test_training_says_what_is_cut(tmp_path, capsys):
    run_config = run_file(tmp_path, "windows", steps=1)
    text = run_config.text.model_copy(update={"max_windows": 2, "overlap": 0})
    run = train(run_config.model_copy(update={"text": text}))
    cut = sum(len(example.text.split()) + 2 > 12 + 10 for example in run.examples("train"))
    assert 0 < cut < 216
    assert (
        f"{cut} of 216 training rows exceed 2 windows (text.max_windows) of text.max_length (12) and were "
        f"truncated "
        "(text.long: windows)\n"
    ) in capsys.readouterr().err


def test_a_run_in_windows_is_served_as_it_was_trained(runs, tmp_path):
    run = runs["windows"]
    texts = [text for text, _ in needles(12, seed=3)] + [
        "",
        "good",
        "the " * 300 + "bad",
        "bad " + "a " * 300,
    ]
    tokens = run.encode(texts)
    assert sorted(tokens) == ["attention_mask", "input_ids", "token_type_ids"]
    assert tokens["input_ids"].shape[1] == run.truncation.longest(pair=False) == 12 + 7 * 7
    answers = run.predict(run.model(), texts)
    expected = answers["probabilities"]
    loaded = tf.saved_model.load(str(export_run(run, tmp_path / "m")))
    lengths = tokens["attention_mask"].sum(-1).astype(np.int32)
    wide = np.pad(tokens["input_ids"], [(0, 0), (0, 9)], constant_values=7)  # as a server may pad
    for found in (
        loaded.signatures["serving_default"](text=tf.constant(texts)),
        loaded.signatures["input_ids"](
            input_ids=tf.constant(tokens["input_ids"]), lengths=tf.constant(lengths)
        ),
        loaded.signatures["input_ids"](input_ids=tf.constant(wide), lengths=tf.constant(lengths)),
    ):
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
    with RunPredictor(run.path) as predictor:
        assert [found.label for found in predictor.predict(texts)] == [
            label.decode() for label in answers["label"]
        ]


@pytest.mark.parametrize("bound", [None, 2])
def test_pairs_in_windows_are_served_as_they_were_trained(tmp_path, bound):
    import csv

    path = tiny.write_run_file(tmp_path, epochs=1)
    for name, count, seed in (("train", 60, 1), ("test", 12, 2)):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            rows = [("so very" * (index % 5), *row) for index, row in enumerate(needles(count, seed))]
            csv.writer(file).writerows([("text", "second", "label"), *rows])
    text = {
        "max_length": 14,
        "long": "windows",
        "overlap": 2,
        "pool": "max",
        **({} if bound is None else {"max_first_text": bound}),
    }
    run = train(config.load(path, RunConfig, [f"text={json.dumps(text)}", "data.text_pair=second"]))
    loaded = tf.saved_model.load(str(export_run(run, tmp_path / "m")))  # which compares both signatures
    firsts, seconds = ["good", "the a " * 9, ""], ["bad " * 40, "x " * 20, "y"]
    found = loaded.signatures["serving_default"](text=tf.constant(firsts), text_pair=tf.constant(seconds))
    np.testing.assert_allclose(
        found["probabilities"], run.predict(run.model(), firsts, seconds)["probabilities"], atol=1e-6
    )


def test_an_export_depends_on_what_becomes_of_long_texts(runs, tmp_path):
    from tfpipeline.export.identity import identity
    from tfpipeline.export.options import ExportOptions

    run = runs["windows"]
    graph = run.graph(run.model())
    before = identity(run, graph, ExportOptions())
    for changed in (
        {"pool": "max"},
        {"overlap": 2},
        {"max_windows": 2},
        {"max_first_text": 3},
        {"long": "head"},
    ):
        other = type(run)(run.path)
        other.config = run.config.model_copy(update={"text": run.config.text.model_copy(update=changed)})
        assert identity(other, graph, ExportOptions()) != before
    same = type(run)(run.path)
    same.config = run.config.model_copy(update={"text": run.config.text.model_copy(update={"tail": 0.1})})
    assert identity(same, graph, ExportOptions()) == before


def test_a_plan_counts_windows(runs, tmp_path):
    found = plan(run_file(tmp_path, "windows"))
    run = runs["windows"]
    cache = run.token_cache("train", run.examples("train"))
    lengths = cache.lengths
    assert (found.mean_tokens, found.longest) == (pytest.approx(lengths.mean()), lengths.max())
    assert found.notes == []
    assert cache.cut == 0
    # Up to 28 tokens: 4 windows of 12, each 7 on.
    assert lengths.max() == 28
    model = run.model("initial")
    trained = freezing.select(model, [])
    assert found.activations == activation_bytes(model.encoder, trained, 16 * 4, 12)
    (tmp_path / "whole").mkdir()
    whole = run_file(tmp_path / "whole", "head")
    text = whole.text.model_copy(update={"max_length": 32})
    assert plan(whole.model_copy(update={"text": text})).fed < 1.3 < found.fed


def test_a_plan_says_what_is_cut(tmp_path, monkeypatch):
    from tfpipeline.training import planning

    run_config = run_file(tmp_path, "head_tail")
    found = plan(run_config)
    assert "; 216 of 216 training rows exceed text.max_length (12) and were truncated " in found.text()
    monkeypatch.setattr(planning, "_SAMPLED", 50)
    assert "; 50 of 50 sampled training rows exceed text.max_length" in plan(run_config).text()


@pytest.mark.parametrize("changes", [{"xla": True}, {"widths": [12, 33, 61]}])
def test_windows_have_static_widths(tmp_path, changes):
    """A row is as wide as its windows hold together, wider than text.max_length."""
    run = train(run_file(tmp_path, "windows", epochs=1, **changes))
    history = run.store.state("best")["history"]
    assert len(history) == 1
    assert np.isfinite(history[0]["loss"])


def test_widths_leave_room_for_windows():
    options = TrainingOptions()
    assert choose_widths(options, 32, static=True) == [8, 16, 24, 32]
    assert choose_widths(options, 32, static=True, beyond=[60, 116]) == [8, 16, 24, 32, 60, 116]
    assert choose_widths(options, 32, static=False, beyond=[60, 116]) is None
    options = TrainingOptions(widths=[16, 100])
    with pytest.raises(
        UserError, match=r"texts have up to 116 tokens \(text\.max_windows windows of 32\); add 116"
    ):
        choose_widths(options, 32, static=True, beyond=[60, 116])
    assert choose_widths(options, 20, static=True, beyond=[40]) == [16, 40]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["text.long=tail"], r"text\.long"),
        (["text.tail=1.5"], r"text\.tail"),
        (["text.tail=0.0"], r"text\.tail"),
        (["text.pool=sum"], r"text\.pool"),
        (["text.max_windows=0"], r"text\.max_windows"),
        (["text.overlap=-1"], r"text\.overlap"),
        (
            ["text.long=windows"],
            r"text: overlap is 32, but windows of 24 tokens \(max_length\) may share less than 22; lower overlap or raise "
            r"max_length",
        ),
        (
            ["text.long=windows", "text.overlap=11", "data.text_pair=second"],
            "text: overlap is 11, .* may share less than 11 behind a first text of 10; lower overlap, set "
            "max_first_text",
        ),
        (["text.max_first_text=0"], r"text\.max_first_text"),
        (
            ["text.long=windows", "text.overlap=0", "data.text_pair=second", "text.max_first_text=11"],
            r"text: max_first_text is 11, .* may take 10 at most, half of what fits; lower max_first_text",
        ),
        (
            ["text.long=windows", "text.overlap=16", "data.text_pair=second", "text.max_first_text=5"],
            r"text: overlap is 16, .* less than 16 behind a first text of 5; lower overlap or max_first_text, or raise",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        config.load(tiny.write_run_file(tmp_path), RunConfig, changes)


def test_windows_of_single_texts_and_of_bounded_pairs_may_share_more(tmp_path):
    path = tiny.write_run_file(tmp_path)
    for changes in (
        ["text.overlap=21"],
        ["text.overlap=15", "text.max_first_text=5", "data.text_pair=second"],
    ):
        text = config.load(path, RunConfig, ["text.long=windows", *changes]).text
        assert text.truncation.overlap == text.overlap
    # Without windows nothing of this is used.
    config.load(path, RunConfig, ["text.overlap=50", "text.max_first_text=50", "data.text_pair=second"])


def test_windows_longer_than_the_model_are_refused(tmp_path):
    run_config = run_file(tmp_path, "windows")
    text = run_config.text.model_copy(update={"max_length": 41})
    with pytest.raises(UserError, match=r"text\.max_length is 41, but .* has only 40 positions"):
        plan(run_config.model_copy(update={"text": text}))
    source = tiny.write_checkpoint(tmp_path / "fine-tuned", **tiny.CLASSIFIER)
    with pytest.raises(UserError, match=r"text\.max_length is 41, but .* has only 40 positions"):
        FineTunedCheckpoint(source, ["text.max_length=41"])


def test_a_fine_tuned_checkpoint_reads_long_texts_in_windows(tmp_path):
    source = tiny.write_checkpoint(tmp_path / "fine-tuned", **tiny.CLASSIFIER)
    run = FineTunedCheckpoint(source, ["text.long=windows", "text.max_length=12", "text.overlap=3"])
    model = run.model()
    assert isinstance(model, TextModel)
    tokens = run.encode(["the " * 25, "good"])
    found = model({name: tf.constant(array) for name, array in tokens.items()})["logits"]
    plain = TextModel(model.encoder, model.head)
    ids = tokens["input_ids"]
    assert (ids[1, 3:] == 0).all()
    windows = np.array([[2, *ids[0, 1 + start : 11 + start], 3] for start in (0, 7, 14, 15)], np.int32)
    want = plain({"input_ids": tf.constant(windows)})["logits"].numpy().mean(0)
    np.testing.assert_allclose(found[0], want, atol=1e-5)


def test_windows_are_found_by_the_run_file_alone(runs):
    run = runs["windows"]
    assert run.model().windows == dataclasses.replace(run.build_model().windows, pair=False)
    assert runs["head"].model().windows is None
