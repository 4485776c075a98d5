"""Writes docs/api.md from the docstrings of the public names, so that the page and the code agree.

python -m docs.generate_api
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

from tfpipeline.runtime import import_tensorflow

PAGE = Path(__file__).with_name("api.md")

_INTRODUCTION = """\
# API

These are the public names of the package, with the types that mypy and editors see. This page is generated
from the docstrings by `python -m docs.generate_api`. The commands and the run file have pages of their own:
[README](../README.md), [run-file.md](run-file.md).
"""

# Module -> what its section says first.
_MODULES = {
    "tfpipeline": "One function for each command. Each name is loaded when it is first used.",
    "tfpipeline.serving.client": "The thin client. It needs numpy, grpcio and protobuf, and never imports "
    "TensorFlow.",
    "tfpipeline.models": "The encoder, the heads and the model, as Keras layers and a Keras model.",
    "tfpipeline.models.peft": "Parameter-efficient fine-tuning of an encoder. See [peft.md](peft.md).",
    "tfpipeline.text": "The tokenizer of training, export and serving.",
    "tfpipeline.checkpoints": "Checkpoints of other programs.",
    "tfpipeline.training": "Runs, and the models in them.",
    "tfpipeline.tasks": "What a model is trained to predict. See [adding-a-task.md](adding-a-task.md).",
}


def page() -> str:
    """The whole page."""
    import_tensorflow()  # without its start-up lines
    package = griffe.load("tfpipeline", resolve_aliases=False, docstring_parser="google")
    lines = [_INTRODUCTION]
    for module, introduction in _MODULES.items():
        lines += [f"## `{module}`", "", introduction, ""]
        for name in sorted(importlib.import_module(module).__all__, key=str.lower):
            lines += _entry(_locate(package, module, name), name)
    return "\n".join(lines).rstrip() + "\n"


def _locate(package: Any, module: str, name: str) -> Any:
    """The definition of a public name, wherever it is re-exported from; None for a constant."""
    value = getattr(importlib.import_module(module), name)
    home = getattr(value, "__module__", None)
    if not isinstance(home, str) or not home.startswith("tfpipeline."):
        return None
    return package[f"{home}.{value.__qualname__}".removeprefix("tfpipeline.")]


def _entry(definition: Any, name: str) -> Iterator[str]:
    if definition is None:
        return
    kind = "class " if definition.is_class else ""
    yield from (f"### `{name}`", "", "```python", f"{kind}{name}{_signature(definition)}", "```", "")
    if definition.is_class and definition.bases:
        yield from (f"A subclass of {', '.join(f'`{base}`' for base in definition.bases)}.", "")
    yield from _docstring(definition)
    if not definition.is_class:
        return
    members = dict(definition.members)
    for base in definition.resolved_bases:
        # A public base has an entry of its own.
        if base.package.name == "tfpipeline" and base.name not in _public_names():
            members = {**members, **{key: one for key, one in base.members.items() if key not in members}}
    for member_name, member in members.items():
        if member_name.startswith("_") or member.is_alias or member.docstring is None:
            continue
        if member.is_function:
            yield from (f"#### `{name}.{member_name}{_signature(member)}`", "")
            yield from _docstring(member)
        elif "property" in member.labels:
            yield from (f"#### `{name}.{member_name}: {member.annotation}`", "")
            yield from _docstring(member)


@functools.cache
def _public_names() -> frozenset[str]:
    return frozenset(name for module in _MODULES for name in importlib.import_module(module).__all__)


def _signature(definition: Any) -> str:
    """``(name: type = default, ...) -> type``, one parameter a line where it is long."""
    if definition.is_class and not any(parameter.name != "self" for parameter in definition.parameters):
        return ""
    parts, keyword_only = [], False
    for parameter in definition.parameters:
        if parameter.name in ("self", "cls"):
            continue
        stars = {"variadic positional": "*", "variadic keyword": "**"}.get(parameter.kind.value, "")
        if parameter.kind.value == "keyword-only" and not keyword_only:
            parts.append("*")
        keyword_only |= parameter.kind.value in ("keyword-only", "variadic positional")
        annotation = f": {parameter.annotation}" if parameter.annotation is not None else ""
        equals = " = " if annotation else "="
        default = f"{equals}{parameter.default}" if parameter.default is not None and not stars else ""
        parts.append(f"{stars}{parameter.name}{annotation}{default}")
    returns = getattr(definition, "returns", None)
    arrow = f" -> {returns}" if returns is not None and not definition.is_class else ""
    line = f"({', '.join(parts)}){arrow}"
    if len(line) <= 90 or _is_method(definition):
        return line
    return "(\n" + "".join(f"    {part},\n" for part in parts) + f"){arrow}"


def _is_method(definition: Any) -> bool:
    return bool(definition.parent is not None and definition.parent.is_class)


def _docstring(definition: Any) -> Iterator[str]:
    if definition.docstring is None:
        return
    # griffe wants an empty line above a section.
    text = re.sub(r"\n(?=(Args|Attributes|Returns|Yields|Raises):\n)", "\n\n", definition.docstring.value)
    options: Any = {"returns_multiple_items": False, "returns_named_value": False, "warnings": False}
    parsed = griffe.Docstring(text, parent=definition).parse("google", **options)
    for section in parsed:
        kind = section.kind.value
        if kind == "text":
            yield from (_markdown(section.value), "")
        elif kind in ("parameters", "attributes", "other parameters"):
            yield from (f"**{ {'parameters': 'Args'}.get(kind, kind.capitalize()) }**", "")
            yield from (f"- `{item.name}`: {_one_line(item.description)}" for item in section.value)
            yield ""
        elif kind in ("returns", "yields"):
            what = " ".join(_one_line(item.description) for item in section.value)
            yield from (f"**{kind.capitalize()}**: {what}", "")
        elif kind == "raises":
            yield from ("**Raises**", "")
            yield from (f"- `{item.annotation}`: {_one_line(item.description)}" for item in section.value)
            yield ""
        else:
            raise ValueError(f"{definition.path}: no way to show a section of the kind {kind!r}")


def _markdown(text: str) -> str:
    """Roles and double backticks of reStructuredText as Markdown has them."""
    text = re.sub(r":(?:mod|class|func|meth|data|attr):`~?([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")


def _one_line(text: str) -> str:
    return " ".join(_markdown(text).split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
