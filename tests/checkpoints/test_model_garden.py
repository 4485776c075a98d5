"""TF Model Garden's checkpoints: the keys that its own classes leave, made here by construction.

Where the keys come from: what ``tf.train.list_variables`` says of ``tf.train.Checkpoint(model=...)``,
``(encoder=...)`` and ``(model=..., **model.checkpoint_items)`` of the classes ``BertEncoder``,
``BertEncoderV2``, ``BertPretrainer``, ``BertPretrainerV2``, ``BertClassifier``, ``BertTokenClassifier`` and
``BertSpanLabeler`` of tf-models-official 2.20.0, run on TensorFlow 2.21; those of the releases before
(``_attention_output_dense``, no pooler but ``next_sentence..pooler_dense``), from the converters of
transformers (``convert_bert_original_tf2_checkpoint_to_pytorch.py``) and of KerasHub
(``bert_base_uncased.ipynb``), which name every key of the released files.
"""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import yaml

from tests import tiny
from tests.checkpoints.object_trees import VALUE, rewrite, write_tree
from tests.models.numpy_bert import encode
from tests.models.strategies import random_inputs, random_weights
from tfpipeline import checkpoints
from tfpipeline.checkpoints import formats
from tfpipeline.errors import UserError
from tfpipeline.models import BertConfig

CONFIG = BertConfig(
    vocab_size=len(tiny.VOCABULARY),
    hidden_size=6,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=5,
    max_position_embeddings=7,
    type_vocab_size=3,
    hidden_act="gelu_tanh",
    layer_norm_eps=1e-12,
    hidden_dropout_prob=0.2,
    attention_probs_dropout_prob=0.1,
    initializer_range=0.03,
)
# The words of bert_config.json, the files of the releases.
WORDS = {name: value for name, value in CONFIG.to_dict().items() if name not in ("layer_norm_eps", "pooler")}
WORDS["hidden_act"] = "gelu"

# A layer's keys -> our names; all shapes are ours.
LAYER = {
    "_attention_layer/_query_dense/kernel": "attention/query/kernel",
    "_attention_layer/_query_dense/bias": "attention/query/bias",
    "_attention_layer/_key_dense/kernel": "attention/key/kernel",
    "_attention_layer/_key_dense/bias": "attention/key/bias",
    "_attention_layer/_value_dense/kernel": "attention/value/kernel",
    "_attention_layer/_value_dense/bias": "attention/value/bias",
    "_attention_layer/_output_dense/kernel": "attention/output/kernel",
    "_attention_layer/_output_dense/bias": "attention/output/bias",
    "_attention_layer_norm/gamma": "attention/norm/scale",
    "_attention_layer_norm/beta": "attention/norm/bias",
    "_intermediate_dense/kernel": "feed_forward/inner/kernel",
    "_intermediate_dense/bias": "feed_forward/inner/bias",
    "_output_dense/kernel": "feed_forward/outer/kernel",
    "_output_dense/bias": "feed_forward/outer/bias",
    "_output_layer_norm/gamma": "feed_forward/norm/scale",
    "_output_layer_norm/beta": "feed_forward/norm/bias",
}
V2 = {
    "_embedding_layer/embeddings": "embeddings/word",
    "_position_embedding_layer/embeddings": "embeddings/position",
    "_type_embedding_layer/embeddings": "embeddings/token_type",
    "_embedding_norm_layer/gamma": "embeddings/norm/scale",
    "_embedding_norm_layer/beta": "embeddings/norm/bias",
    **{f"_transformer_layers/0/{key}": f"layer_0/{ours}" for key, ours in LAYER.items()},
    **{f"_transformer_layers/1/{key}": f"layer_1/{ours}" for key, ours in LAYER.items()},
    "_pooler_layer/kernel": "pooler/kernel",
    "_pooler_layer/bias": "pooler/bias",
}
FUNCTIONAL = {
    "layer_with_weights-0/embeddings": "embeddings/word",
    "layer_with_weights-1/embeddings": "embeddings/position",
    "layer_with_weights-2/embeddings": "embeddings/token_type",
    "layer_with_weights-3/gamma": "embeddings/norm/scale",
    "layer_with_weights-3/beta": "embeddings/norm/bias",
    **{f"layer_with_weights-4/{key}": f"layer_0/{ours}" for key, ours in LAYER.items()},
    **{f"layer_with_weights-5/{key}": f"layer_1/{ours}" for key, ours in LAYER.items()},
    "layer_with_weights-6/kernel": "pooler/kernel",
    "layer_with_weights-6/bias": "pooler/bias",
}
OLD = {
    key.replace("_attention_layer/_output_dense", "_attention_output_dense"): ours
    for key, ours in FUNCTIONAL.items()
}
LAYOUTS = {"v2": V2, "functional": FUNCTIONAL, "old": OLD}

