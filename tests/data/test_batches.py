from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpipeline.data import epoch_batches, evaluation_batches
from tfpipeline.data.batches import UNGROUPED

lengths_lists = st.lists(st.integers(1, 200), max_size=120).map(lambda lengths: np.array(lengths, np.int32))


@given(lengths=lengths_lists, size=st.integers(1, 17), window=st.integers(1, 64), epoch=st.integers(0, 5))
def test_an_epoch_holds_every_row_once(lengths, size, window, epoch):
    batches = epoch_batches(lengths, size, bucket_window=window, seed=3, epoch=epoch)
    assert sorted(np.concatenate([*batches, np.arange(0)]).tolist()) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // size)
    assert sorted(map(len, batches), reverse=True)[:-1] == [size] * (len(batches) - 1 if batches else 0)


def test_the_order_is_a_function_of_seed_and_epoch():
    lengths = np.random.default_rng(0).integers(1, 100, 500)

    def joined(seed, epoch):
        return np.concatenate(epoch_batches(lengths, 16, bucket_window=64, seed=seed, epoch=epoch))

    assert (joined(1, 2) == joined(1, 2)).all()
    for seed, epoch in ((1, 3), (2, 2), (2, 1)):
        assert (joined(1, 2) != joined(seed, epoch)).any()


def test_rows_are_mixed_before_they_are_sorted():
    first = epoch_batches(np.full(4096, 7), 32)[0]  # of one length: the order of the shuffle
    assert np.ptp(first) > 2048
    assert 1 not in np.abs(np.diff(first))[:8]


def test_batches_do_not_come_by_length():
    means = np.array(
        [batch.mean() for batch in epoch_batches(np.arange(1024), 32)]
    )  # one window, row = length
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5


@pytest.mark.parametrize(("window", "most"), [(1024, 1.25), (4096, 1.2)])
def test_little_padding_at_log_normal_lengths(window, most):
    """Tokens fed for each real one, at batch 32 and widths rounded up to 8."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(3.5, 0.6, 20_000).astype(np.int64), 3, 128)

    def fed(batches):
        widths = [-(-lengths[batch].max() // 8) * 8 * len(batch) for batch in batches]
        return sum(widths) / lengths.sum()

    assert fed(epoch_batches(lengths, 32, bucket_window=window)) <= most
    assert fed(epoch_batches(lengths, 32, bucket_window=32)) > 1.8  # what sorting saves
    assert fed(evaluation_batches(lengths, 32)) <= 1.15


@given(lengths=lengths_lists, size=st.integers(1, 17))
def test_evaluation_has_each_row_once_shortest_first(lengths, size):
    batches = evaluation_batches(lengths, size)
    widths = [lengths[batch] for batch in batches]
    assert (np.diff(np.concatenate([*widths, np.arange(0)])) >= 0).all()
    assert sorted(np.concatenate([*batches, np.arange(0)])) == list(range(len(lengths)))


def test_rows_are_drawn_with_a_partner():
    """Of 40 classes of 1 to 8 rows; only a batch's border parts a row from its partner."""
    random = np.random.default_rng(0)
    partners = np.repeat(np.arange(40) - 7, random.integers(1, 9, 40))
    random.shuffle(partners)
    lengths = random.integers(3, 90, len(partners))
    batches = epoch_batches(lengths, 16, bucket_window=1, seed=3, partners=partners)
    rows = np.concatenate(batches)
    assert sorted(rows) == list(range(len(partners)))
    several = np.bincount(partners + 7)[partners + 7] > 1
    alone = [
        row
        for batch in batches
        for row in batch
        if several[row] and (partners[batch] == partners[row]).sum() == 1
    ]
    assert len(alone) <= 2 * len(batches)
    drawn = [
        row
        for batch in epoch_batches(lengths, 16, bucket_window=1, seed=3)
        for row in batch
        if several[row] and (partners[batch] == partners[row]).sum() == 1
    ]
    assert len(drawn) > 3 * len(alone)
    again = epoch_batches(lengths, 16, bucket_window=1, seed=3, partners=partners)
    assert all((one == other).all() for one, other in zip(batches, again))
    other = epoch_batches(lengths, 16, bucket_window=1, seed=3, epoch=1, partners=partners)
    assert (np.concatenate(other) != rows).any()


def test_batches_without_regard_to_length_are_sorted_inside():
    """The mean length of a batch varies as that of rows drawn at random does; by length it varies far more."""
    lengths = np.random.default_rng(0).integers(3, 129, 4096)
    means = {
        window: np.std([lengths[batch].mean() for batch in epoch_batches(lengths, 32, bucket_window=window)])
        for window in (UNGROUPED, 1024)
    }
    at_random = lengths.std() / np.sqrt(32)
    assert means[UNGROUPED] == pytest.approx(at_random, rel=0.25)
    assert means[1024] > 4 * at_random
    for batch in epoch_batches(lengths, 32, bucket_window=UNGROUPED)[:5]:
        assert (np.diff(lengths[batch]) >= 0).all()
    found = evaluation_batches(lengths, 32, by_length=False)
    assert sorted(np.concatenate(found)) == list(range(4096))
    assert np.std([lengths[batch].mean() for batch in found]) == pytest.approx(at_random, rel=0.25)
    again = evaluation_batches(lengths, 32, by_length=False)
    assert all((one == other).all() for one, other in zip(found, again))
