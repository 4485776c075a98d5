"""Google's format: its names, shapes and files as google-research/bert has them, and its words where they are
not ours.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

from tests import tiny
from tfpipeline import checkpoints
from tfpipeline.errors import UserError

V, P, Y, H, I = len(tiny.VOCABULARY), 7, 3, 6, 5  # noqa: E741 - the letters of docs/architecture.md
SHAPE = {
    "hidden_size": H,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": I,
    "max_position_embeddings": P,
    "type_vocab_size": Y,
}

# By hand, from modeling.py: what tf.train.list_variables says of a one-layer model, heads of pre-training
# aside.
NAMES = {
    "bert/embeddings/word_embeddings": [V, H],
    "bert/embeddings/token_type_embeddings": [Y, H],
    "bert/embeddings/position_embeddings": [P, H],
    "bert/embeddings/LayerNorm/beta": [H],
    "bert/embeddings/LayerNorm/gamma": [H],
    "bert/encoder/layer_0/attention/self/query/kernel": [H, H],
    "bert/encoder/layer_0/attention/self/query/bias": [H],
    "bert/encoder/layer_0/attention/self/key/kernel": [H, H],
    "bert/encoder/layer_0/attention/self/key/bias": [H],
    "bert/encoder/layer_0/attention/self/value/kernel": [H, H],
    "bert/encoder/layer_0/attention/self/value/bias": [H],
    "bert/encoder/layer_0/attention/output/dense/kernel": [H, H],
    "bert/encoder/layer_0/attention/output/dense/bias": [H],
    "bert/encoder/layer_0/attention/output/LayerNorm/beta": [H],
    "bert/encoder/layer_0/attention/output/LayerNorm/gamma": [H],
    "bert/encoder/layer_0/intermediate/dense/kernel": [H, I],
    "bert/encoder/layer_0/intermediate/dense/bias": [I],
    "bert/encoder/layer_0/output/dense/kernel": [I, H],
    "bert/encoder/layer_0/output/dense/bias": [H],
    "bert/encoder/layer_0/output/LayerNorm/beta": [H],
    "bert/encoder/layer_0/output/LayerNorm/gamma": [H],
    "bert/pooler/dense/kernel": [H, H],
    "bert/pooler/dense/bias": [H],
}
# What pre-training leaves in the file beside the encoder.
PRETRAINING = {
    "cls/predictions/output_bias": [V],
    "cls/predictions/transform/LayerNorm/beta": [H],
    "cls/predictions/transform/LayerNorm/gamma": [H],
    "cls/predictions/transform/dense/bias": [H],
    "cls/predictions/transform/dense/kernel": [H, H],
    "cls/seq_relationship/output_bias": [2],
    "cls/seq_relationship/output_weights": [2, H],
    "bert/encoder/layer_0/output/dense/kernel/adam_m": [I, H],
    "bert/encoder/layer_0/output/dense/kernel/adam_v": [I, H],
    "bert/embeddings/LayerNorm/gamma/adam_m": [H],
    "cls/predictions/output_bias/adam_v": [V],
}
# bert_config.json as Google's own: no epsilon, and a gelu that is the tanh form.
CONFIG = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.2,
    "initializer_range": 0.03,
    "vocab_size": V,
    **SHAPE,
}


@pytest.fixture
def written(tmp_path):
    """(the Hugging Face tensors, the Google directory made from them)."""
    source = tiny.write_checkpoint(tmp_path / "source", **SHAPE)
    checkpoints.convert(source, tmp_path / "google", to="google")
    return load_file(source / "model.safetensors"), tmp_path / "google"


def numbered(shapes):
    """Every number once, so that no tensor can be taken for another or read in another order."""
    values, start = {}, 0
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        values[name] = np.arange(start, start + count, dtype=np.float32).reshape(shape)
        start += count
    return values


def write_with_tensorflow_1(
    directory, values, config=CONFIG, prefix="bert_model.ckpt", vocabulary=tiny.VOCABULARY
):
    """The files as TensorFlow 1's Saver leaves them; no code of ours."""
    directory.mkdir(exist_ok=True)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = [
            tf.compat.v1.get_variable(name, initializer=value, use_resource=False)
            for name, value in values.items()
        ]
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver(variables).save(session, str(directory / prefix))
    (directory / "bert_config.json").write_text(json.dumps(config))
    (directory / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary))
    return directory