MLM = {
    "masked_lm/dense/kernel": "mlm/dense/kernel",
    "masked_lm/dense/bias": "mlm/dense/bias",
    "masked_lm/layer_norm/gamma": "mlm/norm/scale",
    "masked_lm/layer_norm/beta": "mlm/norm/bias",
    "masked_lm/output_bias.Sbias": "mlm/bias",
}
WEIGHTS = random_weights(CONFIG, 0, heads=("mlm", "nsp", "span"))
for _kind in ("sequence_classifier", "token_classifier"):
    WEIGHTS |= random_weights(CONFIG, 1, heads=(_kind,), labels=4) | WEIGHTS
ENCODER = set(V2.values())


def keys(layout, prefix):
    return {f"{prefix}/{key}": ours for key, ours in LAYOUTS[layout].items()}


def write(directory, names, config=WORDS, prefix="bert_model.ckpt", extra=None, **tree):
    """A checkpoint of these keys, with our weights, and the small files beside it."""
    directory.mkdir(exist_ok=True)
    values = {key: WEIGHTS[ours] for key, ours in names.items()}
    write_tree(directory / prefix, {**values, **(extra or {})}, **tree)
    if config is not None:
        (directory / "bert_config.json").write_text(json.dumps(config))
    (directory / "vocab.txt").write_text("".join(f"{token}\n" for token in tiny.VOCABULARY))
    return directory


def saved_keys(directory):
    names = {name for name, _ in tf.train.list_variables(str(directory / "bert_model.ckpt-1"))}
    return {name.removesuffix(VALUE) for name in names} - {"_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter"}


def same(tensors, names):
    assert set(tensors) == set(names)
    for name in names:
        np.testing.assert_array_equal(tensors[name], WEIGHTS[name], strict=True)


def notes_of(directory, word):
    return [note for note in checkpoints.load(directory).notes if word in note]


