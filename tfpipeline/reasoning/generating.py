"""Draws problems: seeded, balanced by depth and label, in parallel, and as a stream.

Problems are made in blocks. A block depends on the seed and its number only, so the problems do not depend on
the number of processes. In a block, each depth and each label is wanted equally often. For each theory that a
sampler draws, the query is chosen among the predicates whose depth and label are still wanted.
"""

from __future__ import annotations

import itertools
import multiprocessing
import random as random_module
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tfpipeline.errors import UserError
from tfpipeline.reasoning import samplers
from tfpipeline.reasoning.oracle import depth_if_false, rounds
from tfpipeline.reasoning.problem import Problem

BLOCK = 500  # problems
DEEPEST = 12
_TRIES = 20_000  # theories for one problem, before a block is given up


@dataclass(frozen=True)
class Generator:
    """What to draw.

    Args:
        sampler: the name of a sampler.
        seed: of all random numbers.
        depths: the least and the greatest depth.
        predicates: the least and the greatest number of predicates of a problem; at least 4.
        names: the predicates to choose from.
        fits: whether a problem can be used, such as one whose text is short enough; by default all can.
    Raises:
        UserError: no problem of such a depth or with so many predicates exists.
    """

    sampler: str
    seed: int = 0
    depths: tuple[int, int] = (0, 6)
    predicates: tuple[int, int] = (5, 30)
    names: Sequence[str] = tuple(f"p{number}" for number in range(30))
    fits: Callable[[Problem], bool] | None = None

    def __post_init__(self) -> None:
        samplers.find(self.sampler)
        least, most = self.predicates
        if not 4 <= least <= most:
            raise UserError(
                f"predicates are {least} to {most}; the least must be 4 or more, and not above the most"
            )
        if most > len(self.names):
            raise UserError(
                f"{most} predicates are wanted, but there are names for {len(self.names)}; want fewer"
            )
        low, high = self.depths
        if not 0 <= low <= high:
            raise UserError(f"depths are {low} to {high}; they begin at 0, and the least comes first")
        if high > DEEPEST or high >= most:
            limit = min(DEEPEST, most - 1)
            raise UserError(
                f"a depth of {high} is wanted; with at most {most} predicates the limit is {limit}"
            )

    def block(self, number: int, count: int = BLOCK) -> list[Problem]:
        """A block of problems.

        Raises:
            UserError: the sampler draws too few problems of a wanted depth.
        """
        random = random_module.Random(f"{self.sampler}/{self.seed}/{number}")
        sampler = samplers.find(self.sampler)
        wanted = self._wanted(number, count)
        draw = self._pairs if samplers.balances_rule_counts(sampler) else self._singles
        problems = draw(random, sampler, wanted)
        random.shuffle(problems)
        return problems

    def _wanted(self, number: int, count: int) -> dict[tuple[int, bool], int]:
        """How many problems of each depth and label a block has."""
        low, high = self.depths
        classes = [(depth, label) for depth in range(low, high + 1) for label in (False, True)]
        wanted = dict.fromkeys(classes, 0)
        for index in range(count):
            wanted[classes[(number * count + index) % len(classes)]] += 1
        return wanted

    def _singles(
        self, random: random_module.Random, sampler: samplers.Sampler, wanted: dict[tuple[int, bool], int]
    ) -> list[Problem]:
        problems: list[Problem] = []
        missing, tries = sum(wanted.values()), 0
        while missing:
            tries += 1
            if tries > _TRIES:
                raise self._too_rare(wanted)
            problem = self._problem(random, self._theory(random, sampler), wanted)
            if problem is not None:
                wanted[problem.depth, problem.label] -= 1
                problems.append(problem)
                missing, tries = missing - 1, 0
        return problems

    def _pairs(
        self, random: random_module.Random, sampler: samplers.Sampler, wanted: dict[tuple[int, bool], int]
    ) -> list[Problem]:
        """Problems in pairs: one that follows, and one with the same number of rules that does not."""
        problems: list[Problem] = []
        waiting: dict[tuple[int, bool], list[Problem]] = {}
        missing, tries = sum(wanted.values()), 0
        while missing:
            tries += 1
            if tries > _TRIES:
                raise self._too_rare(wanted)
            # A coin chooses the label first: labels must be equally likely whatever the number of rules.
            label = random.random() < 0.5
            of_label = {key: count for key, count in wanted.items() if key[1] == label}
            problem = self._problem(random, self._theory(random, sampler), of_label)
            if problem is None:
                continue
            rules = len(problem.rules)
            partners = waiting.get((rules, not problem.label), [])
            usable = [other for other in partners if wanted[other.depth, other.label]]
            if not usable and missing > 1:
                waiting.setdefault((rules, problem.label), []).append(problem)
                continue
            pair = [problem, *usable[:1]]
            for chosen in pair:
                wanted[chosen.depth, chosen.label] -= 1
            if usable:
                partners.remove(usable[0])
            problems += pair
            missing, tries = missing - len(pair), 0
        return problems

    def _theory(self, random: random_module.Random, sampler: samplers.Sampler) -> samplers.Theory:
        count = random.randint(*self.predicates)
        return sampler.sample(random, random.sample(self.names, count))

    def _problem(
        self,
        random: random_module.Random,
        theory: samplers.Theory,
        wanted: dict[tuple[int, bool], int],
    ) -> Problem | None:
        """The problem of a theory whose depth and label are wanted most; None if none is wanted."""
        added = rounds(theory.rules, theory.facts)[0]
        deepest = max(added.values(), default=0)
        order = sorted((key for key, count in wanted.items() if count), key=lambda key: -wanted[key])
        if all(depth > deepest for depth, _ in order):
            return None  # most theories, once only deep problems are wanted
        named = [name for rule in theory.rules for name in (*rule.conditions, rule.conclusion)]
        queries = list(dict.fromkeys([*theory.facts, *named]))
        random.shuffle(queries)
        found: dict[tuple[int, bool], str] = {}
        false_wanted = any(not label and depth <= deepest for depth, label in order)
        for query in queries:
            if query in added:
                found.setdefault((added[query], True), query)
            elif false_wanted:
                found.setdefault((depth_if_false(theory.rules, added, query), False), query)
        for depth, label in order:
            if (depth, label) in found:
                query = found[depth, label]
                problem = Problem(theory.rules, theory.facts, query, label, depth, {"sampler": self.sampler})
                if self.fits is None or self.fits(problem):
                    return problem
        return None

    def _too_rare(self, wanted: dict[tuple[int, bool], int]) -> UserError:
        depth, label = next(key for key, count in wanted.items() if count)
        return UserError(
            f"{self.sampler} drew no usable problem of depth {depth} with the label {int(label)} in "
            f"{_TRIES:,} theories of {self.predicates[0]} to {self.predicates[1]} predicates; allow more "
            "predicates or less depth"
        )


def generate(generator: Generator, count: int, *, processes: int = 1) -> Iterator[Problem]:
    """Draw problems, one block after the other.

    Args:
        generator: what to draw.
        count: number of problems.
        processes: number of processes that draw; memory holds a few blocks per process.
    """
    sizes = [BLOCK] * (count // BLOCK) + ([count % BLOCK] if count % BLOCK else [])
    if processes <= 1:
        for number, size in enumerate(sizes):
            yield from generator.block(number, size)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        jobs = iter(enumerate(sizes))
        running = [pool.submit(generator.block, *job) for job in itertools.islice(jobs, 2 * processes)]
        while running:
            yield from running.pop(0).result()
            running += [pool.submit(generator.block, *job) for job in itertools.islice(jobs, 1)]
