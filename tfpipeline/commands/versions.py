"""`tfpipeline versions`: lists the versions of a model."""

from __future__ import annotations

import dataclasses
import json

import typer

from tfpipeline.errors import explain_missing_extra, visible


def command(
    model_directory: str = typer.Argument(
        help="The model's directory, e.g. models/sentiment or gs://bucket/models/sentiment."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON line per version, with all metrics."),
) -> None:
    """List the versions of a model with time of export, run, metric, labels and size."""
    with explain_missing_extra():
        from tfpipeline.export.versions import Version, list_versions

    def cells(version: Version) -> list[str]:
        score = version.metrics.get(version.metric)
        return [
            str(version.number),
            version.created[:16].replace("T", " "),
            visible(version.run),
            "" if score is None else f"{version.metric} {score:.4f}",
            visible(", ".join(version.labels)),
            f"{version.size / 1e6:.1f} MB" if version.whole else "incomplete",
        ]

    versions = list_versions(model_directory)
    if as_json:
        for version in versions:
            print(json.dumps(dataclasses.asdict(version)))
        return
    rows = [["version", "exported (UTC)", "run", "metric", "labels", "size"], *map(cells, versions)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
