from __future__ import annotations

import csv
import re
from typing import ClassVar

import keras
import numpy as np
import pytest

from tests import tiny
from tests.training import faults
from tests.training.test_train import interrupt
from tfpipeline import checkpoints, config
from tfpipeline.errors import UserError
from tfpipeline.training import Interrupted, RunConfig, plan, scoring, train
from tfpipeline.training.callbacks import Callbacks, unwrapped
from tfpipeline.training.options import CallbackOptions
from tfpipeline.training.run import create_run
from tfpipeline.training.scoring import score_names


class Recorder(keras.callbacks.Callback):
    """Named by its path in a run file."""

    seen: ClassVar[list] = []

    def __init__(self, mark="none"):
        super().__init__()
        self.mark = mark

    def on_epoch_end(self, epoch, logs=None):
        type(self).seen.append((self.mark, epoch, dict(logs), self.params["epochs"], self.params["steps"]))


def three_quarters(epoch, rate):
    """A schedule that a run file names."""
    return rate * 0.75


def interrupt_at(batch):
    """A callback without a state of its own: one that is resumed would not count anew."""
    batches = iter(range(1, batch + 1))
    return keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda index, logs: interrupt() if next(batches, None) == batch else None
    )


def named(name, **options):
    return CallbackOptions(name=name, options=options)


@pytest.fixture(scope="module")
def run_and_names(tmp_path_factory):
    run_config = config.load(tiny.write_run_file(tmp_path_factory.mktemp("callbacks")), RunConfig)
    splits = run_config.task.load_splits(run_config.data)
    run = create_run(run_config, checkpoints.load(run_config.checkpoint), splits)
    return run, score_names(run)


@pytest.fixture
def laid_out(run_and_names, monkeypatch):
    """A run directory without any weights; the names of its scores are worked out once."""
    run, names = run_and_names
    monkeypatch.setattr(scoring, "score_names", lambda run: names)
    return run


