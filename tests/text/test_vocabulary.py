"""Vocabulary files, and the tables made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.text.conftest import SPECIAL, reference_ids
from tfpipeline.errors import UserError
from tfpipeline.text import TokenizerOptions, WordPieceTokenizer, load_vocabulary
from tfpipeline.text.vocabulary import prefix_tables


@pytest.mark.parametrize(
    "lines",
    [
        "a\nb\n##b\n",
        "a\nb\n##b",
        "a\r\nb\r\n##b\r\n",
        "a\n\nb\n##b\n",
        "a\nb\na\n##b\n##b\nc\n",
        " a\nb \n##b\na\u2028\n\u0085\nc\n",
    ],
    ids=["plain", "no newline at the end", "windows", "empty line", "twice", "odd white space"],
)
def test_ids_are_those_of_transformers(tmp_path, lines):
    from transformers import BertTokenizerFast
    from transformers.models.bert.tokenization_bert import load_vocab

    file = tmp_path / "vocab.txt"
    file.write_bytes(("\n".join(SPECIAL) + "\n" + lines).encode())
    vocabulary = load_vocabulary(file)
    theirs = load_vocab(str(file))
    assert {token: i for i, token in enumerate(vocabulary)} == theirs
    assert len(vocabulary) == max(theirs.values()) + 1
    assert load_vocabulary(tmp_path) == vocabulary
    texts = ["a b ab abb c bb", "a", ""]
    got = WordPieceTokenizer(vocabulary, TokenizerOptions()).tokenize(texts).to_list()
    assert got == reference_ids(BertTokenizerFast(vocab=theirs), texts)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb\xff\nc\n", r"vocab.txt:2: not UTF-8 \(byte 0xff\)"),
        (b"", "vocab.txt is empty"),
        (None, "no vocabulary at .*vocab.txt"),
    ],
)
def test_unusable_files(tmp_path, content, message):
    if content is not None:
        (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load_vocabulary(tmp_path / "vocab.txt")
    assert "\n" not in str(error.value)


def test_a_path_that_cannot_be_read(tmp_path):
    (tmp_path / "file").write_text("a")
    with pytest.raises(UserError, match=r"cannot read the vocabulary .*Not a directory"):
        load_vocabulary(tmp_path / "file" / "vocab.txt")


def test_missing_special_tokens_are_all_named():
    options = TokenizerOptions(special_tokens=("<user>", "a"))
    with pytest.raises(
        UserError, match=r"the vocabulary of 3 tokens lacks \[SEP\], \[CLS\], \[MASK\], <user>; use"
    ):
        WordPieceTokenizer(["[PAD]", "[UNK]", "a"], options)


def test_a_vocabulary_without_mask():
    vocabulary = [token for token in SPECIAL if token != "[MASK]"] + ["[", "]", "mask"]
    tokenizer = WordPieceTokenizer(vocabulary, TokenizerOptions(mask_token=None))
    assert tokenizer.tokenize(["[MASK]"]).to_list() == [[4, 6, 5]]


@given(tokens=st.lists(st.text("ab#é中", max_size=5), max_size=12, unique=True))
def test_prefixes_find_the_longest_token(tokens):
    ids = {token: i for i, token in enumerate(tokens)}
    for table, prefix in zip(prefix_tables(ids, lambda text: True), ("", "##")):
        for word in {t.removeprefix(prefix) for t in tokens} | {"ab", "abé", "中a"}:
            raw = word.encode()
            found = [table[raw[:n]] for n in range(1, len(raw) + 1) if raw[:n] in table]
            # Closed under prefixes: none beyond the first that is missing.
            assert all(raw[:n] in table for n in range(1, len(found) + 1))
            fitting = [
                (len(word[:n].encode()), ids[prefix + word[:n]])
                for n in range(1, len(word) + 1)
                if prefix + word[:n] in ids and not (not prefix and word[:n].startswith("##") and n > 2)
            ]
            best = found[-1] if found else 0
            assert (best >> 32, best & 0xFFFFFFFF) == (fitting[-1] if fitting else (0, 0))