def test_names_and_shapes(written):
    _, directory = written
    assert {
        name: list(shape) for name, shape in tf.train.list_variables(str(directory / "bert_model.ckpt"))
    } == NAMES
    reader = tf.train.load_checkpoint(str(directory / "bert_model.ckpt"))
    assert set(reader.get_variable_to_dtype_map().values()) == {tf.float32}
    assert sorted(path.name for path in directory.iterdir()) == [
        "bert_config.json",
        "bert_model.ckpt.data-00000-of-00001",
        "bert_model.ckpt.index",
        "tokenizer_config.json",
        "vocab.txt",
    ]


def test_two_layers_without_a_pooler(tmp_path):
    source = tiny.write_checkpoint(tmp_path / "source", pooler=False, **{**SHAPE, "num_hidden_layers": 2})
    checkpoints.convert(source, tmp_path / "google")
    names = {name for name in NAMES if "pooler" not in name}
    names |= {name.replace("layer_0", "layer_1") for name in names}
    assert {
        name for name, _ in tf.train.list_variables(str(tmp_path / "google" / "bert_model.ckpt"))
    } == names
    assert not checkpoints.load(tmp_path / "google").config.pooler
    assert "the checkpoint has no pooler" in checkpoints.load(tmp_path / "google").notes


def test_values(written):
    """PyTorch's Linear holds [out, in], TensorFlow's dense [in, out]; everything else is as it is."""
    theirs, directory = written
    reader = tf.train.load_checkpoint(str(directory / "bert_model.ckpt"))
    names = {
        "bert/embeddings/word_embeddings": "embeddings.word_embeddings.weight",
        "bert/embeddings/token_type_embeddings": "embeddings.token_type_embeddings.weight",
        "bert/embeddings/position_embeddings": "embeddings.position_embeddings.weight",
        "bert/embeddings/LayerNorm/beta": "embeddings.LayerNorm.bias",
        "bert/embeddings/LayerNorm/gamma": "embeddings.LayerNorm.weight",
        "bert/pooler/dense/kernel": "pooler.dense.weight",
        "bert/pooler/dense/bias": "pooler.dense.bias",
    }
    for name in NAMES:
        if name.startswith("bert/encoder"):
            name_there = name.removeprefix("bert/").replace("layer_0", "layer.0").replace("/", ".")
            for old, new in {"kernel": "weight", "gamma": "weight", "beta": "bias"}.items():
                name_there = name_there.replace(old, new)
            names[name] = name_there
    assert names.keys() == NAMES.keys()
    assert sorted(names.values()) == sorted(theirs)
    for name, name_there in names.items():
        want = theirs[name_there]
        np.testing.assert_array_equal(reader.get_tensor(name), want.T if name.endswith("kernel") else want)


