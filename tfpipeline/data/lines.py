"""Lines of text files in any encoding, numbered as editors number them."""

from __future__ import annotations

import codecs
import io
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Union, cast

from tfpipeline.data.records import option, read_error
from tfpipeline.errors import UserError

_PIECE = 1 << 16
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_NULS = 0.25  # a file with at least this share of zero bytes is UTF-16
# Tried in this order on a file that is not in the expected encoding, the stricter ones first.
_LIKELY = ("utf-8", "gb18030", "big5", "shift_jis", "euc_kr", "cp1252", "cp1251")
_OF_PAIRS = ("gb18030", "big5", "shift_jis", "euc_kr")
_HIGH = re.compile(rb"[\x80-\xff]+")
_ALONE = 0.75  # with this share of isolated bytes among those above 127, they are European letters
_ADVICE = f"name the right one with {option('encoding')}, or save the file as UTF-8"


def read_lines(path: Path, encoding: str = "utf-8") -> Iterator[str]:
    """The lines of a file with their line ends, without a byte-order mark.

    Lines end at LF, or at CR in a file without LF (in its first 64 KiB). Unlike Python's text mode, this does
    not split at other characters (U+2028, a lone CR), so line numbers match those of editors.

    Raises:
        UserError: the file cannot be read, or is not in this encoding; the message names the line.
    """
    encoding = codecs.lookup(encoding).name.removesuffix("-sig")
    try:
        with path.open("rb", buffering=_PIECE) as opened:
            file = cast(io.BufferedReader, opened)
            start = file.peek(_PIECE)
            actual = _by_its_look(start)
            if actual is not None and actual != encoding and not encoding.startswith(("utf-16", "utf-32")):
                raise UserError(
                    f"{path}:1: the file is {actual.upper()}, not {encoding.upper()}; name {actual} with "
                    f"{option('encoding')}, or save the file as UTF-8"
                )
            lines = _decoded(file, start, path, encoding)
            for first in itertools.islice(lines, 1):
                yield first.removeprefix("\ufeff")
            yield from lines
    except OSError as error:
        raise read_error(path, error) from error


def _by_its_look(start: bytes) -> str | None:
    """The encoding recognised from the first bytes: a byte-order mark, or the zero bytes of UTF-16."""
    for mark, name in _MARKS.items():
        if start.startswith(mark):
            return name
    if start[:1000].count(0) <= _NULS * len(start[:1000]):
        return None
    return "utf-16-be" if start[:1] == b"\0" else "utf-16-le"


def _decoded(file: io.BufferedReader, start: bytes, path: Path, encoding: str) -> Iterator[str]:
    if "\n".encode(encoding) != b"\n":  # byte 10 may be part of any character
        yield from _split(_wide(file, path, encoding, start), "\r" if _has_cr_only(start, encoding) else "\n")
        return
    ends_with_cr = b"\r" in start and b"\n" not in start
    lines: Iterable[bytes] = _split(iter(lambda: file.read(_PIECE), b""), b"\r") if ends_with_cr else file
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode(encoding)
        except UnicodeDecodeError as error:
            raise _not_decoded(path, number, error, encoding, start, line) from error


def _has_cr_only(start: bytes, encoding: str) -> bool:
    text = start.decode(encoding, "ignore")
    return "\r" in text and "\n" not in text


def _wide(file: io.BufferedReader, path: Path, encoding: str, start: bytes) -> Iterator[str]:
    """The decoded chunks of a file in an encoding with several bytes per character."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    while True:
        piece, state = file.read(_PIECE), decoder.getstate()
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeError as error:
            if _lacks_mark(encoding, start) or not isinstance(error, UnicodeDecodeError):
                raise _without_mark(path, encoding, start) from error
            decoder.setstate(state)
            decoder.errors = "replace"
            line += decoder.decode(piece, final=not piece).partition("\ufffd")[0].count("\n")
            raise _not_decoded(path, line, error, encoding) from error
        line += text.count("\n")
        if text:
            yield text
        if not piece:
            return


def _split(pieces: Iterable[Any], end: Union[str, bytes]) -> Iterator[Any]:
    """Lines with their ends, from chunks of text or bytes."""
    rest: Any = end[:0]
    for piece in pieces:
        *lines, rest = (rest + piece).split(end)
        yield from (line + end for line in lines)
    if rest:
        yield rest


def _lacks_mark(encoding: str, start: bytes) -> bool:
    """Whether an encoding needs a byte-order mark (UTF-16, UTF-32) and the file has none: Python guesses."""
    mark = {"utf-16": codecs.BOM_UTF16_LE, "utf-32": codecs.BOM_UTF32_LE}.get(encoding)
    return mark is not None and not start.startswith((mark, mark[::-1]))


def _without_mark(path: Path, encoding: str, start: bytes) -> UserError:
    sample = start[: start.rfind(b"\n") + 1] or start
    likely = _by_its_look(start) or next((name for name in _LIKELY if _reads(name, sample)), None)
    guess = f"it may be {likely}: " if likely else ""
    why = " (no byte-order mark)" if _lacks_mark(encoding, start) else ""
    return UserError(f"{path}:1: not {encoding.upper()}{why}; {guess}{_ADVICE}")


def _not_decoded(
    path: Path, line: int, error: UnicodeDecodeError, encoding: str, start: bytes = b"", text: bytes = b""
) -> UserError:
    byte = error.object[error.start]
    sample = start[: start.rfind(b"\n") + 1] + text
    runs = _HIGH.findall(sample)
    alone = sum(len(run) == 1 for run in runs) > _ALONE * len(runs)
    likely = [
        name
        for name in _LIKELY
        if codecs.lookup(name).name != encoding and _reads(name, sample) and not (alone and name in _OF_PAIRS)
    ]
    guess = f"it may be {' or '.join(likely)}: " if sample and likely else ""
    return UserError(f"{path}:{line}: not {encoding.upper()} (byte 0x{byte:02x}); {guess}{_ADVICE}")


def _reads(encoding: str, sample: bytes) -> bool:
    """Whether bytes are valid text in an encoding, without the control characters of ISO 8859."""
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError:
        return False
    return not any("\x80" <= character < "\xa0" for character in text)
