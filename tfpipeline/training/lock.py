"""One process trains a run at a time. Imports no TensorFlow.

The lock is the file ``lock`` in the run directory: there while the run is trained, or laid out, and gone
afterwards. It holds whoever trains, nobody who reads: evaluation, export and ``predict`` of a living run need
none.
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
    """Hold a run directory's lock while the block runs; what killed processes left half-written in it is
    removed.

    A directory that is not there is made, and removed again if nothing comes into it.

    Args:
        path: the run directory.
    Raises:
        UserError: another process trains it, or it cannot be written.
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
        with contextlib.suppress(OSError):  # what holds something stays
            for folder in made:
                folder.rmdir()


def check_free(output: str | Path) -> None:
    """Refuse a run that is being trained already, before anything expensive is begun; training itself makes
    sure.

    Raises:
        UserError: another process of this machine trains it.
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
    """Whether a directory is empty but for the lock."""
    return all(entry.name == LOCK_FILE for entry in path.iterdir())