def test_values_by_hand(tmp_path):
    """Small enough to be written down: H = 4 in N = 2 heads of D = 2, I = 3."""
    source = tiny.write_checkpoint(
        tmp_path / "source", **{**SHAPE, "hidden_size": 4, "num_attention_heads": 2, "intermediate_size": 3}
    )
    from safetensors.numpy import save_file

    tensors = load_file(source / "model.safetensors")
    square = np.float32([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]])  # [out, in]
    at = "encoder.layer.0"
    tensors[f"{at}.attention.self.query.weight"] = square
    tensors[f"{at}.attention.self.query.bias"] = np.float32([0, 1, 2, 3])
    tensors[f"{at}.attention.output.dense.weight"] = square + 100
    tensors[f"{at}.intermediate.dense.weight"] = np.float32([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
    tensors[f"{at}.output.dense.weight"] = np.float32([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]])
    tensors["pooler.dense.weight"] = square + 200
    save_file(tensors, source / "model.safetensors")
    checkpoints.convert(source, tmp_path / "google")

    reader = tf.train.load_checkpoint(str(tmp_path / "google" / "bert_model.ckpt"))
    transposed = [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]]  # [in, out]
    at = "bert/encoder/layer_0"
    for name, want in {
        f"{at}/attention/self/query/kernel": transposed,
        f"{at}/attention/self/query/bias": [0, 1, 2, 3],
        f"{at}/attention/output/dense/kernel": np.add(transposed, 100),
        f"{at}/intermediate/dense/kernel": [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]],
        f"{at}/output/dense/kernel": [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]],
        "bert/pooler/dense/kernel": np.add(transposed, 200),
    }.items():
        np.testing.assert_array_equal(reader.get_tensor(name), want, err_msg=name)

    # The heads: output features 0 and 1 are head 0's, 2 and 3 head 1's.
    ours = checkpoints.load(tmp_path / "google").tensors
    for name, want in {
        "layer_0/attention/query/kernel": [  # [in, head, feature]
            [[0, 4], [8, 12]],
            [[1, 5], [9, 13]],
            [[2, 6], [10, 14]],
            [[3, 7], [11, 15]],
        ],
        "layer_0/attention/query/bias": [[0, 1], [2, 3]],
        "layer_0/attention/output/kernel": np.add(  # [head, feature, out]
            [[[0, 4, 8, 12], [1, 5, 9, 13]], [[2, 6, 10, 14], [3, 7, 11, 15]]], 100
        ),
    }.items():
        np.testing.assert_array_equal(ours[name], want, err_msg=name)


def test_the_small_files(written):
    """Google's reader takes bert_config.json's keys as attributes and passes over those it does not know."""
    _, directory = written
    assert json.loads((directory / "bert_config.json").read_text()) == {
        **CONFIG,
        "hidden_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "gelu": "erf",
        "layer_norm_eps": 1e-12,
    }
    assert (directory / "vocab.txt").read_bytes() == "".join(
        f"{token}\n" for token in tiny.VOCABULARY
    ).encode()
    assert json.loads((directory / "tokenizer_config.json").read_text())["do_lower_case"] is True


@pytest.fixture
def theirs(tmp_path):
    values = {**numbered({**NAMES, **PRETRAINING}), "global_step": np.int64(1000)}
    return values, write_with_tensorflow_1(tmp_path / "theirs", values)


