"""Drawing rules."""

from __future__ import annotations

import random as random_module
from collections.abc import Sequence

from tfpipeline.reasoning.problem import MOST_CONDITIONS, Rule


def rule(random: random_module.Random, predicates: Sequence[str]) -> Rule:
    """A rule of one to three conditions; all of its predicates are different.

    Most of the time of drawing problems is spent here, so it makes few calls: ``random.sample`` takes five
    times as long for so few names.
    """
    uniform, size = random.random, len(predicates)
    count = min(1 + int(uniform() * MOST_CONDITIONS), size - 1)
    places = [int(uniform() * size)]
    while len(places) <= count:
        place = int(uniform() * size)
        if place not in places:
            places.append(place)
    conclusion, *named = [predicates[place] for place in places]
    return Rule(tuple(named), conclusion)


def conditions(random: random_module.Random, names: Sequence[str]) -> tuple[str, ...]:
    """One to three different predicates of some."""
    return tuple(random.sample(names, random.randint(1, min(MOST_CONDITIONS, len(names)))))


def key(rule: Rule) -> tuple[frozenset[str], str]:
    """What makes two rules the same: the order of conditions does not matter."""
    return frozenset(rule.conditions), rule.conclusion


def different_rules(random: random_module.Random, predicates: Sequence[str], count: int) -> tuple[Rule, ...]:
    """Rules of which none is drawn twice; fewer than ``count`` if few predicates allow no more."""
    drawn: dict[tuple[frozenset[str], str], Rule] = {}
    for _ in range(4 * count):
        if len(drawn) == count:
            break
        new = rule(random, predicates)
        drawn[key(new)] = new
    return tuple(drawn.values())
