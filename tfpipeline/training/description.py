"""Describes a run to people: the message at its end, and its display in Python and notebooks. Imports no
TensorFlow.
"""

from __future__ import annotations

import html
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfpipeline.console import duration, plural
from tfpipeline.errors import UserError
from tfpipeline.training.state import State

if TYPE_CHECKING:
    from tfpipeline.training.run import Run


def ending(state: State, metric: str, where: str) -> str:
    """The final message of a training.

    Args:
        state: the state of the finished run.
        metric: the metric that selected the best checkpoint.
        where: the run's path or address, as later commands take it.
    """
    best = (
        ""
        if state.best is None
        else f"; best {metric} {state.best:.4f} on validation, after step {state.best_step}"
    )
    run = shlex.quote(where)
    to = shlex.quote(f"models/{Path(where).resolve().name}")
    return (
        f"{state.finished} in {duration(state.seconds)}{best}; the run is in {where}\n"
        f"next: tfpipeline evaluate {run}\n"
        f"      tfpipeline export {run} --to {to}"
    )


def trained_share(trained: int, parameters: int) -> str:
    """How many of a model's parameters are trained, as the end of a sentence."""
    return f"of which {trained:,} are trained ({100 * trained / parameters:.3g} %)"


def run_facts(run: Run) -> dict[str, str]:
    """A run's settings, progress, best score and paths. If the run cannot be read, the state says so."""
    facts = {"path": str(run.path)}
    try:
        settings: Any = run.config
        options = settings.training
        facts["task"] = settings.task.name
        facts["checkpoint"] = settings.checkpoint
        facts["training data"] = str(settings.data.train)
        number, unit = (options.epochs, "epoch") if options.steps is None else (options.steps, "step")
        length = f"{number} {unit if number == 1 else f'{unit}s'}"
        facts["settings"] = (
            f"{length}, batch {options.batch_size}, learning rate {options.learning_rate:g} "
            f"({options.schedule.name}), "
            f"{settings.text.max_length} tokens, {options.precision}"
        )
        index = run.store.index()
        if "last" not in index:
            return {**facts, "state": "not trained yet"}
        state = State.from_saved(run.store.state("last"), run.path)
        facts["state"] = state.finished or f"not finished, {state.step} {plural(state.step, 'step')} done"
        if state.best is not None:
            metric = options.best_metric or run.task.scorer.best_metric
            facts["best"] = f"best {metric} {state.best:.4f} on validation, after step {state.best_step}"
        facts["weights"] = ", ".join(role for role in ("initial", "last", "best") if role in index)
        if (run.path / "report.md").exists():
            facts["report"] = str(run.path / "report.md")
    except UserError as error:
        facts["state"] = f"cannot be read: {error}"
    return facts


def as_html(title: str, facts: Mapping[str, str]) -> str:
    """An HTML table with two columns, for notebooks; all content is escaped."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table><caption>{html.escape(title)}</caption>{rows}</table>"
