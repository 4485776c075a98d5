"""What every example's ``prepare`` does with its rows: two files, and the command line."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

from tfpipeline.errors import UserError
from tfpipeline.files import atomic_file

AnyRow = TypeVar("AnyRow")


def write_splits(
    folder: str | Path, columns: Mapping[str, str], rows: Callable[[], tuple[Iterable[Any], Iterable[Any]]]
) -> tuple[Path, Path]:
    """Write ``train.csv`` and ``test.csv`` into ``folder`` unless both are there.

    Args:
        folder: made if need be.
        columns: name of each column -> the attribute of a row that it holds.
        rows: gives the rows of both; called only if they are needed.
    Returns:
        The two paths.
    Raises:
        UserError: the rows cannot be fetched, or the folder cannot be written.
    """

    def write(file: IO[str], part: Iterable[Any]) -> None:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([getattr(row, name) for name in columns.values()] for row in part)

    return write_parts(folder, ".csv", rows, write)


def write_parts(
    folder: str | Path,
    suffix: str,
    rows: Callable[[], tuple[Iterable[AnyRow], Iterable[AnyRow]]],
    write: Callable[[IO[str], Iterable[AnyRow]], None],
) -> tuple[Path, Path]:
    """Write ``train`` and ``test``, in a format of the caller's, into ``folder`` unless both are there.

    Args:
        folder: made if need be.
        suffix: of the two files.
        rows: gives the rows of both; called only if they are needed.
        write: writes the rows of one into a file, UTF-8, whose line ends are kept.
    Returns, Raises:
        As :func:`write_splits`.
    """
    paths = Path(folder, f"train{suffix}"), Path(folder, f"test{suffix}")
    if all(path.is_file() for path in paths):
        return paths
    for path, part in zip(paths, rows(), strict=True):
        with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            write(file, part)
    return paths


def command(module: str, prepare: Callable[[str], tuple[Path, ...]]) -> None:
    """``python -m MODULE FOLDER``: print the paths."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m {module} FOLDER")
    try:
        print(*prepare(sys.argv[1]), sep="\n")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
