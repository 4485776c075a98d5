"""Problems of propositional logic, and their JSON lines.

    {"rules": [[["a", "b"], "c"]], "facts": ["a", "b"], "query": "c", "label": 1, "depth": 1}

``label`` is 1 if the facts and rules imply the query. ``depth`` is defined in :mod:`oracle
<tfpipeline.reasoning.oracle>`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tfpipeline import paths
from tfpipeline.errors import UserError, visible
from tfpipeline.paths import AnyPath

MOST_CONDITIONS = 3


class Rule(NamedTuple):
    """If all conditions hold, the conclusion holds.

    Attributes:
        conditions: one to three different predicates.
        conclusion: a predicate that is none of the conditions.
    """

    conditions: tuple[str, ...]
    conclusion: str


@dataclass(frozen=True)
class Problem:
    """A problem with its answer.

    Attributes:
        rules, facts: what is given, in the order of their text.
        query: a predicate.
        label: whether the query follows.
        depth: see :mod:`tfpipeline.reasoning.oracle`.
        extra: further fields of its line, such as ``sampler``.
    """

    rules: tuple[Rule, ...]
    facts: tuple[str, ...]
    query: str
    label: bool
    depth: int
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def predicates(self) -> tuple[str, ...]:
        """All predicates, each once, in the order in which they appear."""
        named = [name for rule in self.rules for name in (*rule.conditions, rule.conclusion)]
        return tuple(dict.fromkeys([*self.facts, *named, self.query]))

    def to_json(self) -> dict[str, Any]:
        """The fields of its line."""
        return {
            "rules": [[list(rule.conditions), rule.conclusion] for rule in self.rules],
            "facts": list(self.facts),
            "query": self.query,
            "label": int(self.label),
            "depth": self.depth,
            **self.extra,
        }


def read(path: AnyPath) -> Iterator[Problem]:
    """The problems of a file of JSON lines, checked; blank lines are skipped.

    Raises:
        UserError: the file cannot be read, or a line holds no problem; the message names the line.
    """
    local = paths.local(path)
    try:
        with local.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if raw.strip():
                    yield _parse(raw, f"{path}:{number}")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; check the path") from error


def _parse(raw: bytes, place: str) -> Problem:
    from tfpipeline.reasoning.oracle import solve

    try:
        values = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: is not UTF-8 (byte {error.start}); save the file as UTF-8") from error
    except ValueError as error:
        raise UserError(f"{place}: is not JSON ({error}); write one object per line") from error
    if not isinstance(values, dict):
        raise UserError(f'{place}: is not an object; write {{"rules": ..., "facts": ..., "query": ...}}')
    rules = tuple(
        _rule(rule, f"{place}: rules[{index}]") for index, rule in enumerate(_list(values, "rules", place))
    )
    facts = tuple(
        _name(fact, f"{place}: facts[{index}]") for index, fact in enumerate(_list(values, "facts", place))
    )
    if "query" not in values:
        raise UserError(f"{place}: has no query; add one, a predicate")
    query = _name(values["query"], f"{place}: query")
    known = {*facts, *(name for rule in rules for name in (*rule.conditions, rule.conclusion))}
    if query not in known:
        raise UserError(
            f'{place}: the query "{visible(query)}" is in no fact and no rule; write one of their predicates'
        )
    solution = solve(rules, facts, query)
    label, depth = values.get("label", int(solution.label)), values.get("depth", solution.depth)
    if label not in (0, 1):
        raise UserError(f"{place}: label is {label!r}; it must be 0 or 1")
    if bool(label) != solution.label:
        follows = "follows" if solution.label else "does not follow"
        raise UserError(
            f"{place}: label is {int(label)}, but the query {follows}; correct it or leave it out"
        )
    if depth != solution.depth:
        raise UserError(
            f"{place}: depth is {depth!r}, but the problem's is {solution.depth}; correct it or leave it out"
        )
    own = ("rules", "facts", "query", "label", "depth")
    extra = {name: value for name, value in values.items() if name not in own}
    return Problem(rules, facts, query, solution.label, solution.depth, extra)


def _list(values: Mapping[str, Any], field_name: str, place: str) -> list[Any]:
    found = values.get(field_name, [])
    if not isinstance(found, list):
        raise UserError(f"{place}: {field_name} is {_shown(found)}; write a list")
    return found


def _rule(raw: Any, place: str) -> Rule:
    if not (isinstance(raw, list) and len(raw) == 2):
        conclusion = isinstance(raw, list) and len(raw) == 1
        told = "has no conclusion" if conclusion else f"is {_shown(raw)}"
        raise UserError(f'{place} {told}; write [["a", "b"], "c"]: conditions and a conclusion')
    conditions = raw[0]
    if not isinstance(conditions, list) or not 1 <= len(conditions) <= MOST_CONDITIONS:
        raise UserError(
            f"{place} has the conditions {_shown(conditions)}; write a list of 1 to {MOST_CONDITIONS} "
            "predicates"
        )
    names = tuple(_name(name, f"{place}: condition {index + 1}") for index, name in enumerate(conditions))
    return Rule(names, _name(raw[1], f"{place}: the conclusion"))


def _name(raw: Any, place: str) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise UserError(f"{place} is {_shown(raw)}; write a predicate, a text")
    return raw


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return visible(text if len(text) <= 60 else text[:60] + "...")
