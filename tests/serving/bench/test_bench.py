"""The load of `bench-serving`, on an event loop whose time passes without waiting: every figure is exact."""

from __future__ import annotations

import asyncio
import json
import selectors

import numpy as np
import pytest

from tfpipeline.errors import UserError
from tfpipeline.serving.bench import latencies, loops, measuring, plot
from tfpipeline.serving.client import ResourceExhaustedError


class InstantLoop(asyncio.SelectorEventLoop):
    """An event loop that does not wait: its clock jumps to the next timer."""

    def __init__(self):
        self.now = 0.0
        loop = self

        class Selector(selectors.DefaultSelector):
            def select(self, timeout=None):
                loop.now += timeout or 0.0
                return super().select(0)

        super().__init__(Selector())
        self._clock_resolution = 1e-9  # a timer ends when it is due, and not earlier

    def time(self):
        return self.now


def run(coroutine):
    loop = InstantLoop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


def refused():
    return ResourceExhaustedError("busy", details="busy", target="t")


def server(seconds, one_at_a_time=False):
    """A call that takes so many seconds: a number, or a function of the request's number."""
    lock = asyncio.Lock() if one_at_a_time else None
    numbers = []

    async def call(number):
        numbers.append(number)
        duration = seconds(number) if callable(seconds) else seconds
        if lock is None:
            await asyncio.sleep(duration)
            return
        async with lock:
            await asyncio.sleep(duration)

    call.numbers = numbers
    return call


def test_missing_requests_are_filled_in():
    """A stall of 1 s where a request every 0.25 s was usual hides three others."""
    filled = latencies.fill_in([0.25, 1.0, 0.25, 0.6], 0.25)
    assert sorted(filled) == pytest.approx([0.25, 0.25, 0.25, 0.35, 0.5, 0.6, 0.75, 1.0])
    assert latencies.fill_in([0.3, 0.1], 0.25).tolist() == [0.3, 0.1]
    assert latencies.fill_in([1.0], 0.1).size == 10  # though 1.0 / 0.1 may be rounded
    assert latencies.fill_in([1.0], 0.0).tolist() == [1.0]
    assert latencies.fill_in([], 0.1).size == 0


def test_percentiles_are_latencies_that_were_measured():
    assert latencies.summary([i / 1000 for i in range(100, 0, -1)]) == {
        "mean": 50.5, "p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0,
    }  # fmt: skip
    assert latencies.summary([0.002]) == {"mean": 2.0, "p50": 2.0, "p95": 2.0, "p99": 2.0, "max": 2.0}
    assert latencies.summary([]) == {}


def test_callers_wait_for_their_answers():
    call = server(0.125)
    sample = run(loops.closed_loop(call, callers=3, seconds=1.0))
    assert sample.seconds == 1.0
    assert list(sample.measured) == [0.125] * 24
    assert sorted(call.numbers) == list(range(24))
    assert sample.failed == {}


def test_a_stall_is_one_request_of_a_caller_and_many_of_a_schedule():
    """Request 4 takes a second. The waiting caller notices once, and 8 users who do not wait would."""
    call = server(lambda number: 1.0 if number == 4 else 0.125)
    sample = run(loops.closed_loop(call, callers=1, seconds=2.0))
    assert sorted(sample.measured)[-2:] == [0.125, 1.0]
    assert len(sample.corrected) == len(sample.measured) + 7
    assert sorted(sample.corrected)[-8:] == [0.125 * step for step in range(1, 9)]


def test_a_schedule_does_not_wait():
    """A server of 4 requests a second is sent 8: the n-th waits for all before it."""

    async def overloaded(in_flight):
        call = server(0.25, one_at_a_time=True)
        return await loops.open_loop(call, [0.125 * number for number in range(8)], in_flight)

    want = [0.25 * (number + 1) - 0.125 * number for number in range(8)]
    sample = run(overloaded(in_flight=1000))
    assert list(sample.measured) == list(sample.corrected) == want
    assert list(sample.late) == [0.0] * 8
    assert sample.seconds == 2.0
    # If requests wait here instead of there, only the corrected latencies show it.
    sample = run(overloaded(in_flight=1))
    assert list(sample.measured) == [0.25] * 8
    assert list(sample.corrected) == want
    assert list(sample.late) == [latency - 0.25 for latency in want]


def test_a_busy_client_is_seen():
    """The time in which this program did not get to send a request counts."""

    async def call(number):
        if number == 0:
            asyncio.get_running_loop().now += 0.5  # as if it had computed
        await asyncio.sleep(0.125)

    sample = run(loops.open_loop(call, [0.0, 0.25, 1.0], 10))
    assert list(sample.corrected) == [0.625, 0.375, 0.125]
    assert list(sample.late) == [0.0, 0.25, 0.0]


