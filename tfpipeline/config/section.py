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
    """A section of a run file: a frozen pydantic model that knows no other field than its own.

    Types are strict, so that a mistake is not turned into a value: a quoted number is no number, 1.0 is no
    integer, yes is no boolean (an integer still is a float). Of a file's lists and strings, fields are
    therefore lists and strings; one that is to become a tuple or a path says ``Field(strict=False)``. A
    subclass gives each field a description; what must not be guessed has no default.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def section_schema(cls, field: str, raw: Any) -> type[Section] | None:
        """The schema of a section that something inside it picks, such as its ``name`` key.

        Override it to return the schema of ``field`` (annotate it ``SerializeAsAny[Section]``) from ``raw``,
        the section as the file has it, of any type; None for all other fields. It may raise UserError, which
        is reported with the other errors, at the section's ``name``. Of a field that is a mapping of such
        sections it is asked for each of them; their annotation is ``dict[str, SectionByName]`` with
        :func:`section_by_name`.
        """
        return None

    @pydantic.field_validator("*", mode="wrap")
    @classmethod
    def _use_section_schema(
        cls, raw: Any, validate: pydantic.ValidatorFunctionWrapHandler, info: pydantic.ValidationInfo
    ) -> Any:
        if cls._is_mapping(info.field_name or ""):
            return validate(raw)  # its sections are looked at one by one
        return _validate(lambda raw: cls.section_schema(info.field_name or "", raw), raw, validate)

    @classmethod
    def _is_mapping(cls, field: str) -> bool:
        """Whether a field is a mapping of names to something."""
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
