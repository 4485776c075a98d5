"""Fine-tuned runs, written for transformers and read by it in PyTorch: ``make parity``."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is in an environment of its own: make parity")

import torch
import transformers

from tests.random_runs import TASKS, random_run
from tfpipeline.models.inputs import INPUTS
from tfpipeline.training import load_checkpoint
from tfpipeline.training.run_as_checkpoint import convert

TEXTS = ["the food was good", "a bad film , very bad", "x y", "the table is fine and so"]
PAIRS = ["the film was bad , so", "good food is fine", "a door", "the chair is the table"]
CLASSES = {
    "classifier": transformers.AutoModelForSequenceClassification,
    "tagger": transformers.AutoModelForTokenClassification,
    "answerer": transformers.AutoModelForQuestionAnswering,
}


@pytest.mark.parametrize("name", CLASSES)
def test_transformers_reads_a_run_and_answers_as_it(name, tmp_path):
    """From texts to logits, by transformers' tokenizer and class."""
    run = random_run(tmp_path, *TASKS[name])
    convert(run.path, tmp_path / "out", to="huggingface")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    model, info = CLASSES[name].from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    pairs = PAIRS if run.has_pairs else None
    tokens = tokenizer(TEXTS, pairs, padding=True, return_tensors="pt")
    with torch.no_grad():
        theirs = model.eval()(**tokens)
    ours = run.encode(TEXTS, pairs)
    for key in INPUTS:
        np.testing.assert_array_equal(tokens[key].numpy(), ours[key])
    outputs = run.model()({key: ours[key] for key in INPUTS}, training=False)
    real = ours["attention_mask"].astype(bool)
    if name == "answerer":
        got = np.stack([theirs.start_logits.numpy(), theirs.end_logits.numpy()], -1)[real]
        want = outputs["span"].numpy()[real]
    else:
        assert list(model.config.id2label.values()) == list(load_checkpoint(run.path).labels)
        got, want = theirs.logits.numpy(), outputs["logits"].numpy()
        got, want = (got[real], want[real]) if name == "tagger" else (got, want)
    difference = np.abs(got - want).max()
    print(f"{name}: {difference:.1e}, logits up to {np.abs(want).max():.1f}")
    assert difference < 2e-5
    assert np.ptp(want, axis=0).min() > 0.1


@pytest.mark.parametrize(
    ("objective", "kind"), [("none", "BertForMaskedLM"), ("sentence_order", "BertForPreTraining")]
)
def test_transformers_predicts_the_same_masked_tokens(tmp_path, objective, kind):
    """The masked-LM head, and the head on the pooler; written, read and applied by transformers."""
    task, columns, rows = TASKS["masker"]
    run = random_run(tmp_path, {**task, "objective": objective}, columns, rows)
    done = convert(run.path, tmp_path / "out", to="huggingface")
    assert kind in (tmp_path / "out" / "config.json").read_text()
    tokenizer = transformers.AutoTokenizer.from_pretrained(done.dest)
    model, info = getattr(transformers, kind).from_pretrained(done.dest, output_loading_info=True)
    assert not info["missing_keys"]
    texts = ["the [MASK] was [MASK]", "[MASK] good , so [MASK] x"]
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        theirs = model.eval()(**tokens)
    ours = run.encode(texts)
    for key in INPUTS:
        np.testing.assert_array_equal(tokens[key].numpy(), ours[key])
    outputs = run.model()({key: ours[key] for key in INPUTS}, training=False)
    positions, got = outputs["positions"].numpy(), outputs["logits"].numpy()
    assert [row[row >= 0].tolist() for row in positions] == [[2, 4], [1, 5]]
    logits = (theirs.logits if objective == "none" else theirs.prediction_logits).numpy()
    for row, slot in np.argwhere(positions >= 0):
        difference = np.abs(logits[row, positions[row, slot]] - got[row, slot]).max()
        assert difference < 2e-5
        assert np.ptp(got[row, slot]) > 0.1
    if objective != "none":
        assert np.abs(theirs.seq_relationship_logits.numpy() - outputs["relation"].numpy()).max() < 2e-5
