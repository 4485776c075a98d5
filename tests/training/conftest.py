from __future__ import annotations

import pytest

from tests import tiny
from tfpipeline import config
from tfpipeline.training import Run, train
from tfpipeline.training.run_config import RunConfig


@pytest.fixture
def tiny_run(tmp_path):
    """``tiny_run(**training options)`` -> the resolved run file of a tiny run in a fresh folder."""

    def make(name="a", train=120, test=30, **changes):
        folder = tmp_path / name
        folder.mkdir()
        return config.load(tiny.write_run_file(folder, train, test, **changes), RunConfig)

    return make


@pytest.fixture(scope="session")
def undisturbed(shared):
    """``undisturbed(**training options)`` -> the run that `tiny_run` with these options ends in, trained
    once.

    Several tests compare theirs with it; they leave it as it is.
    """

    def make(train_rows=120, **changes):
        def fill(folder):
            train(config.load(tiny.write_run_file(folder, train_rows, **changes), RunConfig))

        return Run(shared.folder("undisturbed", {"train": train_rows, **changes}, fill) / "run")

    return make
