"""Runs with a ``peft`` section that have ended without any training: what the method trains is random."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from tests.random_runs import CLASSES, TASKS, random_run
from tfpipeline.training import Run
from tfpipeline.training.freezing import phases
from tfpipeline.training.run_as_checkpoint import load_checkpoint
from tfpipeline.training.state import State

ADAPTED = {**TASKS, "mean": ({"name": "classification", "pooling": "mean"}, *CLASSES)}


def adapted_run(folder: Path, peft: dict | str, task: str = "classifier", **sections) -> Run:
    """A run on ``folder/checkpoint``, of one of ``ADAPTED``."""
    run = random_run(folder, *ADAPTED[task], peft=peft, **sections)
    (run.path / "checkpoints" / "index.json").unlink()
    model = run.build_model(load_checkpoint(run.config.checkpoint).encoder(run.model_config))
    for step, roles in ((0, ("initial",)), (7, ("last", "best"))):
        state = State(step=step, best=0.5, best_step=7, finished="trained 1 epoch")
        state.history = [{"epoch": 1, "step": 7, "train_loss": 1.0, "accuracy": 0.5, "loss": 1.25}]
        run.store.save(roles, step, model, None, asdict(state))
        add_noise(phases(model, run.config.training)[0])
    return run


def add_noise(variables, seed: int = 1) -> None:
    """Change variables at random."""
    random = np.random.default_rng(seed)
    for variable in variables:
        variable.assign(variable + random.normal(0, 0.3, variable.shape))
