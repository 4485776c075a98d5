"""Texts that the vocabulary does not know are counted and said."""

from __future__ import annotations

import pytest

from tests.text.conftest import SPECIAL
from tfpipeline.text import TokenizerOptions, Truncation, WordPieceTokenizer, unknown_note

UNCASED = [*SPECIAL, "the", "film", "good"]
CASED = [*UNCASED, "The", "Film", "Good"]


def test_unknown_tokens_are_counted_where_they_are_kept():
    tokenizer = WordPieceTokenizer(UNCASED, TokenizerOptions(lowercase=False))
    texts = ["the FILM", "GOOD Good good", "", "the film"]
    encoded = tokenizer(texts, max_length=4, count=True)
    assert encoded["unknown"].numpy().tolist() == [1, 2, 0, 0]
    assert encoded["cut"].numpy().tolist() == [0, 1, 0, 0]
    pairs = tokenizer(["FILM"] * 2, ["GOOD good", "x y"], count=True)
    assert pairs["unknown"].numpy().tolist() == [2, 3]
    whole = tokenizer(["FILM the " * 9], truncation=Truncation(8, long="windows", overlap=2), count=True)
    assert whole["unknown"].numpy().tolist() == [9]
    assert "unknown" not in tokenizer(texts)


@pytest.mark.parametrize(
    ("vocabulary", "lowercase", "advice"),
    [
        (UNCASED, False, "the vocabulary has no upper-case words: set text.lowercase to true"),
        (CASED, True, "set text.lowercase to false, or check"),
        (UNCASED, True, "check that the checkpoint's vocabulary is for the language of the texts"),
        (CASED, False, "check that the checkpoint's vocabulary is for the language of the texts"),
    ],
)
def test_what_is_said(vocabulary, lowercase, advice):
    options = TokenizerOptions(lowercase=lowercase)
    note = unknown_note(86, 100, vocabulary, options, "training rows")
    assert note.startswith("86 % of the tokens of the training rows are [UNK], so the model hardly sees")
    assert note.endswith(advice) or advice in note
    assert unknown_note(21, 100, vocabulary, options, "rows") is not None
    for unknown, tokens in ((20, 100), (0, 0), (0, -3)):
        assert unknown_note(unknown, tokens, vocabulary, options, "rows") is None
