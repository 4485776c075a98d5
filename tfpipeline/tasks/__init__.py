"""Tasks: what a model predicts. One module per task; the name of the module is the name of the task.

``find("classification")`` imports ``tfpipeline/tasks/classification.py`` and returns its options, which make
the task. Nothing is registered, and no other task is imported. A name with a dot,
``find("our_company.tasks.stars")``, is a module outside this package. docs/adding-a-task.md shows how to
write one.
"""

from __future__ import annotations

import functools
from typing import Any

from tfpipeline.checkpoints.checkpoint import Checkpoint
from tfpipeline.errors import SettingsError, UserError
from tfpipeline.named_modules import find_module, module_names
from tfpipeline.runtime import use_tensorflow_backend
from tfpipeline.tasks._dividing import RowTokens
from tfpipeline.tasks._mining import CorpusFile, MiningRows
from tfpipeline.tasks.base import Task
from tfpipeline.tasks.options import Fitter, TaskOptions
from tfpipeline.tasks.scorer import Arrays, Mistake, Scorer
from tfpipeline.tasks.signature import Input, Signature

use_tensorflow_backend()  # before anything here imports Keras

__all__ = [
    "Arrays",
    "CorpusFile",
    "Fitter",
    "Input",
    "MiningRows",
    "Mistake",
    "RowTokens",
    "Scorer",
    "Signature",
    "Task",
    "TaskOptions",
    "find",
    "names",
    "of_checkpoint",
    "part_schema",
    "serving",
]

DEFAULT = "classification"  # the task of a section without a name
_NOT_TASKS = {"base", "options", "scorer", "signature"}


@functools.cache
def names() -> tuple[str, ...]:
    """The names of all tasks here, sorted."""
    return tuple(name for name in module_names(__path__) if name not in _NOT_TASKS)


def find(name: str) -> type[TaskOptions]:
    """The options of the task of that name.

    Args:
        name: the name of a module here, or, with a dot in it, of any module that defines ``OPTIONS``.
    Raises:
        UserError: there is no such task.
    """
    module = find_module("task", name, __name__, names())
    options = getattr(module, "OPTIONS", None)
    if not (isinstance(options, type) and issubclass(options, TaskOptions)):
        raise UserError(
            f"the module {name} contains no task; a task module defines OPTIONS, see docs/adding-a-task.md"
        )
    return options


def part_schema(raw: Any) -> type[TaskOptions] | None:
    """The schema of a run file's section that is a task within another task; None if it is not a section.

    Raises:
        UserError: there is no such task, or it cannot be part of another task.
    """
    if not isinstance(raw, dict):
        return None
    name = str(raw.get("name", DEFAULT))
    options = find(name)
    task_class = options.task_class
    augments = task_class is not None and task_class.augments
    if options.top_level_only or augments or options.encoding == "separate":
        raise UserError(f"the task {name} must be the only task of a run; it cannot be part of another task")
    return options


def serving(checkpoint: Checkpoint, name: str | None = None) -> type[TaskOptions] | None:
    """The options of the task that can use a checkpoint's head; None if no task can.

    A task of pre-training takes a head only if no other task does.

    Args:
        checkpoint: the checkpoint.
        name: the name of a task that is asked for. If it needs no head, it can use any checkpoint.
    """
    if name is not None and not find(name).needs_head:
        return find(name)
    ranked = sorted(map(find, names()), key=lambda options: options.pretrains)
    return next((options for options in ranked if options.serves(checkpoint)), None)


def of_checkpoint(checkpoint: Checkpoint, name: str | None = None) -> Task:
    """Make the task of a fine-tuned checkpoint's head; arguments as for :func:`serving`.

    Raises:
        SettingsError: no task can use its head.
    """
    options = serving(checkpoint, name)
    if options is not None:
        return options.from_checkpoint(checkpoint)
    heads = " and ".join(checkpoint.head_names)
    means = f" for {checkpoint.problem_type}" if checkpoint.problem_type else ""
    has = (
        f"has heads only for {heads}{means}, which no task supports"
        if heads
        else "is a pre-trained encoder without a task head"
    )
    raise SettingsError(
        f"{checkpoint.display_name or checkpoint.source} {has}; fine-tune it first: tfpipeline train "
        "RUN_FILE (for vectors of texts as they are: --set task.name=similarity)"
    )
