"""Warns about texts with many tokens that are not in the vocabulary; imports no framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from tfpipeline.text.options import TokenizerOptions, infer_lowercase

# Share of unknown tokens. With a vocabulary for the texts' own language, it is a few per cent.
MOST_UNKNOWN = 0.2


def unknown_note(
    unknown: int, tokens: int, vocabulary: Sequence[str], options: TokenizerOptions, what: str
) -> Optional[str]:
    """A sentence about texts with many unknown tokens, with advice; None if there are few.

    Args:
        unknown: the number of unknown tokens.
        tokens: the number of all tokens, without special tokens.
        vocabulary: the tokens in the order of their ids.
        options: how texts are normalised.
        what: what the texts are called.
    """
    if unknown <= MOST_UNKNOWN * max(tokens, 0):
        return None
    share = (
        f"{100 * unknown / max(tokens, unknown):.0f} % of the tokens of the {what} are {options.unk_token}"
    )
    uncased = infer_lowercase(vocabulary)
    if uncased and not options.lowercase:
        advice = "the vocabulary has no upper-case words: set text.lowercase to true"
    elif not uncased and options.lowercase:
        advice = (
            "the vocabulary has upper-case words, but the texts are lower-cased: set text.lowercase to "
            "false, or check "
            "that the checkpoint's vocabulary is for the language of the texts"
        )
    else:
        advice = "check that the checkpoint's vocabulary is for the language of the texts"
    return f"{share}, so the model hardly sees what they say; {advice}"
