"""Draws latencies by percentile, as far into the tail as there are requests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Union

import numpy as np

from tfpipeline.errors import UserError, explain_missing_extra
from tfpipeline.files import atomic_file
from tfpipeline.serving.bench.measuring import Measurement

SUFFIXES = (".png", ".svg", ".pdf")
_TICKS = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)
# Okabe and Ito's colours, which people with any colour vision tell apart; yellow is too pale for a line.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def check_plot(path: Path) -> None:
    """Refuse a file that cannot be drawn, before the measurement.

    Raises:
        UserError: it is a directory, its suffix is unknown, or matplotlib is not installed.
    """
    if path.is_dir():
        raise UserError(f"--plot {path} is a directory; name a file")
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--plot {path}: the suffix says the format; give a name in {', '.join(SUFFIXES)}")
    with explain_missing_extra("train"):
        import matplotlib  # noqa: F401


def draw(measurements: Sequence[Measurement], title: str, path: Path) -> None:
    """Write a figure: a line per load, solid without coordinated omission, dashed as measured.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    furthest = 100.0
    for number, one in enumerate(measurements):
        colour = _COLOURS[number % len(_COLOURS)]
        for seconds, style, name in (
            (one.sample.corrected, "-", str(one.load)),
            (one.sample.measured, "--", None),
        ):
            if len(seconds):
                tail, milliseconds = by_percentile(seconds)
                axes.plot(tail, milliseconds, style, color=colour, label=name, linewidth=1.5)
                furthest = max(furthest, float(tail[-1]))
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = [tick for tick in _TICKS if 1 / (1 - tick / 100) <= 1.01 * furthest]
    axes.set_xticks([1 / (1 - tick / 100) for tick in ticks], [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(1, furthest)
    axes.set_xlabel("percentile")
    axes.set_ylabel("latency (ms)")
    axes.set_title(f"{title}\nsolid: without coordinated omission; dashed: as measured", fontsize=10)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=150)


def by_percentile(seconds: Union[Sequence[float], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The curve of a sample.

    Args:
        seconds: [N].
    Returns:
        1 / (1 - the share of smaller latencies), float64 [N], 1 to N; the latencies in milliseconds, sorted.
    """
    ordered = np.sort(np.asarray(seconds, np.float64))
    return len(ordered) / np.arange(len(ordered), 0, -1), 1e3 * ordered
