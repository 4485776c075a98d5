"""Hugging Face directories: which files, which names, and what transformers means where the files say
nothing.
"""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests import tiny
from tests.checkpoints import pytorch_file
from tfpipeline import checkpoints
from tfpipeline.checkpoints.formats import _transformers_config as transformers_config
from tfpipeline.errors import UserError


@pytest.fixture
def source(tmp_path):
    return tiny.write_checkpoint(tmp_path / "source")


def rewrite(source, change):
    """Write the weights again, after `change` of name -> array."""
    tensors = load_file(source / "model.safetensors")
    save_file(change(tensors), source / "model.safetensors")


def reconfigure(source, *, drop=(), **values):
    path = source / "config.json"
    config = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({name: value for name, value in config.items() if name not in drop}))


def fast_tokenizer(vocabulary, **normalizer):
    """The parts of a tokenizer.json that concern WordPiece."""
    return {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
            **normalizer,
        },
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": vocabulary},
    }


def test_prefixes_heads_and_old_names(source):
    """BertForPreTraining of 2019: a prefix, gamma and beta, heads, and the buffer position_ids."""
    want = checkpoints.load(source)
    want = {name: want.tensors[name] for name in want.tensors}

    def change(tensors):
        renamed = {
            "bert."
            + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): array
            for name, array in tensors.items()
        }
        assert sum("gamma" in name for name in renamed) == 5
        return renamed | {
            "bert.embeddings.position_ids": np.arange(40)[None],
            "cls.predictions.transform.LayerNorm.gamma": np.ones(16, np.float32),
            "cls.seq_relationship.weight": np.ones((2, 16), np.float32),
            "classifier.weight": np.ones((3, 16), np.float32),
            "qa_outputs.bias": np.ones(2, np.float32),
        }

    rewrite(source, change)
    found = checkpoints.load(source)
    assert found.left_out == {
        "bert.embeddings.position_ids": "the numbers 0, 1, 2, ...: not a weight",
        "cls.predictions.transform.LayerNorm.gamma": "the mlm head is incomplete",
        "cls.seq_relationship.weight": "the nsp head is incomplete",
        "classifier.weight": "a head that the configuration's class does not have",
        "qa_outputs.bias": "the span head is incomplete",
    }
    assert found.tensors.keys() == want.keys()
    for name, array in want.items():
        np.testing.assert_array_equal(found.tensors[name], array, strict=True)


def test_a_weight_under_two_names_is_refused(source):
    rewrite(source, lambda tensors: {**tensors, "bert.pooler.dense.bias": tensors["pooler.dense.bias"] + 1})
    with pytest.raises(
        UserError, match=r"safetensors holds bert\.pooler\.dense\.bias under another name too"
    ):
        checkpoints.load(source)


def test_what_transformers_leaves_out(source):
    constants = {
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
    }
    rewrite(
        source,
        lambda tensors: {**tensors, "embeddings.position_embeddings.weight": np.zeros((512, 16), np.float32)},
    )
    reconfigure(source, drop=constants)
    found = checkpoints.load(source)
    for name, value in constants.items():
        note = f"{name} is {value}: config.json leaves it out, this is transformers' constant"
        assert note in found.notes
        assert getattr(found.config, name) == ("gelu_erf" if name == "hidden_act" else value)
    reconfigure(source, **constants)
    assert not [note for note in checkpoints.load(source).notes if "constant" in note]


def test_the_constants_are_those_of_transformers():
    from transformers import BertConfig

    assert {
        name: getattr(BertConfig(), name) for name in transformers_config.DEFAULTS
    } == transformers_config.DEFAULTS


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_floats_become_float32(source, dtype):
    values = np.array([0.5, -2, 3, 1 / 4, 0, 96, 1.5, -7] * 2)
    rewrite(source, lambda tensors: {**tensors, "pooler.dense.bias": values.astype(dtype)})
    found = checkpoints.load(source).tensors["pooler/bias"]
    np.testing.assert_array_equal(found, values.astype(np.float32), strict=True)


