"""The ``task`` section of a multitask run: its heads, the columns that they read, and the weights of their
losses.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from tfpipeline import tasks
from tfpipeline.config import Section, section_by_name
from tfpipeline.console import plural, say
from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.tasks._parts import PartFitter, errors_of_part
from tfpipeline.tasks.multitask.rows import HeadColumn
from tfpipeline.tasks.multitask.task import Multitask, part_place
from tfpipeline.tasks.options import Fitter, TaskOptions

if TYPE_CHECKING:
    from tfpipeline.data import Example
    from tfpipeline.data.options import DataOptions

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_Head = Annotated[SerializeAsAny[TaskOptions], section_by_name(tasks.part_schema)]


class MultitaskOptions(TaskOptions):
    """The ``task`` section of a run file for several tasks in one model."""

    top_level_only: ClassVar[bool] = True

    name: Literal["multitask"] = "multitask"
    heads: dict[str, _Head] = Field(
        min_length=1,
        description="{name: task}: one section per head, written like the `task` section of a run.",
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="{head: its label column}; default: the head's name. An empty cell means no label for "
        "this head.",
    )
    weights: dict[str, float] = Field(
        default_factory=dict, description="{head: weight of its loss}; 1 for heads not named."
    )

    @classmethod
    def section_schema(cls, field: str, raw: Any) -> type[Section] | None:
        return tasks.part_schema(raw) if field == "heads" else None

    @field_validator("heads", mode="before")
    @classmethod
    def _from_names(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {head: {"name": task} if isinstance(task, str) else task for head, task in value.items()}

    @model_validator(mode="after")
    def _fit_together(self) -> MultitaskOptions:
        for name in self.heads:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f'heads: "{name}" is no name of letters, digits and _; rename it, and say in columns '
                    "what it reads"
                )
        for field in ("columns", "weights"):
            for name in getattr(self, field):
                if name not in self.heads:
                    raise ValueError(f'{field}: there is no head "{name}"{did_you_mean(name, self.heads)}')
        if any(weight < 0 for weight in self.weights.values()) or not any(
            self.weights.get(name, 1.0) for name in self.heads
        ):
            raise ValueError("weights must be at least 0, and one of them above it")
        return self

    @functools.cached_property
    def head_columns(self) -> tuple[HeadColumn, ...]:
        """The columns with each head's targets."""
        return tuple(
            HeadColumn(name, own, self.columns.get(name, name), own.target_columns())
            for name, own in self.heads.items()
        )

    def check(self, data: DataOptions) -> None:
        used = data.inputs
        for head in self.head_columns:
            if head.columns is None and head.column in used:
                raise ValueError(
                    f'the head "{head.name}" reads the column "{head.column}", which is '
                    f"data.{used[head.column]}; "
                    "name its label in task.columns"
                )
            head.options.check(data.model_copy(update={"label": head.column}))

    def target_columns(self) -> Sequence[str] | None:
        return [column for head in self.head_columns for column in head.needed]

    def preprocess(self, example: Example) -> Example:
        changed: dict[str, str] = {}
        for head in self.head_columns:
            row = head.row(example)
            if row is None:
                continue
            with errors_of_part(*part_place(head.name)):
                kept = head.options.preprocess(row)
                if kept.text != example.text:
                    raise UserError(
                        f"{example.source}: the text is a list of tokens, which the other heads can't read; "
                        "name a column of text"
                    )
            changed[head.column] = kept.label or ""
        return dataclasses.replace(example, columns={**example.columns, **changed})

    def strata(self, example: Example) -> Collection[Hashable]:
        labels = []
        for head in self.head_columns:
            row = head.row(example)
            if row is not None:
                labels += [(head.name, label) for label in head.options.strata(row)]
        return labels

    def fitter(self) -> Fitter:
        return _MultitaskFitter(self)

    def load(self, directory: Path) -> Multitask:
        parts = {name: own.load(directory / "heads" / name) for name, own in self.heads.items()}
        return Multitask(self, parts)


class _MultitaskFitter(Fitter):
    """Fits each head's task to the rows that have a label for it."""

    def __init__(self, options: MultitaskOptions) -> None:
        self._options = options
        self._parts = {name: PartFitter(own, *part_place(name)) for name, own in options.heads.items()}
        self._rows = dict.fromkeys(options.heads, 0)
        self._seen = self._empty = 0
        self._first_empty = ""

    def add(self, example: Example) -> None:
        self._seen += 1
        empty = True
        for head in self._options.head_columns:
            row = head.row(example)
            if row is not None:
                empty = False
                self._rows[head.name] += 1
                self._parts[head.name].add(row)
        if empty:
            self._empty += 1
            self._first_empty = self._first_empty or example.source

    def finish(self) -> Multitask:
        count = self._empty
        if count:
            heads = ", ".join(self._options.heads)
            say(
                f"warning: {count} of {self._seen} training rows {plural(count, 'has', 'have')} a label for "
                "none of the "
                f"heads ({heads}), {plural(count, '', 'the first is ')}{self._first_empty}; "
                f"{plural(count, 'it is', 'they are')} left out"
            )
        parts = {}
        for head in self._options.head_columns:
            if not self._rows[head.name]:
                raise UserError(
                    f'no training row has a label for the head "{head.name}"; check the column '
                    f'"{head.column}"'
                )
            parts[head.name] = self._parts[head.name].finish()
        return Multitask(self._options, parts)
