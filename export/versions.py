"""The versions of a model: the integer directories under ``models/NAME``."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfpipeline.errors import UserError
from tfpipeline.export import card, labels
from tfpipeline.export.model_directory import MARKER, ModelDirectory, open_directory
from tfpipeline.files import AppearedError
from tfpipeline.paths import AnyPath


@dataclasses.dataclass(frozen=True)
class Version:
    """A version of a model, as returned by :func:`list_versions`.

    Attributes:
        number: the number that names its directory.
        created: when it was exported, ISO 8601, UTC; "" for a SavedModel of another program.
        run: the name of the exported run.
        metrics: the trained model's metrics in the run's report: name -> value.
        metric: the metric that selected the checkpoint.
        labels: the labels that point to it.
        size: bytes.
        whole: whether it has its ``saved_model.pb``; without it, a copy is in progress or was interrupted.
    """

    number: int
    created: str
    run: str
    metrics: Mapping[str, float]
    metric: str
    labels: tuple[str, ...]
    size: int
    whole: bool


def list_versions(model: AnyPath) -> list[Version]:
    """The versions of a model, oldest first.

    Labels that point to versions that do not exist are named on standard error.

    Args:
        model: its directory, local or remote.
    Raises:
        UserError: there is no such directory, or it has no versions.
    """
    directory = open_directory(model)
    known = labels.read(directory)
    labels.say_missing(directory, known)
    versions = []
    for number in require_versions(directory):
        said, files = read_card(directory, number), directory.files(number)
        report = said.get("metrics", {})
        versions.append(
            Version(
                number=number,
                created=said.get("created", ""),
                run=said.get("run", ""),
                metrics=report.get("values", {}),
                metric=report.get("metric", ""),
                labels=tuple(label for label, version in known.labels.items() if version == number),
                size=sum(files.values()),
                whole=MARKER in files,
            )
        )
    return versions


def require_versions(directory: ModelDirectory) -> list[int]:
    """The versions in a directory, ascending.

    Raises:
        UserError: it has no versions.
    """
    numbers = list(directory.versions())
    if not numbers:
        raise UserError(
            f"{directory.address} has no versions; give a model's directory, which an export writes: "
            f"tfpipeline export RUN --to {directory.address}"
        )
    return numbers


def publish_version(written: Path, to: ModelDirectory, identity: str) -> int:
    """Publish a version; if another export has taken the number in the meantime, use the next one."""
    while True:
        if (same := published(to, identity)) is not None:
            return same  # another export of the same model was faster
        version = next_version(to)
        with contextlib.suppress(AppearedError):
            to.publish(written, version)
            return version


def published(to: ModelDirectory, identity: str) -> int | None:
    """The newest version, if it is complete and holds this very model."""
    newest = max(to.versions(), default=0)
    same = newest and read_card(to, newest).get("identity") == identity and MARKER in to.files(newest)
    return newest if same else None


def next_version(to: ModelDirectory) -> int:
    """The number of the next version."""
    return max(to.taken(), default=0) + 1


def prune(directory: ModelDirectory, keep: int) -> list[int]:
    """Remove all but the newest versions.

    A version that a label points to stays, and so does the version that its rollback would go to.

    Args:
        directory: the model's directory.
        keep: how many of the newest versions to keep, 1 or more.
    Returns:
        The versions that were removed.
    """
    with directory.lock():
        protected = labels.read(directory).protected()
        old = [version for version in list(directory.versions())[:-keep] if version not in protected]
        for version in old:
            directory.remove(version)
    return old


def read_card(directory: ModelDirectory, version: int) -> dict[str, Any]:
    """The facts that an export stored in a version; empty for a SavedModel of another program."""
    name = directory.versions().get(version, str(version))
    return card.parse(next(filter(None, (directory.read(f"{name}/{file}") for file in card.FILES)), None))