def test_a_vocabulary_in_tokenizer_json(source):
    """ids need not stand in order there; a vocab.txt beside it must hold the same."""
    (source / "vocab.txt").unlink()
    vocabulary = {token: number for number, token in reversed(list(enumerate(tiny.VOCABULARY)))}
    tokenizer = fast_tokenizer(vocabulary, lowercase=False, strip_accents=True, handle_chinese_chars=False)
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    found = checkpoints.load(source)
    assert found.vocabulary == tuple(tiny.VOCABULARY)
    options = found.tokenizer
    assert (options.lowercase, options.strip_accents, options.tokenize_chinese_chars) == (False, True, False)
    assert "no tokenizer_config.json; the tokenizer's options are those of tokenizer.json" in found.notes
    (source / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    assert checkpoints.load(source).tokenizer.lowercase
    (source / "tokenizer_config.json").unlink()
    (source / "vocab.txt").write_text("".join(f"{token}\n" for token in [*tiny.VOCABULARY[:-1], "zz"]))
    with pytest.raises(
        UserError, match=r"contradict each other: token \d+ is 'zz' in one and 'y' in the other"
    ):
        checkpoints.load(source)
    (source / "vocab.txt").write_text("".join(f"{token}\n" for token in tiny.VOCABULARY))
    assert not checkpoints.load(source).tokenizer.lowercase


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (
            {"model": {"type": "BPE", "vocab": {"a": 0}}},
            r"is not a WordPiece tokenizer \(its model is BPE\); BERT's vocabulary is one",
        ),
        ({"model": {"type": "WordPiece"}}, "is not a WordPiece tokenizer"),
        ({"model": [1]}, "is not a WordPiece tokenizer"),
        ({"version": "1.0"}, "is not a WordPiece tokenizer"),
        (
            fast_tokenizer({"a": 0, "b": 2}),
            "the ids of its vocabulary are not 0 to 1, each once; copy it again",
        ),
        (fast_tokenizer({"a": 0, "b": 0}), "the ids of its vocabulary are not 0 to 1, each once"),
        (fast_tokenizer({"a": 0, "b": "1"}), "the ids of its vocabulary are not 0 to 1, each once"),
    ],
)
def test_a_tokenizer_json_that_is_not_one(source, tokenizer, message):
    (source / "vocab.txt").unlink()
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UserError, match=rf"tokenizer\.json.* {message}"):
        checkpoints.load(source)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"architectures": ["RobertaModel"], "model_type": "roberta"},
            "the architecture is RobertaModel, not BERT; only BERT checkpoints can be read",
        ),
        ({"architectures": ["DistilBertModel"]}, "the architecture is DistilBertModel, not BERT"),
        ({"architectures": None, "model_type": "electra"}, "the architecture is electra, not BERT"),
        ({"architectures": "AlbertModel"}, "the architecture is AlbertModel, not BERT"),
        ({"architectures": 7}, "the architecture is 7, not BERT"),
        (
            {"position_embedding_type": "relative_key"},
            'position_embedding_type is "relative_key"; only absolute positions can be read',
        ),
        ({"is_decoder": True}, "is_decoder is true; only encoders can be read"),
        ({"add_cross_attention": True}, "add_cross_attention is true; only encoders can be read"),
    ],
)
def test_other_architectures_are_refused_by_name(source, tmp_path, values, message):
    reconfigure(source, **values)
    with pytest.raises(UserError) as caught:
        checkpoints.convert(source, tmp_path / "dest")
    assert str(caught.value).startswith(f"{source / 'config.json'}: {message}")
    assert not (tmp_path / "dest").exists()


@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM", "BertForSequenceClassification"])
def test_berts_own_classes_are_read(source, kind):
    reconfigure(source, architectures=[kind])
    assert checkpoints.load(source).config.hidden_size == 16
    reconfigure(source, drop=["architectures", "model_type"])
    assert checkpoints.load(source).config.hidden_size == 16


def test_files_of_pytorch_pretrained_bert(tmp_path):
    """2018: bert_config.json as Google's, beside pytorch_model.bin; its gelu was the exact one."""
    source = tiny.write_checkpoint(tmp_path / "source")
    want = checkpoints.load(source)
    want = {name: want.tensors[name] for name in want.tensors}
    pytorch_file.save(
        source / "pytorch_model.bin",
        {f"bert.{name}": array for name, array in load_file(source / "model.safetensors").items()},
    )
    (source / "model.safetensors").unlink()
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").unlink()
    google = {
        key: value
        for key, value in config.items()
        if key not in ("architectures", "model_type", "layer_norm_eps")
    }
    (source / "bert_config.json").write_text(json.dumps(google))
    found = checkpoints.load(source)
    assert (found.format, found.config.hidden_act, found.config.layer_norm_eps) == (
        "huggingface",
        "gelu_erf",
        1e-12,
    )
    assert any("layer_norm_eps is 1e-12: bert_config.json leaves it out" in note for note in found.notes)
    for name, array in want.items():
        np.testing.assert_array_equal(found.tensors[name], array, strict=True)


def classifier(source, outputs=3, pooler=True):
    """Give a checkpoint a classifier, and take its pooler."""

    def change(tensors):
        kept = {name: array for name, array in tensors.items() if pooler or not name.startswith("pooler")}
        weights = {
            "classifier.weight": np.ones((outputs, 16), np.float32),
            "classifier.bias": np.ones(outputs, np.float32),
        }
        return kept | weights

    rewrite(source, change)


