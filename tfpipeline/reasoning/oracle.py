"""Forward chaining: what facts and rules imply, in how many rounds, and why.

The facts hold in round 0. In each further round, the conclusions of all rules whose conditions hold are
added. (Dowling and Gallier 1984, doi 10.1016/0743-1066(84)90014-1: linear in the number of conditions.)

The depth of a problem with a query that follows is the round in which the query is added: 0 for a fact. The
depth of one with a query that does not follow is the number of rounds until nothing is added any more, among
the rules that can lead to the query: with so many rounds, one can be sure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tfpipeline.reasoning.problem import Rule


@dataclass(frozen=True)
class Solution:
    """The answer to a problem.

    Attributes:
        label: whether the query follows.
        depth: see the module.
        proof: rules in an order in which each one's conditions are facts or earlier conclusions, and the last
            concludes the query; none is superfluous. Empty if the query is a fact or does not follow.
    """

    label: bool
    depth: int
    proof: tuple[Rule, ...]


def rounds(rules: Sequence[Rule], facts: Iterable[str]) -> tuple[dict[str, int], dict[str, Rule]]:
    """All predicates that hold.

    Returns:
        Predicate -> the round in which it is added, and predicate -> the first rule that adds it.
    """
    added = dict.fromkeys(facts, 0)
    reason: dict[str, Rule] = {}
    waiting: dict[str, list[int]] = {}
    missing = []
    for index, rule in enumerate(rules):
        conditions = rule.conditions
        if len(conditions) > 1:
            conditions = tuple(set(conditions))
        missing.append(len(conditions))
        for name in conditions:
            if name in waiting:
                waiting[name].append(index)
            else:
                waiting[name] = [index]
    current = list(added)
    number = 0
    while current:
        number += 1
        ready = []
        for name in current:
            for index in waiting.get(name, ()):
                missing[index] -= 1
                if missing[index] == 0:
                    ready.append(index)
        current = []
        for index in sorted(ready):  # the first rule of a round is the reason, whatever the order of facts
            conclusion = rules[index].conclusion
            if conclusion not in added:
                added[conclusion] = number
                reason[conclusion] = rules[index]
                current.append(conclusion)
    return added, reason


def ancestors(rules: Sequence[Rule], query: str) -> set[str]:
    """The query and all predicates from which rules lead to it."""
    concluding: dict[str, list[Rule]] = {}
    for rule in rules:
        concluding.setdefault(rule.conclusion, []).append(rule)
    found, open_ = {query}, [query]
    while open_:
        for rule in concluding.get(open_.pop(), ()):
            for name in rule.conditions:
                if name not in found:
                    found.add(name)
                    open_.append(name)
    return found


def solve(rules: Sequence[Rule], facts: Iterable[str], query: str) -> Solution:
    """Answer a problem."""
    added, reason = rounds(rules, facts)
    if query in added:
        return Solution(True, added[query], proof(reason, query))
    return Solution(False, depth_if_false(rules, added, query), ())


def depth_if_false(rules: Sequence[Rule], added: Mapping[str, int], query: str) -> int:
    """The depth of a query that does not follow; ``added`` is the result of :func:`rounds`."""
    return max((added[name] for name in ancestors(rules, query) if name in added), default=0)


def proof(reason: Mapping[str, Rule], query: str) -> tuple[Rule, ...]:
    """The rules that lead to a predicate, conditions first; ``reason`` is a result of :func:`rounds`."""
    needed: dict[str, Rule] = {}
    open_ = [query]
    while open_:
        name = open_.pop()
        if name in reason and name not in needed:
            needed[name] = reason[name]
            open_.extend(reason[name].conditions)
    ordered: dict[str, Rule] = {}

    def place(name: str) -> None:
        if name in needed and name not in ordered:
            for condition in needed[name].conditions:
                place(condition)
            ordered[name] = needed[name]

    place(query)
    return tuple(ordered.values())
