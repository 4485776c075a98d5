from __future__ import annotations

import argparse
import os
import signal

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from tests.forked import Forked
from tests.training import faults
from tests.training.test_train import At, interrupt
from tfpipeline.training import Interrupted, train


def read(run, name):
    events = EventAccumulator(str(run.path / "tensorboard" / name), size_guidance={"tensors": 0})
    return events.Reload()


def series(run, name, tag):
    import tensorflow as tf

    return [
        (event.step, float(tf.make_ndarray(event.tensor_proto))) for event in read(run, name).Tensors(tag)
    ]


def test_scalars_and_sample(tiny_run):
    run = train(tiny_run(epochs=2, log_every=2, schedule="constant", warmup=4))
    rates = series(run, "train", "learning_rate")
    assert [step for step, _ in rates] == list(range(2, 15, 2))
    assert [rate for _, rate in rates] == pytest.approx([0.0025, 0.0075] + [0.01] * 5)
    losses = dict(series(run, "train", "loss"))
    assert all(loss > 0 for loss in losses.values())
    assert all(norm > 0 for _, norm in series(run, "train", "gradient_norm"))
    assert all(rate > 0 for _, rate in series(run, "train", "tokens_per_second"))
    history = run.store.state("last")["history"]
    for tag in ("loss", "accuracy"):
        expected = [(entry["step"], pytest.approx(entry[tag], rel=1e-6)) for entry in history]
        assert series(run, "validation", tag) == expected
    events = read(run, "train")
    sample = events.Tensors("sample")[0].tensor_proto.string_val[0].decode()
    example = run.examples("train")[0]
    assert f"| {example.source} | {example.label} | {example.text} | [CLS] " in sample


def hparams_table(folder):
    """What TensorBoard's HParams shows of a log directory, by its own backend: [(settings, scores)], one a
    run.
    """
    multiplexer = EventMultiplexer(tensor_size_guidance={"tensors": 0})
    multiplexer.AddRunsFromDirectory(str(folder)).Reload()
    flags = argparse.Namespace(generic_data="true")
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    backend = Context(TBContext(data_provider=provider, flags=flags, logdir=str(folder)))
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=10, allowed_statuses=[api_pb2.STATUS_RUNNING, api_pb2.STATUS_SUCCESS, 0]
    )
    found = Handler(RequestContext(), backend, "", request).run().session_groups
    return [
        (
            {
                name: value.WhichOneof("kind") and getattr(value, value.WhichOneof("kind"))
                for name, value in group.hparams.items()
            },
            {value.name.tag: value.value for value in group.metric_values},
        )
        for group in found
    ]


def test_hparams_shows_settings_beside_scores(tiny_run, tmp_path):
    """Of one run, and of several with different settings under one log directory."""
    one, two = train(tiny_run("a", epochs=2)), train(tiny_run("b", epochs=1, schedule={"name": "cosine"}))
    last = one.store.state("last")["history"][-1]
    ((settings, scores),) = hparams_table(one.path / "tensorboard")
    assert settings["training.learning_rate"] == 0.01
    assert settings["training.optimizer.name"] == "adamw"
    assert settings["task.pooling"] == "mean"
    assert scores["accuracy"] == pytest.approx(last["accuracy"], rel=1e-6)
    assert scores["loss"] == pytest.approx(last["loss"], rel=1e-6)
    table = hparams_table(tmp_path)
    assert {settings["training.schedule.name"]: scores["accuracy"] for settings, scores in table} == {
        "linear": pytest.approx(last["accuracy"], rel=1e-6),
        "cosine": pytest.approx(two.store.state("last")["history"][-1]["accuracy"], rel=1e-6),
    }


def test_a_resumed_run_has_each_step_once(tiny_run, tmp_path):
    """Killed after step 6, of which the checkpoint knows 4; then interrupted once more."""
    run_config = tiny_run("b", epochs=2, log_every=1, save_every=4)
    process = Forked(faults.train_until_killed, tmp_path / "b" / "run.yaml", 7)
    process.communicate(120)
    assert process.returncode == -signal.SIGKILL
    (events,) = (tmp_path / "b" / "run" / "tensorboard" / "train").glob("events*")
    with events.open("ab") as file:
        file.write(os.urandom(37))  # as of a record that was being written
    with pytest.raises(Interrupted):
        train(run_config, callbacks=[At(5, interrupt)])
    run = train(run_config)
    assert [step for step, _ in series(run, "train", "loss")] == list(range(1, 15))
    assert [step for step, _ in series(run, "validation", "loss")] == [7, 14]


def test_it_can_be_left_out(tiny_run):
    run = train(tiny_run(epochs=1, tensorboard=False))
    assert not (run.path / "tensorboard").exists()
