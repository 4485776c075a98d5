"""Random clauses: independent Horn clauses at a fixed density, solved in few steps.

A distribution that neither of the papers' samplers resembles: with n predicates there are 2n rules with
conditions and conclusion drawn independently, half of them of two conditions, and n / 5 facts. Near this
density, about half of the predicates follow, and most of them in one to three rounds (compare the random
Horn formulas of Demopoulos and Vardi 2005, "The phase transition in the random HornSAT problem").
"""

from __future__ import annotations

import random as random_module

from tfpipeline.reasoning.problem import Rule
from tfpipeline.reasoning.samplers import Theory
from tfpipeline.reasoning.samplers._drawing import key


def sample(random: random_module.Random, predicates: list[str]) -> Theory:
    """Draw a theory."""
    size = len(predicates)
    drawn: dict[tuple[frozenset[str], str], Rule] = {}
    for _ in range(2 * size):
        count = min(random.choice((1, 2, 2, 3)), size - 1)
        *conditions, conclusion = random.sample(predicates, count + 1)
        new = Rule(tuple(conditions), conclusion)
        drawn.setdefault(key(new), new)
    return Theory(tuple(drawn.values()), tuple(random.sample(predicates, max(1, size // 5))))