def test_reading_what_tensorflow_1_wrote(theirs):
    values, directory = theirs
    assert sorted(path.suffix for path in directory.glob("bert_model.ckpt.*")) == [
        ".data-00000-of-00001",
        ".index",
        ".meta",
    ]
    found = checkpoints.load(directory)
    assert found.format == "google"
    assert found.config.to_dict() == {
        **CONFIG,
        "architecture": "bert",
        "hidden_act": "gelu_tanh",
        "layer_norm_eps": 1e-12,
        "pooler": True,
    }
    assert found.vocabulary == tuple(tiny.VOCABULARY)
    assert len(found.tensors) == len(NAMES)
    at = "bert/encoder/layer_0"
    for ours, array in {
        "embeddings/word": values["bert/embeddings/word_embeddings"],
        "embeddings/position": values["bert/embeddings/position_embeddings"],
        "embeddings/token_type": values["bert/embeddings/token_type_embeddings"],
        "embeddings/norm/scale": values["bert/embeddings/LayerNorm/gamma"],
        "embeddings/norm/bias": values["bert/embeddings/LayerNorm/beta"],
        "layer_0/attention/query/kernel": values[f"{at}/attention/self/query/kernel"].reshape(H, 3, 2),
        "layer_0/attention/query/bias": values[f"{at}/attention/self/query/bias"].reshape(3, 2),
        "layer_0/attention/key/kernel": values[f"{at}/attention/self/key/kernel"].reshape(H, 3, 2),
        "layer_0/attention/key/bias": values[f"{at}/attention/self/key/bias"].reshape(3, 2),
        "layer_0/attention/value/kernel": values[f"{at}/attention/self/value/kernel"].reshape(H, 3, 2),
        "layer_0/attention/value/bias": values[f"{at}/attention/self/value/bias"].reshape(3, 2),
        "layer_0/attention/output/kernel": values[f"{at}/attention/output/dense/kernel"].reshape(3, 2, H),
        "layer_0/attention/output/bias": values[f"{at}/attention/output/dense/bias"],
        "layer_0/attention/norm/scale": values[f"{at}/attention/output/LayerNorm/gamma"],
        "layer_0/attention/norm/bias": values[f"{at}/attention/output/LayerNorm/beta"],
        "layer_0/feed_forward/inner/kernel": values[f"{at}/intermediate/dense/kernel"],
        "layer_0/feed_forward/inner/bias": values[f"{at}/intermediate/dense/bias"],
        "layer_0/feed_forward/outer/kernel": values[f"{at}/output/dense/kernel"],
        "layer_0/feed_forward/outer/bias": values[f"{at}/output/dense/bias"],
        "layer_0/feed_forward/norm/scale": values[f"{at}/output/LayerNorm/gamma"],
        "layer_0/feed_forward/norm/bias": values[f"{at}/output/LayerNorm/beta"],
        "pooler/kernel": values["bert/pooler/dense/kernel"],
        "pooler/bias": values["bert/pooler/dense/bias"],
    }.items():
        np.testing.assert_array_equal(found.tensors[ours], array, err_msg=ours, strict=True)


def test_what_is_left_out_is_said(theirs, tmp_path):
    _, directory = theirs
    why = checkpoints.load(directory).left_out
    assert why.keys() == {*(name for name in PRETRAINING if "adam" in name), "global_step"}
    assert why["bert/embeddings/LayerNorm/gamma/adam_m"] == "optimizer slots of pre-training"
    assert why["global_step"] == "the step counter of pre-training"
    report = str(checkpoints.convert(directory, tmp_path / "again"))
    assert "  left out: global_step (the step counter of pre-training)\n" in report
    assert checkpoints.load(tmp_path / "again").left_out == {}
    assert checkpoints.load(tmp_path / "again").equals(checkpoints.load(directory))


def test_the_heads_of_pre_training(theirs):
    """modeling.py: the transform is a dense layer, [in, out]; the next-sentence weights are [2, H]."""
    values, directory = theirs
    found = checkpoints.load(directory)
    assert found.head_names == ("mlm", "nsp")
    assert found.labels == ()
    want = {
        "mlm/dense/kernel": values["cls/predictions/transform/dense/kernel"],
        "mlm/dense/bias": values["cls/predictions/transform/dense/bias"],
        "mlm/norm/scale": values["cls/predictions/transform/LayerNorm/gamma"],
        "mlm/norm/bias": values["cls/predictions/transform/LayerNorm/beta"],
        "mlm/bias": values["cls/predictions/output_bias"],
        "nsp/kernel": values["cls/seq_relationship/output_weights"].T,
        "nsp/bias": values["cls/seq_relationship/output_bias"],
    }
    assert found.heads.keys() == want.keys()
    for name, array in want.items():
        np.testing.assert_array_equal(found.heads[name], array, strict=True)


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_a_fine_tuned_classifier(kind, tmp_path):
    """run_classifier.py: ``output_weights`` [labels, H]; it names no labels, we may have."""
    classifier = {
        "output_weights": np.arange(3 * H, dtype=np.float32).reshape(3, H),
        "output_bias": np.float32([1, 2, 3]),
    }
    directory = write_with_tensorflow_1(tmp_path / "theirs", {**numbered(NAMES), **classifier})
    found = checkpoints.load(directory)
    assert found.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert any("names no labels" in note for note in found.notes)
    path = directory / "bert_config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "labels": ["x", "y", "z"], "classifier": kind}))
    found = checkpoints.load(directory)
    assert found.head_names == (f"{kind}_classifier",)
    assert found.labels == ("x", "y", "z")
    np.testing.assert_array_equal(found.heads[f"{kind}_classifier/kernel"], classifier["output_weights"].T)
    np.testing.assert_array_equal(found.heads[f"{kind}_classifier/bias"], classifier["output_bias"])
    for wrong, sentence in (
        (
            {"labels": ["x", "y"]},
            "names 2 labels, but the classifier has 3 outputs; use its own configuration",
        ),
        ({"labels": ["x", "y", "x"]}, "gives two labels the same name; rename one"),
        ({"labels": "xyz"}, "the labels are 'xyz'; they must be a list of names"),
        ({"classifier": "image"}, 'classifier is \'image\'; it must be "sequence" or "token"'),
    ):
        path.write_text(json.dumps({**values, **wrong}))
        with pytest.raises(UserError) as caught:
            checkpoints.load(directory)
        assert str(caught.value).endswith(sentence)
        assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("prefix", ["model.ckpt-343", "bert_model.ckpt"])
