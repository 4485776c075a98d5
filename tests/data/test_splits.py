from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpipeline.data import split_rows

FRACTIONS = {"validation": 0.2, "test": 0.1}


def check_partition(parts, count):
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(count))
    for rows in parts.values():
        assert (np.diff(rows) > 0).all()


@given(count=st.integers(0, 300), seed=st.integers(0, 2**32), share=st.floats(0.01, 0.9))
def test_random_split_is_a_partition_of_the_right_sizes(count, seed, share):
    parts = split_rows(count, {"validation": share}, seed)
    check_partition(parts, count)
    wanted = min(max(1, round(count * share)), max(0, count - 1))
    assert len(parts["validation"]) == wanted


def test_a_seed_is_a_split():
    labels = ["a", "b"] * 50
    first, again, other = (split_rows(100, FRACTIONS, seed, strata=labels) for seed in (1, 1, 2))
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


@pytest.mark.parametrize("seed", range(5))
def test_strata_keep_their_proportions(seed):
    labels = np.array(["rare"] * 10 + ["common"] * 140 + ["half"] * 150)
    parts = split_rows(300, FRACTIONS, seed, strata=labels)
    check_partition(parts, 300)
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 210, "validation": 60, "test": 30}
    for name, share in FRACTIONS.items():
        for label in ("rare", "common", "half"):
            assert abs((labels[parts[name]] == label).sum() - share * (labels == label).sum()) <= 1


@given(
    labels=st.lists(st.integers(0, 8), min_size=1, max_size=80),
    share=st.floats(0.05, 0.6),
    test=st.floats(0, 0.35),
    seed=st.integers(0, 99),
)
def test_every_class_is_trained_on(labels, share, test, seed):
    parts = split_rows(len(labels), {"validation": share, "test": test}, seed, strata=labels)
    check_partition(parts, len(labels))
    assert {labels[row] for row in parts["train"]} == set(labels)


@given(
    groups=st.lists(st.integers(0, 12), min_size=1, max_size=200),
    share=st.floats(0.05, 0.6),
    test=st.floats(0, 0.35),
    seed=st.integers(0, 99),
)
def test_no_group_is_in_two_parts(groups, share, test, seed):
    parts = split_rows(len(groups), {"validation": share, "test": test}, seed, groups=groups)
    check_partition(parts, len(groups))
    seen = [{groups[row] for row in rows} for rows in parts.values()]
    assert sum(map(len, seen)) == len(set(groups))
    assert seen[0]
    if len(set(groups)) >= 2:
        assert seen[1]


def test_group_sizes_are_near_what_is_wanted():
    groups = [f"author {row % 50}" for row in range(1000)]
    parts = split_rows(1000, FRACTIONS, 0, groups=groups)
    assert (len(parts["validation"]), len(parts["test"])) == (200, 100)
    uneven = ["big"] * 900 + [f"small {row // 10}" for row in range(100)]
    parts = split_rows(1000, {"validation": 0.05}, 0, groups=uneven)
    assert len(parts["validation"]) == 50


def test_strata_and_groups_exclude_each_other():
    with pytest.raises(ValueError, match="not both"):
        split_rows(1, {}, 0, strata=["a"], groups=["b"])
