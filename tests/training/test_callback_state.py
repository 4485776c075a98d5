"""What a checkpoint keeps of callbacks, and when they are called; no training."""

from __future__ import annotations

import collections
import json
import math
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpipeline.errors import UserError
from tfpipeline.training.callback_calls import CallbackCalls
from tfpipeline.training.callback_state import CallbackStates
from tfpipeline.training.optimizer import AdamW
from tfpipeline.training.schedule import Schedule
from tfpipeline.training.state import State


class Holds(keras.callbacks.Callback):
    def __init__(self, option=1):
        super().__init__()
        self.option, self.value = option, None


VALUES = {
    "number": 0.1 + 0.2,
    "infinity": -math.inf,
    "text": "ä",
    "nested": {1: [(2, {"a"}), {"array": 3}], "x": frozenset({4})},
    "deque": collections.deque([1, 2], maxlen=2),
    "bytes": b"\x00\xff",
    "path": Path("a/b"),
    "scalar": np.float32(0.1),
    "array": np.arange(6, dtype=np.float64).reshape(2, 3),
    "tensor": tf.constant([1.5, 2.5]),
    "weights": [np.ones(2, np.float32), np.zeros((1, 2), np.int64)],
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back(name):
    callback, other = Holds(), Holds()
    states, fresh = CallbackStates([callback]), CallbackStates([other])
    callback.value = VALUES[name]
    kept, arrays = states.get()
    fresh.set(json.loads(json.dumps(kept)), {key: array.copy() for key, array in arrays.items()})
    if name in ("array", "tensor", "weights"):
        np.testing.assert_equal(
            [np.asarray(part) for part in other.value], [np.asarray(part) for part in VALUES[name]]
        )
    else:
        assert other.value == VALUES[name]
        assert type(other.value) is (type(VALUES[name]) if name != "path" else type(Path()))


def test_an_option_of_the_caller_is_not_overwritten():
    """What has not changed since the callback was made is what it was made with."""
    states = CallbackStates([callback := Holds(option=1)])
    callback.value = 5
    kept, arrays = states.get()
    other = Holds(option=2)
    CallbackStates([other]).set(kept, arrays)
    assert (other.option, other.value) == (2, 5)


def test_callbacks_are_told_apart_by_class_and_order(capsys):
    first, second = Holds(), Holds()
    states = CallbackStates([first, keras.callbacks.History(), second])
    first.value, second.value = 1, 2
    kept, arrays = states.get()
    again = [Holds(), Holds(), keras.callbacks.History()]
    CallbackStates(again).set(kept, arrays)
    assert [again[0].value, again[1].value] == [1, 2]
    assert capsys.readouterr().err == ""
    CallbackStates(again[:1]).set(kept, arrays)
    assert "test_callback_state.Holds among its callbacks, which is missing now" in capsys.readouterr().err


def test_what_cannot_be_kept_is_said_once(capsys):
    callback = Holds()
    states = CallbackStates([callback, keras.callbacks.LambdaCallback(on_epoch_end=print)])
    callback.value = threading.Lock()
    assert states.get()[0][0]["attributes"] == {}
    states.get()
    assert capsys.readouterr().err.count("Holds: a checkpoint cannot save value; in a resumed run") == 1


class Own(Holds):
    def get_state(self):
        return {"count": self.value}

    def set_state(self, state):
        self.value = state["count"]


def test_a_callback_may_say_what_to_keep():
    callback, other = Own(), Own()
    callback.value, callback.option = 7, threading.Lock()
    CallbackStates([other]).set(*CallbackStates([callback]).get())
    assert other.value == 7


def test_a_state_that_cannot_be_kept_is_refused():
    callback = Own()
    callback.value = threading.Lock()
    with pytest.raises(UserError, match=r"Own\.get_state returns something that a checkpoint cannot save"):
        CallbackStates([callback]).get()


def test_a_log_goes_on_from_where_the_checkpoint_knows_it(tmp_path):
    """Killed after a row was written and before the checkpoint was: the row is written once."""
    path = tmp_path / "log.csv"
    log = keras.callbacks.CSVLogger(path)
    states = CallbackStates([log])
    log.on_train_begin()
    log.on_epoch_end(0, {"loss": 3.0})
    kept, arrays = states.get()
    log.on_epoch_end(1, {"loss": 2.0})
    log.on_train_end()
    again = keras.callbacks.CSVLogger(path)
    states = CallbackStates([again])
    states.before_begin(kept)
    again.on_train_begin()
    states.set(kept, arrays)
    again.on_epoch_end(1, {"loss": 1.0})
    again.on_train_end()
    assert path.read_text().split() == ["epoch,loss,val_loss", "0,3.0,NA", "1,1.0,NA"]


@pytest.fixture
def model():
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.optimizer = AdamW(learning_rate=Schedule("constant", 0.5, 0, 10), name="optimizer")
    model.optimizer.build(model.trainable_variables)
    return model


ENTRY = {"epoch": 1, "step": 2, "train_loss": 3.0, "loss": 2.0, "accuracy": 0.5}


def test_workers_are_told_the_rate(model):
    """After each moment at which callbacks may set it, also by the workers that have none: all take part."""
    shared = []
    for callbacks in ([keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)], []):
        told = []
        calls = CallbackCalls(
            callbacks, [], model, epochs=1, steps=1, sharing=lambda some, told=told: lambda: told.extend(some)
        )
        calls.begin(State(), {})
        calls.on_epoch_begin(0)
        calls.on_train_batches_begin(0, 2)
        calls.on_train_batches_end(0, 2, {"loss": 1.0})
        calls.on_epoch_end(0, ENTRY)
        shared.append(told)
    assert shared[0] == shared[1] == [model.optimizer.schedule_factor] * 3
    assert float(model.optimizer.learning_rate) == 0.25


def test_a_rate_set_where_workers_are_not_told_is_refused(model):
    def set_rate(batch, logs):
        model.optimizer.learning_rate = 0.1

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=set_rate)
    CallbackCalls([callback], [], model, epochs=1, steps=1).on_train_batches_end(0, 1, {})  # alone it may
    calls = CallbackCalls([callback], [], model, epochs=1, steps=1, sharing=lambda some: lambda: None)
    with pytest.raises(
        UserError, match="set the learning rate within an epoch, where other workers do not receive it"
    ):
        calls.on_train_batches_end(0, 1, {})


def test_taking_up_an_epoch_does_not_begin_it_twice(model):
    """Its callbacks open what they need, and then stand where they stood."""

    class Counts(keras.callbacks.Callback):
        begun = 0

        def on_epoch_begin(self, epoch, logs=None):
            self.begun += 1
            model.optimizer.learning_rate = float(model.optimizer.learning_rate) / 2

    first = Counts()
    calls = CallbackCalls([first], [], model, epochs=1, steps=1)
    calls.begin(State(), {})
    calls.on_epoch_begin(0)
    states, arrays = calls.states()
    second = Counts()
    calls = CallbackCalls([second], [], model, epochs=1, steps=1)
    calls.begin(State(step=1, position=1, callbacks=states), arrays)
    assert (first.begun, second.begun) == (1, 1)
    assert float(model.optimizer.learning_rate) == 0.25