TAGS, NAMES = {"0": "O", "1": "B-PER", "2": "I-PER"}, {"0": "O", "1": "A", "2": "B"}


@pytest.mark.parametrize(
    ("pooler", "labels", "kind", "reason"),
    [
        (True, NAMES, "Sequence", "the weights have a pooler"),
        (True, None, "Sequence", "the weights have a pooler"),
        (False, NAMES, "Token", "the weights have no pooler"),
        (False, None, "Token", "the weights have no pooler"),
        (True, TAGS, "Token", "its labels are tags"),
        (False, TAGS, "Token", "its labels are tags"),
    ],
)
@pytest.mark.parametrize("architectures", [None, []])
def test_a_classifier_whose_class_is_not_named(source, architectures, pooler, labels, kind, reason):
    """BertForTokenClassification has no pooler (since transformers 4); by its name it is what it is, whatever
    else.
    """
    classifier(source, pooler=pooler)
    names = {} if labels is None else {"id2label": labels}
    reconfigure(source, architectures=architectures, **names)
    found = checkpoints.load(source)
    assert found.head_names == (f"{kind.lower()}_classifier",)
    assert [note for note in found.notes if "architectures" in note] == [
        f"config.json names no architectures; the classifier is assumed to be that of a "
        f"BertFor{kind}Classification: {reason}. If it is another, name its class in architectures"
    ]
    for named in ("Sequence", "Token"):
        reconfigure(source, architectures=[f"BertFor{named}Classification"])
        found = checkpoints.load(source)
        assert found.head_names == (f"{named.lower()}_classifier",)
        assert not [note for note in found.notes if "architectures" in note]


def test_other_heads_whose_class_is_not_named(source, tmp_path):
    """Their names say what they are; no class has both, so the one of a task is written."""
    heads = {
        "qa_outputs.weight": (2, 16),
        "qa_outputs.bias": (2,),
        "cls.seq_relationship.weight": (2, 16),
        "cls.seq_relationship.bias": (2,),
    }
    rewrite(
        source, lambda tensors: tensors | {name: np.ones(shape, np.float32) for name, shape in heads.items()}
    )
    reconfigure(source, drop=["architectures"])
    found = checkpoints.load(source)
    assert set(found.head_names) == {"nsp", "span"}
    assert not [note for note in found.notes if "architectures" in note]
    report = checkpoints.convert(source, tmp_path / "dest", to="huggingface")
    note = "transformers has no class with all heads; BertForQuestionAnswering leaves out nsp"
    assert note in report.notes
    assert checkpoints.load(tmp_path / "dest").head_names == ("span",)


@pytest.mark.parametrize("both", [False, True])
def test_the_bias_of_masked_tokens_has_two_names(source, both):
    """A file may hold either name, or both; the older one counts."""
    size, bias = len(tiny.VOCABULARY), "cls.predictions.decoder.bias"
    head = {
        "cls.predictions.transform.dense.weight": np.ones((16, 16), np.float32),
        "cls.predictions.transform.dense.bias": np.ones(16, np.float32),
        "cls.predictions.transform.LayerNorm.weight": np.ones(16, np.float32),
        "cls.predictions.transform.LayerNorm.bias": np.ones(16, np.float32),
        bias: np.arange(size, dtype=np.float32),
    }
    if both:
        head["cls.predictions.bias"] = -head[bias]
    rewrite(source, lambda tensors: {**tensors, **head})
    reconfigure(source, architectures=["BertForMaskedLM"])
    found = checkpoints.load(source)
    assert found.head_names == ("mlm",)
    np.testing.assert_array_equal(found.heads["mlm/bias"], -head[bias] if both else head[bias])
    assert (bias in found.left_out) == both


def test_one_token_type(source, tmp_path):
    """Noted, kept by every conversion, and both texts of a pair have it."""
    rewrite(
        source,
        lambda tensors: (
            tensors
            | {
                "embeddings.token_type_embeddings.weight": tensors["embeddings.token_type_embeddings.weight"][
                    :1
                ].copy()
            }
        ),
    )
    reconfigure(source, type_vocab_size=1)
    checkpoints.convert(source, tmp_path / "google", to="google")
    for folder in (source, tmp_path / "google"):
        found = checkpoints.load(folder)
        assert (
            found.notes[-1]
            == "type_vocab_size is 1: the second text of a pair has token type 0, as the first one has"
        )
        encoder = found.encoder()
        inputs = {"input_ids": np.array([[2, 5, 3, 6, 3]]), "attention_mask": np.ones([1, 5], int)}
        want = np.asarray(encoder.hidden_states(inputs)[-1])
        got = encoder.hidden_states({**inputs, "token_type_ids": np.array([[0, 0, 0, 1, 1]])})[-1]
        np.testing.assert_array_equal(np.asarray(got), want)
