"""The ``data`` section of a run file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Optional

from pydantic import AfterValidator, Field, field_validator, model_validator

from tfpipeline.config import PathText, Section
from tfpipeline.data.records import FileOptions, check_encoding, one_delimiter

# The encoding of a text file, and the character between its cells; for any section that names a data file.
EncodingText = Annotated[str, AfterValidator(check_encoding)]
DelimiterText = Annotated[str, AfterValidator(one_delimiter)]


class SplitOptions(Section):
    """How rows without a file of their own are taken from the training file."""

    validation: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of the training file's rows to validate on, if data.validation is null.",
    )
    test: float = Field(
        0.0, ge=0, lt=1, description="Share of the training file's rows to test on, if data.test is null."
    )
    by: Optional[Literal["stratified", "group", "random"]] = Field(
        None,
        description="stratified: each label has the same proportion in every split; group: a group "
        "(data.group) stays in one split; random: neither; null: group if data.group is named, by context in "
        "question answering, else "
        "stratified.",
    )
    seed: int = Field(0, ge=0, description="Random seed of the split.")

    @model_validator(mode="after")
    def _leave_training_rows(self) -> SplitOptions:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave no rows to train on; keep their sum below 1")
        return self


class DataOptions(Section):
    """Where the rows are and what their columns are called.

    The suffix of a file says its format. Cells that no option below names are kept, for tasks that read more.
    """

    train: PathText = Field(description="File of the training rows.")
    validation: Optional[PathText] = Field(
        None, description="File of the validation rows; null: a share of the training rows, see split."
    )
    test: Optional[PathText] = Field(
        None, description="File of the test rows; null: a share of the training rows, see split."
    )
    text: str = Field("text", description="Column of the text.")
    text_pair: Optional[str] = Field(None, description="Column of the second text, for tasks on text pairs.")
    label: Optional[str] = Field(
        "label", description="Column of the label; null: the task needs no label or names its columns itself."
    )
    turns: Optional[str] = Field(
        None,
        description="Column of dialogues, for tasks that read them: a list of turns, each of which is a text "
        "or an object with `speaker` and `text`. It replaces text and label.",
    )
    weight: Optional[str] = Field(
        None, description="Column of the rows' weights in loss and metrics; null: all 1."
    )
    group: Optional[str] = Field(
        None, description="Column with a group ID (an author, a document); a group stays in one split."
    )
    encoding: EncodingText = Field(
        "utf-8", description="Encoding of text files, as Python names it: utf-8, utf-16, cp1252, gb18030 ..."
    )
    delimiter: Optional[DelimiterText] = Field(
        None,
        description='Character between the cells of .csv and .tsv files, such as ";"; null: a comma, and a '
        "tab (`\\t`).",
    )
    sheet: Optional[str] = Field(None, description="Sheet of .xlsx files; null: the first.")
    paragraphs: bool = Field(
        False,
        description="Whether a row of a .txt file is a paragraph (lines up to an empty one), not a line.",
    )
    split: SplitOptions = SplitOptions()

    @field_validator("sheet", mode="before")
    @classmethod
    def _name_of_sheet(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value

    @property
    def file_options(self) -> FileOptions:
        """Properties of a data file that its suffix does not determine."""
        return FileOptions(self.encoding, self.delimiter, self.sheet, self.paragraphs)

    @field_validator("text", "text_pair", "label", "turns", "weight", "group", mode="before")
    @classmethod
    def _name_of_column(cls, value: Any) -> Any:
        # Columns of CoNLL files are called by their numbers, which YAML does not take for texts.
        return str(value) if type(value) is int else value

    @property
    def inputs(self) -> dict[str, str]:
        """Column -> the option that names it, the label's left out: none of these can hold a target."""
        named = {role: getattr(self, role) for role in ("text", "text_pair", "turns", "weight", "group")}
        return {column: role for role, column in named.items() if column is not None}

    @model_validator(mode="after")
    def _name_the_group(self) -> DataOptions:
        if self.split.by == "group" and self.group is None:
            raise ValueError("split.by is group, but no column is named by data.group; name one")
        return self
