"""The ``task`` section of question answering: checks the data, and makes the task from the rows."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Optional, Union

from pydantic import Field, field_validator, model_validator

from tfpipeline.errors import UserError
from tfpipeline.tasks.options import Fitter, TaskOptions
from tfpipeline.tasks.question_answering.rows import kept_answers, preprocess
from tfpipeline.tasks.question_answering.task import EVEN_ODDS, HEAD, QuestionAnswering

if TYPE_CHECKING:
    from tfpipeline.checkpoints.checkpoint import Checkpoint
    from tfpipeline.data import Example
    from tfpipeline.data.options import DataOptions


class QuestionAnsweringOptions(TaskOptions):
    """The ``task`` section of a run file for question answering."""

    task_class = QuestionAnswering
    top_level_only: ClassVar[bool] = True
    together: ClassVar[str | None] = "text_pair"  # questions about a context seen in training are easier
    data_defaults: ClassVar[Mapping[str, str | None]] = {
        "text": "question",
        "text_pair": "context",
        "label": "answers",
    }

    name: Literal["question_answering"] = "question_answering"
    no_answer: Optional[bool] = Field(
        None,
        description="Whether the model may predict that there is no answer; default: whether any training "
        "row has none.",
    )
    no_answer_threshold: Union[Literal["tuned"], float] = Field(
        EVEN_ODDS,
        description='"No answer" is predicted if its probability against the best span exceeds this '
        "threshold; `tuned`: the "
        "threshold with the best F1 on the validation rows, chosen at each validation.",
    )
    max_answer_tokens: int = Field(30, ge=1, le=512, description="Maximum number of tokens in an answer.")
    best: int = Field(5, ge=1, le=100, description="How many of the best spans are returned.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the head.")

    @field_validator("no_answer_threshold")
    @classmethod
    def _is_probability(cls, value: Union[str, float]) -> Union[str, float]:
        if isinstance(value, float) and not 0 <= value <= 1:
            raise ValueError("must lie between 0 and 1")
        return value

    @model_validator(mode="after")
    def _threshold_is_used(self) -> QuestionAnsweringOptions:
        if self.no_answer is False and self.no_answer_threshold != EVEN_ODDS:
            raise ValueError(
                f"no_answer_threshold is {self.no_answer_threshold}, but no_answer is false, so that there "
                "is always an "
                "answer; remove one of them"
            )
        return self

    def check(self, data: DataOptions) -> None:
        if data.text_pair is None or data.label is None:
            missing = "text_pair" if data.text_pair is None else "label"
            raise ValueError(
                f"data.{missing} is null, but question answering reads a question (data.text), a context "
                "(data.text_pair) and "
                "answers (data.label); name its column"
            )

    def preprocess(self, example: Example) -> Example:
        """The same row with its label as JSON: ``answers`` [[start, text], ...], empty if there is none."""
        return preprocess(example)

    def strata(self, example: Example) -> Collection[Hashable]:
        return ("answer" if kept_answers(example) else "none",)

    def fitter(self) -> Fitter:
        return _QuestionAnsweringFitter(self)

    @classmethod
    def serves(cls, checkpoint: Checkpoint) -> bool:
        return HEAD in checkpoint.head_names

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> QuestionAnswering:
        # A checkpoint's files do not say whether it was trained with unanswerable questions.
        return QuestionAnswering(cls(), {"no_answer": False})


class _QuestionAnsweringFitter(Fitter):
    """Checks whether there are rows with an answer, and rows without."""

    def __init__(self, options: QuestionAnsweringOptions) -> None:
        self._options = options
        self._kinds: set[bool] = set()

    def add(self, example: Example) -> None:
        self._kinds.add(bool(kept_answers(example)))

    def finish(self) -> QuestionAnswering:
        if True not in self._kinds:
            raise UserError("no training row has an answer; check the column of the answers (data.label)")
        no_answer = self._options.no_answer
        may_be_none = no_answer if no_answer is not None else False in self._kinds
        return QuestionAnswering(self._options, {"no_answer": may_be_none})
