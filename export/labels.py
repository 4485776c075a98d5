"""Labels of a model's versions: ``models/NAME/labels.json`` records which version is "stable".

    {"labels": {"stable": 7}, "previous": {"stable": [3, 5]}}

``labels`` corresponds to ``version_labels`` in a server's configuration. ``previous`` lists the versions that
a label pointed to before, oldest first: a rollback takes the last one.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from tfpipeline.console import say
from tfpipeline.errors import UserError
from tfpipeline.export.model_directory import MARKER, ModelDirectory, open_directory
from tfpipeline.paths import AnyPath

LABELS_FILE = "labels.json"
DEFAULT = "stable"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")


@dataclasses.dataclass(frozen=True)
class Labels:
    """The contents of ``labels.json``.

    Attributes:
        labels: label -> version.
        previous: label -> the versions that it pointed to before, oldest first.
    """

    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    previous: Mapping[str, list[int]] = dataclasses.field(default_factory=dict)

    def protected(self) -> set[int]:
        """The versions that labels point to, and those that the next rollback would go to."""
        return {*self.labels.values(), *(versions[-1] for versions in self.previous.values() if versions)}


def promote(model: AnyPath, version: int, label: str = DEFAULT) -> int | None:
    """Make a label point to a version.

    Args:
        model: the model's directory, local or remote.
        version: one of its versions.
        label: letters, digits, ".", "_" and "-"; it starts with a letter.
    Returns:
        The version that it pointed to before; None for a new label.
    Raises:
        UserError: there is no such version, it is incomplete, or the label's name is invalid.
    """
    if not _NAME.fullmatch(label):
        raise UserError(
            f'"{label}" cannot be a label: a label is a letter, followed by up to 63 letters, digits, '
            '".", "_" or "-"'
        )
    directory = open_directory(model)
    _require_version(directory, version)
    with directory.lock():
        _require_version(directory, version)  # a concurrent --keep may have removed it
        known = read(directory)
        say_missing(directory, known, moving=label)
        before = known.labels.get(label)
        if before == version:
            return before
        history = [*known.previous.get(label, []), *([] if before is None else [before])]
        _write(directory, known, label, version, history)
    return before


def rollback(model: AnyPath, label: str = DEFAULT) -> tuple[int, int]:
    """Make a label point to its previous version; a repeated rollback goes back further.

    Versions that were removed in the meantime are skipped.

    Returns:
        The version that it pointed to, and the version that it points to now.
    Raises:
        UserError: there is no such label, or no previous version.
    """
    directory = open_directory(model)
    if not directory.versions():
        raise UserError(f"{directory.address} has no versions")
    with directory.lock():
        known = read(directory)
        if label not in known.labels:
            has = f"it has: {', '.join(sorted(known.labels))}" if known.labels else "it has none"
            raise UserError(f'{directory.address} has no label "{label}"; {has}')
        say_missing(directory, known, moving=label)
        there = directory.versions()
        history = [version for version in known.previous.get(label, []) if version in there]
        now = known.labels[label]
        if not history:
            left = "left" if known.previous.get(label) else "known"
            raise UserError(
                f'{directory.address}: "{label}" points to version {now} and no previous version is {left}; '
                f"name one: tfpipeline promote {directory.address} VERSION --label {label}"
            )
        _write(directory, known, label, history[-1], history[:-1])
    return now, history[-1]


def read(directory: ModelDirectory) -> Labels:
    """The labels of a model; empty if it has no labels file.

    Raises:
        UserError: the file cannot be read.
    """
    content = directory.read(LABELS_FILE)
    if content is None:
        return Labels()
    try:
        document = json.loads(content)
        labels = {str(label): _version(number) for label, number in document["labels"].items()}
        previous = {
            str(label): [_version(number) for number in numbers]
            for label, numbers in document.get("previous", {}).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{directory.address}/{LABELS_FILE} is not a file of labels ({type(error).__name__}: {error}); "
            'correct it, such as {"labels": {"stable": 7}}, or delete it'
        ) from error
    return Labels(labels, previous)


def say_missing(directory: ModelDirectory, known: Labels, moving: str | None = None) -> None:
    """Tell the user which labels point to versions that do not exist, one line each.

    Args:
        directory: the model's directory.
        known: its labels.
        moving: the label that is about to point elsewhere.
    """
    there = directory.versions()
    for label, version in known.labels.items():
        if version in there:
            continue
        points = f'{directory.address}: the label "{label}"'
        if label == moving:
            say(f"{points} pointed to version {version}, which does not exist")
            continue
        has = f"it has {', '.join(map(str, there))}" if there else "it has none"
        say(
            f"{points} points to version {version}, which does not exist ({has}); point it to another: "
            f"tfpipeline promote {directory.address} VERSION --label {label}"
        )


def _version(number: Any) -> int:
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{number!r} is not a version")
    return number


def _write(directory: ModelDirectory, known: Labels, label: str, version: int, history: list[int]) -> None:
    labels = {**known.labels, label: version}
    previous = {**known.previous, label: history}
    content = {"labels": dict(sorted(labels.items())), "previous": dict(sorted(previous.items()))}
    directory.write(LABELS_FILE, json.dumps(content, indent=1).encode() + b"\n")


def _require_version(directory: ModelDirectory, version: int) -> None:
    there = directory.versions()
    if version not in there:
        has = f"it has {', '.join(map(str, there))}" if there else "it has none"
        raise UserError(f"{directory.address} has no version {version}; {has}")
    if MARKER not in directory.files(version):
        raise UserError(
            f"version {version} of {directory.address} is incomplete (it has no {MARKER}); promote another"
        )