KERAS_AND_NUMPY = pytest.mark.filterwarnings(  # keras.Model.save_weights with NumPy 2.4
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


@KERAS_AND_NUMPY
def test_callbacks_are_called_as_by_fit(tiny_run, tmp_path):
    """And weights that one of them restores at the end are those of the last checkpoint."""
    log, path = tmp_path / "log.csv", tmp_path / "{epoch}.weights.h5"
    Recorder.seen = []
    run = train(
        tiny_run(
            epochs=2,
            learning_rate=1e-3,
            callbacks=[
                {"name": "CSVLogger", "options": {"filename": str(log)}},
                {"name": f"{__name__}.Recorder", "options": {"mark": "x"}},
            ],
        ),
        callbacks=[
            # Asked for the greatest loss, it restores the first epoch.
            keras.callbacks.EarlyStopping("val_loss", mode="max", patience=5, restore_best_weights=True),
            keras.callbacks.ModelCheckpoint(path, save_weights_only=True),
        ],
    )
    rows = list(csv.DictReader(log.read_text().splitlines()))
    history = run.store.state("last")["history"]
    assert [float(row["val_accuracy"]) for row in rows] == [entry["accuracy"] for entry in history]
    assert [float(row["loss"]) for row in rows] == [entry["train_loss"] for entry in history]
    seen = Recorder.seen
    assert [(mark, epoch) for mark, epoch, *_ in seen] == [("x", 0), ("x", 1)]
    assert seen[1][2]["val_loss"] == history[1]["loss"]
    assert seen[0][3:] == (2, 7)
    model = run.model("last")
    last = [variable.numpy() for variable in model.variables]
    for epoch in (1, 2):
        model.load_weights(str(path).format(epoch=epoch))
        equal = [np.array_equal(one, two.numpy()) for one, two in zip(last, model.variables, strict=True)]
        assert all(equal) == (epoch == 1)


@KERAS_AND_NUMPY
def test_an_interrupted_run_with_callbacks_ends_as_an_undisturbed_one(tiny_run, tmp_path):
    """Interrupted within an epoch and at an epoch's end; patience counts on, rates stay cut, files are gone
    on with.
    """

    def run_config(name):
        folder = tmp_path / name
        return tiny_run(
            name,
            epochs=9,
            learning_rate=1e-9,  # accuracy stays where it is after the first epoch
            precision="float64",
            tensorboard=False,
            callbacks=[
                {"name": "LearningRateScheduler", "options": {"schedule": f"{__name__}.three_quarters"}},
                {
                    "name": "ReduceLROnPlateau",
                    "options": {"monitor": "val_accuracy", "patience": 1, "factor": 0.5},
                },
                {
                    "name": "EarlyStopping",
                    "options": {"monitor": "val_accuracy", "patience": 2, "restore_best_weights": True},
                },
                {"name": "CSVLogger", "options": {"filename": str(folder / "log.csv")}},
                {
                    "name": "ModelCheckpoint",
                    "options": {
                        "filepath": str(folder / "{epoch}.weights.h5"),
                        "monitor": "val_accuracy",
                        "save_best_only": True,
                        "save_weights_only": True,
                    },
                },
                {"name": "TensorBoard", "options": {"log_dir": str(folder / "tb"), "update_freq": "batch"}},
            ],
        )

    undisturbed = train(run_config("a"))
    state = undisturbed.store.state("last")
    assert (state["finished"], state["step"]) == ("stopped by a callback", 21)
    rates = [
        float(row["learning_rate"])
        for row in csv.DictReader((tmp_path / "a" / "log.csv").read_text().splitlines())
    ]
    # What Keras logs is the rate of the next step: its schedule's, times 3/4 an epoch (but the first, where
    # the warm-up's rate is 0) and a half a plateau.
    scheduled = [1e-9 * (63 - step) / (63 - 6) for step in (7, 14, 21)]
    assert rates == pytest.approx([scheduled[0], scheduled[1] * 0.75, scheduled[2] * 0.75**2 / 2])

    interrupted = run_config("b")
    for batch in (9, 5):
        with pytest.raises(Interrupted):
            train(interrupted, callbacks=[interrupt_at(batch)])
    resumed = train(interrupted)
    faults.assert_same(undisturbed.path, resumed.path)
    assert (tmp_path / "a" / "log.csv").read_text() == (tmp_path / "b" / "log.csv").read_text()
    for folder in ("a", "b"):
        assert [path.name for path in (tmp_path / folder).glob("*.weights.h5")] == ["1.weights.h5"]


def test_what_a_callback_raises_is_the_run_files_fault(tmp_path):
    (callback,) = Callbacks([named("CSVLogger", filename=str(tmp_path))])._named
    with pytest.raises(
        UserError, match=r"training\.callbacks\[0\]: CSVLogger failed in on_train_begin: .*directory"
    ):
        callback[1].on_train_begin()


@pytest.mark.parametrize("way", [plan, train])
def test_what_cannot_work_is_refused_before_anything_is_there(tiny_run, tmp_path, way):
    run_config = tiny_run(callbacks=[{"name": "EarlyStopping", "options": {"monitor": "val_acuracy"}}])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match='no metric "val_acuracy" to monitor; did you mean "val_accuracy"'):
        way(run_config)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "CSVLoger",
            {},
            r'training\.callbacks\[0\]: keras\.callbacks has no "CSVLoger"; did you mean "CSVLogger"',
        ),
        ("CSVLogger", {}, "CSVLogger cannot be made with no options: .*filename"),
        (
            "ModelCheckpoint",
            {"filepath": "x.txt"},
            r"cannot be made with filepath='x\.txt': .*must end in `\.keras`",
        ),
        ("no_such_package.Callback", {}, "cannot be imported .*; install its package"),
        ("os.path.join", {}, "is not a callback of Keras 3"),
        (f"{__name__}.Recorder", {"marc": 1}, "cannot be made with marc=1: .*marc"),
        (
            "LearningRateScheduler",
            {"schedule": "0.1"},
            "schedule is '0.1', but must be a function: give its path",
        ),
        (
            "LearningRateScheduler",
            {"schedule": "os.no_such"},
            "schedule is 'os.no_such', but must be a function",
        ),
        ("LambdaCallback", {"on_epoch_end": 3}, "on_epoch_end is 3, but must be a function"),
    ],
)
def test_callbacks_that_cannot_be_made(name, options, message):
    with pytest.raises(UserError, match=message):
        Callbacks([named(name, **options)])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            [keras.callbacks.EarlyStopping],
            r"callbacks\[0\]: <class .*EarlyStopping'> is not a callback of Keras 3",
        ),
        (print, "callbacks: <built-in function print> is not a list of Keras callbacks"),
        ("CSVLogger", "callbacks: 'CSVLogger' is not a list"),
    ],
)
def test_what_is_no_callback(given, message):
    with pytest.raises(UserError, match=message):
        Callbacks([], given)


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (
            named("BackupAndRestore", backup_dir="x"),
            "is not supported, and not needed: a run saves checkpoints itself",
        ),
        (named("SwapEMAWeights"), "the optimizers of a run keep no averages"),
        (named("ProgbarLogger"), "a run shows its own progress"),
        (
            named("ReduceLROnPlateau", monitor="accuracy"),
            'no metric "accuracy" to monitor; did you mean "val_accuracy"',
        ),
        (named("EarlyStopping", monitor="val_f1"), 'no metric "val_f1" to monitor; '),
        (
            named("ModelCheckpoint", filepath="{epoch}-{val_acc:.2f}.weights.h5", save_weights_only=True),
            'has the unknown field "val_acc"; did you mean "val_accuracy"',
        ),
        (
            named("ModelCheckpoint", filepath="{val_loss:d}.weights.h5", save_weights_only=True),
            "cannot be filled in .*; correct it",
        ),
        (
            named("ModelCheckpoint", filepath="{val_loss}.weights.h5", save_weights_only=True, save_freq=5),
            'has the unknown field "val_loss"; did you mean "loss"',
        ),
        (
            named(
                "ModelCheckpoint",
                filepath="a.weights.h5",
                save_weights_only=True,
                save_freq=5,
                save_best_only=True,
            ),
            'between two validations there is only "loss" to monitor, not "val_loss"',
        ),
        (
            named("ModelCheckpoint", filepath="x.h5"),
            r"a model saved whole as \.h5 cannot be loaded again; choose a file name that ends in \.keras",
        ),
    ],
)
def test_what_a_run_does_not_give(laid_out, callback, message):
    """From a run file, and from Python."""
    with pytest.raises(UserError, match=message) as caught:
        Callbacks([callback]).check(laid_out)
    assert str(caught.value).startswith(f"training.callbacks[0]: {callback.name}")
    with pytest.raises(UserError, match=message):
        Callbacks([], getattr(keras.callbacks, callback.name)(**callback.options)).check(laid_out)