def test_a_checkpoint_is_found_by_its_directory_its_prefix_and_its_files(tmp_path, prefix):
    directory = write_with_tensorflow_1(tmp_path / "theirs", numbered(NAMES), prefix=prefix)
    want = checkpoints.load(directory)
    for name in (prefix, f"{prefix}.index", f"{prefix}.data-00000-of-00001", "bert_config.json", "vocab.txt"):
        assert checkpoints.load(directory / name).equals(want)


def test_of_several_the_one_that_is_named(tmp_path):
    """A fine-tuned checkpoint beside the one it began with."""
    values = numbered(NAMES)
    for step, prefix in enumerate(["bert_model.ckpt", "model.ckpt-1", "model.ckpt-2"]):
        values["bert/pooler/dense/bias"] = np.full(H, step, np.float32)
        write_with_tensorflow_1(tmp_path / "theirs", values, prefix=prefix)
    read = {
        name: checkpoints.load(tmp_path / "theirs" / name).tensors["pooler/bias"][0]
        for name in ("", "bert_model.ckpt", "model.ckpt-1", "model.ckpt-2", "model.ckpt-2.index")
    }
    assert read == {
        "": 0,
        "bert_model.ckpt": 0,
        "model.ckpt-1": 1,
        "model.ckpt-2": 2,
        "model.ckpt-2.index": 2,
    }
    for path in (tmp_path / "theirs").glob("bert_model.*"):
        path.unlink()
    with pytest.raises(
        UserError, match=r"holds several checkpoints \(model.ckpt-1, model.ckpt-2\); give the path"
    ):
        checkpoints.load(tmp_path / "theirs")


@pytest.mark.parametrize(
    ("extra", "hidden_act", "note"),
    [
        ({}, "gelu_tanh", 'hidden_act "gelu" is gelu_tanh: what google-research/bert computes'),
        ({"gelu": "erf"}, "gelu_erf", 'hidden_act is gelu_erf, as the key "gelu" says'),
        ({"gelu": "tanh"}, "gelu_tanh", 'hidden_act is gelu_tanh, as the key "gelu" says'),
        (
            {"hidden_act": "gelu_new"},
            "gelu_tanh",
            'hidden_act "gelu_new" is gelu_tanh: what transformers computes',
        ),
        ({"hidden_act": "relu"}, "relu", None),
        ({"hidden_act": "tanh", "gelu": "erf"}, "tanh", None),
    ],
)
def test_what_gelu_means(tmp_path, extra, hidden_act, note):
    directory = write_with_tensorflow_1(tmp_path / "theirs", numbered(NAMES), {**CONFIG, **extra})
    found = checkpoints.load(directory)
    assert found.config.hidden_act == hidden_act
    assert [text for text in found.notes if "hidden_act" in text] == ([note] if note else [])


def test_an_unknown_gelu_is_refused(tmp_path):
    directory = write_with_tensorflow_1(tmp_path / "theirs", numbered(NAMES), {**CONFIG, "gelu": "erv"})
    with pytest.raises(UserError, match=r'bert_config\.json: gelu is "erv"; it must be "erf" or "tanh"'):
        checkpoints.load(directory)


