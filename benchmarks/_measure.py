"""Times several ways of doing the same thing, in turn, in one process."""

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
    """Time each way on each input, interleaved, so that all suffer alike from what else the machine does.

    The first input only warms up. A ratio is taken input by input and its median reported: robust against
    an interruption, and no ratio of two averages that were taken minutes apart.

    Args:
        ways: name -> the call to time.
        inputs: at least two.
        baseline: the way that the others' speed is divided by.
    Returns:
        For each way ``milliseconds`` (median) and ``speed_ratio`` (median of baseline's time / its time:
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
    """The most memory this process has had, in MiB, pages of files that it has mapped included.

    Linux's own figure: ``getrusage`` answers with the parent's where that had more when it started this
    process.
    """
    return _status("VmHWM")


def memory_mb() -> float:
    """The memory that this process has now, in MiB, counted as :func:`peak_mb` does."""
    return _status("VmRSS")


def reset_peak() -> None:
    """Let :func:`peak_mb` begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise OSError(f"/proc/self/status has no {name}")


def report(**fields: Any) -> None:
    """Print one measurement as a JSON line."""
    print(json.dumps(fields), flush=True)
