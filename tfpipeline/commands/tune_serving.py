"""`tfpipeline tune-serving`: measures how a model is best batched on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

import typer

from tfpipeline.errors import explain_missing_extra


def command(
    model_directory: str = typer.Argument(
        metavar="MODEL", help="The model's directory, e.g. models/sentiment."
    ),
    version: Optional[int] = typer.Option(None, help="The version to measure; default: the newest."),
    seconds: float = typer.Option(60.0, min=0, max=86400, help="How long to measure."),
) -> None:
    """Measure how a model is best batched on this machine.

    The result is written to batching_params.pbtxt beside the model's versions. "serve" uses it.
    """
    from tfpipeline import files, paths
    from tfpipeline.console import progress
    from tfpipeline.runtime import import_tensorflow
    from tfpipeline.serving.server.batching_parameters import FILE_NAME, to_text
    from tfpipeline.serving.server.model_dir import check_model_dir

    directory = Path(os.path.abspath(paths.local(model_directory)))
    versions = check_model_dir(directory)
    files.require_writable(directory)
    with explain_missing_extra("serve"):
        import_tensorflow()
        from tfpipeline.serving.server.tuning import newest_version, tune

        path = newest_version(directory, version, versions)
        with progress(f"measuring version {path.name}", total=round(seconds)) as step:
            found = tune(path, seconds=seconds, step=step.advance)
    print("\n".join(found.lines()))
    about = [
        f"Measured by tfpipeline tune-serving on {os.cpu_count()} cores, version {path.name}.",
        *found.lines(),
    ]
    files.write_text(directory / FILE_NAME, to_text(found.options, about))
    options = found.options
    print(
        f"{directory / FILE_NAME}: {options.max_rows} rows per batch, {options.parallel} at once, "
        f"waiting {1e3 * options.timeout_seconds:.1f} ms"
    )
