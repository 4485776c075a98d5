"""Splits rows into training, validation and test: pure functions of the rows and a seed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Union

import numpy as np

TRAIN = "train"


def split_rows(
    count: int,
    fractions: Mapping[str, float],
    seed: int,
    *,
    strata: Union[Sequence[Hashable], np.ndarray, None] = None,
    groups: Union[Sequence[Hashable], np.ndarray, None] = None,
) -> dict[str, np.ndarray]:
    """Split rows 0 to ``count - 1``.

    A split with a fraction above 0 gets ``count * fraction`` rows, rounded, and at least one if there is more
    than one row (or group); "train" gets the rest.

    scikit-learn's splitters are not used. The stratified one refuses a class with one example and a split
    smaller than the number of classes. The grouped one measures the splits in groups, not in rows.

    Args:
        count: number of rows.
        fractions: split -> its share of the rows; below 1 in total.
        seed: a different seed gives a different split.
        strata: the class of each row. Each split's share of a class is its fraction, within one row. Every
            class keeps at least one row in "train", so that the model can learn what is tested. An array
            must hold class numbers in the order of first occurrence.
        groups: the group of each row; an array as for ``strata``. All rows of a group are in one split, so a
            split's size may be off by about half a group.
    Returns:
        "train" and each split -> its rows, int64, ascending.
    """
    if strata is not None and groups is not None:
        raise ValueError("a split is by strata or by groups, not both")
    rng = np.random.default_rng(seed)
    if groups is not None:
        part_of = _by_group(_codes(groups), fractions, rng)
    else:
        part_of = _by_stratum(np.zeros(count, np.int64) if strata is None else _codes(strata), fractions, rng)
    return {name: np.flatnonzero(part_of == part) for part, name in enumerate([TRAIN, *fractions])}


def _codes(values: Union[Sequence[Hashable], np.ndarray]) -> np.ndarray:
    """The number of each value, in the order of first occurrence; integer [N]."""
    if isinstance(values, np.ndarray):
        return values
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def _by_stratum(strata: np.ndarray, fractions: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    """Systematic sampling: rows are ordered by class and shuffled within it; every 1/fraction-th is taken."""
    count = len(strata)
    part_of = np.zeros(count, np.int8)
    free = rng.permutation(count)
    free = free[np.argsort(strata[free], kind="stable")]
    for part, fraction in enumerate(fractions.values(), 1):
        wanted = _size(count, fraction)
        _, first, sizes = np.unique(strata[free], return_index=True, return_counts=True)
        candidates = np.delete(free, first[sizes == 1])
        if len(candidates) < 2 * wanted:  # otherwise no two neighbours are taken, so no whole class is taken
            candidates = np.delete(free, first)
        wanted = min(wanted, len(candidates))
        if wanted:
            step = len(candidates) / wanted
            taken = candidates[np.floor((np.arange(wanted) + rng.random()) * step).astype(np.int64)]
            part_of[taken] = part
            free = free[part_of[free] == 0]
    return part_of


def _by_group(groups: np.ndarray, fractions: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    """Take groups in random order, each if it brings the current split closer to the intended size."""
    sizes = np.bincount(groups)
    part_of_group = np.zeros(len(sizes), np.int64)
    free = rng.permutation(len(sizes))
    for part, fraction in enumerate(fractions.values(), 1):
        wanted, size = _size(len(groups), fraction), 0
        # If every group is too large, the smallest becomes the split.
        smallest = sizes[free].min(initial=len(groups))
        left = len(free)
        for group in free:
            if left == 1:
                break  # "train" needs a group as well
            if size < wanted and sizes[group] <= max(2 * (wanted - size), 0 if size else smallest):
                part_of_group[group] = part
                size += sizes[group]
                left -= 1
        free = free[part_of_group[free] == 0]
    return part_of_group[groups]


def _size(count: int, fraction: float) -> int:
    return max(1, round(count * fraction)) if fraction else 0
