"""What can be checked of an export of adapters before anything is loaded. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tfpipeline.errors import UserError
from tfpipeline.export.options import ExportOptions
from tfpipeline.paths import AnyPath


def named(runs: Sequence[AnyPath] | Mapping[str, AnyPath]) -> dict[str, AnyPath]:
    """The runs by the names of their adapters.

    Args:
        runs: directories, each perhaps as ``NAME=RUN``; an adapter without a name has that of its directory.
            Or name -> directory.
    Raises:
        UserError: there is none, two have one name, or a name is empty.
    """
    pairs = list(runs.items()) if isinstance(runs, Mapping) else [_pair(run) for run in runs]
    if not pairs:
        raise UserError("no runs are given; name the runs whose adapters are exported")
    found: dict[str, AnyPath] = {}
    for name, run in pairs:
        if not name:
            raise UserError(f"the adapter of {run} has no name; write NAME=RUN")
        if not str(run):
            raise UserError(f"the adapter {name} has no run; write NAME=RUN")
        if name in found:
            raise UserError(
                f'two adapters are called "{name}" ({found[name]} and {run}); give one of them another name: '
                "NAME=RUN"
            )
        found[name] = run
    return found


def _pair(run: AnyPath) -> tuple[str, AnyPath]:
    name, equals, path = str(run).partition("=")
    if equals and "/" not in name:
        return name, path
    return Path(str(run).rstrip("/")).name, run


def require_fitting(options: ExportOptions) -> None:
    """Raise a UserError for an option of an export that cannot be used with adapters."""
    given = {
        "--precision": options.precision != "float32",
        "--calibrate": options.calibrate,
        "--abstain": options.abstain is not None,
        "--require": bool(options.require),
        "--explain": options.explain,
        "--index": options.index is not None,
    }
    for option, unfit in given.items():
        if unfit:
            raise UserError(f"{option} cannot be used with --adapters yet; leave it out")
