"""Predicates in levels, with truth values: what the label-priority samplers begin with."""

from __future__ import annotations

import random as random_module
from dataclasses import dataclass


@dataclass(frozen=True)
class Levels:
    """Predicates with their truth values.

    Attributes:
        levels: the predicates of each level, from the facts up; each level has true and false ones.
        true: the truth value of each predicate.
    """

    levels: tuple[tuple[str, ...], ...]
    true: dict[str, bool]

    @property
    def facts(self) -> tuple[str, ...]:
        """The true predicates of the first level."""
        return tuple(name for name in self.levels[0] if self.true[name])

    def of(self, level: tuple[str, ...], value: bool) -> list[str]:
        """The predicates of a level that have a truth value."""
        return [name for name in level if self.true[name] == value]


def draw_levels(random: random_module.Random, predicates: list[str], fewest: int) -> Levels:
    """Arrange predicates in levels, and draw their truth values.

    Args:
        random: the source of randomness.
        predicates: n, at least 4.
        fewest: the lowest number of levels; the highest is n / 2.
    """
    order = random.sample(predicates, len(predicates))
    count = random.randint(min(fewest, len(order) // 2), len(order) // 2)
    levels = [order[number::count] for number in range(count)]
    true: dict[str, bool] = {}
    for level in levels:
        values = [False, True, *(random.random() < 0.5 for _ in level[2:])]
        true.update(zip(level, values))
    return Levels(tuple(map(tuple, levels)), true)
