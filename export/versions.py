"""The versions of a model: the integer directories under ``models/NAME``."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tfpipeline.export import card
from tfpipeline.files import AppearedError, publish


def publish_version(written: Path, to: Path, identity: str) -> Path:
    """Give what was written its version; the one after it if another export has taken that meanwhile."""
    while True:
        if (same := published(to, identity)) is not None:
            return same  # another export of the same model was first
        version = next_version(to)
        with contextlib.suppress(AppearedError):
            publish(written, version)
            return version


def published(to: Path, identity: str) -> Path | None:
    """The newest version, if it is this very model."""
    newest = max(versions(to), default=0)
    same = newest and card.read(to / str(newest)).get("identity") == identity
    return to / str(newest) if same else None


def next_version(to: Path) -> Path:
    """The directory that the next export would write."""
    return to / str(max(versions(to), default=0) + 1)


def versions(model_directory: Path) -> list[int]:
    """The versions under a model's directory."""
    if not model_directory.is_dir():
        return []
    return sorted(
        int(path.name) for path in model_directory.iterdir() if path.is_dir() and path.name.isdecimal()
    )
