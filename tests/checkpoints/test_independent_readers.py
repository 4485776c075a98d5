"""What we write, read by programs that share no line with ours; PyTorch's turn is in tests/parity."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from tests.parity import cases
from tfpipeline import checkpoints

READER = Path(__file__).with_name("bert4keras_reader.py")
# Odd numbers of heads, one layer, every activation and number of token types; weights of std 0.3.
RANDOM = [
    {"hidden_act": "gelu", "num_attention_heads": 3, "hidden_size": 15, "type_vocab_size": 1},
    {"hidden_act": "gelu_new", "num_attention_heads": 5, "hidden_size": 20, "num_hidden_layers": 1},
    {"hidden_act": "relu", "num_attention_heads": 1, "hidden_size": 8, "type_vocab_size": 4},
    {"hidden_act": "gelu_new", "num_attention_heads": 7, "hidden_size": 14, "type_vocab_size": 3},
    {"hidden_act": "gelu", "intermediate_size": 5, "pooler": False},
]


@pytest.fixture(scope="module")
def read_by_bert4keras(tmp_path_factory):
    """Directories of Google checkpoints of ours, each with what bert4keras computed from it."""
    if importlib.util.find_spec("bert4keras") is None:
        pytest.skip("bert4keras is not installed; make test installs it")
    folder = tmp_path_factory.mktemp("google")
    sources = {name: fetch() for name, fetch in cases.REAL.items()}
    for number, changes in enumerate(RANDOM):
        sources[f"random-{number}"] = tiny.write_checkpoint(
            folder / "source" / str(number), number, **changes
        )
    for name, source in sources.items():
        checkpoint = checkpoints.convert(source, folder / name, to="google").checkpoint
        config = checkpoint.config
        random = np.random.default_rng(0)
        shape = (3, min(64, config.max_position_embeddings))
        np.savez(
            folder / name / "inputs.npz",
            input_ids=random.integers(1, config.vocab_size, shape),  # it takes token 0 for padding
            token_type_ids=random.integers(0, config.type_vocab_size, shape),
        )
    command = [sys.executable, str(READER), *(str(folder / name) for name in sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", [*cases.REAL, *(f"random-{number}" for number in range(len(RANDOM)))])
def test_bert4keras_reads_our_google_checkpoints(name, read_by_bert4keras):
    directory = read_by_bert4keras / name
    with np.load(directory / "inputs.npz") as inputs:
        inputs = {key: array.astype(np.int32) for key, array in inputs.items()}
    ours = np.asarray(checkpoints.load(directory).encoder()(inputs)["sequence_output"])
    theirs = np.load(directory / "outputs.npy")
    assert ours.std() > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": True, "strip_accents": False, "tokenize_chinese_chars": False},
        {"additional_special_tokens": ["good"]},
    ],
)
def test_transformers_reads_our_tokenizer_and_configuration(options, tmp_path):
    from transformers import AutoConfig, AutoTokenizer

    from tfpipeline.text import WordPieceTokenizer

    source = tiny.write_checkpoint(tmp_path / "source", hidden_act="gelu_new", layer_norm_eps=1e-5)
    (source / "tokenizer_config.json").write_text(json.dumps(options))
    checkpoints.convert(source, tmp_path / "dest", to="huggingface")
    config = AutoConfig.from_pretrained(tmp_path / "dest")
    assert (type(config).__name__, config.architectures) == ("BertConfig", ["BertModel"])
    assert (config.hidden_act, config.layer_norm_eps, config.vocab_size) == (
        "gelu_new",
        1e-5,
        len(tiny.VOCABULARY),
    )
    theirs = AutoTokenizer.from_pretrained(tmp_path / "dest")
    read = checkpoints.load(tmp_path / "dest")
    ours = WordPieceTokenizer(read.vocabulary, read.tokenizer)
    texts = ["the food is GREAT", "a béd film, so tablely!", "xgoody [MASK] 你好 good.", ""]
    want = theirs(texts, padding=True, return_tensors="np")
    got = ours(texts)
    assert {len(np.unique(ids)) > 3 for ids in want["input_ids"][:3]} == {True}
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        np.testing.assert_array_equal(got[name], want[name])


def test_transformers_finds_our_labels(tmp_path):
    from transformers import AutoConfig

    source = tiny.write_checkpoint(tmp_path / "source", **tiny.CLASSIFIER)
    checkpoints.convert(source, tmp_path / "google", to="google")
    checkpoints.convert(tmp_path / "google", tmp_path / "dest", to="huggingface")
    config = AutoConfig.from_pretrained(tmp_path / "dest")
    assert config.architectures == ["BertForSequenceClassification"]
    assert config.id2label == dict(enumerate(tiny.LABELS))
    assert config.label2id == {label: index for index, label in enumerate(tiny.LABELS)}
