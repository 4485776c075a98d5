"""BERT under other names: the same classes with other vocabularies, made as those checkpoints are.

hfl/chinese-bert-wwm-ext: characters, ``BertForMaskedLM``, no flag of case beside the vocabulary;
allenai/scibert: ``BertModel`` of 31,090 tokens, written by pytorch-pretrained-bert;
sentence-transformers/LaBSE: cased, many scripts, vocabulary of half a million;
google-bert/bert-base-multilingual-cased: ``do_lower_case`` false. Sizes are cut down.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests import tiny
from tfpipeline import checkpoints
from tfpipeline.text import WordPieceTokenizer

SPECIAL = tiny.SPECIAL
BRANDS = {
    "chinese-bert-wwm": {
        "vocabulary": [*SPECIAL, "[unused1]", *"我你他是不好天气今很的，。", "##天", "good", "##s"],
        "tokenizer_config": {"init_inputs": []},
        "config": {
            "architectures": ["BertForMaskedLM"],
            "directionality": "bidi",
            "pooler_type": "first_token_transform",
        },
        "lowercase": True,
        "pieces": {"今天天气很好。Goods": ["今", "天", "天", "气", "很", "好", "。", "good", "##s"]},
    },
    "scibert-cased": {
        "vocabulary": [*SPECIAL, "The", "protein", "Protein", "DNA", "RNA", "##s", "(", ")", ".", "binding"],
        "tokenizer_config": {"do_lower_case": False},
        "config": {"architectures": ["BertModel"]},
        "lowercase": False,
        "pieces": {"The DNA binding (protein)": ["The", "DNA", "binding", "(", "protein", ")"]},
    },
    "scibert-uncased": {
        "vocabulary": [*SPECIAL, "the", "protein", "dna", "rna", "##s", "(", ")", ".", "binding"],
        "tokenizer_config": None,
        "config": {},
        "lowercase": True,
        "pieces": {"The DNA bindings": ["the", "dna", "binding", "##s"]},
    },
    "labse": {
        "vocabulary": [
            *SPECIAL,
            "Привет",
            "мир",
            "##у",
            "Hello",
            "世",
            "界",
            "été",
            "ete",
            ",",
            "नम",
            "##स्ते",
        ],
        "tokenizer_config": {"do_lower_case": False, "full_tokenizer_file": None, "strip_accents": None},
        "config": {
            "architectures": ["BertModel"],
            "gradient_checkpointing": False,
            "position_embedding_type": "absolute",
        },
        "lowercase": False,
        "pieces": {"Привет, миру été 世界": ["Привет", ",", "мир", "##у", "été", "世", "界"]},
    },
    "multilingual-cased": {
        "vocabulary": [*SPECIAL, "Straße", "Strasse", "die", "Die", "##n", "ß", "."],
        "tokenizer_config": {"do_lower_case": False, "model_max_length": 512},
        "config": {"architectures": ["BertForMaskedLM"]},
        "lowercase": False,
        "pieces": {"Die Straßen.": ["Die", "Straße", "##n", "."], "die Straße": ["die", "Straße"]},
    },
}


@pytest.mark.parametrize("name", BRANDS)
@pytest.mark.parametrize("to", ["google", "huggingface"])
def test_read_written_and_tokenised(name, to, tmp_path):
    brand = BRANDS[name]
    vocabulary = brand["vocabulary"]
    source = tiny.write_checkpoint(tmp_path / "source", vocab_size=len(vocabulary), **brand["config"])
    (source / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary), "utf-8")
    if brand["tokenizer_config"] is not None:
        (source / "tokenizer_config.json").write_text(json.dumps(brand["tokenizer_config"]))
    checkpoints.convert(source, tmp_path / "dest", to=to)
    for found in (checkpoints.load(source), checkpoints.load(tmp_path / "dest")):
        assert found.vocabulary == tuple(vocabulary)
        assert found.tokenizer.lowercase is brand["lowercase"]
        tokenizer = WordPieceTokenizer(found.vocabulary, found.tokenizer)
        for text, pieces in brand["pieces"].items():
            assert [vocabulary[i] for i in tokenizer.tokenize([text]).to_list()[0]] == pieces
    assert checkpoints.load(tmp_path / "dest").equals(checkpoints.load(source))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_files(dtype, tmp_path):
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, dtype) if dtype == "bfloat16" else dtype)
    source = tiny.write_checkpoint(tmp_path / "source")
    raw = {name: array.astype(kind) for name, array in load_file(source / "model.safetensors").items()}
    save_file(raw, source / "model.safetensors")
    checkpoints.convert(source, tmp_path / "dest", to="huggingface")
    written = load_file(tmp_path / "dest" / "model.safetensors")
    assert written.keys() == raw.keys()
    for name, array in raw.items():
        np.testing.assert_array_equal(written[name], array.astype(np.float32), strict=True)
