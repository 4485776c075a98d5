from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpipeline.errors import UserError
from tfpipeline.mining import Choice

SCORES = np.array([[0.9, 0.8, -np.inf, 0.6, 0.8, 0.1]], np.float32)


def chosen(right=1.0, **options):
    ((numbers,),) = [Choice(**{"relative_margin": 0.0, **options}).choose(SCORES, np.array([right]))]
    return numbers.tolist()


def test_by_hand():
    assert chosen(count=9, depth=9) == [0, 1, 4, 3, 5]  # of equal scores, the first document comes first
    assert chosen(count=2) == [0, 1]
    assert chosen(count=2, skip=1) == [1, 4]
    assert chosen(count=3, skip=1, depth=4) == [1, 4, 3]
    assert chosen(count=2, skip=1, depth=3, margin=0.25) == []  # the rank counts before the margin
    assert chosen(count=9, depth=9, margin=0.25) == [3, 5]
    assert chosen(count=9, depth=9, relative_margin=0.15) == [1, 4, 3, 5]
    # The narrower of both margins counts.
    assert chosen(0.9, count=9, depth=9, margin=0.05, relative_margin=0.3) == [3, 5]
    assert chosen(0.9, count=9, depth=9, margin=0.5, relative_margin=0.01) == [5]
    assert chosen(-0.2, count=9, depth=9, relative_margin=0.05) == []
    assert chosen(0.05, count=9, depth=9) == []


def test_a_relative_margin_is_below_a_negative_similarity_too():
    assert Choice(relative_margin=0.05).highest(np.array([0.8, -0.8])) == pytest.approx([0.76, -0.84])


@given(data=st.data(), documents=st.integers(1, 8))
def test_what_is_chosen_is_allowed_and_nothing_better_is_left(data, documents):
    level = st.sampled_from([-np.inf, 0.0, 0.25, 0.5, 0.75, 1.0])
    scores = np.array([data.draw(st.lists(level, min_size=documents, max_size=documents))])
    skip, count = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 3))
    choice = Choice(
        count, skip, skip + count + data.draw(st.integers(0, 3)), data.draw(level.filter(np.isfinite))
    )
    (found,) = choice.choose(scores, np.array([0.9]))
    ranked = sorted(range(documents), key=lambda number: (-scores[0, number], number))
    window = ranked[skip : choice.depth]
    allowed = [each for each in window if -np.inf < scores[0, each] <= choice.highest(np.array(0.9))]
    assert found.tolist() == allowed[:count]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "--count is 0; it must be at least 1"),
        ({"skip": -1}, "--skip is -1; it must be at least 0"),
        ({"depth": 5, "skip": 3, "count": 3}, "--depth is 5, which leaves no room for --count 3 after --skip 3; it must be at least 6"),
        ({"margin": -0.1}, "--margin is -0.1; it must be from 0 to 2"),
        ({"relative_margin": float("nan")}, "--relative-margin is nan; it must be from 0 to 1"),
    ],
    ids=["count", "skip", "depth", "margin", "relative-margin"],
)  # fmt: skip
def test_bad_options(options, message):
    with pytest.raises(UserError) as caught:
        Choice(**options)
    assert str(caught.value) == message
