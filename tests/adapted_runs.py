"""Runs with a ``peft`` section that have ended without any training: what the method trains is random."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from tests import tiny
from tests.random_runs import CLASSES, TASKS, random_run
from tfpipeline.training import Run
from tfpipeline.training.freezing import phases
from tfpipeline.training.run_as_checkpoint import load_checkpoint
from tfpipeline.training.state import State

_TEXTS = [text for text, _ in tiny.texts(12)]
ADAPTED = {
    **TASKS,
    "mean": ({"name": "classification", "pooling": "mean"}, *CLASSES),
    "two labels": (
        {"name": "classification", "pooling": "pooler"},
        ["text", "label"],
        [[text, "even" if number % 2 else "odd"] for number, text in enumerate(_TEXTS)],
    ),
    "stars": (
        {"name": "regression"},
        ["text", "label"],
        [[text, str(number / 2)] for number, text in enumerate(_TEXTS)],
    ),
    "far stars": (
        {"name": "regression"},
        ["text", "label"],
        [[text, str(100 * number)] for number, text in enumerate(_TEXTS)],
    ),
    "topics": (
        {"name": "multilabel"},
        ["text", "label"],
        [[text, ("food, film", "food", "door")[number % 3]] for number, text in enumerate(_TEXTS)],
    ),
    "two topics": (
        {"name": "multilabel"},
        ["text", "label"],
        [[text, ("a, b", "b")[number % 2]] for number, text in enumerate(_TEXTS)],
    ),
}


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
