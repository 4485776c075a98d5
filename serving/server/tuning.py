"""Measures batches of a model on this machine, and chooses batching parameters: ``tfpipeline tune-serving``.

The rows are those of the version's warm-up requests, so no data is needed.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from tfpipeline.errors import UserError
from tfpipeline.serving.server.batch_keys import row_tokens
from tfpipeline.serving.server.options import BatchingOptions
from tfpipeline.serving.server.predict import read_request
from tfpipeline.serving.server.saved_model import DEFAULT_SIGNATURE, SavedModel
from tfpipeline.serving.server.status import StatusError
from tfpipeline.serving.server.warmup import REQUESTS, read_logs

ROWS = (1, 2, 4, 8, 16, 32, 64)
MIXED = "mixed"
#: Larger batches must raise the throughput by more than this, for they keep short requests waiting.
_WORTH = 0.05
_LONGEST_WAIT, _SHARE_OF_A_ROW = 0.005, 0.25
_FEWEST_ROUNDS = 2
# Larger batches of long rows tell nothing more, and take seconds.
_MOST_TOKENS = 8192

Rows = dict[str, np.ndarray]  # alias -> [B, ...], of the default signature


@dataclass(frozen=True)
class Measured:
    """A batch and how long it took.

    Attributes:
        group: the tokens of each of its rows, or ``mixed``.
        rows: the number of rows.
        tokens: their tokens in total.
        seconds: the shortest time: other programs can only make it longer.
    """

    group: str
    rows: int
    tokens: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds


@dataclass(frozen=True)
class Tuning:
    """What was measured, and the options that follow from it.

    Attributes:
        measured: one entry per group and number of rows.
        parallel: number of batches at once -> rows per second.
        options: the choice.
    """

    measured: tuple[Measured, ...]
    parallel: Mapping[int, float]
    options: BatchingOptions

    def lines(self) -> list[str]:
        """A table: one line per group, with rows per second for each number of rows."""
        sizes = sorted({one.rows for one in self.measured})
        lines = ["tokens   " + "".join(f"{rows:>7}" for rows in sizes) + "   rows per batch"]
        for group in dict.fromkeys(one.group for one in self.measured):
            found = {one.rows: one.rows_per_second for one in self.measured if one.group == group}
            cells = "".join(f"{found[rows]:7.0f}" if rows in found else f"{'':7}" for rows in sizes)
            lines.append(f"{group:<9}{cells}   rows per second")
        at_once = ", ".join(f"{threads}: {speed:.0f}" for threads, speed in self.parallel.items())
        return [*lines, f"batches at once, rows per second: {at_once}"]


def choose(measured: Iterable[Measured], parallel: Mapping[int, float]) -> BatchingOptions:
    """The smallest batch, and the fewest batches at once, with nearly the best throughput.

    The number of rows is chosen for the mixed rows. The number of tokens is that of the largest batch that is
    worth its rows in any group, so that it limits long rows only.

    Args:
        measured: of the mixed rows at least, with one row among them.
        parallel: number of batches at once -> rows per second.
    """
    groups: dict[str, list[Measured]] = {}
    for one in measured:
        groups.setdefault(one.group, []).append(one)
    best = {group: _smallest(found) for group, found in groups.items()}
    one_row = next(one for one in groups[MIXED] if one.rows == 1)
    fastest = max(parallel.values())
    return BatchingOptions(
        max_rows=best[MIXED].rows,
        max_tokens=max(one.tokens for one in best.values()),
        timeout_seconds=round(min(_LONGEST_WAIT, _SHARE_OF_A_ROW * one_row.seconds), 4),
        parallel=min(threads for threads, speed in parallel.items() if speed >= (1 - _WORTH) * fastest),
    )


def _smallest(found: Sequence[Measured]) -> Measured:
    enough = (1 - _WORTH) * max(one.rows_per_second for one in found)
    return min((one for one in found if one.rows_per_second >= enough), key=lambda one: one.rows)


def tune(
    version: Path,
    *,
    seconds: float = 60.0,
    step: Callable[[float], None] = lambda seconds: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Tuning:
    """Measure a version.

    Args:
        version: its directory.
        seconds: how long to measure; longer if two rounds take longer.
        step: called with the seconds that have passed since its last call.
        clock: returns seconds; tests pass their own.
    Raises:
        UserError: it cannot be loaded, has no warm-up requests of its default signature, or fails on them.
    """
    try:
        model = SavedModel(version)
        try:
            return _tune(model, _groups(model, version), seconds, step, clock)
        finally:
            model.close()
    except StatusError as error:
        raise UserError(f"{version} cannot be measured: {error.message.splitlines()[0]}") from error


def _tune(
    model: Any,
    groups: Mapping[str, Rows],
    seconds: float,
    step: Callable[[float], None],
    clock: Callable[[], float],
) -> Tuning:
    signature = model.signatures[DEFAULT_SIGNATURE]
    fetches = [info.name for _, info in sorted(signature.outputs.items())]

    def run(rows: Rows) -> None:
        model.run({signature.inputs[alias].name: array for alias, array in rows.items()}, fetches)

    def timed(work: Callable[[], object]) -> float:
        start = clock()
        work()
        took = clock() - start
        step(took)
        return took

    batches = {(group, size): _take(rows, size) for group, rows in groups.items() for size in ROWS}
    tokens = {key: int(row_tokens(batch).sum()) for key, batch in batches.items()}
    shortest = {key: math.inf for key in batches if key[1] == 1 or tokens[key] <= _MOST_TOKENS}
    end, rounds = clock() + 0.8 * seconds, 0
    while rounds <= _FEWEST_ROUNDS or clock() < end:
        for key in shortest:
            took = timed(lambda batch=batches[key]: run(batch))  # type: ignore[misc]
            if rounds:  # the first one builds executors
                shortest[key] = min(shortest[key], took)
        rounds += 1
    measured = tuple(Measured(*key, tokens[key], took) for key, took in shortest.items())
    best = _smallest([one for one in measured if one.group == MIXED])
    repeats = max(4, round(0.02 * seconds / best.seconds))
    several = [batches[MIXED, best.rows]] * repeats
    fastest = dict.fromkeys(sorted({1, 2, os.cpu_count() or 1}), math.inf)
    with ThreadPoolExecutor(max(fastest)) as pool:
        for _ in range(_FEWEST_ROUNDS):
            for threads in fastest:
                took = timed(lambda threads=threads: _at_once(run, several, threads, pool))  # type: ignore[misc]
                fastest[threads] = min(fastest[threads], took)
    parallel = {threads: repeats * best.rows / took for threads, took in fastest.items()}
    return Tuning(measured, parallel, choose(measured, parallel))


def _at_once(
    run: Callable[[Rows], None], batches: Sequence[Rows], threads: int, pool: ThreadPoolExecutor
) -> None:
    def work(first: int) -> None:
        for batch in batches[first::threads]:
            run(batch)

    list(pool.map(work, range(threads)))


def _groups(model: Any, version: Path) -> dict[str, Rows]:
    """Rows of the default signature: of each number of tokens, and mixed."""
    requests: list[Rows] = []
    path = version / REQUESTS
    for log in read_logs(path) if path.exists() else ():
        request = log.predict_log.request
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if log.WhichOneof("log_type") == "predict_log" and name == DEFAULT_SIGNATURE:
            requests.append(dict(read_request(request, model.signatures[DEFAULT_SIGNATURE]).inputs))
    single = [rows for rows in requests if _count(rows) == 1]
    if not single:
        raise UserError(
            f"{version} has no warm-up requests to measure; export the model again without --warmup 0"
        )
    groups = {f"{int(row_tokens(rows)[0])}": rows for rows in single}
    # The largest request has rows of many lengths, as exports write it.
    return {**groups, MIXED: max(requests, key=lambda rows: int(row_tokens(rows).sum()))}


def _count(rows: Rows) -> int:
    return len(next(iter(rows.values())))


def _take(rows: Rows, size: int) -> Rows:
    """``size`` rows, evenly from the shortest to the longest, each as often as needed."""
    order = np.argsort(row_tokens(rows), kind="stable")
    chosen = order[((np.arange(size) + 0.5) * len(order) / size).astype(int)]
    return {alias: array[chosen] for alias, array in rows.items()}


def newest_version(model_dir: Path, number: Optional[int], versions: Mapping[int, Path]) -> Path:
    """The directory of a version, by default of the newest.

    Raises:
        UserError: there is no such version.
    """
    if number is None:
        return versions[max(versions)]
    if number not in versions:
        there = ", ".join(map(str, sorted(versions)))
        raise UserError(f"{model_dir} has no version {number}; it has: {there}")
    return versions[number]
