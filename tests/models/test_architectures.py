"""Architectures are found by name, and nothing but their own modules names them."""

from __future__ import annotations

import ast
import dataclasses
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import tfpipeline
from tests.models import pre_norm
from tests.models.strategies import random_inputs
from tests.models.test_config import GOOD
from tfpipeline.errors import UserError
from tfpipeline.models import BertConfig, EncoderConfig, TextModel, architectures

PACKAGE = Path(tfpipeline.__file__).parent
# What may name an architecture: its own folder, the formats that hold it, and public re-exports.
MAY_NAME = (
    "reasoning/construct.py",  # writes a BERT
    "models/architectures/bert/",
    "checkpoints/formats/",
    "models/__init__.py",
    "models/encoder.py",
)


def test_nothing_else_names_an_architecture():
    """Every module is walked, the folders that are linked into the package as well."""
    found, walked = [], 0
    for folder in (PACKAGE, PACKAGE / "export", PACKAGE / "serving"):
        for path in folder.rglob("*.py"):
            walked += 1
            relative = path.relative_to(PACKAGE).as_posix()
            words = {
                word
                for node in ast.walk(ast.parse(path.read_text("utf-8")))
                for word in (getattr(node, field, None) for field in ("id", "attr", "name", "value"))
                if isinstance(word, str)
            }
            if any("BertConfig" in word or "BertEncoder" in word for word in words):
                found.append(relative)
    assert walked > 200
    assert {path for path in found if not path.startswith(MAY_NAME)} == set()
    assert "models/architectures/bert/encoder.py" in found


def test_found_by_name():
    assert architectures.names() == ["bert"]
    assert architectures.find("bert") is BertConfig
    assert architectures.find("tests.models.pre_norm") is pre_norm.PreNormConfig


class _Other(BertConfig):
    """An architecture whose name is that of the module that it is defined in, this one."""


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("berd", None, 'unknown architecture "berd"; did you mean "bert"?'),
        ("a.b-c", None, 'unknown architecture "a.b-c": not the name of a module'),
        ("no_such.module", None, "there is no module no_such; install it, or put its folder into PYTHONPATH"),
        ("own.one", 3, "the module own.one holds no architecture; its CONFIG must be a class derived from"),
        ("own.one", _Other, 'the architecture of the module own.one calls itself "tests.models.test_arch'),
    ],
)
def test_what_is_not_found(name, config, message, monkeypatch):
    if config is not None:
        module = type(sys)("own.one")
        module.CONFIG = config
        monkeypatch.setitem(sys.modules, "own", type(sys)("own"))
        monkeypatch.setitem(sys.modules, "own.one", module)
    with pytest.raises(UserError) as caught:
        architectures.find(name)
    assert message in str(caught.value)


def test_a_module_that_an_architecture_needs_is_for_its_author(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import no_such_module_at_all")
    (tmp_path / "needy").mkdir()
    (tmp_path / "needy" / "one.py").write_text("import no_such_module_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        architectures.find("needy.one")


@pytest.mark.parametrize("kind", [BertConfig, pre_norm.PreNormConfig])
def test_a_configuration_is_read_as_what_it_was(kind):
    config = kind(**GOOD)
    again = architectures.read_config(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert type(again) is kind
    assert type(config.with_dropout(0.3)) is kind
    assert config.with_dropout(0.3).attention_probs_dropout_prob == 0.3


def test_impossible_configurations():
    bert = BertConfig(**GOOD).to_dict()
    with pytest.raises(
        UserError, match=r'^runs/x\.json: a model configuration has no "architecture"; add it'
    ):
        architectures.read_config({**GOOD}, "runs/x.json")
    with pytest.raises(UserError, match=r'^runs/x\.json: unknown architecture "bart"'):
        architectures.read_config({**bert, "architecture": "bart"}, "runs/x.json")
    with pytest.raises(UserError, match=r"^runs/x\.json: vocab_size is 0; it must be"):
        architectures.read_config({**bert, "vocab_size": 0}, "runs/x.json")
    with pytest.raises(UserError, match=r'is for "bert", not "tests\.models\.pre_norm"'):
        pre_norm.PreNormConfig.from_dict(bert)


@pytest.mark.parametrize("name", [*architectures.names(), "tests.models.pre_norm"])
def test_what_every_architecture_keeps_to(name):
    """A new one is tested by being there."""
    kind = architectures.find(name)
    assert issubclass(kind, EncoderConfig)
    config = kind(**GOOD).smallest()
    encoder = config.encoder(seed=3)
    tensors = encoder.tensors()
    axes = {axis for names in config.tensors().values() for axis in names.split()}
    assert axes <= config.axis_sizes().keys()
    assert sum(array.size for array in tensors.values()) == sum(
        np.prod(weight.shape) for weight in encoder.weights
    )
    other = config.encoder(uninitialized=True)
    other.assign(tensors)
    inputs = random_inputs(config, 1)
    outputs, again = encoder(inputs), other(inputs)
    assert tuple(outputs) == encoder.outputs == config.outputs
    for key, tensor in outputs.items():
        np.testing.assert_array_equal(tensor, again[key])
        shape = encoder.compute_output_shape({"input_ids": inputs["input_ids"].shape})[key]
        assert tuple(tensor.shape) == shape
    weights = [weight.path for part in encoder.parts() for weight in part.layer.weights]
    assert sorted(weights) == sorted(weight.path for weight in encoder.weights)
    assert {part.role for part in encoder.parts()} >= {"embeddings", "block"}
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(TextModel(encoder)))
    assert type(copy.encoder.config) is kind
    assert copy.encoder.config == config


def test_keras_files_of_0_1_know_no_architecture():
    """Their encoder was defined in another module, and its configuration names none."""
    encoder = BertConfig(**GOOD).encoder()
    saved = keras.saving.serialize_keras_object(encoder)
    saved["module"] = "tfpipeline.models.encoder"
    saved["config"]["config"] = dataclasses.asdict(encoder.config)
    again = keras.saving.deserialize_keras_object(saved)
    assert again.get_config() == encoder.get_config()


def test_a_keras_file_imports_no_architecture(monkeypatch):
    saved = keras.saving.serialize_keras_object(pre_norm.PreNormConfig(**GOOD).encoder())
    monkeypatch.delitem(sys.modules, pre_norm.__name__)
    with pytest.raises(UserError, match=r"is tests\.models\.pre_norm; import that module, then load"):
        keras.saving.deserialize_keras_object(saved)
