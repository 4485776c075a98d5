"""How much of the texts the vocabulary does not know, and what to say of it; no framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from tfpipeline.text.options import TokenizerOptions, infer_lowercase

# Of the tokens of texts; a vocabulary of the texts' own language leaves a few in a hundred.
MOST_UNKNOWN = 0.2


def unknown_note(
    unknown: int, tokens: int, vocabulary: Sequence[str], options: TokenizerOptions, what: str
) -> Optional[str]:
    """A sentence about texts that are mostly unknown tokens, with what to check; None when they are not.

    Args:
        unknown: how many tokens are the unknown one.
        tokens: how many there are in all, special ones left out.
        vocabulary: the tokens in the order of their ids.
        options: how texts are normalised.
        what: the texts' name.
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
