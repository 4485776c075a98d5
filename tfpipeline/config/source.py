"""Reads and writes YAML, with the line of every value.

Scalars follow the YAML 1.2 core schema, not PyYAML's 1.1: ``5e-5`` is a number (1.1 reads a string), ``yes``,
``no``, ``on`` and ``off`` are strings (1.1: booleans), so are ``12:30`` (1.1: 750) and dates, and ``010`` is
ten (1.1: eight).
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from tfpipeline.errors import UserError

# Where a value is in a run file: keys and list positions from the top.
Place = tuple[str | int, ...]

_PREFIX = "tag:yaml.org,2002:"
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
)
_CORE_SCHEMA = (
    # In this order, because an integer also matches the float pattern.
    ("null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
    ("merge", re.compile(r"<<$"), ["<"]),
)
_KINDS = {_PREFIX + kind for kind in ("null", "bool", "int", "float", "str", "seq", "map")}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own attribute, filled below

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node)
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text if base == 10 else text[2:], base)


class _Dumper(yaml.SafeDumper):
    """Quotes strings that either version of YAML would read as another type."""


for _kind, _pattern, _first in _CORE_SCHEMA:
    _Loader.add_implicit_resolver(_PREFIX + _kind, _pattern, _first)
    _Dumper.add_implicit_resolver(_PREFIX + _kind, _pattern, _first)
_Loader.add_constructor(_PREFIX + "int", _Loader.construct_integer)


def read_file(path: Path) -> tuple[dict[str, Any], dict[Place, int]]:
    """Read a YAML file as a mapping, with the line of every value in it (the line of its key).

    Raises:
        UserError: the file is missing, not UTF-8, not YAML or not a mapping, or has a repeated key; with the
            line.
    """
    try:
        data = path.read_bytes()
    except IsADirectoryError as error:
        raise UserError(f"{path} is a directory; give the path of a run file (YAML)") from error
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror or error}; check the path of the run file"
        ) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}:{line}: not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8"
        ) from error
    value, lines = _parse(text, str(path))
    if not isinstance(value, dict):
        content = "empty" if value is None else f"a {_kind_of(value)}"
        raise UserError(
            f"{path}:{lines[()]}: the file is {content}, expected a mapping: lines of `name: value`"
        )
    return value, lines


def parse_value(text: str, where: str) -> Any:
    """The value of one YAML text, as in ``--set name=TEXT``; ``where`` names it in errors."""
    return _parse(text, where)[0]


def to_yaml(value: Any) -> str:
    """A value made of mappings, lists and scalars as YAML text; mappings keep their order."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    return text


def _parse(text: str, where: str) -> tuple[Any, dict[Place, int]]:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, {(): 1}
        lines: dict[Place, int] = {}
        _check(node, (), node.start_mark.line + 1, lines, where, frozenset())
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise UserError(
            f"{where}:{line}: not valid YAML: {problem}; check the indentation and the quotes"
        ) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(
            f"{where}:{line}: not valid YAML: it contains a character that is not allowed ({error.reason})"
        ) from error
    except RecursionError as error:
        raise UserError(f"{where}: not usable YAML: nested too deeply") from error
    except ValueError as error:  # an integer with more digits than Python converts
        raise UserError(f"{where}: not usable YAML: {error}") from error


def _check(
    node: yaml.Node, place: Place, line: int, lines: dict[Place, int], where: str, above: frozenset[int]
) -> None:
    """Record the line of every value under ``node``, and reject what PyYAML would silently accept."""
    if id(node) in above:
        raise UserError(f"{where}:{line}: an alias refers to the value that contains it; write the value out")
    above |= {id(node)}
    lines[place] = line
    if node.tag not in _KINDS:
        raise UserError(
            f"{where}:{line}: a value of the type {node.tag.replace(_PREFIX, '!!')} has no meaning here"
        )
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _check(item, (*place, index), item.start_mark.line + 1, lines, where, above)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[Hashable, int] = {}
        for key, value in node.value:
            at = key.start_mark.line + 1
            if key.tag == _PREFIX + "merge":
                raise UserError(f"{where}:{at}: merge keys (<<) are not supported; write the fields out")
            if key.tag != _PREFIX + "str":
                raise UserError(f"{where}:{at}: a field's name must be text; put it in quotes")
            if key.value in seen:
                raise UserError(
                    f'{where}:{at}: "{key.value}" is repeated (first in line {seen[key.value]}); remove one'
                )
            seen[key.value] = at
            _check(value, (*place, key.value), at, lines, where, above)


def _kind_of(value: Any) -> str:
    return "list" if isinstance(value, list) else "single value"
