"""Escapes text from data files for reports, so that it is never read as markup, HTML or terminal codes."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 200  # maximum number of characters of a text in a table

# Characters with a meaning anywhere in a line of Markdown; not underscores within words, as in macro_f1.
_SPECIAL = re.compile(r"[\\`*\[\]#|~$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Characters that are invisible or move the text around them: control characters, direction marks, surrogates.
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"  # used within Persian and Hindi words, and in emoji


def visible(text: str) -> str:
    r"""A text for a terminal or a file, with control characters as Python escapes.

    Line breaks and tabs stay. An ESC, ``\x1b``, could change the terminal's colours or move its cursor.
    """
    return "".join(map(_shown, text))


def one_line(text: str) -> str:
    """A text with white space collapsed and hidden characters escaped."""
    return visible(" ".join(text.split()))


def shortened(text: str) -> str:
    """A text in one line, shortened to at most :data:`LONGEST` characters."""
    folded = one_line(text)
    return folded if len(folded) <= LONGEST else f"{folded[: LONGEST - 1]}…"


def markdown(text: str) -> str:
    """A text in one line of Markdown (also in a table), escaped so that it contains no markup, HTML, links or
    images.
    """
    escaped = _SPECIAL.sub(r"\\\g<0>", one_line(text))
    return "".join(_ENTITIES.get(character, character) for character in escaped)


def fenced(text: str) -> str:
    """A text of several lines in a Markdown code block that no line of the text can end."""
    longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}text\n{visible(text).rstrip()}\n{fence}"


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN or character in f"{_JOINERS}\n\t":
        return character
    return character.encode("unicode_escape").decode("ascii")
