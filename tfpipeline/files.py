"""Atomic writing: a file or folder appears completely or not at all.

Everything is written to a temporary folder beside its destination, flushed to the disk, and renamed, so
readers never see a part of it. A killed process leaves behind a name that nothing reads (``.tmp-NAME-...``).
The next process that writes to the same folder removes it.
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
_REPLACED = "replaced-"  # in a temporary folder: the replaced content
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)  # maximum part of the destination's name

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
    """Another process created the destination in the meantime."""


def write_failure(path: Union[str, Path], reason: str) -> UserError:
    """The error for a write that a library refused with its own message (nearly always a full disk)."""
    return UserError(f"cannot write {path}: {reason}; free some space and run the command again")


def write_error(path: Union[str, Path], error: OSError) -> UserError:
    """The error for a write that the operating system refused."""
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
    """Create a directory if it does not exist, and refuse one that is not writable, before expensive work.

    Raises:
        UserError: it is a file, or it cannot be created or written to.
    """
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=TEMPORARY_PREFIX, dir=directory):
            pass
    except OSError as error:
        raise write_error(directory, error) from error


@contextlib.contextmanager
def temporary_folder(path: Union[str, Path]) -> Iterator[Path]:
    """Yield an empty folder beside ``path``, to write it in. The folder is removed when the block ends.

    Folders that killed processes have left there are removed first. Those of living processes are kept: each
    folder holds a lock that ends with its process.

    Args:
        path: the destination; its folder is created if it does not exist.
    Raises:
        UserError: the operating system refused something in the block, for example because the disk is full;
            or ``path`` has no name, such as ``.``.
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
    """Remove what killed processes have left unfinished in a folder, and restore what they were about to
    replace.
    """
    try:
        temporary = [entry.path for entry in os.scandir(folder) if entry.name.startswith(TEMPORARY_PREFIX)]
    except OSError:  # it does not exist or is not readable, so there is nothing of ours in it
        return
    for left in map(Path, temporary):
        if locks.is_abandoned(left / _OWNER):
            with contextlib.suppress(FileNotFoundError):  # another process does the same
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
        replace: replace an existing directory; by default, an existing directory is an error unless it is
            empty.
        carry: files in ``path`` that are moved to the new directory.

    Raises:
        UserError: the disk is full, the folder is not writable, or ``path`` appeared in the meantime.
    """
    path = Path(path)
    with temporary_folder(path) as folder:
        temporary = folder / path.name
        temporary.mkdir()
        yield temporary
        publish(temporary, path, replace=replace, carry=carry)


def publish(new: Path, path: Path, *, replace: bool = False, carry: Sequence[str] = ()) -> None:
    """Move a directory from a :func:`temporary_folder` to its destination; see :func:`atomic_directory`."""
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
    """Replace ``path`` by ``new``. The old content is restored if this fails or is killed half-way."""
    for attempt in itertools.count():
        aside = new.parent / f"{_REPLACED}{attempt}" / path.name
        aside.parent.mkdir()
        with contextlib.suppress(FileNotFoundError):  # another process has just moved it away
            os.rename(path, aside)
        try:
            os.rename(new, path)
            return
        except OSError as error:
            if error.errno in _TAKEN:  # and has replaced it
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
    """Write ``text`` as UTF-8, atomically. Characters that UTF-8 cannot encode (from file names in other
    encodings) are escaped.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