@pytest.mark.parametrize(
    "prefix", ["model", "encoder", "model/encoder_network", "model/layer_with_weights-0"]
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_encoder(layout, prefix, tmp_path):
    directory = write(tmp_path / "theirs", keys(layout, prefix))
    assert saved_keys(directory) == set(keys(layout, prefix))
    found = checkpoints.load(directory)
    assert found.format == "model_garden"
    assert found.config == CONFIG
    assert found.vocabulary == tuple(tiny.VOCABULARY)
    same(found.tensors, ENCODER)
    assert found.head_names == ()
    assert dict(found.left_out) == {
        "_CHECKPOINTABLE_OBJECT_GRAPH": "the tree of objects: it says which tensor is which",
        f"save_counter{VALUE}": "how often the checkpoint was saved",
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hidden_states(layout, tmp_path):
    """By the papers with the tanh gelu, which is Model Garden's; with the other one they are others."""
    encoder = checkpoints.load(write(tmp_path / "theirs", keys(layout, "model"))).encoder()
    inputs = random_inputs(CONFIG, 0)
    weights = {name: WEIGHTS[name] for name in ENCODER}
    real = inputs["attention_mask"].astype(bool)

    def difference(config):
        states, pooled = encode(config, weights, **inputs)
        got = encoder.hidden_states(inputs)
        assert len(got) == len(states) == 3
        return max(
            np.abs(np.asarray(encoder(inputs)["pooled_output"]) - pooled).max(),
            *(np.abs(np.asarray(a) - b)[real].max() for a, b in zip(got, states)),
        )

    assert difference(CONFIG) < 1e-5
    assert difference(dataclasses.replace(CONFIG, hidden_act="gelu_erf")) > 1e-4
    assert difference(dataclasses.replace(CONFIG, layer_norm_eps=1e-3)) > 1e-4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pretrainer(layout, tmp_path):
    """BertPretrainerV2 with its checkpoint_items: the next-sentence head has a pooler of its own."""
    encoder = keys(layout, "encoder")
    word, *_ = encoder
    own = dict.fromkeys([key for key, ours in encoder.items() if ours.startswith("pooler")])
    names = {key: ours for key, ours in encoder.items() if key != word and key not in own}
    names |= MLM | {
        "masked_lm/embedding_table": "embeddings/word",
        "next_sentence..pooler_dense/kernel": "pooler/kernel",
        "next_sentence..pooler_dense/bias": "pooler/bias",
        "model/classification_heads/0/out_proj/kernel": "nsp/kernel",
        "model/classification_heads/0/out_proj/bias": "nsp/bias",
    }
    others = {"model/classification_heads/1/out_proj/kernel": WEIGHTS["nsp/kernel"] + 1}  # another task's
    untrained = {key: np.full(WEIGHTS[encoder[key]].shape, 9, np.float32) for key in own}
    directory = write(
        tmp_path / "theirs",
        names,
        extra=untrained | others,
        aliases={
            word: "masked_lm/embedding_table",
            "masked_lm/bias": "masked_lm/output_bias.Sbias",
            "model/masked_lm": "masked_lm",
            "model/encoder_network": "encoder",
            "model/classification_heads/0/dense": "next_sentence..pooler_dense",
        },
    )
    assert saved_keys(directory) == {*names, *own, *others}
    found = checkpoints.load(directory)
    same(found.tensors, ENCODER)
    assert found.head_names == ("mlm", "nsp")
    same(found.heads, {name for name in WEIGHTS if name.startswith(("mlm", "nsp"))})
    assert {key.removesuffix(VALUE): why for key, why in found.left_out.items() if "pooler" in why} == (
        dict.fromkeys(own, "the encoder's own pooler, which the head does not stand on")
    )
    assert len(notes_of(directory, "the pooler is the head's own dense layer")) == 1


def test_a_released_pretrainer_without_projection(tmp_path):
    """The v3 release of 2021, bert-base uncased: encoder, masked LM, and of the other head its pooler
    alone.
    """
    names = {key: ours for key, ours in keys("old", "encoder").items() if not ours.startswith("pooler")}
    names |= MLM | {
        "next_sentence..pooler_dense/kernel": "pooler/kernel",
        "next_sentence..pooler_dense/bias": "pooler/bias",
    }
    directory = write(
        tmp_path / "theirs",
        names,
        aliases={
            "masked_lm/embedding_table": "encoder/layer_with_weights-0/embeddings",
            "masked_lm/bias": "masked_lm/output_bias.Sbias",
        },
    )
    found = checkpoints.load(directory)
    same(found.tensors, ENCODER)
    assert found.head_names == ("mlm",)
    assert len(found.left_out) == 2


def test_a_pretrainer_whose_head_has_no_name(tmp_path):
    """``tf.train.Checkpoint(model=...)`` alone: heads are numbered."""
    names = {key: ours for key, ours in keys("v2", "model/encoder_network").items() if "pooler" not in ours}
    names |= {f"model/{key}": ours for key, ours in MLM.items()}
    head = "model/classification_heads/0"
    names |= {
        f"{head}/dense/kernel": "pooler/kernel",
        f"{head}/dense/bias": "pooler/bias",
        f"{head}/out_proj/kernel": "nsp/kernel",
        f"{head}/out_proj/bias": "nsp/bias",
    }
    tree = {
        "aliases": {
            "model/masked_lm/embedding_table": "model/encoder_network/_embedding_layer/embeddings",
            "model/masked_lm/bias": "model/masked_lm/output_bias.Sbias",
        }
    }
    found = checkpoints.load(write(tmp_path / "theirs", names, **tree))
    same(found.tensors, ENCODER)
    same(found.heads, {name for name in WEIGHTS if name.startswith(("mlm", "nsp"))})
    assert "the head with two outputs next to the masked-LM head is the next-sentence head" in found.notes

    # Of three outputs it is something else, and its dense layer is not BERT's pooler.
    names |= {f"{head}/out_proj/kernel": "sequence_classifier/kernel"}
    found = checkpoints.load(write(tmp_path / "other", names, **tree))
    assert found.head_names == ("mlm",)
    assert not found.config.pooler
    assert {
        key.removeprefix(f"{head}/").removesuffix(VALUE)
        for key, why in found.left_out.items()
        if why == "not part of the encoder or of a known head"
    } == {"dense/kernel", "dense/bias", "out_proj/kernel", "out_proj/bias"}


def test_the_first_pretrainer(tmp_path):
    """BertPretrainer, functional: its head stands on the encoder's pooler."""
    names = {
        key: ours
        for key, ours in keys("functional", "model/layer_with_weights-0").items()
        if ours != "embeddings/word"
    }
    names |= {
        "model/layer_with_weights-1/layer_with_weights-0/kernel": "nsp/kernel",
        "model/layer_with_weights-1/layer_with_weights-0/bias": "nsp/bias",
        "model/layer_with_weights-2/embedding_table": "embeddings/word",
    }
    names |= {key.replace("masked_lm", "model/layer_with_weights-2"): ours for key, ours in MLM.items()}
    directory = write(
        tmp_path / "theirs",
        names,
        aliases={
            "model/encoder": "model/layer_with_weights-0",
            "model/classification": "model/layer_with_weights-1",
            "model/masked_lm": "model/layer_with_weights-2",
            "model/layer_with_weights-2/bias": "model/layer_with_weights-2/output_bias.Sbias",
            "model/encoder/layer_with_weights-0/embeddings": "model/layer_with_weights-2/embedding_table",
        },
    )
    found = checkpoints.load(directory)
    same(found.tensors, ENCODER)
    same(found.heads, {name for name in WEIGHTS if name.startswith(("mlm", "nsp"))})


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("head", "at"),
    [
        ("sequence_classifier", "layer_with_weights-1/out_proj"),
        ("token_classifier", "layer_with_weights-1"),
        ("span", "layer_with_weights-1/layer_with_weights-0"),
    ],
)
def test_a_task(layout, head, at, tmp_path):
    """BertClassifier, BertTokenClassifier and BertSpanLabeler."""
    names = keys(layout, "model/layer_with_weights-0")
    names |= {f"model/{at}/{part}": f"{head}/{part}" for part in ("kernel", "bias")}
    attribute = "span_labeling" if head == "span" else "classifier"
    directory = write(
        tmp_path / "theirs",
        names,
        aliases={
            "model/_network": "model/layer_with_weights-0",
            f"model/{attribute}": "model/layer_with_weights-1",
        },
    )
    assert saved_keys(directory) == set(names)
    found = checkpoints.load(directory)
    same(found.tensors, ENCODER)
    same(found.heads, {f"{head}/kernel", f"{head}/bias"})
    labels = () if head == "span" else ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")
    assert found.labels == labels
    note = "the files name no labels; the classifier's 4 are called LABEL_0, LABEL_1 ..."
    assert (note in found.notes) == bool(labels)
    checkpoints.convert(directory, tmp_path / "google")
    assert checkpoints.load(tmp_path / "google").head_names == (head,)


def test_a_classifier_with_a_pooler_of_its_own(tmp_path):
    """BertClassifier(use_encoder_pooler=False), what its fine-tuning task makes."""
    names = {key: ours for key, ours in keys("v2", "encoder").items() if "pooler" not in ours}
    names |= {
        "sentence_prediction..pooler_dense/kernel": "pooler/kernel",
        "sentence_prediction..pooler_dense/bias": "pooler/bias",
        "model/classifier/out_proj/kernel": "sequence_classifier/kernel",
        "model/classifier/out_proj/bias": "sequence_classifier/bias",
    }
    own = "encoder/_pooler_layer/kernel"
    directory = write(
        tmp_path / "theirs",
        names,
        extra={own: np.zeros((6, 6), np.float32)},
        aliases={"model/classifier/dense": "sentence_prediction..pooler_dense"},
    )
    found = checkpoints.load(directory)
    same(found.tensors, ENCODER)
    assert found.head_names == ("sequence_classifier",)
    assert found.left_out[own + VALUE] == "the encoder's own pooler, which the head does not stand on"


def test_what_training_leaves_is_left_out(tmp_path):
    """Slots, counters, the texts that TensorFlow 2.0 wrote, and heads that are not BERT's."""
    extra = {
        "optimizer/_variables/1": np.zeros(3, np.float32),
        "optimizer/learning_rate": np.float32(1),
        "global_step": np.int64(5),
        "model/tagger/kernel": np.zeros(3, np.float32),
    }
    directory = write(tmp_path / "theirs", keys("functional", "encoder"), extra=extra)
    slot = f"encoder/layer_with_weights-3/gamma/.OPTIMIZER_SLOT/optimizer/m{VALUE}"
    text = "encoder/layer_with_weights-3/.ATTRIBUTES/OBJECT_CONFIG_JSON"
    rewrite(
        directory / "bert_model.ckpt-1",
        lambda tensors: tensors.update({slot: tf.zeros(6), text: tf.constant("{}")}),
    )
    found = checkpoints.load(directory)
    same(found.tensors, ENCODER)
    assert found.left_out == {
        "_CHECKPOINTABLE_OBJECT_GRAPH": "the tree of objects: it says which tensor is which",
        slot: "optimizer slots of pre-training",
        text: "a layer's configuration as text: not a weight",
        f"optimizer/_variables/1{VALUE}": "the optimizer's state",
        f"optimizer/learning_rate{VALUE}": "the optimizer's state",
        f"global_step{VALUE}": "the step counter of pre-training",
        f"save_counter{VALUE}": "how often the checkpoint was saved",
        f"model/tagger/kernel{VALUE}": "not part of the encoder or of a known head",
    }


def test_without_a_pooler(tmp_path):
    names = {key: ours for key, ours in keys("v2", "model").items() if "pooler" not in ours}
    found = checkpoints.load(write(tmp_path / "theirs", names))
    assert found.config == dataclasses.replace(CONFIG, pooler=False)
    assert "the checkpoint has no pooler" in found.notes


class TestRecognition:
    """Google's format has the same files; the keys in the index tell them apart."""

    def test_both_directions(self, tmp_path):
        theirs = write(tmp_path / "theirs", keys("functional", "model"))
        checkpoints.convert(theirs, tmp_path / "google")
        for directory, name in ((theirs, "model_garden"), (tmp_path / "google", "google")):
            assert [one for one in formats.names() if formats.find(one).recognise(directory)] == [name]
        assert checkpoints.load(tmp_path / "google").equals(checkpoints.load(theirs))

    @pytest.mark.parametrize("prefix", ["bert_model.ckpt", "ckpt", "model"])
    def test_a_configuration_away(self, prefix, tmp_path):
        theirs = write(tmp_path / "theirs", keys("v2", "model"), None, prefix)
        with pytest.raises(UserError, match=r"has neither bert_config\.json nor params\.yaml, one of which"):
            checkpoints.load(theirs)

    def test_one_beside_the_other(self, tmp_path):
        """Each format reads its own kind."""
        theirs = write(tmp_path / "theirs", keys("v2", "model"), prefix="ckpt")
        want = checkpoints.load(theirs)
        checkpoints.convert(theirs, tmp_path / "google")
        for path in (tmp_path / "google").glob("bert_model.*"):
            shutil.copy(path, theirs)
        for name in ("google", "model_garden"):
            assert formats.find(name).recognise(theirs)
            found = formats.find(name).read(theirs)
            assert found.format == name
            same(found.tensors, want.tensors)
        assert checkpoints.load(theirs / "ckpt-1").format == "model_garden"
        assert checkpoints.load(theirs / "bert_model.ckpt").format == "google"
        with pytest.raises(
            UserError, match=r"in several formats \(google and model_garden\); name the weights' file"
        ):
            checkpoints.load(theirs)

    def test_found_by_its_directory_its_prefix_and_its_files(self, tmp_path):
        directory = write(tmp_path / "theirs", keys("v2", "model"))
        want = checkpoints.load(directory)
        prefix = "bert_model.ckpt-1"
        for name in (prefix, f"{prefix}.index", f"{prefix}.data-00000-of-00001", "checkpoint", "vocab.txt"):
            assert checkpoints.load(directory / name).equals(want)

    def test_of_several_the_one_that_is_named(self, tmp_path):
        directory = write(tmp_path / "theirs", keys("v2", "model"), prefix="ckpt")
        write(tmp_path / "theirs", keys("functional", "encoder"), prefix="model.ckpt")
        with pytest.raises(
            UserError, match=r"holds several checkpoints \(ckpt-1, model.ckpt-1\); give the path"
        ):
            checkpoints.load(directory)
        found = checkpoints.load(directory / "model.ckpt-1").tensors.theirs["embeddings/word"]
        assert found == "encoder/_embedding_layer/embeddings"


class TestConfiguration:
    PARAMS = {  # noqa: RUF012 - never changed
        "vocab_size": WORDS["vocab_size"],
        "hidden_size": 6,
        "num_layers": 2,
        "num_attention_heads": 3,
        "hidden_activation": "gelu",
        "intermediate_size": 5,
        "dropout_rate": 0.2,
        "attention_dropout_rate": 0.1,
        "max_position_embeddings": 7,
        "type_vocab_size": 3,
        "initializer_range": 0.03,
        "embedding_size": None,
        "output_range": None,
        "return_all_encoder_outputs": False,
        "norm_first": False,
    }

    def write(self, directory, encoder=None, kind="bert", **model):
        """A params.yaml as an experiment writes it; the encoder's part by kind."""
        names = keys("v2", "encoder") | MLM
        write(
            directory,
            names,
            None,
            aliases={
                "masked_lm/embedding_table": "encoder/_embedding_layer/embeddings",
                "masked_lm/bias": "masked_lm/output_bias.Sbias",
            },
        )
        model = {"encoder": {"type": kind, kind: {**self.PARAMS, **(encoder or {})}}, **model}
        params = {"runtime": {"num_gpus": 0}, "task": {"init_checkpoint": "", "model": model}}
        (directory / "params.yaml").write_text(yaml.dump(params))
        return directory

    @pytest.mark.parametrize("kind", ["bert", "bert_v2"])
    def test_params_yaml(self, kind, tmp_path):
        found = checkpoints.load(self.write(tmp_path / "theirs", kind=kind, mlm_activation="gelu"))
        assert found.config == CONFIG
        assert found.head_names == ("mlm",)
        assert "the configuration is params.yaml's; there is no bert_config.json" in found.notes

    def test_a_part_of_it(self, tmp_path):
        directory = self.write(tmp_path / "theirs")
        params = yaml.safe_load((directory / "params.yaml").read_text())
        for part in (params["task"], params["task"]["model"]):
            (directory / "params.yaml").write_text(yaml.dump(part))
            assert checkpoints.load(directory).config == CONFIG

    def test_another_activation_in_the_head(self, tmp_path):
        found = checkpoints.load(self.write(tmp_path / "theirs", mlm_activation="relu"))
        assert found.head_names == ()
        assert 'the masked-LM head is left out: its activation is "relu", not the encoder\'s' in found.notes

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"kind": "albert"}, "the encoder is albert, not BERT; only BERT checkpoints can be read"),
            ({"encoder": {"norm_first": True}}, "norm_first is true; only BERT's own order, LayerNorm last"),
            (
                {"encoder": {"embedding_size": 4}},
                "embedding_size is 4 and hidden_size 6: the architecture is",
            ),
        ],
    )
    def test_what_is_not_bert(self, change, sentence, tmp_path):
        with pytest.raises(UserError, match=f"params.yaml: {sentence}"):
            checkpoints.load(self.write(tmp_path / "theirs", **change))

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("task:\n  model: [", r"params.yaml:2: not YAML; copy it again"),
            ("task: {model: !!python/object:os.system {}}", "params.yaml:1: not YAML; copy it again"),
            ("\xff", "params.yaml.*: not YAML; copy it again"),
            ("", "has no task.model.encoder; is it the configuration of a BERT model"),
            ("task: 3", "has no task.model.encoder; is it"),
            ("task: {model: {encoder: {type: bert}}}", "has no task.model.encoder.bert; copy it again"),
            ("encoder: {type: bert, bert: {vocab_size: 3}}", "params.yaml lacks hidden_size, num_layers, "),
        ],
    )
    def test_a_broken_one(self, text, sentence, tmp_path):
        directory = self.write(tmp_path / "theirs")
        (directory / "params.yaml").write_bytes(text.encode("latin-1"))
        with pytest.raises(UserError, match=sentence):
            checkpoints.load(directory)

    @pytest.mark.parametrize(
        ("word", "ours"),
        [("gelu", "gelu_tanh"), ("simple_swish", "silu"), ("swish", "silu"), ("relu", "relu")],
    )
    def test_activations(self, word, ours, tmp_path):
        directory = write(tmp_path / "theirs", keys("v2", "model"), {**WORDS, "hidden_act": word})
        found = checkpoints.load(directory)
        assert found.config.hidden_act == ours
        notes = [] if word == ours else [f'hidden_act "{word}" is {ours}: what TF Model Garden computes']
        assert notes_of(directory, "hidden_act") == notes
        assert notes_of(directory, "layer_norm_eps") == [
            "layer_norm_eps is 1e-12: TF Model Garden's constant"
        ]

    def test_gelu_by_option(self, tmp_path):
        directory = write(tmp_path / "theirs", keys("v2", "model"))
        assert checkpoints.load(directory, gelu="erf").config.hidden_act == "gelu_erf"

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"embedding_size": 4}, "the architecture is ALBERT's or MobileBERT's, not BERT; only BERT"),
            ({"hidden_act": "mish"}, 'bert_config.json: hidden_act is "mish"'),
            ({"num_attention_heads": 4}, "bert_config.json: .*num_attention_heads"),
        ],
    )
    def test_a_wrong_bert_config(self, change, sentence, tmp_path):
        directory = write(tmp_path / "theirs", keys("v2", "model"), {**WORDS, **change})
        with pytest.raises(UserError, match=sentence):
            checkpoints.load(directory)

    def test_a_short_bert_config(self, tmp_path):
        short = {name: value for name, value in WORDS.items() if name != "vocab_size"}
        with pytest.raises(UserError, match=r"bert_config.json lacks vocab_size; is it"):
            checkpoints.load(write(tmp_path / "theirs", keys("v2", "model"), short))


