"""The schema of a run file, which combines the options of all parts. Imports no TensorFlow."""

from __future__ import annotations

from typing import Any, Optional

from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from tfpipeline import tasks
from tfpipeline.config import PathText, Section
from tfpipeline.data.options import DataOptions
from tfpipeline.errors import UserError
from tfpipeline.models.peft import PeftOptions
from tfpipeline.models.peft import find as find_peft_method
from tfpipeline.models.peft import names as peft_methods
from tfpipeline.text.truncation import Long, Pool, Truncation
from tfpipeline.training.options import TrainingOptions


class TextOptions(Section):
    """The ``text`` section: how texts become tokens."""

    max_length: int = Field(
        128,
        ge=3,
        description="Maximum number of tokens that the model reads at once, including [CLS] and [SEP].",
    )
    long: Long = Field(
        "head",
        description="How longer texts are handled: keep the `head`, keep the head and the tail "
        "(`head_tail`), or read the "
        "text in overlapping `windows` of max_length tokens.",
    )
    tail: float = Field(
        0.75,
        gt=0,
        le=1,
        description="head_tail only: share of the kept tokens that is taken from the end (of each text in a "
        "pair).",
    )
    overlap: int = Field(
        32,
        ge=0,
        description="windows only: tokens shared by neighbouring windows; must be less than a window holds "
        "(for a pair: after "
        "its first text).",
    )
    max_windows: int = Field(
        8,
        ge=1,
        description="windows only: maximum number of windows per text; the rest of the text is truncated.",
    )
    pool: Pool = Field(
        "mean",
        description="windows only: how the outputs of the windows (for classification: the logits) are "
        "combined.",
    )
    max_first_text: Optional[int] = Field(
        None,
        ge=1,
        description="windows only: maximum number of tokens of a pair's first text in rows that need more "
        "than one window; "
        "null: half a window. A smaller limit means fewer windows in training; 64 is usual for questions.",
    )
    lowercase: Optional[bool] = Field(
        None,
        description="Whether texts are lower-cased, overriding the checkpoint; null: as the checkpoint says.",
    )

    @property
    def truncation(self) -> Truncation:
        """How long texts are handled."""
        return Truncation(**self.model_dump(exclude={"lowercase"}))


class RunConfig(Section):
    """A whole run file."""

    checkpoint: PathText = Field(
        description="What to start from, in any form that `tfpipeline convert` reads: a directory, an "
        "archive, "
        "hf://org/name, or the directory of another run, whose best weights are taken."
    )
    output: PathText = Field(description="The run directory.")
    data: DataOptions
    text: TextOptions = TextOptions()
    task: SerializeAsAny[tasks.TaskOptions] = Field(
        description="`name` selects the task; the other fields are its options."
    )
    training: TrainingOptions = TrainingOptions()
    peft: Optional[SerializeAsAny[PeftOptions]] = Field(
        None,
        description="Parameter-efficient fine-tuning: `method` selects the method; the other fields are its "
        "options. null: the encoder itself is trained.",
    )

    @property
    def has_pairs(self) -> bool:
        """Whether a request of predictions has two texts."""
        return self.task.asks_for_pairs and self.data.text_pair is not None

    @property
    def has_joint_pairs(self) -> bool:
        """Whether one token sequence contains both texts of a row: rows have pairs, and these are encoded
        jointly.
        """
        has_pairs = self.data.text_pair is not None or self.task.makes_pairs
        return has_pairs and self.task.encoding == "joint"

    @property
    def columns(self) -> dict[str, Any]:
        """What later data files are expected to have: the columns of the texts, and what joins tokens or
        turns.
        """
        columns: dict[str, Any] = {
            "text": self.data.turns or self.data.text,
            "separator": self.task.token_separator,
        }
        if self.data.turns is not None:
            columns["turns"] = True
        if self.has_pairs and self.data.text_pair is not None:
            columns["text_pair"] = self.data.text_pair
        return columns

    @classmethod
    def section_schema(cls, field: str, raw: Any) -> type[Section] | None:
        """The schema of a section that its own ``name`` key picks; None for all others."""
        if field == "task" and isinstance(raw, dict):
            return tasks.find(str(raw.get("name", tasks.DEFAULT)))
        if field == "peft" and isinstance(raw, dict) and raw:
            if "method" not in raw:
                raise UserError(f"method is missing; choose one of {', '.join(peft_methods())}")
            return find_peft_method(str(raw["method"]))
        return None

    @field_validator("peft", mode="before")
    @classmethod
    def _method_alone(cls, value: Any) -> Any:
        """The name of a method stands for the method with its defaults."""
        return {"method": value} if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _columns_of_the_task(cls, raw: Any) -> Any:
        """Columns that the run file does not name get the task's default names."""
        if not isinstance(raw, dict) or not all(isinstance(raw.get(name), dict) for name in ("data", "task")):
            return raw
        try:
            options = tasks.find(str(raw["task"].get("name", tasks.DEFAULT)))
        except UserError:
            return raw  # reported when the section is checked
        return {**raw, "data": {**options.data_defaults, **raw["data"]}}

    @model_validator(mode="after")
    def _windows_get_on(self) -> RunConfig:
        """Check the window sizes. They also depend on the data and the task, but the error is reported for
        ``text``.
        """
        try:
            if self.text.long == "windows" and not self.task.reads_windows:
                raise ValueError(
                    f"long is windows, which the task {self.task.name} cannot read; choose head or head_tail"
                )
            self.task.truncation(self.text.truncation, self.data).check(self.has_joint_pairs)
        except ValueError as error:
            details = InitErrorDetails(type="value_error", loc=("text",), input=None, ctx={"error": error})
            raise ValidationError.from_exception_data(type(self).__name__, [details]) from error
        return self

    @model_validator(mode="after")
    def _peft_fits_training(self) -> RunConfig:
        if self.peft is not None and self.training.gradual_unfreezing:
            raise ValueError(
                "training.gradual_unfreezing unfreezes the encoder, which peft.method "
                f"{self.peft.method} keeps frozen; remove one of the two"
            )
        return self

    @model_validator(mode="after")
    def _task_fits_data(self) -> RunConfig:
        if self.data.turns is not None and not self.task.reads_turns:
            raise ValueError(
                f"data.turns is {self.data.turns}, but the task {self.task.name} reads no dialogues; "
                "remove it"
            )
        self.task.check(self.data)
        return self
