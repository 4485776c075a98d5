"""Turns a run file and its overrides into a checked configuration, and back into YAML."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

import numpy as np
import pydantic
from pydantic_core import ErrorDetails

from tfpipeline import paths
from tfpipeline.config.section import Section
from tfpipeline.config.source import Place, parse_value, read_file, to_yaml
from tfpipeline.errors import UserError, nearest, visible
from tfpipeline.paths import AnyPath

Schema = TypeVar("Schema", bound=Section)

_SHOWN = 60  # characters of a wrong value shown in an error


def load(path: AnyPath, schema: type[Schema], overrides: Sequence[str] = ()) -> Schema:
    """Read, override and check a run file.

    Args:
        path: a YAML file. Relative paths in it are relative to the current directory.
        schema: the schema of the file.
        overrides: ``section.field=value`` as given to ``--set``, with the value in YAML; later ones win. A
            number is a position in a list (``task.labels.0=bad``). An empty value means null.
    Raises:
        UserError: the file cannot be read, or has errors. The message lists all errors, one per line, each
            with its line in the file or its override.
    """
    path = paths.local(path)
    raw, lines = read_file(path)
    origins = {place: f"{path}:{line}" for place, line in lines.items()}
    return _resolve(raw, schema, overrides, str(path), origins)


def resolve(
    raw: Mapping[str, Any], schema: type[Schema], overrides: Sequence[str] = (), *, source: str
) -> Schema:
    """Override and check settings that do not come from a file.

    Args:
        raw: the settings in the form of a run file; paths, tuples, NumPy numbers and sections are also
            accepted. It is not changed.
        schema: the schema of the settings.
        overrides: as for :func:`load`.
        source: the name of the settings in errors.
    Raises:
        UserError: as for :func:`load`.
    """
    return _resolve(_plain(raw), schema, overrides, source, {(): ""})


def _resolve(
    raw: dict[str, Any],
    schema: type[Schema],
    overrides: Sequence[str],
    source: str,
    origins: dict[Place, str],
) -> Schema:
    problems: list[str] = []
    for override in _listed(overrides):
        problem = _apply(override, raw, origins, schema)
        if problem:
            problems.append(f"--set {override}  {problem}")
    config = None
    try:
        config = schema.model_validate(raw)
    except pydantic.ValidationError as error:
        problems += _describe_all(error, schema, raw, origins)
    if config is None or problems:
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        raise UserError(
            "\n".join([f"{source} has {count}; correct:", *(f"  {problem}" for problem in problems)])
        )
    return config


def dump(config: Section) -> str:
    """The resolved configuration, including defaults, as YAML; ``load`` restores an equal one from it."""
    return to_yaml(settings(config))


def settings(config: Section) -> dict[str, Any]:
    """The resolved configuration, including defaults, in the form that :func:`resolve` takes."""
    return config.model_dump(mode="json", serialize_as_any=True)


def _listed(overrides: Sequence[str]) -> Sequence[str]:
    """Overrides as a list; a single string is one override, not a list of its letters."""
    if isinstance(overrides, str):
        return [overrides]
    if isinstance(overrides, (Mapping, bytes)) or not isinstance(overrides, Iterable):
        raise UserError(f'the overrides are {overrides!r}; give a list such as ["training.epochs=2"]')
    listed = list(overrides)
    for position, override in enumerate(listed):
        if not isinstance(override, str):
            raise UserError(
                f'overrides[{position}] is {override!r}; give a list such as ["training.epochs=2"]'
            )
    return listed


def _plain(value: Any) -> Any:
    """Convert values of Python code to the mappings, lists and scalars of a run file."""
    if isinstance(value, Section):
        return settings(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return value


def _apply(
    override: str, raw: dict[str, Any], origins: dict[Place, str], schema: type[Section]
) -> str | None:
    """Set one value in ``raw``. Returns what is wrong with the override, or None."""
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        return "expected section.field=value"
    value = parse_value(text, f"--set {override}")
    here: Any = raw
    place: Place = ()
    for depth, key in enumerate(keys):
        step: str | int = key
        if isinstance(here, list):
            if not key.isdecimal() or int(key) >= len(here):
                return (
                    f"{_name(place)} is a list of {len(here)}; expected a position from 0 to {len(here) - 1}"
                )
            step = int(key)
        elif not isinstance(here, dict):
            advice = _written_out(place, here, keys[depth:], text, raw, schema)
            return f"{_name(place)} is a single value in the run file, not a section{advice}"
        place = (*place, step)
        if depth == len(keys) - 1:
            here[step] = value
        elif isinstance(here, dict) and here.get(key) is None:
            here[key] = {}
            origins[place] = f"--set {override}"
        here = here[step]
    for known in [known for known in origins if known[: len(place)] == place]:
        del origins[known]
    origins[place] = f"--set {override}"
    return None


def _written_out(
    place: Place, value: Any, keys: Sequence[str], text: str, raw: dict[str, Any], schema: type[Section]
) -> str:
    """A suggestion for an override inside a section that is written in its short form, as its name alone; ""
    otherwise.
    """
    if not isinstance(value, str):
        return ""
    whole = copy.deepcopy(raw)
    _value(whole, place[:-1])[place[-1]] = {"name": value}
    if (*place, keys[0]) not in set(_fields(schema, whole)):
        return ""
    if keys == ["name"]:
        return f"; write {_name(place)}={text}"
    return f"; write {_name(place)}={{name: {value}, {keys[0]}: {text if len(keys) == 1 else '...'}}}"


def _describe_all(
    error: pydantic.ValidationError, schema: type[Section], raw: Any, origins: Mapping[Place, str]
) -> list[str]:
    # Each member of a union reports its own error, under a name that is not a field. Report one line per
    # field.
    errors_by_place: dict[Place, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        place: Place = details["loc"]
        if details["type"] != "missing":
            while place and not _exists(raw, place):
                place = place[:-1]
        errors_by_place.setdefault(place, []).append(details)
    for place in [place for place, errors in errors_by_place.items() if errors[0]["type"] == "too_short"]:
        if any(other[: len(place)] == place != other for other in errors_by_place):
            del errors_by_place[place]  # pydantic counts only valid items; invalid ones are reported anyway
    known = [".".join(place) for place in _fields(schema, raw)]
    order = {place: position for position, place in enumerate(origins)}  # as in the file, overrides last

    def origin(place: Place) -> Place:
        while place not in origins:
            place = place[:-1]
        return place

    lines = []
    for place in sorted(errors_by_place, key=lambda place: order[origin(place)]):
        reason = _describe(place, errors_by_place[place], known, raw)
        source = origins[origin(place)]
        # An error of a whole section, such as two contradictory fields, may come from overrides inside it.
        inside = [
            at for other, at in origins.items() if other[: len(place)] == place != other and at != source
        ]
        inside = [at for at in dict.fromkeys(inside) if at.startswith("--set ")]
        note = f" (with {', '.join(inside)})" if inside and place else ""
        at = f"{source}  " if source else ""  # settings that do not come from a file have no lines
        lines.append(f"{at}{_name(place) or 'the file'}: {reason}{note}")
    return lines


def _describe(place: Place, errors: Sequence[ErrorDetails], known: Sequence[str], raw: Any) -> str:
    kinds = {details["type"] for details in errors}
    if "extra_forbidden" in kinds:
        return "unknown field" + _suggest(place, known)
    if "missing" in kinds:
        return "missing; it has no default"
    if "unknown_name" in kinds:
        return errors[0]["msg"]
    value = _value(raw, place)
    shown = json.dumps(value, ensure_ascii=False, default=repr)
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
    expected, others = [], []
    for details in errors:
        message = details["msg"].removeprefix("Value error, ")
        if details["type"] == "model_type":
            expected.append("a section: lines of `name: value`")
        elif message.startswith("Input should be "):
            expected.append(message.removeprefix("Input should be "))
        else:
            others.append(message[0].lower() + message[1:])
    if isinstance(value, dict) and not expected:
        return "; ".join(dict.fromkeys(others))
    text = f"found {shown}"
    if expected:
        text += ", expected " + " or ".join(dict.fromkeys(expected))
    if others:
        text += "; " + "; ".join(dict.fromkeys(others))
    choices = [choice for details in errors for choice in _choices(details)]
    match = nearest(value, choices) if isinstance(value, str) else None
    return text + (f'; did you mean "{match}"?' if match else "")


def _choices(details: ErrorDetails) -> list[str]:
    if details["type"] not in ("literal_error", "enum"):
        return []
    return re.findall(r"'([^']*)'", str(details.get("ctx", {}).get("expected", "")))


def _suggest(place: Place, known: Sequence[str]) -> str:
    """The nearest field: in the same section, otherwise one with the same or a similar name elsewhere."""
    own = ".".join(str(key) for key in place[:-1])
    last = str(place[-1])
    siblings = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == own}
    match = nearest(last, siblings)
    if match:
        return f'; did you mean "{siblings[match]}"?'
    namesakes = [name for name in known if name.rpartition(".")[2] == last]
    match = namesakes[0] if namesakes else None
    if match is None:
        ends: dict[str, str] = {}
        for name in known:
            ends.setdefault(name.rpartition(".")[2], name)
        end = nearest(last, ends)
        match = ends[end] if end else None
    if match:
        return f'; did you mean "{match}"?'
    return f"; known here: {', '.join(siblings)}" if siblings else ""


def _fields(schema: type[Section], raw: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The places of all fields of a schema and of its sections, which ``raw`` selects."""
    for name, field in schema.model_fields.items():
        yield (*above, name)
        inner = raw.get(name) if isinstance(raw, dict) else None
        if isinstance(inner, dict) and getattr(field.annotation, "__origin__", None) is dict:
            items = {(*above, name, str(key)): item for key, item in inner.items()}
        else:
            items = {(*above, name): inner}
        for place, item in items.items():
            try:
                section = schema.section_schema(name, {} if item is None else item)
            except UserError:
                continue  # the validation reports it
            section = section or _section_in(field.annotation)
            if section is not None:
                yield from _fields(section, item, place)


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if getattr(annotation, "__origin__", None) in (list, dict, tuple):
        return None  # its items have no fixed place
    sections = [section for section in map(_section_in, get_args(annotation)) if section is not None]
    return sections[0] if sections else None


def _step(raw: Any, key: str | int) -> Any:
    """One step down; raises LookupError if there is nothing."""
    if isinstance(raw, list) and isinstance(key, int):
        return raw[key]
    if isinstance(raw, dict):
        return raw[key]
    raise LookupError(key)


def _value(raw: Any, place: Place) -> Any:
    for key in place:
        raw = _step(raw, key)
    return raw


def _exists(raw: Any, place: Place) -> bool:
    try:
        _value(raw, place)
    except LookupError:
        return False
    return True


def _name(place: Place) -> str:
    text = ""
    for key in place:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return visible(text)
