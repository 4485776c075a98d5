"""One process trains a run at a time; whoever reads it is not held up."""

from __future__ import annotations

import json
import socket

import keras
import pytest

from tests import tiny
from tfpipeline import config, locks
from tfpipeline.errors import UserError
from tfpipeline.evaluation import evaluate
from tfpipeline.predictors import open_local
from tfpipeline.training import RunConfig, open_run, train
from tfpipeline.training.lock import check_free, training_alone


def test_a_second_training_is_refused_before_anything_is_written(tiny_run, tmp_path):
    run_config = tiny_run()
    with training_alone(tmp_path / "a" / "run"):  # nothing is there yet: it is being laid out
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(
            UserError, match=r"run is being trained by another process \(process \d+, since 20"
        ):
            train(run_config)
        assert sorted(tmp_path.rglob("*")) == before
        with pytest.raises(UserError, match="run is being trained by another process"):
            check_free(run_config.output)
        with pytest.raises(UserError, match="run is being laid out by another process; wait until"):
            open_run(run_config.output)
    assert not (tmp_path / "a" / "run").exists()
    check_free(run_config.output)
    check_free("gs://bucket/run")


def test_a_living_run_is_evaluated_asked_and_then_trained_on(tmp_path):
    """Also over a lock that a killed process has left, whose number somebody else has by now."""
    run_file = tiny.write_run_file(tmp_path, epochs=2, save_every=1)
    owner = {"pid": 1, "host": socket.gethostname(), "since": "2026-01-02T03:04:05", "started": "x"}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").write_text(json.dumps(owner))
    seen = []

    class Reader(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                lock = json.loads((tmp_path / "run" / "lock").read_text())
                seen.append(lock["pid"])
                seen.append(len(evaluate(tmp_path / "run", baseline=False).entries))
                with open_local(tmp_path / "run") as predictor:
                    seen.append(len(predictor.predict(["good", "bad"])))
                with pytest.raises(UserError, match="is being trained by another process"):
                    train(config.load(run_file, RunConfig))

    run = train(config.load(run_file, RunConfig), callbacks=[Reader()])
    assert seen[1:] == [2, 2]
    assert seen[0] == locks._ourselves().pid
    assert run.store.state("last")["finished"] == "trained 2 epochs"
    assert not (run.path / "lock").exists()
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_checkpoint_that_is_replaced_while_it_is_read(tmp_path):
    """The trainer has removed it after we had looked which one it is: then the new one is read."""
    from tests.training.test_store import small_model, values
    from tfpipeline.training.store import CheckpointStore

    store, model = CheckpointStore(tmp_path), small_model(1)[0]
    store.save(["best"], 1, model, None, {"step": 1})
    index, looked = store.index, []

    def look():
        looked.append(index())
        if len(looked) == 1:
            CheckpointStore(tmp_path).save(["best"], 2, model, None, {"step": 2})
            return {"best": "step-00000001"}
        return looked[-1]

    store.index = look
    other = small_model(2)[0]
    store.restore_model("best", other)
    assert values(other.variables) == values(model.variables)
    assert len(looked) > 1


def test_folders_made_for_a_lock_go_with_it(tmp_path):
    with pytest.raises(RuntimeError), training_alone(tmp_path / "a" / "b" / "run"):
        assert (tmp_path / "a" / "b" / "run" / "lock").exists()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with training_alone(tmp_path / "mine"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_killed_processes_left_in_a_run_is_removed(tmp_path):
    left = tmp_path / "run" / "tensorboard" / "train" / ".tmp-events-x"
    left.mkdir(parents=True)
    gone = {"pid": 1, "host": socket.gethostname(), "since": "", "started": "x"}
    (left / "owner").write_text(json.dumps(gone))
    with training_alone(tmp_path / "run"):
        assert not left.exists()
    assert left.parent.exists()


def test_a_run_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="a part of that path is a file"),
        training_alone(tmp_path / "file" / "run"),
    ):
        pass
