"""Errors about the user's input.

The message is one sentence: what is wrong, where (file and line, field, tensor name), and what to do. The
command line prints it after ``error:`` and exits with 2; a Python caller catches :class:`UserError`.
"""

from __future__ import annotations

import contextlib
import difflib
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Optional

# Top-level module that could not be imported -> the extra that installs it.
_EXTRA_OF = {
    "tensorflow": "train",
    "keras": "train",
    "safetensors": "train",
    "huggingface_hub": "train",
    "sklearn": "train",
    "seqeval": "train",
    "matplotlib": "train",
    "pydantic": "train",
    "yaml": "train",
    "pyarrow": "train",
    "transformers": "train",
    "openpyxl": "excel",
    "ml_dtypes": "train",
    "bm25s": "bm25",
    "tensorflow_serving": "serve",
    "grpc_health": "serve",
    "grpc_reflection": "serve",
    "prometheus_client": "serve",
    "uvicorn": "serve",
}
# The name of a module's distribution, if it differs.
_PACKAGE_OF = {
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
    "tensorflow_serving": "tensorflow-serving-api",
    "grpc_health": "grpcio-health-checking",
    "grpc_reflection": "grpcio-reflection",
}
_OLDEST, _NEWEST = (3, 11), (3, 13)  # the Python versions of the extras, as in setup.py


class UserError(Exception):
    """An input of the user cannot be used; the message is one clear sentence."""


class SettingsError(UserError):
    """A model cannot be opened with the given settings: it lacks some, or has its own."""


class MissingExtraError(UserError):
    """A command needs an optional dependency that is not installed."""


@contextlib.contextmanager
def explain_missing_extra(extra: Optional[str] = None) -> Iterator[None]:
    """Turn the import error of an optional dependency into the pip line that installs it.

    Args:
        extra: the extra for the current command, if the missing module does not determine it; by default the
            module's.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in _EXTRA_OF:
            raise
        package = _PACKAGE_OF.get(module, module)
        raise MissingExtraError(_how_to_install(package, extra or _EXTRA_OF[module])) from error


def _how_to_install(package: str, extra: str) -> str:
    versions = " to ".join(".".join(map(str, version)) for version in (_OLDEST, _NEWEST))
    line = f"pip install {_requirement(extra)}"
    if _OLDEST <= sys.version_info[:2] <= _NEWEST:
        return f"{package} is not installed; install the `{extra}` extra (Python {versions}): {line}"
    return (
        f"{package} is not installed, and the `{extra}` extra needs Python {versions}, while this is Python "
        f"{sys.version_info[0]}.{sys.version_info[1]}; in an environment of one of those: {line}"
    )


def _requirement(extra: str) -> str:
    """The requirement for pip: the checkout that contains this file, or the package by its name."""
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / "setup.py").is_file():
        return shlex.quote(f"tfpipeline[{extra}]")
    here = "." if checkout == Path.cwd() else str(checkout)
    return "-e " + shlex.quote(f"{here}[{extra}]")


def visible(text: str) -> str:
    """A text with invisible characters escaped as in YAML and JSON: ``\\u00a0``, ``\\n``; blanks stay."""
    return "".join(
        character if character.isprintable() else _ESCAPES.get(character) or _escape(ord(character))
        for character in text
    )


def alike(text: str) -> str:
    """A normal form that is equal for texts which differ only in case, white space, invisible characters or
    compatibility forms.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    seen = "".join(character for character in folded if character.isprintable() or character.isspace())
    return " ".join(seen.split())


def nearest(word: str, known: Iterable[str]) -> Optional[str]:
    """The known word closest to ``word``, or None if none is close."""
    known = list(known)
    same = next((other for other in known if alike(other) == alike(word)), None)
    if same is not None:
        return same
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``'; did you mean "x"?'``, or the list of known words if none is close."""
    known = list(known)
    match = nearest(word, known)
    if match:
        return f'; did you mean "{visible(match)}"{at_the_ends(match)}?'
    return "; known: " + ", ".join(map(visible, known)) if known else ""


_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_NAMES = {" ": "blank", "\t": "tab", "\n": "line break", "\r": "line break"}


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def _is_invisible(character: str) -> bool:
    return character.isspace() or not character.isprintable()


def at_the_ends(text: str) -> str:
    """``" (with a blank before it)"`` for a text that begins with a blank, and so on; empty for most
    texts.
    """
    characters = []
    for character, where in ((text[:1], "before"), (text[-1:], "after")):
        if character and _is_invisible(character):
            name = _NAMES.get(character) or unicodedata.name(character, "control character").lower()
            code = "" if character in _NAMES else f" (U+{ord(character):04X})"
            characters.append(f"{'an' if name[0] in 'aeiou' else 'a'} {name}{code} {where} it")
    return f" (with {' and '.join(characters)})" if characters else ""
