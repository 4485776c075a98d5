"""The training loop, on a model that trains in seconds."""

from __future__ import annotations

import itertools
import json
import os
import signal
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests import tiny
from tests.forked import Forked
from tests.training import faults
from tfpipeline import config
from tfpipeline.errors import UserError
from tfpipeline.evaluation import evaluate
from tfpipeline.training import Interrupted, Run, RunConfig, load, loop, plan, train
from tfpipeline.training.loop import Trainer


def weights(run, role="last"):
    store = Run(run).store
    return load_file(store.directory / store.index()[role] / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


class At(keras.callbacks.Callback):
    """Does something after the n-th batch of the process."""

    def __init__(self, batch, action):
        super().__init__()
        self.left, self.action = batch, action

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            self.action()


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_a_model_learns_and_the_report_says_so(tiny_run):
    run_config = tiny_run(train=300, epochs=10)
    run = train(run_config)
    report = evaluate(run)
    scores = {entry.name: entry.scores["accuracy"] for entry in report.entries}
    assert scores["after fine-tuning"] >= 0.95
    assert scores["before fine-tuning"] <= 0.6
    assert scores["TF-IDF + logistic regression"] >= 0.95  # one word gives each text away
    saved = json.loads((run.path / "report.json").read_text())
    assert saved["scores"]["after fine-tuning"]["accuracy"] == scores["after fine-tuning"]
    assert "| accuracy |" in (run.path / "report.md").read_text()
    assert (run.path / "report-confusion.png").stat().st_size > 1000
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 11))
    assert lines[-1]["train_loss"] < lines[0]["train_loss"] / 2


def test_a_rerun_is_bit_equal_and_another_seed_is_not(tiny_run, undisturbed):
    first = undisturbed(epochs=1)
    second, third = (
        train(tiny_run(f"{seed}", epochs=1, seed=seed)) for seed in (first.config.training.seed, 2)
    )
    assert same(weights(first.path), weights(second.path))
    assert not same(weights(first.path), weights(third.path))


@pytest.mark.parametrize("batch", [3, 7, 11, pytest.param(8, marks=pytest.mark.soak)])
def test_interrupted_and_resumed_is_uninterrupted(tiny_run, undisturbed, batch):
    """Seven batches an epoch: in the first epoch, at its end, in the second; dropout on."""
    want = undisturbed(epochs=2)
    run_config = tiny_run("b", epochs=2)
    with pytest.raises(
        Interrupted, match=f"stopped after step {batch} of 14, which is saved; run the same command again"
    ):
        train(run_config, callbacks=[At(batch, interrupt)])
    resumed = train(run_config)
    assert same(weights(want.path), weights(resumed.path))
    assert same(weights(want.path, "best"), weights(resumed.path, "best"))
    assert (want.path / "metrics.jsonl").read_text() == (resumed.path / "metrics.jsonl").read_text()


def test_killed_and_resumed_is_uninterrupted(tiny_run, undisturbed, tmp_path):
    """How often it is saved changes nothing either."""
    run_config = tiny_run("b", epochs=2, save_every=2)
    process = Forked(faults.train_until_killed, tmp_path / "b" / "run.yaml", 5)
    process.communicate(120)
    assert process.returncode == -signal.SIGKILL
    assert Run(run_config.output).store.state("last")["step"] == 4
    assert same(weights(undisturbed(epochs=2).path), weights(train(run_config).path))


def test_a_validation_within_an_epoch_names_that_epoch(tiny_run, capsys):
    train(tiny_run(epochs=2, evaluate_every=5))
    lines = [line for line in capsys.readouterr().err.splitlines() if "train loss" in line]
    assert [line.partition(":")[0] for line in lines] == [
        "epoch 1, step 5",
        "epoch 1, step 7",
        "epoch 2, step 10",
        "epoch 2, step 14",
    ]


