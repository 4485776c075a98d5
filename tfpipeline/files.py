"""Writing that is either wholly there or not there at all.

Everything is written under a temporary name in the same folder, flushed to the disk, and renamed; a reader
never sees half of it, and what a crash leaves behind has a name that nothing picks up.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Union

from tfpipeline.errors import UserError

TEMPORARY_PREFIX = ".tmp-"

_ADVICE = {
    errno.ENOSPC: "free some space and run the command again",
    errno.EDQUOT: "free some space and run the command again",
    errno.EACCES: "choose a folder you may write to",
    errno.EPERM: "choose a folder you may write to",
    errno.EROFS: "choose a folder you may write to",
    errno.ENOTDIR: "a part of that path is a file; choose another path",
    errno.EEXIST: "a part of that path is a file; choose another path",
}


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
    """Make a directory if it is not there, and refuse one that cannot be written to: before work whose result goes there.

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
def atomic_directory(path: Union[str, Path], *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary directory that becomes ``path`` when the block ends well.

    Args:
        path: the directory to make.
        replace: put it in the place of what is there; by default that is an error.

    Raises:
        UserError: the disk is full, the folder is not writable, or ``path`` appeared meanwhile.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{path.name}-", dir=path.parent))
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                _sync(Path(folder, name))
            _sync(Path(folder))
        if replace and path.exists():
            _exchange(temporary, path)
        elif path.exists():
            raise UserError(
                f"{path} appeared while it was being written; nothing was overwritten, run the command again"
            )
        else:
            os.rename(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)


def _exchange(new: Path, path: Path) -> None:
    """Put ``new`` in the place of ``path``; what was there comes back if that fails."""
    aside = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}old-", dir=path.parent))
    try:
        os.rename(path, aside / "old")
        try:
            os.rename(new, path)
        except OSError:
            os.rename(aside / "old", path)
            raise
    finally:
        shutil.rmtree(aside)


@contextlib.contextmanager
def atomic_file(path: Union[str, Path]) -> Iterator[Path]:
    """Yield a temporary file name that replaces ``path`` when the block ends well.

    Raises:
        UserError: the disk is full or the folder is not writable.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # the error above is the one to tell
            temporary.unlink(missing_ok=True)


def write_text(path: Union[str, Path], text: str) -> None:
    """Write ``text`` as UTF-8, atomically; what UTF-8 cannot carry (a file's name in other bytes) is escaped."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
