"""Writing that is either wholly there or not there at all.

Everything is written in a temporary folder beside its place, flushed to the disk, and renamed; a reader never
sees half of it. What a killed process leaves behind has a name that nothing picks up (``.tmp-NAME-...``), and
is removed by whoever writes in that folder next.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Union

from tfpipeline import locks
from tfpipeline.errors import UserError

TEMPORARY_PREFIX = ".tmp-"
_OWNER = "owner"  # in a temporary folder: the lock of the process that writes there
_REPLACED = "replaced-"  # in a temporary folder: what was there before
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)  # of a name that a directory is to have

_ADVICE = {
    errno.ENOSPC: "free some space and run the command again",
    errno.EDQUOT: "free some space and run the command again",
    errno.EACCES: "choose a folder you may write to",
    errno.EPERM: "choose a folder you may write to",
    errno.EROFS: "choose a folder you may write to",
    errno.ENOTDIR: "a part of that path is a file; choose another path",
    errno.EEXIST: "a part of that path is a file; choose another path",
}


class AppearedError(UserError):
    """Somebody else made what was being written."""


def write_failure(path: Union[str, Path], reason: str) -> UserError:
    """The sentence for a write that a library refused in its own words (a full disk, nearly always)."""
    return UserError(f"cannot write {path}: {reason}; free some space and run the command again")


def write_error(path: Union[str, Path], error: OSError) -> UserError:
    """The sentence for a write that the operating system refused."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    advice = _ADVICE.get(error.errno or 0, "check the path and run the command again")
    return UserError(f"cannot write {path}: {reason}; {advice}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_writable(directory: Union[str, Path]) -> None:
    """Make a directory if it is not there, and refuse one that cannot be written to: before work whose result
    goes there.

    Raises:
        UserError: it is a file, or cannot be made or written to.
    """
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=TEMPORARY_PREFIX, dir=directory):
            pass
    except OSError as error:
        raise write_error(directory, error) from error


@contextlib.contextmanager
def temporary_folder(path: Union[str, Path]) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` to write it in; the folder goes when the block ends.

    What a process that was killed has left of such folders there is removed first, what a living one writes
    is not: each folder holds a lock that ends with its process.

    Args:
        path: what is to be written; its folder is made if it is not there.
    Raises:
        UserError: the operating system refused something in the block: the disk is full, say; or ``path`` has
            no name of its own, as ``.`` has none.
    """
    path = Path(path)
    if path.name in ("", ".."):
        raise UserError(f"cannot write {path} itself; name a folder in it, such as {path / 'new'}")
    folder, descriptor = None, -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent)
        folder = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{path.name}-", dir=path.parent))
        descriptor = locks.create(folder / _OWNER)
        yield folder
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if descriptor >= 0:
            os.close(descriptor)


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes have left half-written in a folder, and put back what they were about to
    replace.
    """
    try:
        temporary = [entry.path for entry in os.scandir(folder) if entry.name.startswith(TEMPORARY_PREFIX)]
    except OSError:  # not there, or not ours: then there is nothing of ours in it
        return
    for left in map(Path, temporary):
        if locks.is_abandoned(left / _OWNER):
            with contextlib.suppress(FileNotFoundError):  # somebody else does the same
                for aside in left.glob(f"{_REPLACED}*/*"):
                    if not (folder / aside.name).exists():
                        os.rename(aside, folder / aside.name)
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def atomic_directory(
    path: Union[str, Path], *, replace: bool = False, carry: Sequence[str] = ()
) -> Iterator[Path]:
    """Yield a temporary directory that becomes ``path`` when the block ends well.

    Args:
        path: the directory to make.
        replace: put it in the place of what is there; by default that is an error, unless it is empty.
        carry: files in ``path`` that become the new directory's.

    Raises:
        UserError: the disk is full, the folder is not writable, or ``path`` appeared meanwhile.
    """
    path = Path(path)
    with temporary_folder(path) as folder:
        temporary = folder / path.name
        temporary.mkdir()
        yield temporary
        publish(temporary, path, replace=replace, carry=carry)


def publish(new: Path, path: Path, *, replace: bool = False, carry: Sequence[str] = ()) -> None:
    """Give a directory that was written in a :func:`temporary_folder` its name; see
    :func:`atomic_directory`.
    """
    for folder, _, names in os.walk(new):
        for name in names:
            _sync(Path(folder, name))
        _sync(Path(folder))
    for name in carry:
        if (path / name).exists():
            os.rename(path / name, new / name)
    if replace and path.exists():
        _exchange(new, path)
    else:
        try:
            os.rename(new, path)  # an empty directory may be there
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            raise AppearedError(
                f"{path} appeared while it was being written; nothing was overwritten, run the command again"
            ) from error
    _sync(path.parent)


def _exchange(new: Path, path: Path) -> None:
    """Put ``new`` in the place of ``path``; what was there comes back if that fails, or if we are killed in
    between.
    """
    for attempt in itertools.count():
        aside = new.parent / f"{_REPLACED}{attempt}" / path.name
        aside.parent.mkdir()
        with contextlib.suppress(FileNotFoundError):  # somebody else has just moved it away
            os.rename(path, aside)
        try:
            os.rename(new, path)
            return
        except OSError as error:
            if error.errno in _TAKEN:  # and has put something in its place
                continue
            if aside.exists():
                os.rename(aside, path)
            raise


@contextlib.contextmanager
def atomic_file(path: Union[str, Path]) -> Iterator[Path]:
    """Yield a temporary file name that replaces ``path`` when the block ends well.

    Raises:
        UserError: the disk is full or the folder is not writable.
    """
    path = Path(path)
    with temporary_folder(path) as folder:
        temporary = folder / path.name
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)


def write_text(path: Union[str, Path], text: str) -> None:
    """Write ``text`` as UTF-8, atomically; what UTF-8 cannot carry (a file's name in other bytes) is
    escaped.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
