"""The schema of a run file: the options of every part, put together. Imports no TensorFlow."""

from __future__ import annotations

from typing import Any, Optional

from pydantic import Field, SerializeAsAny

from tfpipeline import tasks
from tfpipeline.config import Section
from tfpipeline.data.options import DataOptions
from tfpipeline.training.options import TrainingOptions


class TextOptions(Section):
    """The ``text`` section: how texts become tokens."""

    max_length: int = Field(128, ge=3, description="Tokens of a text at most, [CLS] and [SEP] counted.")
    lowercase: Optional[bool] = Field(
        None, description="Overrides the checkpoint's own lower-casing; null: as the checkpoint says."
    )


class RunConfig(Section):
    """A whole run file."""

    checkpoint: str = Field(
        description="The checkpoint to start from, as `tfpipeline convert` reads it: a directory, an archive, hf://org/name."
    )
    output: str = Field(description="The run directory.")
    data: DataOptions
    text: TextOptions = TextOptions()
    task: SerializeAsAny[Section] = Field(description="`name` picks the task; the rest are its own options.")
    training: TrainingOptions = TrainingOptions()

    @classmethod
    def section_schema(cls, field: str, raw: Any) -> type[Section] | None:
        """The schema of a section that its own ``name`` key picks; None for all others."""
        if field == "task" and isinstance(raw, dict):
            return tasks.find(str(raw.get("name", "classification"))).Options
        return None
