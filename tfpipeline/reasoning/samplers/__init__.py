"""Samplers: distributions over theories (facts and rules) on the same problem space.

One module per sampler; the module's name is the sampler's name. A module defines ``sample(random,
predicates) -> Theory``, and perhaps ``BALANCES_RULE_COUNTS = True``.
"""

from __future__ import annotations

import random
from typing import NamedTuple, Protocol, cast

from tfpipeline.errors import UserError
from tfpipeline.named_modules import find_module, module_names
from tfpipeline.reasoning.problem import Rule


class Theory(NamedTuple):
    """What is given in a problem.

    Attributes:
        rules: none twice, and none with its conclusion among its conditions.
        facts: none twice.
    """

    rules: tuple[Rule, ...]
    facts: tuple[str, ...]


class Sampler(Protocol):
    """The module of a sampler."""

    def sample(self, random: random.Random, predicates: list[str]) -> Theory:
        """Draw a theory.

        Args:
            random: the source of randomness.
            predicates: at least 2.
        """


def names() -> list[str]:
    """The names of all samplers here, sorted."""
    return module_names(__path__)


def find(name: str) -> Sampler:
    """The sampler of that name: a module here or, with a dot in the name, outside this package.

    Raises:
        UserError: there is no such sampler.
    """
    module = find_module("sampler", name, __name__, names())
    if not hasattr(module, "sample"):
        raise UserError(f"the module {name} contains no sampler; it must define sample(random, predicates)")
    return cast(Sampler, module)


def balances_rule_counts(sampler: Sampler) -> bool:
    """Whether problems of each number of rules get both labels equally often."""
    return bool(getattr(sampler, "BALANCES_RULE_COUNTS", False))
