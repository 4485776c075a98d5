"""Tasks: what a model is trained to answer. One module a task; its file name is its name.

``find("classification")`` imports ``tfpipeline/tasks/classification.py`` and returns its task class; nothing
is registered, and no other task is imported.
"""

from __future__ import annotations

import importlib
import pkgutil

from tfpipeline.checkpoints.checkpoint import Checkpoint
from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.tasks.base import Task

__all__ = ["Task", "find", "names", "of_checkpoint"]

_NOT_TASKS = {"base"}


def names() -> list[str]:
    """The names of all tasks, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NOT_TASKS)


def find(name: str) -> type[Task]:
    """The task class of that name.

    Raises:
        UserError: there is no such task.
    """
    if name not in names():
        raise UserError(f'unknown task "{name}"{did_you_mean(name, names())}')
    task: type[Task] = importlib.import_module(f"tfpipeline.tasks.{name}").TASK
    return task


def of_checkpoint(checkpoint: Checkpoint) -> Task:
    """The task that a fine-tuned checkpoint's head answers.

    Raises:
        UserError: it has none that a task serves.
    """
    for name in names():
        task = find(name)
        if task.served_head in checkpoint.head_names:
            return task.from_checkpoint(checkpoint)
    heads = " and ".join(checkpoint.head_names)
    has = f"its only heads are those of {heads}, which no task serves" if heads else "it has no head"
    raise UserError(
        f"{checkpoint} is not fine-tuned for a task here: {has}; train one: tfpipeline train RUN_FILE"
    )
