from __future__ import annotations

import pytest

from tests import tiny
from tfpipeline import checkpoints, config
from tfpipeline.training.run import create_run
from tfpipeline.training.run_config import RunConfig


@pytest.fixture
def untrained(tmp_path):
    """A run with weights that no step has changed: all that an evaluation needs. Three of its 13 test rows
    train, too.
    """
    path = tiny.write_run_file(tmp_path, train=40, test=10)
    train, test = tiny.texts(40, seed=1), tiny.texts(10, seed=2)
    shared = [(f" {train[row][0].upper()}", train[row][1]) for row in (0, 1, 2)]
    tiny.write_csv(tmp_path / "test.csv", [*test, *shared])
    run_config = config.load(path, RunConfig)
    splits = run_config.task.load_splits(run_config.data)
    checkpoint = checkpoints.load(run_config.checkpoint)
    run = create_run(run_config, checkpoint, splits)
    model = run.build_model(checkpoint.encoder(run.model_config))
    run.store.save(["initial", "last", "best"], 0, model, None, {})
    return run
