"""The reference tokenizer, and vocabularies to compare with it."""

from __future__ import annotations

import unicodedata

import pytest

from examples.packaged import minilm
from tfpipeline.text import TokenizerOptions, load_vocabulary

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def reference_tokenizer(vocabulary, options):
    """transformers' fast BERT tokenizer."""
    from transformers import BertTokenizerFast

    return BertTokenizerFast(
        vocab={token: i for i, token in enumerate(vocabulary)},
        do_lower_case=options.lowercase,
        strip_accents=options.strip_accents,
        tokenize_chinese_chars=options.tokenize_chinese_chars,
        unk_token=options.unk_token,
        sep_token=options.sep_token,
        pad_token=options.pad_token,
        cls_token=options.cls_token,
        mask_token=options.mask_token,
        extra_special_tokens=list(options.special_tokens),
    )


def reference_ids(reference, texts):
    """Ids without [CLS] and [SEP], a list for each text."""
    return reference(texts, add_special_tokens=False)["input_ids"] if texts else []


OPTIONS = {
    "uncased": TokenizerOptions(),
    "cased": TokenizerOptions(lowercase=False),
    "uncased with accents": TokenizerOptions(strip_accents=False),
    "cased without accents": TokenizerOptions(lowercase=False, strip_accents=True),
    "chinese words": TokenizerOptions(tokenize_chinese_chars=False),
    "cased chinese words": TokenizerOptions(lowercase=False, tokenize_chinese_chars=False),
}


@pytest.fixture(scope="session")
def english():
    """MiniLM's vocabulary: 30,522 tokens, uncased."""
    return load_vocabulary(minilm() / "vocab.txt")


@pytest.fixture(scope="session")
def characters():
    """Every assigned character as a token, at a word's start and within it: no difference hides in [UNK]."""
    assigned = [
        chr(point)
        for point in range(1, 0x110000)
        if unicodedata.category(chr(point)) not in ("Cn", "Co", "Cs", "Cc")
    ]
    return (*SPECIAL, *assigned, *("##" + character for character in assigned))
