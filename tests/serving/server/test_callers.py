"""How long a batch waits for callers, with a clock that the test moves."""

from __future__ import annotations

from tfpipeline.serving.server.callers import Callers


def test_as_many_callers_are_expected_as_there_were_at_once():
    callers = Callers(timeout_seconds=2.0, parallel=1, clock=lambda: 0.0)
    assert [callers.arrive() for _ in range(3)] == [True, True, True]  # nobody has called before
    callers.batch_ended(0.0)
    for _ in range(3):
        callers.leave()
    assert [callers.arrive() for _ in range(3)] == [False, False, True]
    assert callers.all_present()
    callers.leave()
    assert not callers.all_present()


def test_callers_that_stay_away_are_expected_for_two_batches():
    callers = Callers(timeout_seconds=2.0, parallel=1, clock=lambda: 0.0)
    for _ in range(3):
        callers.arrive()
    callers.batch_ended(0.0)
    callers.leave()
    callers.leave()
    present = []
    for _ in range(3):  # one caller is left, and a batch of one ends each time
        present.append(callers.all_present())
        callers.batch_ended(0.0)
    assert present == [False, False, True]


def test_a_request_waits_from_its_arrival_or_for_half_a_batch_after_the_last_one():
    now = [10.0]
    callers = Callers(timeout_seconds=2.0, parallel=1, clock=lambda: now[0])
    assert callers.wait_until(9.0) == 11.0
    now[0] = 16.0
    callers.batch_ended(8.0)  # took 8 seconds
    assert callers.wait_until(9.0) == 20.0  # it waited for that batch, and now for its callers
    assert callers.wait_until(19.0) == 21.0


def test_batches_that_are_computed_at_once_divide_the_wait():
    callers = Callers(timeout_seconds=0.0, parallel=4, clock=lambda: 16.0)
    callers.batch_ended(8.0)
    assert callers.wait_until(16.0) == 17.0


def test_after_waits_in_vain_batches_wait_less_and_less_often():
    callers = Callers(timeout_seconds=0.0, parallel=1, clock=lambda: 8.0)

    def batch(full=False):
        """Whether a batch waits for the callers of the last one; two were there, and one is back."""
        for _ in range(2):
            callers.arrive()
        callers.batch_ended(0.0)
        for _ in range(2):
            callers.leave()
        callers.arrive()
        waits = callers.wait_until(8.0) > 8.0
        callers.wait_ended(full)
        callers.leave()
        return waits

    assert [batch() for _ in range(11)] == [True, *[False], True, *2 * [False], True, *4 * [False], True]
    while not batch(full=True):
        pass
    assert [batch() for _ in range(4)] == [True, False, True, False]
