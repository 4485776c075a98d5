"""A second architecture, `tests.models.pre_norm`, from its checkpoint to the answers of its export."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from tests.models import pre_norm
from tests.models.numpy_bert import encode
from tests.models.strategies import random_weights
from tests.training.test_train import At, interrupt, same, weights
from tfpipeline import checkpoints, config, predict
from tfpipeline.checkpoints import formats
from tfpipeline.errors import UserError
from tfpipeline.export import export_run
from tfpipeline.models import BertConfig
from tfpipeline.training import Interrupted, Run, RunConfig, open_run, plan, train

CONFIG = pre_norm.PreNormConfig(
    **tiny.SHAPE,
    vocab_size=len(tiny.VOCABULARY),
    max_position_embeddings=40,
    type_vocab_size=2,
    hidden_act="gelu_erf",
    layer_norm_eps=1e-12,
)


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A folder in a format that holds encoders of any architecture, found as those of the package are."""
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(Path(__file__).with_name("own_format"))])
    folder = tmp_path / "pre_norm"
    folder.mkdir()
    (folder / "encoder.json").write_text(json.dumps(CONFIG.to_dict()))
    (folder / "tokens.json").write_text(json.dumps(tiny.VOCABULARY))
    np.savez(folder / "encoder.npz", **random_weights(CONFIG, 1))
    yield folder
    sys.modules.pop(f"{formats.__name__}.neutral_npz", None)


def test_it_trains_resumes_exports_and_answers(checkpoint, tmp_path):
    (tmp_path / "data").mkdir()
    options = {"epochs": 1, "layer_decay": 0.5, "freeze": "embeddings"}
    run_file = tiny.write_run_file(tmp_path / "data", train=48, test=9, **options)
    first, second = (
        config.load(
            run_file,
            RunConfig,
            [f"checkpoint={checkpoint}", f"output={tmp_path}/{name}", "task.pooling=last"],
        )
        for name in ("a", "b")
    )
    expected = plan(first)
    undisturbed = train(first)
    with pytest.raises(Interrupted):
        train(second, callbacks=[At(1, interrupt)])
    assert same(weights(undisturbed.path), weights(train(second).path))

    run = open_run(undisturbed.path)
    assert json.loads((run.path / "model_config.json").read_text()) == CONFIG.to_dict()
    model = run.model()
    assert expected.parameters == model.count_params()
    tensors, before = model.encoder.tensors(), checkpoints.load(checkpoint).tensors
    changed = {name for name in tensors if not np.array_equal(tensors[name], before[name])}
    assert {
        "final_norm/scale",
        "layer_0/attention/norm/scale",
        "layer_1/feed_forward/inner/kernel",
    } <= changed
    assert not any(name.startswith("embeddings/") for name in changed)

    texts = ["the food was good", "a very bad film", "door"]
    tokens = run.encode(texts)
    states = np.asarray(model.encode(tokens)["sequence_output"])
    want = encode(CONFIG, tensors, **tokens)[0][-1]
    np.testing.assert_allclose(states, want, rtol=0, atol=2e-5)
    last = want[np.arange(3), tokens["attention_mask"].sum(-1) - 1]
    kernel, bias = (np.asarray(weight, np.float64) for weight in model.head.dense.weights)
    logits = model(tokens)["logits"]
    np.testing.assert_allclose(logits, last @ kernel + bias, rtol=0, atol=2e-5)

    exported = predict(export_run(run, tmp_path / "models" / "pre_norm"), texts)
    for got, expected in zip(exported, predict(run, texts), strict=True):
        assert got.label == expected.label
        assert got.probabilities == pytest.approx(expected.probabilities, abs=1e-6)


def test_a_format_that_lacks_names_is_refused(checkpoint, tmp_path):
    message = "no names for final_norm/bias, final_norm/scale of an encoder of the architecture tests"
    with pytest.raises(UserError, match=message):
        checkpoints.convert(checkpoint, tmp_path / "google", to="google")
    assert not (tmp_path / "google").exists()


def test_a_run_of_0_1_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "config.yaml").write_text("checkpoint: x\n")
    (tmp_path / "bert_config.json").write_text(json.dumps(BertConfig.to_dict(CONFIG)))
    for way in (Run, open_run):
        with pytest.raises(UserError, match=r"was made by tfpipeline 0\.1\.0, whose runs .* train it again"):
            way(tmp_path)
