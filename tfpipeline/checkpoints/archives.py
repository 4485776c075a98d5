"""Zip and tar archives that hold a checkpoint, unpacked without trusting them.

Nothing is written outside the folder given, and never much more than weights can unpack to: sizes are counted while
they are read, whatever the archive declares.
"""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import functools
import gzip
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tfpipeline.checkpoints.temporary import store_error
from tfpipeline.console import progress
from tfpipeline.errors import UserError

# Weights hardly compress (1.1 times), a vocabulary three times: what unpacks to more than this is no checkpoint.
MOST_RATIO = 100
MOST_BYTES_MORE = 64 << 20
MOST_MEMBERS = 10_000
_MOST_HEADER = 1 << 20  # a tar's extended header, which tarfile reads in one piece
_CHUNK = 1 << 20
_BLOCK = 512  # of a tar

_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ZIP, _EMPTY_ZIP = b"PK\x03\x04", b"PK\x05\x06"
_DECOMPRESSED: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),  # type: ignore[dict-item,return-value]
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
# All that the standard library raises for bytes that are not what they should be.
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
    """Whether a file is a zip or a tar, compressed or not, by its first bytes.

    PyTorch's ``.bin`` files are zips too; they are weights, and no archive here.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_BLOCK)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
    if head.startswith(_ZIP):
        first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return first != b"data.pkl" and not first.endswith(b"/data.pkl")
    return head.startswith((_EMPTY_ZIP, *_DECOMPRESSED)) or _is_tar_header(head)


def unpack(path: Path, folder: Path, *, display_name: str = "") -> None:
    """Unpack an archive into an empty folder.

    Args:
        path: a file that :func:`is_archive`.
        folder: it may hold a part when this fails; remove it.
        display_name: what the user knows the archive by; its path by default.
    Raises:
        UserError: the archive is damaged, holds what has no place in one (a path that leaves it, a link, a device,
            a name twice, an encrypted member) or unpacks to far too much, or the disk is full.
    """
    try:
        with path.open("rb") as raw:
            _unpack(display_name or str(path), raw, folder)
    except OSError as error:  # of opening: all others are explained where they happen
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error


def checkpoint_folder(folder: Path, recognise: Callable[[Path], bool], *, display_name: str) -> Path:
    """The folder of an unpacked archive that holds its checkpoint.

    Args:
        folder: where the archive was unpacked.
        recognise: whether a folder holds a checkpoint.
        display_name: the archive, for the message.
    Returns:
        The one that is recognised; what is recognised inside it (a part of a pipeline) does not count.
    Raises:
        UserError: none is, or several are.
    """
    folders = sorted(
        (folder, *(found for found in folder.rglob("*") if found.is_dir())),
        key=lambda found: (len(found.parts), found),
    )
    found: list[Path] = []
    for candidate in folders:
        if not any(outer in candidate.parents for outer in found) and recognise(candidate):
            found.append(candidate)
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(one.relative_to(folder).as_posix() for one in found)
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
        f"{display_name} holds no checkpoint that is known here, but {listed}; give one that holds a whole checkpoint"
    )


@dataclasses.dataclass(frozen=True)
class _Member:
    """One entry of an archive.

    Attributes:
        name: as it stands there.
        kind: "file", "folder", or what is wrong with it.
        size: as declared.
        open: its content; to be read before the next member is asked for.
    """

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes]]


class _Damaged(Exception):
    """The archive is not what it should be; the message says in which way."""


class _Budget:
    """How much may still be unpacked."""

    def __init__(self, display_name: str, size: int) -> None:
        self._display_name = display_name
        self._left = MOST_RATIO * size + MOST_BYTES_MORE

    def check(self, size: int, name: str) -> None:
        """Raise the sentence if ``size`` bytes more are too many."""
        if size > self._left:
            at = f"{_shown(name)} of {self._display_name}" if name else self._display_name
            raise UserError(
                f"{at} unpacks to more than {MOST_RATIO} times the archive's size, as weights never do; it is damaged "
                "or a decompression bomb, get it from where it came from"
            )

    def take(self, size: int, name: str) -> None:
        self.check(size, name)
        self._left -= size


def _unpack(display_name: str, raw: IO[bytes], folder: Path) -> None:
    size = os.fstat(raw.fileno()).st_size
    head = raw.read(_BLOCK)
    raw.seek(0)
    budget = _Budget(display_name, size)
    if head.startswith((_ZIP, _EMPTY_ZIP)):
        members = _zip_members(raw, budget)
    else:
        members = _tar_members(
            display_name, raw, head, _Budget(display_name, size)
        )  # with headers and padding
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
                current, shown = member.name, _shown(member.name)
                if number == MOST_MEMBERS:
                    raise UserError(
                        f"{display_name} holds more than {MOST_MEMBERS} members; a checkpoint is a few files, give an archive of "
                        "one"
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
    except _Damaged as error:
        raise UserError(
            f"{display_name} is truncated or damaged{_at(shown)} ({error}); get it again"
        ) from error
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise UserError(
            f"{display_name} is truncated or damaged{_at(shown)} ({_shown(reason)}); get it again"
        ) from error


def _copy(
    member: _Member, target: Path, what: str, folder: Path, budget: _Budget, advance: Callable[[], None]
) -> None:
    count = 0
    with member.open() as source, _storing(what, folder), target.open("xb") as file:
        while chunk := _read(source):
            budget.take(len(chunk), member.name)
            count += len(chunk)
            file.write(chunk)
            advance()
    if count != member.size:
        raise _Damaged(f"it has {count} bytes and declares {member.size}")


def _read(source: IO[bytes]) -> bytes:
    try:
        return source.read(_CHUNK)
    except OSError as error:
        raise _Damaged(str(error) or type(error).__name__) from error


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


def _shown(name: str) -> str:
    """A name fit for a line of a message."""
    name = name if name.isprintable() else ascii(name)
    return name if len(name) <= 100 else f"{name[:97]}..."


def _place(member: _Member, display_name: str) -> PurePosixPath:
    """Where a member belongs, relative to the folder; ``.`` is the folder itself.

    Raises:
        UserError: nowhere.
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
        wrong = "has a name that is no file's"
    elif len(name.encode()) > 1000 or any(len(part.encode()) > 255 for part in place.parts):
        wrong = "has too long a name"
    elif member.kind not in ("file", "folder"):
        wrong = member.kind
    elif member.kind == "file" and not place.parts:
        wrong = "has no name"
    else:
        return place
    raise UserError(
        f"{_shown(name)} of {display_name} {wrong}; nothing was unpacked, pack the checkpoint's files alone"
    )


