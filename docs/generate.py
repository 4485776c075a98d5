"""Writes docs/run-file.md from the schemas, so that it can't say anything else than they do.

python -m docs.generate
"""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any, Union

from tfpipeline import tasks
from tfpipeline.config import Section
from tfpipeline.models import peft
from tfpipeline.training.run_config import RunConfig

_NAMED = (Section, tasks.TaskOptions, peft.PeftOptions)  # sections whose fields depend on a name
PAGE = Path(__file__).with_name("run-file.md")

_INTRODUCTION = """\
# The run file

A run file describes a whole training run in YAML. Any field can be overridden on the command line:

    tfpipeline train run.yaml --set training.epochs=2 --set data.text=review

Relative paths are relative to the current directory, not to the directory of the run file; `~` is the home
directory. All unknown and mistyped fields are reported at once, each with its line and the closest known
name. This page is generated from the schemas by `python -m docs.generate`.
"""


def page() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, *_section(RunConfig, "")]
    for name in tasks.names():
        parts += _section(tasks.find(name), "task", f"`task` with `name: {name}`")
    for name in peft.names():
        parts += _section(peft.find(name), "peft", f"`peft` with `method: {name}`")
    return "\n".join(parts) + "\n"


def _section(schema: type[Section], path: str, title: str = "") -> list[str]:
    heading = title or (f"`{path}`" if path else "Top level")
    rows = [f"\n## {heading}\n", "| field | type | default | |", "|---|---|---|---|"]
    below: list[str] = []
    for name, field in schema.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            if inner not in _NAMED:
                below += _section(inner, f"{path}.{name}" if path else name)
                continue
            kind = "section"
            default = "required" if field.is_required() else f"`{_default(field).name}`"
        else:
            kind = _kind(inner)
            for part in typing.get_args(inner):
                if isinstance(part, type) and issubclass(part, Section) and part not in _NAMED:
                    below += _section(part, f"{path}.{name}[]" if path else f"{name}[]")
            default = "required" if field.is_required() else _value(_default(field))
        rows.append(f"| `{name}` | {kind} | {default} | {field.description or ''} |")
    return [*rows, *below]


def _default(field: Any) -> Any:
    return field.get_default(call_default_factory=True)


def _value(value: Any) -> str:
    text = (
        {None: "null", True: "true", False: "false"}.get(value)
        if value is None or isinstance(value, bool)
        else None
    )
    return f"`{text or value}`"


def _kind(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if part is type(None) else _kind(part) for part in arguments)
    if origin is typing.Annotated:
        return _kind(arguments[0])
    if origin is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin is list:
        item = _kind(arguments[0])
        return f"list of {item}" if item.endswith("s") else f"list of {item}s"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    return {str: "string", int: "integer", float: "number", bool: "true or false"}[annotation]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
