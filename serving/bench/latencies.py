"""Latencies of a load test, and what they leave out.

A caller that waits for an answer sends nothing in the meantime, so a stall of a second is one slow request,
where users who do not wait for one another would have seen hundreds. This is called coordinated omission
(Gil Tene, "How NOT to Measure Latency", 2015). With a schedule, a latency counts from the time at which the
request was due. Without one, :func:`fill_in` adds the requests that were not sent, as HdrHistogram does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

import numpy as np

PERCENTILES = (50.0, 95.0, 99.0)


def fill_in(seconds: Union[Sequence[float], np.ndarray], interval: float) -> np.ndarray:
    """Add the latencies of the requests that a waiting caller did not send.

    Args:
        seconds: [N], the latencies of callers that send a request when they have their answer.
        interval: seconds, usually between two requests of a caller; 0 or less adds nothing.
    Returns:
        float64 [at least N]: each latency L, and L - interval, L - 2 interval, ... down to the interval.
    Source: HdrHistogram, recordValueWithExpectedInterval.
    """
    measured = np.asarray(seconds, np.float64)
    if interval <= 0 or not measured.size:
        return measured
    # How many whole intervals each latency leaves after the first; tolerant of rounding.
    missing = np.floor(measured / interval * (1 + 1e-12)).astype(np.int64) - 1
    added = [
        latency - interval * np.arange(1, count + 1) for latency, count in zip(measured, missing) if count > 0
    ]
    return np.concatenate([measured, *added])


def summary(seconds: Union[Sequence[float], np.ndarray]) -> dict[str, float]:
    """Mean, percentiles and maximum in milliseconds; empty without latencies.

    A percentile is a latency that was measured: the smallest one that at least so many do not exceed.
    """
    measured = np.asarray(seconds, np.float64)
    if not measured.size:
        return {}
    at = np.percentile(measured, PERCENTILES, method="inverted_cdf")
    named = {f"p{percentile:g}": value for percentile, value in zip(PERCENTILES, at)}
    numbers = {"mean": measured.mean(), **named, "max": measured.max()}
    return {name: round(1e3 * float(value), 3) for name, value in numbers.items()}