def test_a_finished_run_keeps_its_weights_and_is_left_alone(tiny_run, capsys):
    run_config = tiny_run(epochs=1)
    run = train(run_config)
    files = sorted(path.name for path in (run.path / "checkpoints").glob("*/*"))
    assert (
        files == ["model.safetensors"] * 2 + ["state.json"] * 2
    )  # of the initial one; of the last and best one
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    train(run_config)
    assert "is finished (trained 1 epoch); nothing to do" in capsys.readouterr().err
    longer = run_config.training.model_copy(update={"epochs": 2})
    with pytest.raises(UserError, match=r"because training\.schedule is linear"):
        train(run_config.model_copy(update={"training": longer}))
    state = run.store.state("last")
    assert 0 < state["seconds"] < 600
    score = f"best accuracy {state['best']:.4f} on validation, after step 7"
    assert repr(run) == f"<Run {run.path}: classification, trained 1 epoch, {score}>"
    shown = run._repr_html_()
    assert f"<td style='text-align:left'>{score}</td>" in shown
    assert "1 epoch, batch 16, learning rate 0.01 (linear), 24 tokens, float32" in shown
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_a_finished_run_is_extended_as_if_it_had_been_longer(tiny_run, tmp_path, capsys):
    """Where the learning rate does not depend on the length, and the optimizer was kept; else it says why
    not.
    """
    options = {"schedule": {"name": "constant"}, "warmup": 2, "keep_optimizer": True}
    longer = train(tiny_run("a", epochs=2, **options))
    run = train(tiny_run("b", epochs=1, **options))
    run_file = tmp_path / "b" / "run.yaml"
    extended = train(run_file, ["training.epochs=2", "training.save_every=5"])
    said = capsys.readouterr().err
    assert "run: training.epochs was 1, is now 2; training.save_every was null, is now 5" in said
    assert "resuming at step 7 of 14" in said
    assert f"next: tfpipeline evaluate {run.path}\n" in said
    assert same(weights(longer.path), weights(extended.path))
    assert same(weights(longer.path, "best"), weights(extended.path, "best"))
    assert (longer.path / "metrics.jsonl").read_text() == (extended.path / "metrics.jsonl").read_text()
    assert Run(run.path).config.training.epochs == 2
    assert extended.store.has_optimizer()
    train(run_file, ["training.epochs=2"])
    assert "is finished (trained 2 epochs); nothing to do" in capsys.readouterr().err
    with pytest.raises(
        UserError, match=r"training\.epochs was 2, is now 1; it cannot be trained for 1 epoch"
    ):
        train(run_file)


def test_early_stopping_and_the_best_checkpoint(tiny_run):
    # A rate of next to nothing: accuracy stays where it is after the first epoch.
    run = train(tiny_run(epochs=9, early_stopping=2, learning_rate=1e-12))
    state = run.store.state("last")
    assert state["finished"] == "stopped early: 2 validations without a better accuracy"
    assert state["epoch"] == 3
    # Of equally good ones the best has the least loss; the count goes on all the same.
    best = min(state["history"], key=lambda entry: entry["loss"])
    assert len({entry["accuracy"] for entry in state["history"]}) == 1
    assert run.store.state("best")["step"] == state["best_step"] == best["step"]


def test_validations_within_an_epoch_choose_the_best_and_stop(tiny_run, monkeypatch):
    """At steps 2, 4 and 6 of an epoch of 7. A second passes with each checkpoint, the initial one included."""
    scores, clock = iter([0.5, 0.9, 0.8]), itertools.count()
    monkeypatch.setattr(Trainer, "_validate", lambda self: {"loss": 1.0, "accuracy": next(scores)})
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    store = train(tiny_run(epochs=2, evaluate_every=2, early_stopping=1)).store
    state = store.state("last")
    assert state["finished"] == "stopped early: 1 validations without a better accuracy"
    assert (state["step"], state["epoch"], state["seconds"]) == (6, 0, 4.0)
    assert (store.state("best")["step"], state["best"]) == (4, 0.9)


def test_steps_end_within_an_epoch_whose_loss_is_of_its_own_rows(tiny_run, monkeypatch):
    """An epoch of 7 steps, and two steps of another."""
    counted = []

    def validate(trainer):
        counted.append((trainer.state.weight_sum, len(trainer.train_split.weights)))
        return {"loss": 1.0, "accuracy": 0.5}

    monkeypatch.setattr(Trainer, "_validate", validate)
    state = train(tiny_run(steps=9)).store.state("last")
    assert (state["step"], state["epoch"], state["finished"]) == (9, 1, "trained 9 steps")
    (whole, rows), (part, _) = counted
    assert whole == rows
    assert 16 < part <= 32


def test_the_best_checkpoint_follows_the_metric_and_its_direction(tiny_run):
    run = train(tiny_run(epochs=3, best_metric="loss", learning_rate=1e-3))
    history = run.store.state("last")["history"]
    assert run.store.state("best")["epoch"] == 1 + int(np.argmin([entry["loss"] for entry in history]))


