"""Text from data files in reports: shown as what it is, and never read as markup, HTML or a command to the
terminal.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST = 200  # characters of a text in a table

# What Markdown reads anywhere in a line; underscores within words are none of it, as in macro_f1.
_SPECIAL = re.compile(r"[\\`*\[\]#|~$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# What draws nothing, or moves the text around it: control characters, marks of direction, halves of pairs.
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"  # within words of Persian and Hindi, and in emoji


def visible(text: str) -> str:
    r"""A text for a terminal or a file, its control characters written as Python writes them.

    Line breaks and tabs stay. An ESC, ``\x1b``, would change colours or move the cursor of the terminal.
    """
    return "".join(map(_shown, text))


def one_line(text: str) -> str:
    """A text with its white space folded and hidden characters visible."""
    return visible(" ".join(text.split()))


def shortened(text: str) -> str:
    """At most :data:`LONGEST` characters of a text in one line."""
    folded = one_line(text)
    return folded if len(folded) <= LONGEST else f"{folded[: LONGEST - 1]}…"


def markdown(text: str) -> str:
    """A text in one line of Markdown (also in a table), where none of it is markup, HTML, a link or an
    image.
    """
    escaped = _SPECIAL.sub(r"\\\g<0>", one_line(text))
    return "".join(_ENTITIES.get(character, character) for character in escaped)


def fenced(text: str) -> str:
    """A text of several lines in a code block of Markdown, which no line of it ends."""
    longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}text\n{visible(text).rstrip()}\n{fence}"


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN or character in f"{_JOINERS}\n\t":
        return character
    return character.encode("unicode_escape").decode("ascii")
