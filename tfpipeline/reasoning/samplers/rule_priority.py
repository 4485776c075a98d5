"""Rule-priority: rules and facts are drawn, and labels follow (arXiv:2205.11502, section 2, "RP").

With n predicates: U(0, 4n) rules, none twice, and U(0, n) facts.
"""

from __future__ import annotations

import random as random_module

from tfpipeline.reasoning.samplers import Theory
from tfpipeline.reasoning.samplers._drawing import different_rules


def sample(random: random_module.Random, predicates: list[str]) -> Theory:
    """Draw a theory."""
    rules = different_rules(random, predicates, random.randint(0, 4 * len(predicates)))
    return Theory(rules, tuple(random.sample(predicates, random.randint(0, len(predicates)))))
