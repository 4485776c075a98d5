"""Adapters that the PEFT library writes, read by us; and ours, read by it: ``make parity``."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

pytest.importorskip("peft", reason="PEFT is in an environment of its own: make parity")

import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)

from tests import tiny
from tests.adapted_runs import adapted_run
from tfpipeline import checkpoints
from tfpipeline.models.inputs import INPUTS
from tfpipeline.training import adapters, open_run

TEXTS = [text for text, _ in tiny.texts(20)]
NEAR = {"rtol": 0, "atol": 1e-5}
OURS = {
    "lora": {"method": "lora", "rank": 4},
    "lora of everything": {
        "method": "lora",
        "rank": 4,
        "alpha": 2.0,
        "projections": ["all"],
        "ranks": {"layer_0/attention/query": 2, "outer": 3},
        "alphas": {"inner": -1.5},
        "rank_stabilized": True,
        "dropout": 0.1,
    },
    "lora of one projection": {"method": "lora", "projections": ["layer_1/feed_forward/outer"]},
    "ia3": {"method": "ia3"},
    "ia3 of others": {"method": "ia3", "projections": ["query", "attention/output"], "inputs": ["inner"]},
    "ia3 of inputs": {"method": "ia3", "projections": [], "inputs": ["outer"]},
}
HIS = {
    "lora": LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"]),
    "lora with patterns": LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=r".*\.(query|key|dense)",
        exclude_modules=["pooler.dense"],
        rank_pattern={"layer.0.attention.self.query": 2, r"layer\.\d.output.dense": 3},
        alpha_pattern={"key": 3, "intermediate.dense": 7},
        use_rslora=True,
    ),
    "lora of a layer": LoraConfig(r=2, target_modules=["query", "output.dense"], layers_to_transform=[1]),
    "lora and pooler": LoraConfig(
        r=2, target_modules=["value"], modules_to_save=["classifier", "bert.pooler.dense"]
    ),
    "ia3": IA3Config(
        target_modules=["key", "value", "intermediate.dense"], feedforward_modules=["intermediate.dense"]
    ),
    "ia3 by default": IA3Config(target_modules=None),
    "ia3 of all": IA3Config(
        target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"]
    ),
}


def inputs_of(run):
    return {name: run.encode(TEXTS)[name] for name in INPUTS}


def our_logits(run):
    return run.model()(inputs_of(run), training=False)["logits"].numpy()


def his_logits(model, inputs):
    with torch.no_grad():
        asked = {name: torch.from_numpy(array.astype(np.int64)) for name, array in inputs.items()}
        return model.eval()(**asked).logits.numpy()


def randomise(model):
    """Everything that is trained."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += torch.randn_like(weight) * 0.3


@pytest.mark.parametrize("name", OURS)
def test_what_we_write_peft_reads(name, tmp_path):
    run = adapted_run(tmp_path, OURS[name])
    adapters.extract(run.path, tmp_path / "peft", format="peft")
    labels = AutoConfig.from_pretrained(tmp_path / "peft")
    assert [labels.id2label[index] for index in range(3)] == ["negative", "neutral", "positive"]
    base = BertForSequenceClassification.from_pretrained(tmp_path / "checkpoint", config=labels)
    inputs, want = inputs_of(run), our_logits(run)
    plain = his_logits(base, inputs)
    model = PeftModel.from_pretrained(base, tmp_path / "peft")
    np.testing.assert_allclose(his_logits(model, inputs), want, **NEAR)
    np.testing.assert_allclose(his_logits(model.merge_and_unload(), inputs), want, **NEAR)
    assert np.abs(plain - want).max() > 0.1
    again = open_run(tmp_path / "peft")
    np.testing.assert_allclose(our_logits(again), want, **NEAR)


@pytest.mark.parametrize("name", HIS)
def test_what_peft_writes_we_read(name, tmp_path):
    tiny.write_checkpoint(tmp_path / "base")
    base = BertForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=3)
    config = HIS[name]
    config.task_type = "SEQ_CLS"
    model = get_peft_model(base, config)
    randomise(model)
    model.save_pretrained(tmp_path / "peft")
    run = open_run(tmp_path / "peft")
    inputs = inputs_of(run)
    want = his_logits(model, inputs)
    np.testing.assert_allclose(our_logits(run), want, **NEAR)
    with model.disable_adapter():
        assert np.abs(his_logits(model, inputs) - want).max() > 0.1
    shutil.move(tmp_path / "base", tmp_path / "moved")
    adapters.merge(tmp_path / "peft", tmp_path / "merged", base=tmp_path / "moved")
    merged = BertForSequenceClassification.from_pretrained(tmp_path / "merged")
    np.testing.assert_allclose(his_logits(merged, inputs), want, **NEAR)


def test_a_head_on_tokens_both_ways(tmp_path):
    run = adapted_run(tmp_path, {"method": "lora", "rank": 4}, task="tagger")
    adapters.extract(run.path, tmp_path / "peft", format="peft")
    config = AutoConfig.from_pretrained(tmp_path / "peft")
    assert list(config.id2label.values()) == list(run.task.tags)
    base = BertForTokenClassification.from_pretrained(tmp_path / "checkpoint", config=config)
    model = PeftModel.from_pretrained(base, tmp_path / "peft")
    inputs = inputs_of(run)
    real = inputs["attention_mask"].astype(bool)
    np.testing.assert_allclose(his_logits(model, inputs)[real], our_logits(run)[real], **NEAR)
    randomise(model)
    model.save_pretrained(tmp_path / "again")
    his = his_logits(model, inputs)
    found = checkpoints.load(tmp_path / "again")
    assert found.head_names == ("token_classifier",)
    shutil.copy(tmp_path / "peft" / "config.json", tmp_path / "again")
    np.testing.assert_allclose(our_logits(open_run(tmp_path / "again"))[real], his[real], **NEAR)


def test_an_encoder_without_a_head(tmp_path):
    """A head that no class of transformers has is left out, and said so."""
    run = adapted_run(tmp_path, "lora", task="mean")
    done = adapters.extract(run.path, tmp_path / "peft", format="peft")
    assert "the head is omitted" in str(done)
    model = PeftModel.from_pretrained(
        BertModel.from_pretrained(tmp_path / "checkpoint"), tmp_path / "peft"
    ).eval()
    inputs = inputs_of(run)
    with torch.no_grad():
        asked = {name: torch.from_numpy(array.astype(np.int64)) for name, array in inputs.items()}
        his = model(**asked).last_hidden_state.numpy()
    ours = run.model().encode(inputs)["sequence_output"].numpy()
    real = inputs["attention_mask"].astype(bool)
    np.testing.assert_allclose(his[real], ours[real], **NEAR)
