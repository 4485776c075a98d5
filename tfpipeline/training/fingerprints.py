"""Fingerprints of the files that belong to a run's weights. A vocabulary or labels edited after training
would silently cause wrong predictions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from tfpipeline.errors import UserError

FINGERPRINTS_FILE = "fingerprints.json"
_NAMES = ("vocab.txt", "tokenizer_config.json", "model_config.json", "labels.txt", "task.json")
_HEADS = "heads"


def save(run: Path) -> None:
    """Record the digests of a run's files, which were just written."""
    digests = {path.relative_to(run).as_posix(): _digest(path) for path in _files(run)}
    (run / FINGERPRINTS_FILE).write_text(json.dumps(digests, indent=1), "utf-8")


def check(run: Path) -> None:
    """Refuse a run whose files are no longer those that it was trained with.

    A run without fingerprints was made by an earlier version, and passes.

    Raises:
        UserError: a file was changed, removed or added.
    """
    path = run / FINGERPRINTS_FILE
    try:
        known = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; put it back, or train the run again") from error
    digests = {path.relative_to(run).as_posix(): _digest(path) for path in _files(run)}
    for name in sorted({*known, *digests}):
        if known.get(name) != digests.get(name):
            was = "removed" if name not in digests else "added" if name not in known else "changed"
            raise UserError(
                f"{run / name} was {was} after the run was started, and the weights do not fit it; put the "
                f"old one back, or, if you know what you are doing, delete {path}"
            )


def _files(run: Path) -> Iterator[Path]:
    yield from (run / name for name in _NAMES if (run / name).is_file())
    yield from (path for path in sorted((run / _HEADS).rglob("*")) if path.is_file())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
