"""A judgement of two texts: do they match, does the one follow from the other, does this answer fit this question.

Both texts go through the encoder together, as ``[CLS] text [SEP] text_pair [SEP]``. What is answered (a label, a
number, several labels) is another task's, ``task.answer``; this one makes sure that there are two texts.
Served answer: that task's; ``serving_default`` takes ``text`` and ``text_pair``.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, SerializeAsAny, field_validator

from tfpipeline import tasks
from tfpipeline.config import Section
from tfpipeline.errors import UserError
from tfpipeline.tasks._pooled import in_section
from tfpipeline.tasks.base import Task

if TYPE_CHECKING:
    from tfpipeline.data import Example
    from tfpipeline.data.options import DataOptions


class PairOptions(Section):
    """The ``task`` section of a run file for pairs of texts."""

    name: Literal["pair"] = "pair"
    answer: SerializeAsAny[Section] = Field(
        default_factory=lambda: tasks.find("classification").Options(),
        description="The task to solve for the two texts: `classification`, `regression`, `multilabel`, or its section with options.",
    )

    @classmethod
    def section_schema(cls, field: str, raw: Any) -> type[Section] | None:
        return tasks.part_schema(raw) if field == "answer" else None

    @field_validator("answer", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Pair(Task):
    """Makes the answer's own task; it is never an instance itself."""

    Options = PairOptions
    top_level_only = True

    @classmethod
    def check(cls, options: PairOptions, data: DataOptions) -> None:
        if data.text_pair is None:
            raise ValueError(
                "data.text_pair is null, but the task pair reads two texts; name the second one's column"
            )
        _answer(options).check(options.answer, data)

    @classmethod
    def columns(cls, options: PairOptions) -> Sequence[str] | None:
        return _answer(options).columns(options.answer)

    @classmethod
    def strata(cls, options: PairOptions, example: Example) -> Collection[Hashable]:
        return _answer(options).strata(options.answer, example)

    @classmethod
    def preprocess(cls, options: PairOptions, example: Example) -> Example:
        if not (example.text_pair or "").strip():
            raise UserError(f"{example.source}: the row has no second text; complete it or remove it")
        return _answer(options).preprocess(options.answer, example)

    @classmethod
    def from_examples(cls, options: PairOptions, examples: Sequence[Example]) -> Task:
        try:
            return _answer(options).from_examples(options.answer, examples)
        except UserError as error:
            raise UserError(in_section(str(error), "task.answer")) from error

    @classmethod
    def load(cls, options: PairOptions, directory: Path) -> Task:
        return _answer(options).load(options.answer, directory)


def _answer(options: PairOptions) -> type[Task]:
    answer: Any = options.answer
    return tasks.find(answer.name)


TASK: type[Any] = Pair