class TestBadInput:
    def refused(self, directory, sentence):
        with pytest.raises(UserError) as caught:
            checkpoints.convert(directory, directory.parent / "dest")
        assert not (directory.parent / "dest").exists()
        text = str(caught.value)
        assert sentence in text
        return text

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_every_misfit_is_listed(self, layout, tmp_path):
        names = keys(layout, "encoder")
        missing, misshapen = list(names)[1], list(names)[3]
        names = {key: ours for key, ours in names.items() if key not in (missing, misshapen)}
        first = next(key for key in names if key.endswith("_intermediate_dense/kernel"))
        unknown = first.replace("_intermediate_dense/kernel", "_gate/kernel")
        zeros = np.zeros(7, np.float32)
        directory = write(tmp_path / "theirs", names, extra={unknown: zeros, misshapen: zeros})
        text = self.refused(
            directory, "bert_model.ckpt-1 does not fit bert_config.json (1 missing, 1 unknown, 1 misshapen)"
        )
        assert text.splitlines()[1:] == [
            "  missing  encoder/_position_embedding_layer/embeddings",
            f"  unknown  {unknown}{VALUE}",
            "  shape    encoder/_embedding_norm_layer/gamma: found [7], expected [6]",
        ]

    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize(("layers", "word"), [(1, "16 unknown"), (3, "16 missing")])
    def test_another_number_of_layers(self, layout, layers, word, tmp_path):
        config = {**WORDS, "num_hidden_layers": layers}
        self.refused(
            write(tmp_path / "theirs", keys(layout, "encoder"), config),
            f"does not fit bert_config.json ({word})",
        )

    def test_another_number_of_heads(self, tmp_path):
        """Heads have axes of their own here: the one format that shows a wrong number."""
        config = {**WORDS, "num_attention_heads": 2}
        text = self.refused(write(tmp_path / "theirs", keys("v2", "encoder"), config), "(14 misshapen)")
        at = "encoder/_transformer_layers/1/_attention_layer"
        assert f"{at}/_query_dense/kernel: found [6, 3, 2], expected [6, 2, 3]" in text

    def test_something_else(self, tmp_path):
        directory = write(tmp_path / "theirs", {}, extra={"resnet/kernel": np.zeros(3, np.float32)})
        self.refused(
            directory,
            "holds no BERT encoder of TF Model Garden (its parts are resnet, save_counter); only "
            "checkpoints of one",
        )

    def test_two_encoders(self, tmp_path):
        names = keys("v2", "student") | keys("functional", "teacher")
        self.refused(write(tmp_path / "theirs", names), "holds 2 encoders of TF Model Garden (its parts are")

    def test_an_embedding_projection(self, tmp_path):
        """ALBERT's, under a configuration of BERT."""
        extra = {"encoder/_embedding_projection/kernel": np.zeros((6, 6), np.float32)}
        directory = write(tmp_path / "theirs", keys("v2", "encoder"), extra=extra)
        assert "unknown  encoder/_embedding_projection/kernel" in self.refused(directory, "(1 unknown)")

    def test_files(self, tmp_path):
        original = write(tmp_path / "original", keys("v2", "encoder"))
        data = "bert_model.ckpt-1.data-00000-of-00001"
        for count, (name, content, sentence) in enumerate(
            [
                (data, None, f"{data} is missing; copy the whole checkpoint"),
                (data, b"", "a data file is truncated or damaged; copy the checkpoint again"),
                (data, 0.5, "a data file is truncated or damaged; copy the checkpoint again"),
                ("bert_model.ckpt-1.index", 0.5, "index is truncated or damaged; copy the checkpoint again"),
                ("bert_model.ckpt-1.index", b"", "index is truncated or damaged; copy the checkpoint again"),
                ("bert_config.json", b"{", "bert_config.json:1: not JSON"),
                ("vocab.txt", None, "vocab.txt"),
                (
                    "vocab.txt",
                    b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n",
                    "has 5 tokens, but the model's vocab_size",
                ),
            ]
        ):
            folder = tmp_path / str(count)
            directory = shutil.copytree(original, folder / "source")
            path = directory / name
            if isinstance(content, float):
                content = path.read_bytes()[: int(path.stat().st_size * content)]
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            self.refused(directory, sentence)

    @pytest.mark.parametrize("graph", [b"\xff\xff", b"", b"\x0a\x06\x0a\x04\x08\x63\x12\x00"])
    def test_a_damaged_tree(self, graph, tmp_path):
        """No message, none at all, and one whose only object has a child of number 99."""
        directory = write(tmp_path / "theirs", keys("v2", "encoder"))
        rewrite(
            directory / "bert_model.ckpt-1",
            lambda tensors: tensors.update(_CHECKPOINTABLE_OBJECT_GRAPH=tf.constant(graph)),
        )
        self.refused(directory, "_CHECKPOINTABLE_OBJECT_GRAPH is damaged; copy the checkpoint again")

    def test_a_tree_that_is_not_text(self, tmp_path):
        directory = write(tmp_path / "theirs", keys("v2", "encoder"))
        rewrite(
            directory / "bert_model.ckpt-1",
            lambda tensors: tensors.update(_CHECKPOINTABLE_OBJECT_GRAPH=tf.zeros(3)),
        )
        self.refused(directory, "_CHECKPOINTABLE_OBJECT_GRAPH is damaged; copy the checkpoint again")

    def test_a_tree_without_its_tensor(self, tmp_path):
        directory = write(tmp_path / "theirs", keys("v2", "encoder"))
        key = f"encoder/_pooler_layer/bias{VALUE}"
        rewrite(directory / "bert_model.ckpt-1", lambda tensors: tensors.pop(key))
        text = self.refused(directory, "does not fit bert_config.json (1 missing)")
        assert "missing  encoder/_pooler_layer/bias" in text

    def test_integers(self, tmp_path):
        names = {key: ours for key, ours in keys("v2", "encoder").items() if ours != "pooler/bias"}
        extra = {"encoder/_pooler_layer/bias": np.zeros(6, np.int32)}
        self.refused(
            write(tmp_path / "theirs", names, extra=extra),
            f"encoder/_pooler_layer/bias{VALUE} holds int32, not floats; the file is not a BERT model's",
        )