def test_epsilon(tmp_path):
    directory = write_with_tensorflow_1(tmp_path / "theirs", numbered(NAMES))
    found = checkpoints.load(directory)
    assert found.config.layer_norm_eps == 1e-12
    assert "layer_norm_eps is 1e-12: google-research/bert's constant" in found.notes
    (directory / "bert_config.json").write_text(json.dumps({**CONFIG, "layer_norm_eps": 1e-5}))
    found = checkpoints.load(directory)
    assert found.config.layer_norm_eps == 1e-5
    assert not [note for note in found.notes if "layer_norm_eps" in note]


@pytest.mark.parametrize(
    ("hidden_act", "epsilon", "written", "notes"),
    [
        ("gelu", 1e-12, {"hidden_act": "gelu", "gelu": "erf"}, ["the exact one (erf)"]),
        ("gelu_new", 1e-12, {"hidden_act": "gelu", "gelu": "tanh"}, []),
        ("relu", 1e-5, {"hidden_act": "relu", "gelu": None}, ["layer_norm_eps is 1e-05; Google's own"]),
        (
            "gelu",
            1e-7,
            {"hidden_act": "gelu", "gelu": "erf"},
            ["the exact one (erf)", "is 1e-07; Google's own"],
        ),
    ],
)
def test_what_is_written_where_google_has_no_word(tmp_path, hidden_act, epsilon, written, notes):
    source = tiny.write_checkpoint(
        tmp_path / "source", **SHAPE, hidden_act=hidden_act, layer_norm_eps=epsilon
    )
    report = checkpoints.convert(source, tmp_path / "google")
    config = json.loads((tmp_path / "google" / "bert_config.json").read_text())
    assert {key: config.get(key) for key in written} == written
    assert config["layer_norm_eps"] == epsilon
    assert len(report.notes) == len(notes)
    for text, found in zip(notes, report.notes):
        assert text in found
        assert f"  note: {found}" in str(report)


def test_an_activation_that_google_has_not(tmp_path):
    source = tiny.write_checkpoint(tmp_path / "source", **SHAPE, hidden_act="silu")
    with pytest.raises(
        UserError, match=r'^Google.s BERT code has no activation "silu"; it cannot be written'
    ):
        checkpoints.convert(source, tmp_path / "google")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_case_is_inferred_from_the_vocabulary(tmp_path):
    words = [*tiny.VOCABULARY[:-2], "Paris", "Rome"]
    directory = write_with_tensorflow_1(tmp_path / "cased", numbered(NAMES), vocabulary=words)
    found = checkpoints.load(directory)
    assert not found.tokenizer.lowercase
    assert "no tokenizer_config.json; the vocabulary is cased: it has upper-case words" in found.notes
    directory = write_with_tensorflow_1(tmp_path / "uncased", numbered(NAMES))
    found = checkpoints.load(directory)
    assert found.tokenizer.lowercase
    assert "no tokenizer_config.json; the vocabulary is uncased: it has no upper-case words" in found.notes


@pytest.mark.parametrize("dtype", [np.float16, np.float64, "bfloat16"])
def test_other_floats_become_float32(tmp_path, dtype):
    values = numbered(NAMES)
    dtype = tf.bfloat16.as_numpy_dtype if dtype == "bfloat16" else dtype
    values["bert/pooler/dense/bias"] = np.array([0.5, -2, 3, 1 / 4, 0, 96], dtype)
    found = checkpoints.load(write_with_tensorflow_1(tmp_path / "theirs", values)).tensors["pooler/bias"]
    np.testing.assert_array_equal(found, np.float32([0.5, -2, 3, 0.25, 0, 96]), strict=True)