def test_failed_requests_have_no_latency():
    async def call(number):
        await asyncio.sleep(0.25)
        if number % 3 == 0:
            raise refused()

    sample = run(loops.closed_loop(call, callers=1, seconds=1.5))
    assert (len(sample.measured), sample.failed) == (4, {"RESOURCE_EXHAUSTED": 2})
    sample = run(loops.open_loop(call, [0.0, 0.0, 0.0, 0.0], 10))
    assert (len(sample.measured), sample.failed) == (2, {"RESOURCE_EXHAUSTED": 2})


def test_a_server_that_refuses_at_once_ends_too():
    sent = []

    async def call(number):
        sent.append(asyncio.current_task().get_name())
        asyncio.get_running_loop().now += 0.125
        raise refused()

    sample = run(loops.closed_loop(call, callers=2, seconds=1.0))
    assert sorted(map(sent.count, set(sent))) == [4, 4]  # neither keeps the other from sending
    assert sample.failed == {"RESOURCE_EXHAUSTED": 8}
    assert measuring.Measurement(measuring.Callers(2), 1, sample).to_dict()["measured_ms"] == {}


def test_times_of_independent_requests():
    times = loops.poisson(200.0, 50.0)
    assert times == loops.poisson(200.0, 50.0) != loops.poisson(200.0, 50.0, seed=1)
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 50
    assert len(times) == pytest.approx(10_000, abs=400)  # four standard deviations
    gaps = np.diff(times)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as exponential ones have it


def measurement():
    sample = loops.Sample(2.0, [0.01, 0.03], [0.01, 0.02, 0.03], loops.Counter(UNAVAILABLE=3))
    return measuring.Measurement(measuring.Callers(4), 8, sample)


def test_figures():
    assert measurement().to_dict() == {
        "loop": "closed",
        "callers": 4,
        "batch_size": 8,
        "seconds": 2.0,
        "answered": 2,
        "failed": {"UNAVAILABLE": 3},
        "requests_per_second": 1.0,
        "texts_per_second": 8.0,
        "measured_ms": {"mean": 20.0, "p50": 10.0, "p95": 30.0, "p99": 30.0, "max": 30.0},
        "corrected_ms": {"mean": 20.0, "p50": 20.0, "p95": 30.0, "p99": 30.0, "max": 30.0},
    }
    scheduled = measuring.Measurement(measuring.Rate(2.5), 1, loops.Sample(1.0, [0.5], [0.75], late=[0.25]))
    figures = scheduled.to_dict()
    assert (figures["loop"], figures["rate"], figures["sent_late_ms"]["p99"]) == ("open", 2.5, 250.0)
    lines = list(measuring.table([measurement(), scheduled]))
    assert lines[1].split() == [
        "4",
        "callers",
        "1.0",
        "3",
        "10.0",
        "30.0",
        "30.0",
        "30.0",
        "20.0",
        "30.0",
        "30.0",
        "30.0",
    ]
    assert lines[2].split()[:4] == ["2.5", "/", "s", "1.0"]
    json.dumps(measuring.report("a:1", "m", [measurement(), scheduled]), allow_nan=False)


def test_the_plot(tmp_path):
    tail, milliseconds = plot.by_percentile([0.004, 0.001, 0.003, 0.002])
    assert tail.tolist() == [1.0, pytest.approx(4 / 3), 2.0, 4.0]  # half of them exceed the median: 1 / 0.5
    assert milliseconds.tolist() == [1.0, 2.0, 3.0, 4.0]
    nothing = measuring.Measurement(measuring.Rate(1.0), 1, loops.Sample(1.0))
    plot.draw([measurement(), nothing], "m", tmp_path / "a.svg")
    assert "4 callers" not in (tmp_path / "a.svg").read_text()[:100]
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    plot.draw([measurement()], "m", tmp_path / "a.PNG")
    assert (tmp_path / "a.PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: measuring.Callers(0), "--callers 0: give 1 to 1000"),
        (lambda: measuring.Rate(0), "--rate 0: give requests per second"),
        (lambda: measuring.Rate(float("nan")), "--rate nan"),
        (lambda: measuring.Rate(1e6), r"--rate 1e\+06: give requests per second, above 0 and up to 100000"),
        (lambda: measuring.measure("h:1", [{}], [], seconds=float("nan"), warmup=0), "--seconds nan and"),
        (lambda: measuring.measure("h:1", [{}], [], seconds=1, warmup=float("inf")), "--warmup inf: give"),
        (lambda: measuring.measure("a:1", [], [], seconds=1, warmup=0), "there are no texts to send"),
        (lambda: measuring.measure("a:1", [{"text": ["x"]}], [], seconds=0, warmup=0), "--seconds 0"),
    ],
)
def test_loads_that_cannot_be(make, sentence):
    with pytest.raises(UserError, match=sentence):
        make()


def test_files_that_cannot_be_drawn(tmp_path):
    with pytest.raises(UserError, match="is a directory"):
        plot.check_plot(tmp_path)
    with pytest.raises(UserError, match=r"give a name in \.png, \.svg, \.pdf"):
        plot.check_plot(tmp_path / "a.gif")
