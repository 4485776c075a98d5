"""The base class of every part's options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import pydantic
from pydantic_core import InitErrorDetails, PydanticCustomError

from tfpipeline import paths
from tfpipeline.errors import UserError


def _path(text: str) -> str:
    try:
        return paths.expand(text).removeprefix("file://")
    except UserError as error:
        raise ValueError(str(error)) from error


# A path in a run file; `~` is expanded. Relative ones are relative to the current directory.
PathText = Annotated[str, pydantic.AfterValidator(_path)]


class Section(pydantic.BaseModel):
    """A section of a run file: a frozen pydantic model that accepts no unknown fields.

    Types are strict, so that mistakes are not converted silently: a quoted number is not a number, 1.0 is not
    an integer, and yes is not a boolean (but an integer is accepted as a float). Lists and strings in a file
    therefore need list and string fields. A field that should become a tuple or a path needs
    ``Field(strict=False)``. A subclass gives each field a description. Fields that must not be guessed have
    no default.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def section_schema(cls, field: str, raw: Any) -> type[Section] | None:
        """The schema of a section that is selected by its content, such as its ``name`` key.

        Override it to return the schema of ``field`` (annotate it ``SerializeAsAny[Section]``) from ``raw``,
        the section as it is in the file, of any type; None for all other fields. A UserError that it raises
        is reported with the other errors, at the section's ``name``. For a field that is a mapping of such
        sections, it is called for each of them; annotate such a field ``dict[str, SectionByName]`` with
        :func:`section_by_name`.
        """
        return None

    @pydantic.field_validator("*", mode="wrap")
    @classmethod
    def _use_section_schema(
        cls, raw: Any, validate: pydantic.ValidatorFunctionWrapHandler, info: pydantic.ValidationInfo
    ) -> Any:
        if cls._is_mapping(info.field_name or ""):
            return validate(raw)  # its sections are validated one by one
        return _validate(lambda raw: cls.section_schema(info.field_name or "", raw), raw, validate)

    @classmethod
    def _is_mapping(cls, field: str) -> bool:
        """Whether a field is a mapping."""
        return getattr(cls.model_fields[field].annotation, "__origin__", None) is dict


def section_by_name(pick: Callable[[Any], type[Section] | None]) -> pydantic.WrapValidator:
    """For ``Annotated[SerializeAsAny[Section], section_by_name(pick)]``: a section in a mapping."""
    return pydantic.WrapValidator(lambda raw, validate: _validate(pick, raw, validate))


def _validate(
    pick: Callable[[Any], type[Section] | None], raw: Any, validate: pydantic.ValidatorFunctionWrapHandler
) -> Any:
    try:
        schema = pick(raw)
    except UserError as error:
        problem = PydanticCustomError("unknown_name", "{reason}", {"reason": str(error)})
        details = InitErrorDetails(type=problem, loc=("name",), input=raw)
        raise pydantic.ValidationError.from_exception_data("section", [details]) from error
    if schema is None or isinstance(raw, pydantic.BaseModel):
        return validate(raw)
    return schema.model_validate(raw)
