"""One table of all benchmarks.

    make bench
    python -m benchmarks.table FILE [--to docs/benchmarks.md]

Reads the JSON lines that the benchmarks print (other lines are skipped) and prints a Markdown table: the
measurement, our figure, the peer's, and their ratio. A benchmark prints what it could not measure; anything
else that is missing was not run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

# Fields that distinguish a benchmark's measurements, in the order in which they are shown.
_NAMES = (
    "task",
    "model",
    "format",
    "corpus",
    "lengths",
    "case",
    "callers",
    "layout",
    "batch",
    "labels",
    "rows",
    "heads",
    "precision",
    "signature",
    "words",
    "warmup",
    "way",
    "peer",
)
# Our figure, the peer's, and their ratio, as fields of a JSON line. The first entry with a ratio is shown.
_FIGURES = (
    ("seconds", "alone_seconds", "seconds_ratio"),
    ("megabytes", "alone_megabytes", "megabytes_ratio"),
    ("batch_milliseconds", "step_milliseconds", "batch_share_of_step"),
    ("milliseconds", "model_milliseconds", "share"),
    ("milliseconds", "peer_milliseconds", "speed_ratio"),
    ("examples_per_second", None, "ratio"),
    ("requests_per_second", None, "speed_ratio"),
    ("multitask_seconds", "classification_seconds", "ratio"),
    ("first_milliseconds", "milliseconds", "ratio"),
    ("peak_mb", "base_mb", "peak_ratio"),
    ("disk_mb", "weights_mb", "disk_ratio"),
    ("peak_mb", "base_mb", None),
)
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def measurements(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The JSON objects among lines that name a benchmark; the last one of each measurement."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in lines:
        if line.startswith("{"):
            fields = json.loads(line)
            if "benchmark" in fields:
                found[_name(fields)] = fields
    return list(found.values())


def _name(fields: Mapping[str, Any]) -> tuple[str, ...]:
    parts = (f"{name} {fields[name]}" for name in _NAMES if fields.get(name) is not None)
    return (str(fields["benchmark"]), *parts)


def rows(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Name, ours, peer, ratio: one row per kind of figure in a measurement."""
    made = []
    for fields in found:
        there = [one for one in _FIGURES if one[0] in fields]
        figures: dict[str, tuple[str, Optional[str], Optional[str]]] = {}
        for one in there:
            if one[2] is None or one[2] in fields:
                figures.setdefault(one[0], one)
        alone = [
            (there[0][0] if there else _first_number(fields), None, None)
        ]  # what peers are compared with
        for ours, peer, ratio in figures.values() or alone:
            theirs = f"{fields[peer]} {_unit(peer)}" if peer is not None and peer in fields else ""
            shown = "" if ratio is None else str(fields[ratio])
            made.append((", ".join(_name(fields)), f"{fields[ours]} {_unit(ours)}", theirs, shown))
    return made


def _first_number(fields: Mapping[str, Any]) -> str:
    return next(
        name for name, value in fields.items() if name not in _NAMES and isinstance(value, (int, float))
    )


def _unit(field: str) -> str:
    words = (
        field.removeprefix("alone_")
        .removeprefix("peer_")
        .removeprefix("multitask_")
        .removeprefix("classification_")
        .replace("_mb", " MB")
        .replace("_", " ")
    )
    return words.replace("megabytes", "MB").replace("milliseconds", "ms").replace("seconds", "s", 1)


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """The Markdown table."""
    lines = ["| benchmark | ours | peer | ratio |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows(found)]
    return "\n".join(lines)


def replace_between(text: str, new: str) -> str:
    """Replace the part of a page between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Print the table, and write it into a page if one is given."""
    parser = argparse.ArgumentParser(description="One table of all benchmarks.")
    parser.add_argument("files", nargs="+", type=Path, help="what the benchmarks printed")
    parser.add_argument("--to", type=Path, help="a page with the marks between which the table is kept")
    chosen = parser.parse_args(arguments)
    lines = [line for path in chosen.files for line in path.read_text("utf-8").splitlines()]
    made = table(measurements(lines))
    print(made)
    if chosen.to is not None:
        chosen.to.write_text(replace_between(chosen.to.read_text("utf-8"), made), "utf-8")


if __name__ == "__main__":
    main()
