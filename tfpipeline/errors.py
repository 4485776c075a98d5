"""What a user is told when something is wrong with what they gave us.

One sentence: what is wrong, where (file and line, field, tensor name), what to do. The command line prints
it after ``error:`` and exits with 2; a Python caller catches :class:`UserError`.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator
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
    "tensorflow_serving": "serve",
}


class UserError(Exception):
    """Something the user gave us cannot be used; the message is one clear sentence."""


class MissingExtraError(UserError):
    """A command needs an optional dependency that is not installed."""


@contextlib.contextmanager
def explain_missing_extra() -> Iterator[None]:
    """Turn the import error of an optional dependency into the pip line that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in _EXTRA_OF:
            raise
        raise MissingExtraError(
            f"this needs {module}, which is not installed; it comes with Python 3.11 to 3.13 and: "
            f"pip install 'tfpipeline[{_EXTRA_OF[module]}]'"
        ) from error


def nearest(word: str, known: Iterable[str]) -> Optional[str]:
    """The known word closest to ``word``, or None when none is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``'; did you mean "x"?'``, or the list of known words when none is close."""
    known = list(known)
    match = nearest(word, known)
    if match:
        return f'; did you mean "{match}"?'
    return "; known: " + ", ".join(known) if known else ""
