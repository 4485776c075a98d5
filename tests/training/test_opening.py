"""tfpipeline.load on what is no run: pre-trained checkpoints, and files that Keras has saved."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import tfpipeline
from tests import tiny
from tfpipeline import checkpoints
from tfpipeline.errors import UserError


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.write_checkpoint(tmp_path_factory.mktemp("opening") / "checkpoint")


def test_a_pre_trained_checkpoint_is_an_encoder_with_its_tokenizer(source):
    model = tfpipeline.load(source)
    assert isinstance(model, keras.Model)
    assert model.head is None
    tokens = model.tokenizer(["the good film", "x"])
    want = checkpoints.load(source).encoder()(tokens)
    got = model(tokens)
    assert got.keys() == {"sequence_output", "pooled_output"}
    for name, tensor in want.items():
        np.testing.assert_array_equal(got[name], tensor)
    assert model.embed(["the good film"]).shape == (1, 16)
    with pytest.raises(UserError, match='checkpoint is a checkpoint: it has no "last" weights, only its own'):
        tfpipeline.load(source, "last")


def test_its_precision_is_keras_own_unless_another_is_asked_for(source):
    assert tfpipeline.load(source, precision="mixed_bfloat16").encoder.compute_dtype == "bfloat16"
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        assert tfpipeline.load(source).encoder.compute_dtype == "float64"
    finally:
        keras.config.set_dtype_policy(before)
    assert tfpipeline.load(source).encoder.compute_dtype == "float32"


class Theirs(keras.layers.Layer):
    """Not registered with Keras."""


def test_files_of_keras_that_cannot_be_read(tmp_path):
    def sentence(path, **options):
        with pytest.raises(UserError) as caught:
            tfpipeline.load(path, **options)
        return str(caught.value)

    path = tmp_path / "model.keras"
    assert sentence(path) == f"{path}: no such file"
    path.write_bytes(b"PK half of it")
    assert sentence(path) == f"{path}: is no whole .keras file; save the model again"
    keras.Sequential([keras.Input((2,)), Theirs()]).save(path)
    assert sentence(path) == (
        f"{path}: Keras does not know the class 'Theirs'; import the module that registers it with "
        "keras.saving.register_keras_serializable, then load the model again"
    )
    assert sentence(path, precision="float64") == f"{path} has a precision of its own; leave out precision"


@pytest.mark.parametrize("precision", ["fp16", 16, ["float32"]])
def test_a_precision_that_keras_does_not_know(source, precision):
    with pytest.raises(UserError, match=r"precision is .*; it must be a dtype policy of Keras"):
        tfpipeline.load(source, precision=precision)


def test_only_runs_have_several_weights(source, tmp_path):
    saved = tmp_path / "model.keras"  # it is refused before it is looked for
    for path, what in ((source, "a checkpoint"), (saved, "a model that Keras has saved")):
        with pytest.raises(UserError, match=f'is {what}: it has no "last" weights, only its own'):
            tfpipeline.load(path, weights="last")


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no such run directory"):
        tfpipeline.load(tmp_path / "absent")
