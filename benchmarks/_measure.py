"""Times several ways of doing the same thing, alternately, in one process."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def side_by_side(
    ways: Mapping[str, Callable[[Any], object]],
    inputs: Sequence[Any],
    *,
    baseline: str,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, float]]:
    """Time each way on each input, interleaved, so that other load on the machine affects all ways alike.

    The first input is only a warm-up. A ratio is computed per input, and the median is reported. So an
    interruption has little effect, and no ratio compares averages that were measured minutes apart.

    Args:
        ways: name -> the call to time.
        inputs: at least two.
        baseline: the way that the others are compared with.
    Returns:
        For each way ``milliseconds`` (median) and ``speed_ratio`` (median of the baseline's time / its time:
        above 1 is faster than the baseline).
    """
    if len(inputs) < 2:
        raise ValueError("the first input is left out, so at least two are needed")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for i, item in enumerate(inputs):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            start = clock()
            ways[name](item)
            seconds[name].append(clock() - start)
    return {
        name: {
            "milliseconds": round(1e3 * statistics.median(times[1:]), 3),
            "speed_ratio": round(
                statistics.median(b / t for b, t in zip(seconds[baseline][1:], times[1:])), 3
            ),
        }
        for name, times in seconds.items()
    }


def peak_mb() -> float:
    """The peak memory of this process, in MiB, including pages of mapped files.

    Linux's own figure: ``getrusage`` returns the parent's peak if that was higher when the parent started
    this process.
    """
    return _status("VmHWM")


def memory_mb() -> float:
    """The current memory of this process, in MiB, counted as in :func:`peak_mb`."""
    return _status("VmRSS")


def reset_peak() -> None:
    """Restart the measurement of :func:`peak_mb`."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise OSError(f"/proc/self/status has no {name}")


def report(**fields: Any) -> None:
    """Print one measurement as a JSON line."""
    print(json.dumps(fields), flush=True)
