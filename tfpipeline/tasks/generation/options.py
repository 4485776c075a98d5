"""The ``task`` section of generation: checks the data, and makes the task from the rows."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional

from pydantic import Field, model_validator

from tfpipeline.data import load_splits, read_data_file
from tfpipeline.errors import UserError
from tfpipeline.tasks.generation import rows
from tfpipeline.tasks.generation.decoding_options import DecodingOptions
from tfpipeline.tasks.generation.task import Generation
from tfpipeline.tasks.options import Fitter, TaskOptions

if TYPE_CHECKING:
    from tfpipeline.data import Example, Rows
    from tfpipeline.data.options import DataOptions
    from tfpipeline.text.truncation import Truncation


class GenerationOptions(TaskOptions):
    """The ``task`` section of a run file for generation."""

    task_class = Generation
    top_level_only: ClassVar[bool] = True
    asks_for_pairs: ClassVar[bool] = False
    reads_windows: ClassVar[bool] = False
    reads_turns: ClassVar[bool] = True
    changeable: ClassVar[tuple[str, ...]] = ("decoding",)
    data_defaults: ClassVar[Mapping[str, str | None]] = {"text": "source", "label": "target"}

    name: Literal["generation"] = "generation"
    objective: Literal["masked", "causal"] = Field(
        "masked",
        description="What is learnt: to predict masked tokens of the target, as in the checkpoint's "
        "pre-training (`masked`), or the token behind each token (`causal`), which learns from every token "
        "and writes faster.",
    )
    mask_share: float = Field(
        0.7, gt=0, le=1, description="masked: share of the target's tokens that are masked and predicted."
    )
    label_smoothing: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the training target that is spread evenly over the vocabulary.",
    )
    max_source_length: Optional[int] = Field(
        None,
        ge=1,
        description="Most tokens of a source, special ones not counted; null: what the target leaves of "
        "text.max_length. text.long says how longer sources are truncated; dialogues lose their oldest "
        "turns.",
    )
    max_target_length: int = Field(
        64,
        ge=1,
        description="Most tokens of a target, and of a text that is written; longer targets lose their end "
        "in training.",
    )
    references: list[str] = Field(
        [], description="Columns of further right texts, which are read for scores only."
    )
    speaker: Optional[str] = Field(
        None,
        description="data.turns: the speaker whose turns are learnt as replies; null: every turn but the "
        "first.",
    )
    turn_separator: str = Field(
        "[SEP]", description="data.turns: what stands between turns, with a blank on both sides."
    )
    decoding: DecodingOptions = DecodingOptions()
    decode_validation_rows: int = Field(
        200,
        ge=0,
        description="Rows of a validation during training whose texts are written and scored, spread evenly "
        "over the rows; 0: none. An evaluation writes all of them.",
    )
    decode_every: int = Field(
        1,
        ge=1,
        description="Every n-th validation during training writes texts; the others compute the loss only.",
    )
    lead_sentences: int = Field(
        3, ge=1, description="Baseline for sources of more sentences: the first ones."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> GenerationOptions:
        self.decoding.most_tokens(self.max_target_length)
        if self.objective == "causal" and self.mask_share != type(self).model_fields["mask_share"].default:
            raise ValueError("mask_share is for the objective masked; remove it, or set objective to masked")
        return self

    @property
    def makes_pairs(self) -> bool:
        return True

    @property
    def token_separator(self) -> str:
        return f" {self.turn_separator} "

    # Before any row is read.

    def check(self, data: DataOptions) -> None:
        if data.text_pair is not None:
            raise ValueError(
                f"data.text_pair is {data.text_pair}, but generation reads sources (data.text) and targets "
                "(data.label); name the target's column in data.label"
            )
        if data.turns is None:
            if data.label is None:
                raise ValueError(
                    "data.label is null, but generation learns from targets; name their column, or that of "
                    "dialogues in data.turns"
                )
            if self.speaker is not None:
                raise ValueError(
                    "task.speaker is for dialogues; remove it, or name their column in data.turns"
                )
        elif self.references:
            raise ValueError("task.references is for sources with targets, not for dialogues; remove it")

    def truncation(self, truncation: Truncation, data: DataOptions) -> Truncation:
        special, target = truncation.template.count(pair=True), self.max_target_length
        source = truncation.max_length - target - special
        if self.max_source_length is not None or source < 1:
            wanted = self.max_source_length or 1
            if wanted > source:
                name = "a source of at least" if self.max_source_length is None else "task.max_source_length,"
                raise ValueError(
                    f"max_length is {truncation.max_length}, but {name} {wanted}, task.max_target_length, "
                    f"{target}, and {special} special tokens take {wanted + target + special}; raise "
                    "text.max_length, or lower the others"
                )
            source = wanted
        limits = {"max_length": source + target + special, "text_limits": (source, target)}
        if data.turns is not None:  # the end of a dialogue is what is replied to
            limits |= {"long": "head_tail", "tail": 1.0}
        return dataclasses.replace(truncation, **limits)  # type: ignore[arg-type]

    # Rows.

    def preprocess(self, example: Example) -> Example:
        """A row whose target is its label; see :func:`rows.prepare`."""
        cells = {**example.columns, "target": example.label or ""}
        return rows.prepare(dataclasses.replace(example, columns=cells), "target", self.references)

    def strata(self, example: Example) -> Collection[Hashable]:
        return ()

    def load_splits(self, data: DataOptions, folder: Path | None = None) -> dict[str, Rows]:
        data, reading = self._reading(data)
        return load_splits(data, self.strata, folder, **reading)

    def read(self, data: DataOptions, path: str | Path) -> Rows:
        data, reading = self._reading(data)
        return read_data_file(path, data, **reading)

    def _reading(self, data: DataOptions) -> tuple[DataOptions, dict[str, Any]]:
        """The data section with the column of dialogues as that of texts; the target's columns, and what
        prepares a row.
        """
        if data.turns is not None:
            prepare: Any = functools.partial(rows.prepare_dialogue, column=data.turns, speaker=self.speaker)
            return data.model_copy(update={"text": data.turns}), {"columns": (), "prepare": prepare}
        target: Any = data.label
        columns: Sequence[str] = (target, *self.references)
        prepare = functools.partial(rows.prepare, target=target, more=self.references)
        return data, {"columns": columns, "prepare": prepare}

    def fitter(self) -> Fitter:
        return _GenerationFitter(self)


class _GenerationFitter(Fitter):
    """Sees whether the rows are dialogues; and that what scores texts is installed."""

    def __init__(self, options: GenerationOptions) -> None:
        from tfpipeline.metrics.generation import require_libraries

        require_libraries()
        self._options = options
        self._rows, self._dialogues = 0, False

    def add(self, example: Example) -> None:
        self._rows += 1
        self._dialogues |= rows.TURNS in example.columns

    def finish(self) -> Generation:
        if not self._rows:
            raise UserError("there are no training rows")
        return Generation(self._options, {"dialogues": self._dialogues})
