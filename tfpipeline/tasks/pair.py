"""Judges a pair of texts: do they match, does one follow from the other, does an answer fit a question.

Both texts go through the encoder together, as ``[CLS] text [SEP] text_pair [SEP]``. Another task,
``task.answer``, defines what is predicted (a label, a number, several labels). This task ensures that each
row has two texts.
Served answer: that of ``task.answer``; ``serving_default`` takes ``text`` and ``text_pair``.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, field_validator

from tfpipeline import tasks
from tfpipeline.errors import UserError
from tfpipeline.tasks._parts import PartFitter
from tfpipeline.tasks.options import Fitter, TaskOptions

if TYPE_CHECKING:
    from tfpipeline.config import Section
    from tfpipeline.data import Example
    from tfpipeline.data.options import DataOptions
    from tfpipeline.tasks.base import Task


class PairOptions(TaskOptions):
    """The ``task`` section of a run file for pairs of texts. The options in ``answer`` make the task."""

    top_level_only: ClassVar[bool] = True

    name: Literal["pair"] = "pair"
    answer: SerializeAsAny[TaskOptions] = Field(
        default_factory=lambda: tasks.find("classification").model_validate({}),
        description="The task to solve for the two texts: `classification`, `regression`, `multilabel`, or "
        "its section with options.",
    )

    @classmethod
    def section_schema(cls, field: str, raw: Any) -> type[Section] | None:
        return tasks.part_schema(raw) if field == "answer" else None

    @field_validator("answer", mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    def check(self, data: DataOptions) -> None:
        if data.text_pair is None:
            raise ValueError(
                "data.text_pair is null, but the task pair reads two texts; name the second one's column"
            )
        self.answer.check(data)

    def target_columns(self) -> Sequence[str] | None:
        return self.answer.target_columns()

    def preprocess(self, example: Example) -> Example:
        if not (example.text_pair or "").strip():
            raise UserError(f"{example.source}: the row has no second text; complete it or remove it")
        return self.answer.preprocess(example)

    def strata(self, example: Example) -> Collection[Hashable]:
        return self.answer.strata(example)

    def fitter(self) -> Fitter:
        return PartFitter(self.answer, "task.answer")

    def load(self, directory: Path) -> Task:
        return self.answer.load(directory)


OPTIONS = PairOptions
