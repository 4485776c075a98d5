"""Reads the entries of zip and tar archives one by one, without trusting what they declare.

``tarfile.data_filter`` cannot replace these rules: it does not apply to zips, it strips the first slash of an
absolute path instead of refusing it, and it does not limit sizes.
"""

from __future__ import annotations

import bz2
import dataclasses
import functools
import gzip
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Generator
from typing import IO, Any

from tfpipeline.errors import UserError

# Weights hardly compress (1.1 times), and a vocabulary compresses three times. A file that unpacks to more
# than this is not a checkpoint.
MOST_RATIO = 100
MOST_BYTES_MORE = 64 << 20
_MOST_HEADER = 1 << 20  # of a tar's extended header, which tarfile reads in one piece
_CHUNK = 1 << 20
BLOCK = 512  # the block size of tar
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ZIP, _EMPTY_ZIP = b"PK\x03\x04", b"PK\x05\x06"
_DECOMPRESSED: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),  # type: ignore[dict-item,return-value]
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}


@dataclasses.dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: as stored in the archive.
        kind: "file" or "folder", or else the reason why it is refused.
        size: as declared, in bytes.
        open: opens its content, which must be read before the next member is requested.
    """

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes]]


class Damaged(Exception):
    """The archive is damaged; the message says how."""


class Budget:
    """The number of bytes that may still be unpacked."""

    def __init__(self, display_name: str, size: int) -> None:
        self._display_name = display_name
        self._left = MOST_RATIO * size + MOST_BYTES_MORE

    def check(self, size: int, name: str) -> None:
        """Raise the error if ``size`` more bytes are too many."""
        if size > self._left:
            at = f"{printable(name)} of {self._display_name}" if name else self._display_name
            raise UserError(
                f"{at} unpacks to more than {MOST_RATIO} times the archive's size, which weights never do; "
                f"it is damaged or a decompression bomb: get it from its source again"
            )

    def take(self, size: int, name: str) -> None:
        self.check(size, name)
        self._left -= size


def printable(name: str) -> str:
    """A name made fit for one line of a message."""
    name = name if name.isprintable() else ascii(name)
    return name if len(name) <= 100 else f"{name[:97]}..."


def is_archive_head(head: bytes) -> bool:
    """Whether a file that starts with these :data:`BLOCK` bytes is an archive; PyTorch's zips are not."""
    if head.startswith(_ZIP):
        first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return first != b"data.pkl" and not first.endswith(b"/data.pkl")
    return head.startswith((_EMPTY_ZIP, *_DECOMPRESSED)) or _is_tar_header(head)


def read_members(
    display_name: str, raw: IO[bytes], size: int, budget: Budget
) -> Generator[Member, None, None]:
    """Yield the entries of a zip or tar archive.

    Args:
        display_name: the archive's name in messages.
        raw: the open file.
        size: of the archive, in bytes.
        budget: how much may be unpacked. The headers and padding of a tar have a separate budget.
    Raises:
        UserError: the file is neither a zip nor a tar.
        Damaged: the archive is damaged. The standard library's exceptions for damaged files also pass.
    """
    head = raw.read(BLOCK)
    raw.seek(0)
    if head.startswith((_ZIP, _EMPTY_ZIP)):
        return _zip_members(raw, budget)
    return _tar_members(display_name, raw, head, Budget(display_name, size))


def _zip_members(raw: IO[bytes], budget: Budget) -> Generator[Member, None, None]:
    with zipfile.ZipFile(raw) as archive:
        members = archive.infolist()
        budget.check(sum(info.file_size for info in members), "")
        for info in members:
            opened = functools.partial(archive.open, info)
            yield Member(_zip_name(info), _zip_kind(info), info.file_size, opened)


def _zip_name(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    # Without the flag, names are in code page 437 by the standard, but macOS and others write UTF-8.
    return info.filename.encode("cp437").decode("utf-8", "surrogateescape")


def _zip_kind(info: zipfile.ZipInfo) -> str:
    mode = stat.S_IFMT(info.external_attr >> 16)
    if info.flag_bits & 0x41:
        return "is encrypted"
    if info.compress_type not in _ZIP_METHODS:
        return f"uses an unknown compression method ({info.compress_type})"
    if stat.S_ISLNK(mode):
        return "is a link"
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a device"
    return "folder" if info.is_dir() else "file"


class _TarInfo(tarfile.TarInfo):
    """Refuses what tarfile tolerates: an archive that ends early, and headers of any size."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _TarInfo:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the mark at the end
            raise
        except tarfile.HeaderError as error:
            reason = "it ends early" if str(error) in ("empty header", "truncated header") else str(error)
            raise Damaged(reason) from error

    def _proc_member(self, tar: Any) -> Any:
        extended = (
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        )
        if self.size < 0 or (self.type in extended and self.size > _MOST_HEADER):
            raise Damaged(f"a header of {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


class _Counted:
    """Counts the bytes that a decompressor returns."""

    def __init__(self, stream: IO[bytes], budget: Budget) -> None:
        self._stream = stream
        self._budget = budget

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._budget.take(len(data), "")
        return data


def _tar_members(
    display_name: str, raw: IO[bytes], head: bytes, budget: Budget
) -> Generator[Member, None, None]:
    opened = [make(raw) for magic, make in _DECOMPRESSED.items() if head.startswith(magic)]
    stream = opened[0] if opened else raw
    first = stream.read(BLOCK)
    if opened and len(first) == BLOCK and not _is_tar_header(first):
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
            yield Member(info.name, _tar_kind(info), info.size, content)
    while counted.read(_CHUNK):  # to the end, where the checksum of the compression is stored
        pass


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.isdir():
        return "folder"
    if info.issym() or info.islnk():
        return "is a link"
    if info.ischr() or info.isblk() or info.isfifo():
        return "is a device"
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.issparse():
        return "is of an unknown type"
    return "file"


def _is_tar_header(block: bytes) -> bool:
    if len(block) < BLOCK:
        return False
    try:
        tarfile.TarInfo.frombuf(block[:BLOCK], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True
