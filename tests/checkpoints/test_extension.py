from __future__ import annotations

import json

import numpy as np
import pytest

from tests import tiny
from tfpipeline import checkpoints
from tfpipeline.errors import UserError
from tfpipeline.text import WordPieceTokenizer


@pytest.fixture
def checkpoint(tmp_path):
    return checkpoints.load(tiny.write_checkpoint(tmp_path / "source"))


def with_mlm_head(checkpoint):
    import dataclasses

    bias = np.arange(checkpoint.config.vocab_size, dtype=np.float32)
    return dataclasses.replace(checkpoint, heads={"mlm/bias": bias})


def test_more_positions_repeat_the_first(checkpoint, tmp_path):
    longer = checkpoints.extend(checkpoint, positions=100)
    assert longer.config.max_position_embeddings == 100
    old, new = checkpoint.tensors["embeddings/position"], longer.tensors["embeddings/position"]
    assert new.shape == (100, 16)
    np.testing.assert_array_equal(new[:40], old)
    np.testing.assert_array_equal(new[40:80], old)
    np.testing.assert_array_equal(new[80:], old[:20])
    ids = {"input_ids": np.arange(1, 41, dtype=np.int32)[None] % 20}
    np.testing.assert_array_equal(
        longer.encoder()(ids)["sequence_output"], checkpoint.encoder()(ids)["sequence_output"]
    )
    assert longer.encoder()({"input_ids": np.ones((1, 100), np.int32)})["sequence_output"].shape == (
        1,
        100,
        16,
    )
    checkpoints.write(longer, tmp_path / "dest", to="huggingface")
    assert checkpoints.load(tmp_path / "dest").equals(longer)
    assert any("100 positions" in note for note in longer.notes)


def test_new_tokens_begin_as_the_mean_of_their_pieces(checkpoint, tmp_path):
    checkpoint = with_mlm_head(checkpoint)
    larger = checkpoints.extend(checkpoint, tokens=["badly", "##xy", "[PERSON]", "xylophone"])
    count = len(tiny.VOCABULARY)
    assert larger.vocabulary == (*tiny.VOCABULARY, "badly", "##xy", "[PERSON]", "xylophone")
    assert larger.config.vocab_size == count + 4
    assert larger.tokenizer.special_tokens == ("[PERSON]",)
    old, new = checkpoint.tensors["embeddings/word"], larger.tensors["embeddings/word"]
    np.testing.assert_array_equal(new[:count], old)
    pieces = [tiny.VOCABULARY.index("bad"), tiny.VOCABULARY.index("##ly")]
    np.testing.assert_allclose(new[count], old[pieces].mean(0), rtol=1e-6)
    unknown = tiny.VOCABULARY.index("[UNK]")
    np.testing.assert_allclose(new[count + 3], old[unknown], rtol=1e-6)  # it was unknown before
    assert larger.heads["mlm/bias"][count] == np.mean(pieces)
    assert larger.heads["mlm/bias"].shape == (count + 4,)
    ids = (
        WordPieceTokenizer(larger.vocabulary, larger.tokenizer)
        .tokenize(["the badly made film [PERSON] "])
        .to_list()[0]
    )
    assert count in ids
    assert ids[-1] == count + 2
    small = checkpoints.extend(checkpoints.load(tmp_path / "source"), tokens=["badly"])
    for to in ("google", "huggingface"):
        checkpoints.write(small, tmp_path / to, to=to)
        assert checkpoints.load(tmp_path / to).equals(small)


def test_padded_rows_are_used_and_stay_a_multiple(tmp_path):
    source = tiny.write_checkpoint(tmp_path / "source", vocab_size=40)  # for 29 tokens
    checkpoint = checkpoints.load(source)
    count = len(checkpoint.vocabulary)
    assert count == 29
    larger = checkpoints.extend(checkpoint, tokens=["badly"])
    assert larger.config.vocab_size == 40
    new = larger.tensors["embeddings/word"]
    np.testing.assert_array_equal(new[count + 1 :], checkpoint.tensors["embeddings/word"][count + 1 :])
    assert np.abs(new[count] - checkpoint.tensors["embeddings/word"][count]).max() > 0
    many = checkpoints.extend(checkpoint, tokens=[f"x{'y' * number}" for number in range(1, 14)])
    assert many.config.vocab_size == 48


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"positions": 39}, "has 40 positions already; ask for more than that"),
        ({"tokens": ["good"]}, 'the new token "good" is in the vocabulary already; leave it out'),
        ({"tokens": ["new", "new"]}, "a new token is given twice; leave one out"),
        (
            {"tokens": ["two words"]},
            "the new token 'two words' is empty or holds white space; give one word per token",
        ),
        ({"tokens": ["Upper"]}, 'the tokenizer would never give the new token "Upper"'),
        ({"tokens": ["co-op"]}, 'the tokenizer would never give the new token "co-op"'),
    ],
)
def test_what_makes_no_sense(checkpoint, change, sentence):
    with pytest.raises(UserError) as caught:
        checkpoints.extend(checkpoint, **change)
    assert sentence in str(caught.value)


def test_tokens_from_a_file(tmp_path):
    path = tmp_path / "tokens.txt"
    path.write_text("one\n\n##two\n[THREE]\n")
    assert checkpoints.read_tokens(path) == ("one", "##two", "[THREE]")
    with pytest.raises(UserError, match=r"cannot read .*none: No such file or directory; check the path"):
        checkpoints.read_tokens(tmp_path / "none")
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match="is not UTF-8; save it as such"):
        checkpoints.read_tokens(path)


@pytest.mark.parametrize("gelu", ["erf", "tanh"])
def test_the_word_gelu_can_be_overridden(gelu, tmp_path):
    source = tiny.write_checkpoint(tmp_path / "source")
    report = checkpoints.convert(source, tmp_path / "dest", gelu=gelu)
    assert checkpoints.load(tmp_path / "dest").config.hidden_act == f"gelu_{gelu}"
    assert f"hidden_act is gelu_{gelu}, as asked for, instead of gelu_erf" in str(report)
    with pytest.raises(UserError, match='gelu is "new"; it must be erf or tanh'):
        checkpoints.load(source, gelu="new")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    with pytest.raises(UserError, match="hidden_act is relu, not a gelu; leave out --gelu"):
        checkpoints.load(source, gelu=gelu)
