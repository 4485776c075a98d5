"""Label-priority: truth values are drawn first, and rules respect them (arXiv:2205.11502, section 2, "LP").

Predicates are arranged in levels, and each gets a truth value. The true ones of the first level are the
facts. Each predicate of a higher level gets a rule whose conditions are predicates of the level below with
its own truth value. Then U(0, 3n) further rules are drawn, none with true conditions and a false conclusion.
After each of them whose predicates are all true, one of false predicates is added, for balance. So exactly
the true predicates follow.
"""

from __future__ import annotations

import random as random_module

from tfpipeline.reasoning.problem import Rule
from tfpipeline.reasoning.samplers import Theory
from tfpipeline.reasoning.samplers._drawing import conditions, key, rule
from tfpipeline.reasoning.samplers._levels import draw_levels


def sample(random: random_module.Random, predicates: list[str]) -> Theory:
    """Draw a theory."""
    levels = draw_levels(random, predicates, fewest=1)
    rules = []
    for below, level in zip(levels.levels, levels.levels[1:]):
        for name in level:
            rules.append(Rule(conditions(random, levels.of(below, levels.true[name])), name))
    false = [name for name in predicates if not levels.true[name]]
    wanted = len(rules) + random.randint(0, 3 * len(predicates))
    while len(rules) < wanted:
        new = rule(random, predicates)
        holds = all(levels.true[name] for name in new.conditions)
        if holds and not levels.true[new.conclusion]:
            continue
        rules.append(new)
        if holds and len(false) > 1:
            rules.append(rule(random, false))
    different = list({key(new): new for new in rules}.values())
    return Theory(tuple(random.sample(different, len(different))), levels.facts)
