"""Terminals and locales that are not UTF-8: arguments as they were typed, output escaped where it cannot be
shown.
"""

from __future__ import annotations

import codecs
import io
import os
import sys


def is_utf8(encoding: str) -> bool:
    """Whether an encoding of that name is UTF-8."""
    return codecs.lookup(encoding).name == "utf-8"


def is_ascii(encoding: str) -> bool:
    """Whether an encoding of that name is ASCII."""
    return codecs.lookup(encoding).name == "ascii"


def typed(argument: str) -> str:
    """An argument as it was typed: with an ASCII locale (LC_ALL=C), Python cannot decode its bytes."""
    if not is_ascii(sys.getfilesystemencoding()):
        return argument
    return os.fsencode(argument).decode("utf-8", "surrogateescape")


def escape_what_cannot_be_shown() -> None:
    """Make both output streams escape characters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
