from __future__ import annotations

import pytest

from tests import tiny
from tfpipeline import config
from tfpipeline.training.run_config import RunConfig


@pytest.fixture
def tiny_run(tmp_path):
    """``tiny_run(**training options)`` -> the resolved run file of a tiny run in a fresh folder."""

    def make(name="a", train=120, test=30, **changes):
        folder = tmp_path / name
        folder.mkdir()
        return config.load(tiny.write_run_file(folder, train, test, **changes), RunConfig)

    return make
