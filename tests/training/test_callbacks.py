from __future__ import annotations

import csv
from typing import ClassVar

import keras
import pytest

from tfpipeline.errors import UserError
from tfpipeline.training import train
from tfpipeline.training.callbacks import build_callbacks
from tfpipeline.training.options import CallbackOptions


class Recorder(keras.callbacks.Callback):
    """Named by its path in a run file."""

    seen: ClassVar[list] = []

    def __init__(self, mark="none"):
        super().__init__()
        self.mark = mark

    def on_epoch_end(self, epoch, logs=None):
        type(self).seen.append((self.mark, epoch, dict(logs), self.params["epochs"], self.params["steps"]))


def test_run_file_callbacks_are_called_as_by_fit(tiny_run, tmp_path):
    log = tmp_path / "log.csv"
    Recorder.seen = []
    run = train(
        tiny_run(
            epochs=2,
            callbacks=[
                {"name": "CSVLogger", "options": {"filename": str(log)}},
                {"name": f"{__name__}.Recorder", "options": {"mark": "x"}},
            ],
        )
    )
    rows = list(csv.DictReader(log.read_text().splitlines()))
    history = run.store.state("last")["history"]
    assert [float(row["val_accuracy"]) for row in rows] == [entry["accuracy"] for entry in history]
    assert [float(row["loss"]) for row in rows] == [entry["train_loss"] for entry in history]
    seen = Recorder.seen
    assert [(mark, epoch) for mark, epoch, *_ in seen] == [("x", 0), ("x", 1)]
    assert seen[1][2]["val_loss"] == history[1]["loss"]
    assert seen[0][3:] == (2, 7)


def test_keras_early_stopping_works_by_its_own_names(tiny_run):
    options = {"monitor": "val_accuracy", "patience": 1, "mode": "max"}
    run = train(
        tiny_run(epochs=9, learning_rate=1e-12, callbacks=[{"name": "EarlyStopping", "options": options}])
    )
    state = run.store.state("last")
    assert (state["finished"], state["epoch"]) == ("stopped by a callback", 2)


def test_what_a_callback_raises_is_the_run_files_fault(tiny_run):
    entry = {"name": "EarlyStopping", "options": {"monitor": "val_accuracy"}}
    with pytest.raises(
        UserError,
        match=r"training\.callbacks\[0\]: EarlyStopping failed in on_epoch_end: .* Pass `mode='max'`",
    ):
        train(tiny_run(epochs=1, callbacks=[entry]))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "CSVLoger",
            {},
            r'training\.callbacks\[0\]: keras\.callbacks has no "CSVLoger"; did you mean "CSVLogger"',
        ),
        ("CSVLogger", {}, "CSVLogger cannot be made with no options: .*filename"),
        ("no_such_package.Callback", {}, "cannot be imported .*; install its package"),
        ("os.path.join", {}, "is no Keras callback"),
        ("ReduceLROnPlateau", {}, r"has no place here; use training\.schedule"),
    ],
)
def test_callbacks_that_cannot_be_made(name, options, message):
    with pytest.raises(UserError, match=message):
        build_callbacks([CallbackOptions(name=name, options=options)])
