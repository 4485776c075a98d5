"""Label-priority, harder: false predicates have rules like those of true ones (arXiv:2205.11502, "LP*").

It begins as label-priority does, with at least two levels. But the rule of a false predicate has any
conditions from the level below that do not all hold: true and false ones mixed. And the U(0, 3n) further
rules lead to true predicates only, from predicates of their own and of later levels. They never fire, because
at least one of their conditions is false. So neither the conditions of a rule nor the number of rules that
conclude a predicate tell whether it follows.

In the authors' code, such conditions are drawn and checked, and then drawn again without the check, so some
of these rules fire. Here, the check has its effect.
"""

from __future__ import annotations

import random as random_module

from tfpipeline.reasoning.problem import Rule
from tfpipeline.reasoning.samplers import Theory
from tfpipeline.reasoning.samplers._drawing import conditions, key
from tfpipeline.reasoning.samplers._levels import Levels, draw_levels


def sample(random: random_module.Random, predicates: list[str]) -> Theory:
    """Draw a theory."""
    levels = draw_levels(random, predicates, fewest=2)
    rules = []
    for below, level in zip(levels.levels, levels.levels[1:]):
        for name in level:
            if levels.true[name]:
                rules.append(Rule(conditions(random, levels.of(below, True)), name))
            else:
                rules.append(Rule(_with_a_false_one(random, levels, list(below)), name))
    for _ in range(random.randint(0, 3 * len(predicates))):
        number = random.randrange(max(1, len(levels.levels) - 1))
        name = random.choice(levels.of(levels.levels[number], True))
        later = [other for level in levels.levels[number:] for other in level if other != name]
        rules.append(Rule(_with_a_false_one(random, levels, later), name))
    different = list({key(new): new for new in rules}.values())
    return Theory(tuple(random.sample(different, len(different))), levels.facts)


def _with_a_false_one(random: random_module.Random, levels: Levels, names: list[str]) -> tuple[str, ...]:
    """Conditions of which at least one does not hold; some of ``names`` do not."""
    while True:
        drawn = conditions(random, names)
        if not all(levels.true[name] for name in drawn):
            return drawn