@pytest.mark.parametrize("way", [plan, train])
def test_an_unknown_metric_is_refused_before_anything_is_there(tiny_run, tmp_path, way):
    """By the training and by its dry run; the right name then trains in the same folder."""
    run_config = tiny_run(epochs=1, best_metric="acuracy")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match='there is no metric "acuracy"; did you mean "accuracy"'):
        way(run_config)
    assert sorted(tmp_path.rglob("*")) == before
    changed = config.load(tmp_path / "a" / "run.yaml", RunConfig, ["training.best_metric=accuracy"])
    way(changed)
    if way is train:
        assert Run(changed.output).store.state("best")["best"] > 0


def test_a_callback_can_stop_training(tiny_run):
    """Within an epoch, as Keras's fit lets it; what there is then is validated and saved."""

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 3

    state = train(tiny_run(epochs=2), callbacks=Stop()).store.state("last")
    assert (state["finished"], state["step"], state["best_step"]) == ("stopped by a callback", 4, 4)


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)  # Keras's own
def test_load_gives_an_ordinary_keras_model(tiny_run, tmp_path):
    class Save(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.save(tmp_path / "last.keras")

    run = train(tiny_run(epochs=1), callbacks=[Save()])
    model = load(run.path)
    saved = load(tmp_path / "last.keras")
    np.testing.assert_array_equal(
        saved.embed(["the food was good"]), load(run.path, "last").embed(["the food was good"])
    )
    assert saved.truncation == run.truncation
    assert isinstance(model, keras.Model)
    tokens = model.tokenizer(["the food was good", "a bad film"], max_length=16)
    outputs = model(tokens)
    assert outputs["logits"].shape == (2, 3)
    assert model.task.labels == ("negative", "neutral", "positive")
    np.testing.assert_allclose(model.predict(tokens, verbose=0)["logits"], outputs["logits"], atol=1e-6)


def test_a_run_needs_nothing_outside_it(tiny_run, tmp_path):
    run = train(tiny_run(epochs=1))
    expected = evaluate(run.path).entries[-1].scores
    moved = run.path.rename(tmp_path / "moved")
    for path in (tmp_path / "a").glob("*"):
        if path.is_file():
            path.unlink()
    assert evaluate(moved).entries[-1].scores == expected


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "float64"])
def test_other_precisions_learn(tiny_run, precision):
    run = train(tiny_run(train=300, epochs=10, precision=precision))
    assert keras.config.dtype_policy().name == "float32"
    assert run.store.state("best")["best"] >= 0.9


@pytest.mark.parametrize(
    ("label", "rows", "message"),
    [
        (None, [("x", "positive")] * 4, 'only the label "positive"; a classifier needs at least two'),
        (
            ["positive", "negative"],
            [("x", "positive"), ("y", "negative"), ("z", "negativ")] * 4,
            r'train.csv:\d+: unknown label "negativ"; did you mean "negative"',
        ),
        (
            ["positive", "negative", "other"],
            [("x", "positive"), ("y", "negative")] * 4,
            'no training row has the label "other"',
        ),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, label, rows, message):
    path = tiny.write_run_file(tmp_path)
    for name in ("train.csv", "test.csv"):
        tiny.write_csv(tmp_path / name, rows)
    overrides = [f"task.labels={json.dumps(label)}"] if label else []
    with pytest.raises(UserError, match=message):
        train(config.load(path, RunConfig, overrides))
    assert not (tmp_path / "run").exists()


def test_text_longer_than_the_model_is_refused_before_anything_is_written(tmp_path):
    path = tiny.write_run_file(tmp_path)
    with pytest.raises(UserError, match=r"text\.max_length is 41, but .* has only 40 positions"):
        train(config.load(path, RunConfig, ["text.max_length=41"]))
    assert not (tmp_path / "run").exists()


def test_padding_changes_nothing(tiny_run):
    """Batches as wide as can be instead of a little wider than their longest row: the same weights."""
    options = {"precision": "float64", "dropout": 0.0, "epochs": 2, "tensorboard": False}
    tight = train(tiny_run("a", **options))
    wide = train(tiny_run("b", widths=[tight.config.text.max_length], **options))
    longest = tight.token_cache("train", tight.examples("train")).lengths.max()
    assert longest + 8 < wide.config.text.max_length
    one, two = weights(tight.path), weights(wide.path)
    assert one.keys() == two.keys()
    moved = weights(tight.path, "initial")
    for name in one:
        keys = np.ones(one[name].shape, bool)
        if name.endswith("qkv/bias"):  # the keys' has no gradient but rounding
            keys.reshape(3, -1)[1] = False
        np.testing.assert_allclose(one[name][keys], two[name][keys], rtol=1e-9, atol=1e-12, err_msg=name)
    assert any(not np.array_equal(one[name], moved[name]) for name in one)