def beside_their_configuration(directory, values, config, prefix="bert_model.ckpt"):
    """Google's weights, but transformers' configuration."""
    write_with_tensorflow_1(directory, values, prefix=prefix)
    (directory / "bert_config.json").unlink()
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize("prefix", ["bert_model.ckpt", "model.ckpt-1000"])
def test_weights_beside_the_configuration_of_transformers(tmp_path, prefix):
    """Its words mean what they mean to transformers, which reads such folders by from_tf=True."""
    values = numbered(NAMES | PRETRAINING)
    found = checkpoints.load(beside_their_configuration(tmp_path / "theirs", values, CONFIG, prefix))
    assert (found.format, found.config.hidden_act, found.config.layer_norm_eps) == (
        "google",
        "gelu_erf",
        1e-12,
    )
    assert found.notes[:3] == [
        "no bert_config.json; config.json is read as transformers reads it (--gelu tanh if its gelu is "
        "Google's)",
        "layer_norm_eps is 1e-12: config.json leaves it out, this is transformers' constant",
        'hidden_act "gelu" is gelu_erf: what transformers computes',
    ]
    np.testing.assert_array_equal(found.tensors["pooler/kernel"], values["bert/pooler/dense/kernel"])
    (tmp_path / "theirs" / "config.json").write_text(
        json.dumps({**CONFIG, "layer_norm_eps": 1e-5, "hidden_act": "gelu_new"})
    )
    found = checkpoints.load(tmp_path / "theirs")
    assert (found.config.hidden_act, found.config.layer_norm_eps) == ("gelu_tanh", 1e-5)


def test_labels_of_the_configuration_of_transformers(tmp_path):
    values = numbered(NAMES | {"output_weights": [3, H], "output_bias": [3]})
    labels = {"0": "O", "1": "B-PER", "2": "I-PER"}
    config = {**CONFIG, "architectures": ["BertForTokenClassification"], "id2label": labels}
    found = checkpoints.load(beside_their_configuration(tmp_path / "theirs", values, config))
    assert (found.head_names, found.labels) == (("token_classifier",), ("O", "B-PER", "I-PER"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**CONFIG, "model_type": "albert"}, "config.json: the architecture is albert, not BERT"),
        (
            {"model_type": "bert"},
            "config.json lacks vocab_size, hidden_size, .*; is it the configuration of a BERT",
        ),
        (None, "bert_config.json is missing; copy it from where the checkpoint came from"),
    ],
)
def test_weights_beside_a_wrong_configuration(tmp_path, config, message):
    directory = beside_their_configuration(tmp_path / "theirs", numbered(NAMES), config)
    if config is None:
        (directory / "config.json").unlink()
    with pytest.raises(UserError, match=message):
        checkpoints.load(directory)


def test_googles_own_configuration_comes_first(tmp_path):
    directory = write_with_tensorflow_1(tmp_path / "theirs", numbered(NAMES))
    (directory / "config.json").write_text(
        json.dumps({**CONFIG, "model_type": "bert", "layer_norm_eps": 1e-5})
    )
    found = checkpoints.load(directory)
    assert (found.config.hidden_act, found.config.layer_norm_eps) == ("gelu_tanh", 1e-12)


@pytest.mark.parametrize("prefix", ["bert_model.ckpt", "model.ckpt-1000"])
def test_weights_of_transformers_in_the_same_folder(tmp_path, prefix):
    """Those of a training's step are nobody's choice; a whole model in two formats is asked about, or
    named.
    """
    directory = tiny.write_checkpoint(tmp_path / "source", **SHAPE)
    write_with_tensorflow_1(tmp_path / "theirs", numbered(NAMES), prefix=prefix)
    for path in (tmp_path / "theirs").glob(f"{prefix}.*"):
        path.rename(directory / path.name)
    if prefix == "model.ckpt-1000":
        assert checkpoints.load(directory).format == "huggingface"
    else:
        with pytest.raises(
            UserError, match=r"several formats \(google and huggingface\); name the weights' file"
        ):
            checkpoints.load(directory)
        assert checkpoints.load(directory / prefix).config.hidden_act == "gelu_erf"
        assert checkpoints.load(directory / "model.safetensors").format == "huggingface"
