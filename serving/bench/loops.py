"""Load on a server: callers that wait for their answers (closed loop), or a schedule (open loop).

Both call one coroutine function and read the time of the event loop, so that tests can give them another.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Callable, Union

import numpy as np

from tfpipeline.serving.bench.latencies import fill_in
from tfpipeline.serving.client import CallError

#: Sends request number n; raises CallError if it fails.
Call = Callable[[int], Awaitable[object]]
Latencies = Union[Sequence[float], np.ndarray]


@dataclass
class Sample:
    """What happened under one load.

    Attributes:
        seconds: from the first request to the last answer.
        measured: latencies in seconds, from when a request was sent.
        corrected: latencies in seconds without coordinated omission.
        failed: status -> how many requests ended with it; they have no latency.
        late: seconds by which each request of a schedule was sent late, because this program was busy or too
            many requests were in flight.
    """

    seconds: float = 0.0
    measured: Latencies = ()
    corrected: Latencies = ()
    failed: Counter[str] = field(default_factory=Counter)
    late: Sequence[float] = ()


async def closed_loop(call: Call, callers: int, seconds: float) -> Sample:
    """Some callers, each of which sends its next request when it has its answer.

    Args:
        call: sends a request.
        callers: how many.
        seconds: how long new requests are sent; answers are waited for.
    """
    clock = asyncio.get_running_loop().time
    begin = clock()
    measured: list[float] = []
    failed: Counter[str] = Counter()
    number = 0

    async def caller() -> None:
        nonlocal number
        while clock() < begin + seconds:
            own, number = number, number + 1
            sent = clock()
            try:
                await call(own)
            except CallError as error:
                failed[error.code] += 1
                await asyncio.sleep(0)  # a call that fails at once must not keep the others waiting
            else:
                measured.append(clock() - sent)

    await asyncio.gather(*(caller() for _ in range(callers)))
    interval = float(np.median(measured)) if measured else 0.0
    return Sample(clock() - begin, measured, fill_in(measured, interval), failed)


async def open_loop(call: Call, due: Sequence[float], in_flight: int) -> Sample:
    """Requests at given times, whether or not others were answered.

    Args:
        call: sends a request.
        due: seconds from the start, ascending.
        in_flight: the maximum number of unanswered requests; beyond it, requests wait here, which their
            corrected latencies include.
    """
    clock = asyncio.get_running_loop().time
    begin = clock()
    room = asyncio.Semaphore(in_flight)
    measured: list[float] = []
    corrected: list[float] = []
    late: list[float] = []
    failed: Counter[str] = Counter()

    async def request(number: int, at: float) -> None:
        async with room:
            sent = clock()
            late.append(sent - at)
            try:
                await call(number)
            except CallError as error:
                failed[error.code] += 1
                return
            end = clock()
            measured.append(end - sent)
            corrected.append(end - at)

    tasks = []
    for number, after in enumerate(due):
        at = begin + after
        if clock() < at:
            await asyncio.sleep(at - clock())
        tasks.append(asyncio.create_task(request(number, at)))
    await asyncio.gather(*tasks)
    return Sample(clock() - begin, measured, corrected, failed, late)


def poisson(rate: float, seconds: float, seed: int = 0) -> list[float]:
    """The times of requests that are independent of one another.

    Args:
        rate: requests per second, on average.
        seconds: how long.
        seed: of the random numbers; the same seed gives the same times.
    """
    generator = np.random.default_rng(seed)
    gaps = generator.exponential(1 / rate, size=int(rate * seconds * 2) + 100)
    times = np.cumsum(gaps)
    return [float(time) for time in times[times < seconds]]
