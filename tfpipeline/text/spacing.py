"""Where natural text has no blanks between words and punctuation: the rules of detokenisation.

WordPiece makes a word of each punctuation mark, and of each Chinese character. The rules remove the blanks
that natural text does not have there. They are regular expressions that RE2 (in a TensorFlow graph) and
Python's ``re`` read alike, applied one after the other to words with single blanks between them:

- none around Chinese characters (if the tokenizer makes words of them) and full-width punctuation;
- none before . , ! ? ; : % and after or before brackets, on their inner side;
- none within numbers: 3.5, 10:30, and 1,000 (three digits behind the comma, at most three before it);
- none in abbreviations of two letters: e.g., u.s.;
- none around an apostrophe before s, t, d, m, re, ve or ll (it's, don't), behind a single consonant (l'eau,
  o'brien) or, without a blank behind it only, at the end of a plural (dogs' tails);
- none on the inner side of a pair of quotation marks, '...' or "..."; a single one keeps its blanks;
- none around - / _ @ between two words or numbers (well-known, 3/4, 2024-05-01), nor around an en dash
  between numbers; a dash between words therefore becomes a hyphen;
- none behind a currency sign before a number, behind # before a word, and behind a minus at the beginning.

What follows from the text alone stays right: tokenizing the result gives the same tokens again.
"""

from __future__ import annotations

import re

# As the tokenizer finds them (``text.unicode_tables``).
_CHINESE = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f"
)
_FULL_WIDTH = "，。！？；：、（）《》〈〉「」『』【】〔〕"
_WORD = r"[^ !-/:-@\[-`{-~]"  # a character of a word or a number: neither a blank nor ASCII punctuation
_ENDINGS = "s|t|d|m|re|ve|ll|S|T|D|M|RE|VE|LL"
_CONSONANT = "[b-df-hj-np-tv-zB-DF-HJ-NP-TV-Zo]"

Rule = tuple[str, str]  # a pattern and what replaces it


def rules(*, chinese: bool = True) -> tuple[Rule, ...]:
    """The rules, in order.

    Args:
        chinese: whether the tokenizer makes a word of each Chinese character.
    """
    isolated = (_CHINESE if chinese else "") + _FULL_WIDTH
    return (
        (f"([{isolated}]) ", r"\1"),
        (f" ([{isolated}])", r"\1"),
        *_twice(r"([0-9]) ([.:]) ([0-9])", r"\1\2\3"),
        *_twice(r"(^|[^0-9])([0-9]{1,3}) , ([0-9]{3})([^0-9]|$)", r"\1\2,\3\4"),
        (r"(^| )([A-Za-z]) \. ([A-Za-z]) \.", r"\1\2.\3."),
        *_twice(rf"({_WORD}) (['’]) ({_ENDINGS})( |$)", r"\1\2\3\4"),
        (rf"(^| )({_CONSONANT}) (['’]) ({_WORD})", r"\1\2\3\4"),
        *_twice(rf"(^| )' ((?:[^']|{_WORD}'{_WORD})*) '( |$)", r"\1'\2'\3"),
        (r"([sS]) '( |$)", r"\1'\2"),
        *_twice(r'(^| )" ([^"]*) "( |$)', r'\1"\2"\3'),
        (r"([“‘]) ", r"\1"),
        (r" ([”’])", r"\1"),
        (r"([(\[{]) ", r"\1"),
        (r" ([)\]}])", r"\1"),
        *_twice(rf"({_WORD}) ([-/_@]) ({_WORD})", r"\1\2\3"),
        *_twice(r"([0-9]) – ([0-9])", r"\1–\2"),
        (r"^- ([0-9])", r"-\1"),
        (r"([$£€]) ([0-9])", r"\1\2"),
        (rf"(^| )# ({_WORD})", r"\1#\2"),
        (r" ([.,!?;:%…])", r"\1"),
    )


def _twice(pattern: str, replacement: str) -> tuple[Rule, Rule]:
    """A rule whose matches may share a character: the second time it finds those that the first one left."""
    return (pattern, replacement), (pattern, replacement)


def natural(words: str, *, chinese: bool = True) -> str:
    """Remove the blanks that natural text does not have.

    Args:
        words: words with single blanks between them.
        chinese: as of :func:`rules`.
    """
    for pattern, replacement in rules(chinese=chinese):
        words = re.sub(pattern, replacement, words)
    return words
