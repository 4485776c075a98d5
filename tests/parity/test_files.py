"""Files that PyTorch and transformers write, read by us; and ours, read by them: ``make parity``."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is in an environment of its own: make parity")

import torch
import transformers
from transformers import BertConfig

from tests.parity import cases, pytorch
from tfpipeline import checkpoints
from tfpipeline.training import open_run

HEADS = {
    "BertModel": (),
    "BertForMaskedLM": ("mlm",),
    "BertForNextSentencePrediction": ("nsp",),
    "BertForPreTraining": ("mlm", "nsp"),
    "BertForSequenceClassification": ("sequence_classifier",),
    "BertForTokenClassification": ("token_classifier",),
    "BertForQuestionAnswering": ("span",),
}


def theirs(name, **changes):
    """A model of a class of transformers, weights of standard deviation 0.3."""
    torch.manual_seed(0)
    labels = (
        {"id2label": {0: "x", 1: "y", 2: "z"}} if "for" in name.lower() and "Classification" in name else {}
    )
    config = BertConfig(**{**cases.TINY_CONFIG, **labels, **changes})
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            weight.normal_(0, 0.3)
            if key.endswith("LayerNorm.weight"):
                weight += 1
    return model


def saved(model, directory, **options):
    model.save_pretrained(directory, **options)
    pytorch.write_vocabulary(directory, model.config.vocab_size)
    return directory


@pytest.mark.parametrize("name", HEADS)
def test_every_class_there_and_back(name, tmp_path):
    model = theirs(name)
    found = checkpoints.load(saved(model, tmp_path / "theirs"))
    assert found.head_names == HEADS[name]
    assert found.labels == (("x", "y", "z") if "Classification" in name else ())
    checkpoints.convert(tmp_path / "theirs", tmp_path / "google", to="google")
    checkpoints.convert(tmp_path / "google", tmp_path / "ours", to="huggingface")
    again, info = getattr(transformers, name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["mismatched_keys"]
    assert not info["unexpected_keys"]
    state = again.state_dict()
    for key, weights in model.state_dict().items():
        assert torch.equal(state[key], weights), key
    assert again.config.id2label == model.config.id2label


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (torch.float32, {"safe_serialization": False}),
        (torch.float32, {"max_shard_size": "5KB"}),
        (torch.float32, {"max_shard_size": "5KB", "safe_serialization": False}),
        (torch.float16, {}),
        (torch.float16, {"safe_serialization": False}),
        (torch.bfloat16, {}),
        (torch.bfloat16, {"safe_serialization": False}),
    ],
)
def test_every_kind_of_file(dtype, options, tmp_path):
    model = theirs("BertForPreTraining").to(dtype)
    found = checkpoints.load(saved(model, tmp_path, **options))
    if "max_shard_size" in options:
        assert len(list(tmp_path.glob("*-of-*"))) > 3
    kernel = model.bert.encoder.layer[1].intermediate.dense.weight.detach().float().numpy()
    np.testing.assert_array_equal(found.tensors["layer_1/feed_forward/inner/kernel"], kernel.T)
    assert found.tensors["layer_1/feed_forward/inner/kernel"].dtype == np.float32
    bias = model.cls.predictions.bias.detach().float().numpy()
    np.testing.assert_array_equal(found.heads["mlm/bias"], bias)


def test_a_classifier_answers_as_theirs_does(tmp_path):
    model = theirs("BertForSequenceClassification")
    run = open_run(saved(model, tmp_path))
    texts = ["word1 word2 word3", "word9", "", "word20 word30 word1 word1 word1"]
    tokens = run.encode(texts, None, 13)
    with torch.no_grad():
        logits = model(
            **{name: torch.from_numpy(array.astype(np.int64)) for name, array in tokens.items()}
        ).logits
    got = run.model()(tokens)["logits"]
    assert logits.std() > 0.1
    np.testing.assert_allclose(got, logits.numpy(), rtol=0, atol=2e-5)
    answers = run.task.predictions({"logits": got}, tokens)
    assert [label.decode() for label in answers["label"].numpy()] == ["xyz"[i] for i in logits.argmax(-1)]


@pytest.mark.parametrize("to", ["google", "huggingface"])
def test_the_report_asks_pytorch(to, tmp_path):
    checkpoints.convert(saved(theirs("BertModel"), tmp_path / "theirs"), tmp_path / to, to=to)
    last = checkpoints.parity_report(checkpoints.load(tmp_path / to)).splitlines()[-1]
    found = last.split("differ by at most ")[1].split()[0]
    assert 0 < float(found) < 2e-5
    wrong = checkpoints.parity_report(checkpoints.load(tmp_path / "theirs", gelu="tanh")).splitlines()[-1]
    assert float(wrong.split("differ by at most ")[1].split()[0]) > 1e-4
