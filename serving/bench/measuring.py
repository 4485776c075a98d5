"""Measures a server under several loads, one after the other."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from tfpipeline.console import notice
from tfpipeline.errors import UserError
from tfpipeline.serving.bench.latencies import summary
from tfpipeline.serving.bench.loops import Call, Sample, closed_loop, open_loop, poisson
from tfpipeline.serving.client import AsyncPredictClient

IN_FLIGHT = 1000
_HIGHEST_RATE = 100_000
_LONGEST_SECONDS = 86_400


@dataclass(frozen=True)
class Callers:
    """So many callers, each of which waits for its answer."""

    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= IN_FLIGHT:
            raise UserError(f"--callers {self.count}: give 1 to {IN_FLIGHT}")

    def __str__(self) -> str:
        return f"{self.count} caller{'s' if self.count > 1 else ''}"


@dataclass(frozen=True)
class Rate:
    """So many requests per second, at random times, whether or not others were answered."""

    per_second: float

    def __post_init__(self) -> None:
        if not 0 < self.per_second <= _HIGHEST_RATE:
            raise UserError(
                f"--rate {self.per_second:g}: give requests per second, above 0 and up to {_HIGHEST_RATE}"
            )

    def __str__(self) -> str:
        return f"{self.per_second:g} / s"


Load = Union[Callers, Rate]


@dataclass(frozen=True)
class Measurement:
    """One load, and what happened under it.

    Attributes:
        load: the load.
        batch_size: texts per request.
        sample: the latencies.
    """

    load: Load
    batch_size: int
    sample: Sample

    def to_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON. Latencies are in milliseconds, of answered requests."""
        sample, answered = self.sample, len(self.sample.measured)
        closed = isinstance(self.load, Callers)
        rate = answered / sample.seconds if sample.seconds else 0.0
        figures: dict[str, Any] = {
            "loop": "closed" if closed else "open",
            **({"callers": self.load.count} if isinstance(self.load, Callers) else {}),
            **({"rate": self.load.per_second} if isinstance(self.load, Rate) else {}),
            "batch_size": self.batch_size,
            "seconds": round(sample.seconds, 3),
            "answered": answered,
            "failed": dict(sorted(sample.failed.items())),
            "requests_per_second": round(rate, 2),
            "texts_per_second": round(rate * self.batch_size, 2),
            "measured_ms": summary(sample.measured),
            "corrected_ms": summary(sample.corrected),
        }
        if not closed:
            figures["sent_late_ms"] = summary(sample.late)
        return figures


def measure(
    target: str,
    requests: Sequence[Mapping[str, list[str]]],
    loads: Sequence[Load],
    *,
    seconds: float,
    warmup: float,
    **options: Any,
) -> list[Measurement]:
    """Measure a server under each load.

    Args:
        target: HOST:PORT.
        requests: the texts of each request: ``text`` and, of pairs, ``text_pair``, lists of one length. They
            are sent in turn, over and over.
        loads: one or several.
        seconds: how long each load lasts.
        warmup: seconds of the same load before it, which are not measured.
        options: those of :class:`AsyncPredictClient`: ``model``, ``version``, ``timeout``, ...
    Raises:
        UserError: there are no texts, or a duration cannot be.
        ClientError: the first request fails.
    """
    if not requests:
        raise UserError("there are no texts to send; give some with --input FILE or as arguments")
    if not (0 < seconds <= _LONGEST_SECONDS and 0 <= warmup <= _LONGEST_SECONDS):
        raise UserError(
            f"--seconds {seconds:g} and --warmup {warmup:g}: give seconds above 0, and 0 or more, at most "
            f"{_LONGEST_SECONDS} each"
        )
    return asyncio.run(_measure(target, requests, loads, seconds, warmup, options))


async def _measure(
    target: str,
    requests: Sequence[Mapping[str, list[str]]],
    loads: Sequence[Load],
    seconds: float,
    warmup: float,
    options: Mapping[str, Any],
) -> list[Measurement]:
    # A retry would hide a refused request behind a slow one.
    async with AsyncPredictClient(target, retries=0, **options) as client:

        async def call(number: int) -> object:
            asked = requests[number % len(requests)]
            return await client.predict(asked["text"], asked.get("text_pair"))

        await call(0)  # a wrong address or model is reported, not measured
        measured = []
        for load in loads:
            if warmup:
                with notice(f"{load}: warming up for {warmup:g} s"):
                    await _run(call, load, warmup, seed=1)
            with notice(f"{load}: measuring for {seconds:g} s"):
                sample = await _run(call, load, seconds, seed=0)
            size = float(np.mean([len(one["text"]) for one in requests]))
            measured.append(Measurement(load, round(size), sample))
    return measured


async def _run(call: Call, load: Load, seconds: float, seed: int) -> Sample:
    if isinstance(load, Callers):
        return await closed_loop(call, load.count, seconds)
    return await open_loop(call, poisson(load.per_second, seconds, seed), IN_FLIGHT)


def report(target: str, model: str, measurements: Sequence[Measurement]) -> dict[str, Any]:
    """All figures with what they depend on, ready for JSON."""
    return {
        "target": target,
        "model": model,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "client": {
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
        },
        "measurements": [one.to_dict() for one in measurements],
    }


def table(measurements: Sequence[Measurement]) -> Iterator[str]:
    """The figures as lines for a terminal."""
    names = ("p50", "p95", "p99", "max")
    rows = [["load", "requests/s", "failed", *names, *(f"{name}*" for name in names)]]
    for one in measurements:
        figures = one.to_dict()
        latencies = [figures[kind].get(name) for kind in ("measured_ms", "corrected_ms") for name in names]
        rows.append(
            [
                str(one.load),
                f"{figures['requests_per_second']:.1f}",
                str(sum(figures["failed"].values())),
                *("-" if number is None else f"{number:.1f}" for number in latencies),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        yield "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        )
    yield "latencies in ms; *: without coordinated omission (see docs/deployment.md)"
