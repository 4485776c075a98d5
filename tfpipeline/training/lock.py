"""Ensures that only one process trains a run at a time. Imports no TensorFlow.

The lock is the file ``lock`` in the run directory. It exists while the run is laid out or trained, and is
removed afterwards. Only training takes it. Evaluation, export and ``predict`` can read a run that is being
trained.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tfpipeline import locks, paths
from tfpipeline.console import say
from tfpipeline.errors import UserError
from tfpipeline.files import remove_abandoned, write_error

LOCK_FILE = "lock"


@contextlib.contextmanager
def training_alone(path: Path) -> Iterator[None]:
    """Hold a run directory's lock while the block runs, and remove partial files that killed processes left
    in the directory.

    A missing directory is created, and removed again if it stays empty.

    Args:
        path: the run directory.
    Raises:
        UserError: another process trains the run, or the directory cannot be written.
    """

    def wait(owner: locks.Owner) -> None:
        say(
            f"{path} was trained by {owner}; waiting {locks.PATIENCE_SECONDS:.0f} s to see whether it still "
            f"is"
        )

    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    lock = locks.Lock(path / LOCK_FILE, beat=locks.BEAT_SECONDS, waiting=wait)
    try:
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except locks.Locked as locked:
            raise _held(path, locked.owner) from None
        except OSError as error:
            raise write_error(path, error) from error
        for inside, _, _ in os.walk(path):
            remove_abandoned(Path(inside))
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):  # folders that are not empty stay
            for folder in made:
                folder.rmdir()


def check_free(output: str | Path) -> None:
    """Refuse a run that is already being trained, before any expensive work. The training itself takes the
    lock later.

    Raises:
        UserError: another process of this machine trains the run.
    """
    if paths.is_far(output):
        return
    held, owner = locks.is_held(paths.local(output) / LOCK_FILE)
    if held:
        raise _held(paths.local(output), owner)


def _held(path: Path, owner: locks.Owner | None) -> UserError:
    return UserError(
        f"{path} is being trained by another process ({owner or 'it has just begun'}); wait until it has "
        f"ended, stop it, or "
        "choose another output folder"
    )


def holds_nothing_else(path: Path) -> bool:
    """Whether a directory is empty except for the lock."""
    return all(entry.name == LOCK_FILE for entry in path.iterdir())
