"""Unpacks zip and tar archives of checkpoints without trusting them.

Nothing is written outside the target folder. The unpacked size is limited; bytes are counted while they are
read, whatever the archive declares.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from tfpipeline.checkpoints.archive_members import (
    BLOCK,
    Budget,
    Damaged,
    Member,
    is_archive_head,
    printable,
    read_members,
)
from tfpipeline.checkpoints.temporary import store_error
from tfpipeline.console import progress
from tfpipeline.errors import UserError

MOST_MEMBERS = 10_000
_CHUNK = 1 << 20

# The exceptions that the standard library raises for damaged archives.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    IndexError,
    OverflowError,
    NotImplementedError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or tar archive, compressed or not, by its first bytes.

    PyTorch's ``.bin`` files are zips too, but they are weights and do not count as archives.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(BLOCK)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
    return is_archive_head(head)


def unpack(path: Path, folder: Path, *, display_name: str = "") -> None:
    """Unpack an archive into an empty folder.

    Args:
        path: a file for which :func:`is_archive` is True.
        folder: an empty folder. It may hold some files after an error; the caller removes it.
        display_name: the archive's name in messages; by default its path.
    Raises:
        UserError: the archive is damaged, has a member that is not allowed (a path outside the folder, a
            link, a device, a duplicate name, an encrypted member), or unpacks to far too much; or the disk is
            full.
    """
    try:
        with path.open("rb") as raw:
            _unpack(display_name or str(path), raw, folder)
    except OSError as error:  # from opening the file: other errors are explained where they occur
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error


def checkpoint_folder(folder: Path, recognise: Callable[[Path], bool], *, display_name: str) -> Path:
    """Find the folder of an unpacked archive that holds its checkpoint.

    Args:
        folder: where the archive was unpacked.
        recognise: whether a folder holds a checkpoint.
        display_name: the archive's name in messages.
    Returns:
        The recognised folder. Recognised folders inside it (parts of a pipeline) do not count.
    Raises:
        UserError: no folder is recognised, or several are.
    """
    folders = sorted(
        (folder, *(child for child in folder.rglob("*") if child.is_dir())),
        key=lambda child: (len(child.parts), child),
    )
    outermost: list[Path] = []
    for candidate in folders:
        if not any(outer in candidate.parents for outer in outermost) and recognise(candidate):
            outermost.append(candidate)
    if len(outermost) == 1:
        return outermost[0]
    if outermost:
        several = ", ".join(one.relative_to(folder).as_posix() for one in outermost)
        raise UserError(
            f"{display_name} holds several checkpoints ({several}); unpack it and give the folder of one"
        )
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    listed = (
        ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        if names
        else "no files"
    )
    raise UserError(
        f"{display_name} holds no known checkpoint (it has {listed}); give one that holds a whole checkpoint"
    )


def _unpack(display_name: str, raw: IO[bytes], folder: Path) -> None:
    size = os.fstat(raw.fileno()).st_size
    budget = Budget(display_name, size)
    members = read_members(display_name, raw, size, budget)
    files: set[PurePosixPath] = set()
    shown = current = ""
    done = 0.0
    try:
        with contextlib.closing(members), progress(f"unpacking {display_name} (MB)", size / 1e6) as bar:

            def advance() -> None:
                nonlocal done
                now = raw.tell() / 1e6
                if now > done:  # a zip's members may lie in any order
                    bar.advance(now - done)
                    done = now

            for number, member in enumerate(members):
                current, shown = member.name, printable(member.name)
                if number == MOST_MEMBERS:
                    raise UserError(
                        f"{display_name} holds more than {MOST_MEMBERS} members; a checkpoint is a few "
                        f"files, give an archive of one"
                    )
                place = _place(member, display_name)
                if _is_litter(place):
                    continue
                if place in files or any(parent in files for parent in place.parents):
                    raise UserError(f"{shown} is in {display_name} twice; pack the checkpoint again")
                target = folder.joinpath(*place.parts)
                if member.kind == "folder":
                    _make_folder(target, shown, display_name, folder)
                    continue
                if target.is_dir():
                    raise UserError(f"{shown} is in {display_name} twice; pack the checkpoint again")
                files.add(place)
                _make_folder(target.parent, shown, display_name, folder)
                budget.check(member.size, current)
                _copy(member, target, f"{shown} of {display_name}", folder, budget, advance)
    except Damaged as error:
        raise UserError(
            f"{display_name} is truncated or damaged{_at(shown)} ({error}); download or copy it again"
        ) from error
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise UserError(
            f"{display_name} is truncated or damaged{_at(shown)} ({printable(reason)}); download or "
            "copy it again"
        ) from error


def _copy(
    member: Member, target: Path, what: str, folder: Path, budget: Budget, advance: Callable[[], None]
) -> None:
    count = 0
    with member.open() as source, _storing(what, folder), target.open("xb") as file:
        while chunk := _read(source):
            budget.take(len(chunk), member.name)
            count += len(chunk)
            file.write(chunk)
            advance()
    if count != member.size:
        raise Damaged(f"it has {count} bytes and declares {member.size}")


def _read(source: IO[bytes]) -> bytes:
    try:
        return source.read(_CHUNK)
    except OSError as error:
        raise Damaged(str(error) or type(error).__name__) from error


@contextlib.contextmanager
def _storing(what: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise store_error(what, folder, error) from error


def _make_folder(target: Path, shown: str, display_name: str, folder: Path) -> None:
    with _storing(f"{shown} of {display_name}", folder):
        target.mkdir(parents=True, exist_ok=True)


def _at(shown: str) -> str:
    return f" at {shown}" if shown else ""


def _place(member: Member, display_name: str) -> PurePosixPath:
    """The path of a member relative to the folder; ``.`` is the folder itself.

    Raises:
        UserError: the member is not allowed.
    """
    name = member.name
    place = PurePosixPath(name)
    if re.search("[\ud800-\udfff]", name):
        wrong = "has a name that is not UTF-8"
    elif place.is_absolute() or name.startswith("\\") or re.match("[A-Za-z]:", name):
        wrong = "has an absolute path"
    elif ".." in re.split(r"[/\\]", name):
        wrong = 'has ".." in its path'
    elif "\\" in name or not name.isprintable():
        wrong = "has a name that is not a valid file name"
    elif len(name.encode()) > 1000 or any(len(part.encode()) > 255 for part in place.parts):
        wrong = "has too long a name"
    elif member.kind not in ("file", "folder"):
        wrong = member.kind
    elif member.kind == "file" and not place.parts:
        wrong = "has no name"
    else:
        return place
    raise UserError(
        f"{printable(name)} of {display_name} {wrong}; nothing was unpacked, pack the checkpoint's files "
        f"alone"
    )


def _is_litter(place: PurePosixPath) -> bool:
    """Whether the member is metadata that macOS adds beside each file."""
    return bool(place.parts) and (place.parts[0] == "__MACOSX" or place.name.startswith("._"))
