"""KerasHub presets and ``tf_model.h5``, made with h5py alone.

The keys are those of files that keras-hub 0.3x, keras-nlp 0.6 to 0.12 and transformers 4.57 with tf_keras
wrote; read from those, hidden states differ from the real classes' by at most 8e-7.
"""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from tests import tiny
from tests.models.numpy_bert import encode
from tests.models.strategies import random_inputs, random_weights
from tfpipeline import checkpoints
from tfpipeline.checkpoints import formats
from tfpipeline.errors import UserError
from tfpipeline.models import BertConfig
from tfpipeline.training import open_run

CONFIG = BertConfig(
    vocab_size=len(tiny.VOCABULARY),
    hidden_size=12,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=20,
    max_position_embeddings=16,
    type_vocab_size=2,
    hidden_act="gelu_tanh",
    layer_norm_eps=1e-12,
)
H = CONFIG.hidden_size


def write_h5(path, arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def same_encoder(found, weights, config):
    """Every tensor, and what is computed with them."""
    assert found.config == config
    assert found.tensors.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(found.tensors[name], array, strict=True)
    inputs = random_inputs(config, 3)
    states, pooled = encode(config, weights, **inputs)
    got = found.encoder()(inputs)
    np.testing.assert_allclose(got["sequence_output"], states[-1], rtol=0, atol=1e-5)
    np.testing.assert_allclose(got["pooled_output"], pooled, rtol=0, atol=1e-5)


class TestKerasHub:
    def keys(self, weights, old=False):
        """model.weights.h5 of a backbone; ``old``: private names of attention, word embeddings at the
        root.
        """
        dense = "_{}_dense" if old else "{}_dense"
        arrays = {
            "token_embedding/vars/0" if old else "layers/reversible_embedding/vars/0": weights[
                "embeddings/word"
            ],
            "layers/position_embedding/vars/0": weights["embeddings/position"],
            "layers/embedding/vars/0": weights["embeddings/token_type"],
            "layers/layer_normalization/vars/0": weights["embeddings/norm/scale"],
            "layers/layer_normalization/vars/1": weights["embeddings/norm/bias"],
            "layers/dense/vars/0": weights["pooler/kernel"],
            "layers/dense/vars/1": weights["pooler/bias"],
        }
        for layer, at in enumerate(["layers/transformer_encoder", "layers/transformer_encoder_1"]):
            for part, ours in {
                f"_self_attention_layer/{dense.format('query')}": "attention/query",
                f"_self_attention_layer/{dense.format('key')}": "attention/key",
                f"_self_attention_layer/{dense.format('value')}": "attention/value",
                f"_self_attention_layer/{dense.format('output')}": "attention/output",
                "_feedforward_intermediate_dense": "feed_forward/inner",
                "_feedforward_output_dense": "feed_forward/outer",
            }.items():
                arrays[f"{at}/{part}/vars/0"] = weights[f"layer_{layer}/{ours}/kernel"]
                arrays[f"{at}/{part}/vars/1"] = weights[f"layer_{layer}/{ours}/bias"]
            for part, ours in {
                "_self_attention_layer_norm": "attention/norm",
                "_feedforward_layer_norm": "feed_forward/norm",
            }.items():
                arrays[f"{at}/{part}/vars/0"] = weights[f"layer_{layer}/{ours}/scale"]
                arrays[f"{at}/{part}/vars/1"] = weights[f"layer_{layer}/{ours}/bias"]
        return arrays

    def backbone(self, **changes):
        fields = {
            "vocabulary_size": CONFIG.vocab_size,
            "num_layers": 2,
            "num_heads": 3,
            "hidden_dim": H,
            "intermediate_dim": 20,
            "dropout": 0.1,
            "max_sequence_length": 16,
            "num_segments": 2,
        }
        return {
            "module": "keras_hub.src.models.bert.bert_backbone",
            "class_name": "BertBackbone",
            "config": {**fields, **changes},
            "registered_name": "keras_hub>BertBackbone",
        }

    def preset(self, directory, arrays, config=None, **tokenizer):
        (directory / "assets" / "tokenizer").mkdir(parents=True)
        (directory / "config.json").write_text(json.dumps(config or self.backbone()))
        settings = {"lowercase": True, "strip_accents": False, "oov_token": "[UNK]", **tokenizer}
        (directory / "tokenizer.json").write_text(
            json.dumps({"class_name": "BertTokenizer", "config": settings})
        )
        vocabulary = "".join(f"{token}\n" for token in tiny.VOCABULARY)
        (directory / "assets" / "tokenizer" / "vocabulary.txt").write_text(vocabulary)
        write_h5(directory / "model.weights.h5", arrays)
        return directory

    @pytest.mark.parametrize("old", [False, True])
    def test_backbone(self, tmp_path, old):
        weights = random_weights(CONFIG, 1)
        found = checkpoints.load(self.preset(tmp_path / "preset", self.keys(weights, old), lowercase=False))
        assert found.format == "keras_hub"
        same_encoder(found, weights, CONFIG)
        assert found.vocabulary == tuple(tiny.VOCABULARY)
        assert (found.tokenizer.lowercase, found.tokenizer.strip_accents) == (False, False)
        assert any("gelu_tanh and layer_norm_eps 1e-12: what KerasHub" in note for note in found.notes)
        checkpoints.convert(tmp_path / "preset", tmp_path / "dest", to="huggingface")
        assert checkpoints.load(tmp_path / "dest").equals(found)

    @pytest.mark.parametrize("layout", ["beside", "inside"])
    def test_classifier(self, tmp_path, layout):
        """Now task.json and task.weights.h5 stand beside the backbone; once all of it was in one file."""
        weights, random = random_weights(CONFIG, 1), np.random.default_rng(2)
        kernel = random.normal(size=(H, 3)).astype(np.float32)
        head = {"layers/dense/vars/0": kernel, "layers/dense/vars/1": np.float32([1, 2, 3])}
        state = {"optimizer/vars/0": np.int64(3)}
        if layout == "beside":
            directory = self.preset(tmp_path / "preset", self.keys(weights))
            (directory / "task.json").write_text("{}")
            write_h5(directory / "task.weights.h5", {**head, **state})
        else:
            task = {"class_name": "BertClassifier", "registered_name": "keras_nlp>BertClassifier"}
            inside = {f"layers/bert_backbone/{key}": array for key, array in self.keys(weights).items()}
            config = {**task, "config": {"backbone": self.backbone(), "num_classes": 3}}
            directory = self.preset(tmp_path / "preset", {**inside, **head, **state}, config)
        found = checkpoints.load(directory)
        same_encoder(found, weights, CONFIG)
        assert found.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
        np.testing.assert_array_equal(found.heads["sequence_classifier/kernel"], kernel)
        assert found.left_out == {"optimizer/vars/0": "the optimizer's state"}
        run, inputs = open_run(directory), random_inputs(CONFIG, 3)
        pooled = encode(CONFIG, weights, **inputs)[1]
        np.testing.assert_allclose(
            run.model()(inputs)["logits"], pooled @ kernel + [1, 2, 3], rtol=0, atol=1e-5
        )

    def test_masked_lm_is_left_out(self, tmp_path):
        weights = random_weights(CONFIG, 1)
        directory = self.preset(tmp_path / "preset", self.keys(weights))
        write_h5(directory / "task.weights.h5", {"layers/masked_lm_head/vars/0": np.zeros(3, np.float32)})
        found = checkpoints.load(directory)
        assert found.head_names == ()
        why = found.left_out["layers/masked_lm_head/vars/0"]
        assert why == "a masked-LM head with another gelu and epsilon than the encoder's"

    def test_shards(self, tmp_path):
        weights = random_weights(CONFIG, 1)
        arrays = self.keys(weights)
        directory = self.preset(tmp_path / "preset", arrays)
        (directory / "model.weights.h5").unlink()
        names = sorted(arrays)
        places = {}
        for number in range(2):
            file = f"model_{number:05d}.weights.h5"
            write_h5(directory / file, {name: arrays[name] for name in names[number::2]})
            places |= {f"/{name.rpartition('/')[0]}": [file] for name in names[number::2]}
        (directory / "model.weights.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
        same_encoder(checkpoints.load(directory), weights, CONFIG)

    @pytest.mark.parametrize(
        ("config", "sentence"),
        [
            (
                {"class_name": "RobertaBackbone"},
                "the architecture is RobertaBackbone, not BERT; only BERT checkpoints",
            ),
            ({"config": {"num_layers": 2}}, "lacks vocabulary_size, num_heads, hidden_dim"),
            ({"config": 3}, 'has no "config"; copy the whole preset'),
        ],
    )
    def test_wrong_configurations(self, tmp_path, config, sentence):
        arrays = self.keys(random_weights(CONFIG, 1))
        directory = self.preset(tmp_path / "preset", arrays, {**self.backbone(), **config})
        with pytest.raises(UserError) as caught:
            checkpoints.load(directory)
        assert sentence in str(caught.value)

    @pytest.mark.parametrize(("fields", "dropout"), [({"dropout": 0.25}, 0.25), ({}, 0.1)])
    def test_dropout_and_the_unknown_token(self, tmp_path, fields, dropout):
        """What the files say, or KerasHub's own defaults."""
        config = self.backbone(**fields)
        if not fields:
            del config["config"]["dropout"]
        weights = random_weights(CONFIG, 1)
        found = checkpoints.load(
            self.preset(tmp_path / "preset", self.keys(weights), config, oov_token="food")
        )
        assert (found.config.hidden_dropout_prob, found.config.attention_probs_dropout_prob) == (dropout,) * 2
        assert found.tokenizer.unk_token == "food"

    def test_another_tokenizer_is_refused(self, tmp_path):
        directory = self.preset(tmp_path / "preset", self.keys(random_weights(CONFIG, 1)))
        (directory / "tokenizer.json").write_text('{"class_name": "AlbertTokenizer", "config": {}}')
        with pytest.raises(UserError, match=r"tokenizer\.json: the tokenizer is AlbertTokenizer, not BERT's"):
            checkpoints.load(directory)

    def test_what_does_not_fit_is_listed(self, tmp_path):
        arrays = self.keys(random_weights(CONFIG, 1))
        del arrays["layers/embedding/vars/0"]
        arrays["layers/dense/vars/2"] = np.float32([1])
        directory = self.preset(tmp_path / "preset", arrays, self.backbone(intermediate_dim=21))
        with pytest.raises(UserError, match=r"\(1 missing, 1 unknown, 6 misshapen\)"):
            checkpoints.load(directory)

    def test_missing_files(self, tmp_path):
        directory = self.preset(tmp_path / "preset", self.keys(random_weights(CONFIG, 1)))
        (directory / "assets" / "tokenizer" / "vocabulary.txt").unlink()
        with pytest.raises(UserError, match=r"has no assets/tokenizer/vocabulary\.txt; save the tokenizer"):
            checkpoints.load(directory)
        (directory / "model.weights.h5").unlink()
        with pytest.raises(UserError, match=r"has no model\.weights\.h5; copy the whole preset"):
            checkpoints.load(directory)


class TestTensorFlowOfTransformers:
    def keys(self, weights, model="tf_bert_model", prefix=""):
        """tf_model.h5: a group for each layer of the model, and in it the variables by their names."""
        at = f"bert/{model}/bert"
        arrays = {
            f"{at}/embeddings/word_embeddings/weight:0": weights["embeddings/word"],
            f"{at}/embeddings/position_embeddings/embeddings:0": weights["embeddings/position"],
            f"{at}/embeddings/token_type_embeddings/embeddings:0": weights["embeddings/token_type"],
            f"{at}/embeddings/LayerNorm/gamma:0": weights["embeddings/norm/scale"],
            f"{at}/embeddings/LayerNorm/beta:0": weights["embeddings/norm/bias"],
            f"{at}/pooler/dense/kernel:0": weights["pooler/kernel"],
            f"{at}/pooler/dense/bias:0": weights["pooler/bias"],
        }
        for layer in range(2):
            into = f"{at}/encoder/layer_._{layer}"
            for role in ("query", "key", "value"):
                arrays[f"{into}/attention/self/{role}/kernel:0"] = weights[
                    f"layer_{layer}/attention/{role}/kernel"
                ].reshape(H, H)
                arrays[f"{into}/attention/self/{role}/bias:0"] = weights[
                    f"layer_{layer}/attention/{role}/bias"
                ].reshape(H)
            output = weights[f"layer_{layer}/attention/output/kernel"].reshape(H, H)
            arrays[f"{into}/attention/output/dense/kernel:0"] = output
            arrays[f"{into}/attention/output/dense/bias:0"] = weights[f"layer_{layer}/attention/output/bias"]
            arrays[f"{into}/attention/output/LayerNorm/gamma:0"] = weights[
                f"layer_{layer}/attention/norm/scale"
            ]
            arrays[f"{into}/attention/output/LayerNorm/beta:0"] = weights[
                f"layer_{layer}/attention/norm/bias"
            ]
            arrays[f"{into}/intermediate/dense/kernel:0"] = weights[
                f"layer_{layer}/feed_forward/inner/kernel"
            ]
            arrays[f"{into}/intermediate/dense/bias:0"] = weights[f"layer_{layer}/feed_forward/inner/bias"]
            arrays[f"{into}/output/dense/kernel:0"] = weights[f"layer_{layer}/feed_forward/outer/kernel"]
            arrays[f"{into}/output/dense/bias:0"] = weights[f"layer_{layer}/feed_forward/outer/bias"]
            arrays[f"{into}/output/LayerNorm/gamma:0"] = weights[f"layer_{layer}/feed_forward/norm/scale"]
            arrays[f"{into}/output/LayerNorm/beta:0"] = weights[f"layer_{layer}/feed_forward/norm/bias"]
        return arrays

    def directory(self, path, arrays, **changes):
        tiny.write_checkpoint(
            path,
            hidden_size=H,
            num_attention_heads=3,
            intermediate_size=20,
            max_position_embeddings=16,
            hidden_act="gelu_new",
            **changes,
        )
        (path / "model.safetensors").unlink()
        write_h5(path / "tf_model.h5", arrays)
        return path

    @pytest.mark.parametrize("model", ["tf_bert_model", "tf_bert_model_3"])
    def test_encoder(self, tmp_path, model):
        weights = random_weights(CONFIG, 1)
        found = checkpoints.load(self.directory(tmp_path / "model", self.keys(weights, model)))
        assert (found.format, found.head_names) == ("huggingface_tf", ())
        same_encoder(found, weights, CONFIG)
        # The configuration's name of 2018; what it says is still transformers' meaning.
        (tmp_path / "model" / "config.json").rename(tmp_path / "model" / "bert_config.json")
        same_encoder(checkpoints.load(tmp_path / "model"), weights, CONFIG)

    def test_heads(self, tmp_path):
        weights = random_weights(CONFIG, 1)
        more = random_weights(CONFIG, 2, heads=("mlm", "nsp"))
        heads = {name: array for name, array in more.items() if name.startswith(("mlm", "nsp"))}
        at = "tf_bert_for_pre_training"
        arrays = self.keys(weights, at) | {
            f"mlm___cls/{at}/mlm___cls/predictions/transform/dense/kernel:0": heads["mlm/dense/kernel"],
            f"mlm___cls/{at}/mlm___cls/predictions/transform/dense/bias:0": heads["mlm/dense/bias"],
            f"mlm___cls/{at}/mlm___cls/predictions/transform/LayerNorm/gamma:0": heads["mlm/norm/scale"],
            f"mlm___cls/{at}/mlm___cls/predictions/transform/LayerNorm/beta:0": heads["mlm/norm/bias"],
            f"mlm___cls/{at}/mlm___cls/predictions/bias:0": heads["mlm/bias"],
            f"mlm___cls/{at}/bert/embeddings/word_embeddings/weight:0": weights["embeddings/word"],
            # Comes first in the file, and is not the embeddings' own group either.
            f"another/{at}/bert/embeddings/word_embeddings/weight:0": weights["embeddings/word"] + 1,
            f"nsp___cls/{at}/nsp___cls/seq_relationship/kernel:0": heads["nsp/kernel"],
            f"nsp___cls/{at}/nsp___cls/seq_relationship/bias:0": heads["nsp/bias"],
        }
        found = checkpoints.load(
            self.directory(tmp_path / "model", arrays, architectures=["BertForPreTraining"])
        )
        same_encoder(found, weights, CONFIG)
        assert found.heads.keys() == heads.keys()
        for name, array in heads.items():
            np.testing.assert_array_equal(found.heads[name], array, strict=True)
        assert found.left_out == {
            f"{layer}/{at}/bert/embeddings/word_embeddings/weight:0": (
                "a copy of the embeddings in another layer's group"
            )
            for layer in ("mlm___cls", "another")
        }

    def test_classifier(self, tmp_path):
        kernel = np.random.default_rng(0).normal(size=(H, 3)).astype(np.float32)
        at = "tf_bert_for_sequence_classification"
        arrays = self.keys(random_weights(CONFIG, 1), at) | {
            f"classifier/{at}/classifier/kernel:0": kernel,
            f"classifier/{at}/classifier/bias:0": np.float32([1, 2, 3]),
        }
        directory = self.directory(tmp_path / "model", arrays)
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps({**config, **tiny.CLASSIFIER}))
        found = checkpoints.load(directory)
        assert found.labels == tuple(tiny.LABELS)
        np.testing.assert_array_equal(found.heads["sequence_classifier/kernel"], kernel)

    def test_beside_other_weights_it_must_be_named(self, tmp_path):
        source = tiny.write_checkpoint(tmp_path / "source", hidden_size=H, num_attention_heads=3)
        write_h5(source / "tf_model.h5", {"x": np.zeros(3, np.float32)})
        assert checkpoints.load(source).format == "huggingface"
        with pytest.raises(UserError, match=r"tf_model\.h5 does not fit config\.json"):
            checkpoints.load(source / "tf_model.h5")


DIRECTORY = TestKerasHub().preset


@pytest.fixture
def preset(tmp_path):
    return DIRECTORY(tmp_path / "preset", TestKerasHub().keys(random_weights(CONFIG, 1)))


def damaged(change):
    """A change of the HDF5 file, opened for writing."""

    def apply(path):
        with h5py.File(path, "a") as file:
            change(file)

    return apply


def replaced(file, **options):
    del file["layers/dense/vars/1"]
    return file.create_dataset("layers/dense/vars/1", **options)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), "is truncated or damaged"),
        (lambda path: path.write_bytes(b"nonsense"), "is truncated or damaged"),
        (
            damaged(lambda file: file.__setitem__("layers/more", h5py.ExternalLink("/etc/passwd", "/x"))),
            "layers/more is a link, not a tensor, and may lead out of the file",
        ),
        (
            damaged(lambda file: file.__setitem__("layers/more", h5py.SoftLink("/layers/dense"))),
            "layers/more is a link, not a tensor",
        ),
        (
            damaged(lambda file: replaced(file, shape=(H,), dtype="f4", external=[("/etc/passwd", 0, 48)])),
            "the numbers of layers/dense/vars/1 lie in another file",
        ),
        (
            damaged(lambda file: replaced(file, shape=(1 << 40,), dtype="f4", chunks=(1 << 20,))),
            "has the shape [1099511627776], but the file holds 0 bytes of it",
        ),
    ],
)
def test_dangerous_and_damaged_files(preset, tmp_path, change, sentence):
    change(preset / "model.weights.h5")
    with pytest.raises(UserError) as caught:
        checkpoints.convert(preset, tmp_path / "dest")
    assert sentence in str(caught.value)
    assert not (tmp_path / "dest").exists()


def test_integers_are_no_weights(preset):
    damaged(lambda file: replaced(file, data=np.ones(H, np.int8)))(preset / "model.weights.h5")
    with pytest.raises(UserError, match="holds int8, not floats"):
        checkpoints.load(preset).encoder()


def test_one_format_recognises_a_folder(preset, tmp_path):
    tensorflow = TestTensorFlowOfTransformers()
    other = tensorflow.directory(tmp_path / "tf", tensorflow.keys(random_weights(CONFIG, 1)))
    for directory, name in ((preset, "keras_hub"), (other, "huggingface_tf")):
        assert [one for one in formats.names() if formats.find(one).recognise(directory)] == [name]