def _is_litter(place: PurePosixPath) -> bool:
    """Whether macOS put it there, beside each file."""
    return bool(place.parts) and (place.parts[0] == "__MACOSX" or place.name.startswith("._"))


def _zip_members(raw: IO[bytes], budget: _Budget) -> Generator[_Member, None, None]:
    with zipfile.ZipFile(raw) as archive:
        members = archive.infolist()
        budget.check(sum(info.file_size for info in members), "")
        for info in members:
            opened = functools.partial(archive.open, info)
            yield _Member(_zip_name(info), _zip_kind(info), info.file_size, opened)


def _zip_name(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    # Without the flag it is code page 437 by the standard, and UTF-8 by macOS and others.
    return info.filename.encode("cp437").decode("utf-8", "surrogateescape")


def _zip_kind(info: zipfile.ZipInfo) -> str:
    mode = stat.S_IFMT(info.external_attr >> 16)
    if info.flag_bits & 0x41:
        return "is encrypted"
    if info.compress_type not in _ZIP_METHODS:
        return f"is compressed in a way that is not known here ({info.compress_type})"
    if stat.S_ISLNK(mode):
        return "is a link"
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a device"
    return "folder" if info.is_dir() else "file"


class _TarInfo(tarfile.TarInfo):
    """Refuses what tarfile passes over: an archive that ends early, and headers of any size."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _TarInfo:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the mark at the end
            raise
        except tarfile.HeaderError as error:
            reason = "it ends early" if str(error) in ("empty header", "truncated header") else str(error)
            raise _Damaged(reason) from error

    def _proc_member(self, tar: Any) -> Any:
        extended = (
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        )
        if self.size < 0 or (self.type in extended and self.size > _MOST_HEADER):
            raise _Damaged(f"a header of {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


class _Counted:
    """What a decompressor gives, counted."""

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._budget.take(len(data), "")
        return data


def _tar_members(
    display_name: str, raw: IO[bytes], head: bytes, budget: _Budget
) -> Generator[_Member, None, None]:
    opened = [make(raw) for magic, make in _DECOMPRESSED.items() if head.startswith(magic)]
    stream = opened[0] if opened else raw
    first = stream.read(_BLOCK)
    if opened and len(first) == _BLOCK and not _is_tar_header(first):
        raise UserError(
            f"{display_name} is compressed, but holds no tar; give an archive of the checkpoint's folder"
        )
    stream.seek(0)
    counted = _Counted(stream, budget)
    with tarfile.open(
        fileobj=counted,  # type: ignore[call-overload]
        mode="r|",
        bufsize=256 << 10,
        tarinfo=_TarInfo,
        encoding="utf-8",
        errors="surrogateescape",
    ) as archive:
        for info in archive:
            content: Any = functools.partial(archive.extractfile, info)
            yield _Member(info.name, _tar_kind(info), info.size, content)
    while counted.read(_CHUNK):  # to the end, where the checksum of the compression is
        pass


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.isdir():
        return "folder"
    if info.issym() or info.islnk():
        return "is a link"
    if info.ischr() or info.isblk() or info.isfifo():
        return "is a device"
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.issparse():
        return "is of a kind that is not known here"
    return "file"


def _is_tar_header(block: bytes) -> bool:
    if len(block) < _BLOCK:
        return False
    try:
        tarfile.TarInfo.frombuf(block[:_BLOCK], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True