def test_what_works_is_let_through(laid_out, tmp_path):
    wanted = Callbacks(
        [
            named("EarlyStopping"),
            named(
                "ModelCheckpoint",
                filepath="~/{epoch:02d}-{val_accuracy:.2f}.weights.h5",
                save_weights_only=True,
            ),
            named(
                "ModelCheckpoint", filepath="{epoch}-{batch}.weights.h5", save_weights_only=True, save_freq=5
            ),
            named("LambdaCallback", on_epoch_end=f"{__name__}.three_quarters"),
            named("LearningRateScheduler", schedule=f"{__name__}.three_quarters"),
            *(named(name) for name in ("History", "TerminateOnNaN", "RemoteMonitor", "TensorBoard")),
        ],
        [keras.callbacks.LambdaCallback(on_epoch_end=three_quarters)],
    )
    wanted.check(laid_out)
    made = [unwrapped(callback) for callback in wanted.made(laid_out)]
    assert type(made[0]) is keras.callbacks.LambdaCallback  # the caller's come first
    assert not made[2].filepath.startswith("~")


def test_each_metric_has_a_direction(laid_out):
    """Keras knows it of the metrics of ``compile`` only."""
    for score in score_names(laid_out):
        callback = keras.callbacks.EarlyStopping(f"val_{score}")
        Callbacks([], callback).check(laid_out)
        expected = "min" if score in ("loss", "expected_calibration_error") else "max"
        assert callback.mode == expected, score
    said = keras.callbacks.EarlyStopping("val_accuracy", mode="min")
    Callbacks([], said).check(laid_out)
    assert said.mode == "min"


def test_a_whole_model_that_keras_cannot_save_is_refused(laid_out, tmp_path, monkeypatch):
    """Tried on a small model first: Keras leaves an empty file."""
    saved = []
    monkeypatch.setattr(keras.Model, "save", lambda model, path: saved.append(path))
    wanted = Callbacks([named("ModelCheckpoint", filepath=str(tmp_path / "x.keras"))])
    wanted.check(laid_out)
    assert [path.suffix for path in saved] == [".keras"]

    def fail(model, path):
        raise NotImplementedError("no get_config\nin this layer")

    monkeypatch.setattr(keras.Model, "save", fail)
    message = "Keras cannot save the whole model as .keras (no get_config in this layer); save its weights instead, with save_weights_only: true"
    with pytest.raises(UserError, match=re.escape(message)):
        wanted.check(laid_out)
    assert not list(tmp_path.iterdir())
