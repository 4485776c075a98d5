"""Runs that have ended without any training: their weights are random, and far from those of a fresh
model.
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tests import tiny
from tfpipeline import config
from tfpipeline.training import Run
from tfpipeline.training.rows import read_rows
from tfpipeline.training.run import create_run
from tfpipeline.training.run_as_checkpoint import load_checkpoint
from tfpipeline.training.run_config import RunConfig
from tfpipeline.training.state import State

# Of each task, by a name: the run file's section, the columns, and rows that it can be trained on.
CLASSES = (["text", "label"], [[text, label] for text, label in tiny.texts(12)])
TASKS = {
    "classifier": ({"name": "classification", "pooling": "pooler"}, *CLASSES),
    "tagger": (
        {"name": "tagging"},
        ["text", "label"],
        [["the food was good", '[{"start": 4, "end": 8, "type": "THING"}]'], ["so fine", "[]"]] * 6,
    ),
    "masker": (
        {"name": "masked_lm", "objective": "sentence_order"},
        ["text"],
        [[f"{word} food was good . a very bad film !"] for word in ("the", "a", "so", "and", "very", "is")]
        * 2,
    ),
    "answerer": (
        {"name": "question_answering", "no_answer_threshold": 0.25},
        ["question", "context", "answers"],
        [
            row
            for word in ("the", "a", "so", "and", "very", "is")
            for row in (
                ["the food", f"{word} food was good , the film bad", "good"],
                ["a door", f"{word} table is fine", ""],
            )
        ],
    ),
}


def random_run(folder: Path, task: dict, columns: list[str], rows: list[list[str]], **sections) -> Run:
    """A run in ``folder`` of this ``task`` section and these rows; ``sections`` are further ones of the run
    file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "checkpoint").exists():
        tiny.write_checkpoint(folder / "checkpoint")
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    data = {"train": str(folder / "rows.csv"), "split": {"validation": 0.5}, **sections.pop("data", {})}
    settings = {
        "checkpoint": str(folder / "checkpoint"),
        "output": str(folder / "run"),
        "data": data,
        "text": {"max_length": 24},
        "task": task,
        **sections,
    }
    (folder / "run.yaml").write_text(json.dumps(settings))
    run_config = config.load(folder / "run.yaml", RunConfig)
    run = create_run(run_config, load_checkpoint(run_config.checkpoint), read_rows(run_config).splits)
    save(run, step=7, seed=1, roles=("initial", "last", "best"))
    return run


def save(
    run: Run, *, step: int, seed: int, roles: tuple[str, ...], finished: str | None = "trained 1 epoch"
) -> None:
    """Give a run weights for these roles: its own, with noise on every one that is trained."""
    random = np.random.default_rng(seed)
    model = run.build_model()
    for variable in model.trainable_variables:
        variable.assign(variable + random.normal(0, 0.3, variable.shape))
    state = State(step=step, best=0.5, best_step=step, finished=finished)
    run.store.save(roles, step, model, None, asdict(state))
