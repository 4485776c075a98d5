"""Explanations beside Captum's integrated gradients of transformers' model in PyTorch: ``make parity``."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is in an environment of its own: make parity")

import tensorflow as tf
import torch
from captum.attr import IntegratedGradients
from transformers import AutoTokenizer, BertForSequenceClassification

from tests import tiny
from tfpipeline.export.explanations import Explanations
from tfpipeline.serving.client import predictions
from tfpipeline.training import open_run

TEXTS = ["the food was goodly , so fine", "a very bad film !", "door", "", "x y is the table and a chair 😀"]
STEPS = 64
TOLERANCE = 2e-5


def theirs(directory, texts, labels):
    """The score of each token, [B, T], and the tokens' words (None for special ones and padding)."""
    model = BertForSequenceClassification.from_pretrained(directory, attn_implementation="eager").eval()
    tokens = AutoTokenizer.from_pretrained(directory)(texts, padding=True, return_tensors="pt")
    words = [tokens.word_ids(row) for row in range(len(texts))]
    embedded = model.bert.embeddings.word_embeddings(tokens["input_ids"]).detach()
    special = torch.tensor([[word is None for word in row] for row in words])
    baseline = embedded * special[:, :, None]

    def logits(embeds, types, mask):
        return model(inputs_embeds=embeds, token_type_ids=types, attention_mask=mask).logits

    found = IntegratedGradients(logits).attribute(
        embedded,
        baseline,
        target=torch.tensor(labels),
        additional_forward_args=(tokens["token_type_ids"], tokens["attention_mask"]),
        n_steps=STEPS,
        method="gausslegendre",
    )
    return found.sum(-1).numpy(), words


def test_word_scores_are_captums(tmp_path):
    directory = tiny.write_checkpoint(tmp_path / "m", **tiny.CLASSIFIER)
    run = open_run(directory)
    explain = Explanations(run.graph(run.model()), 1024)  # both near the integral, by different rules
    asked = {"text": tf.constant(TEXTS), "label": tf.constant(["negative"] * len(TEXTS))}
    answers = {name: tensor.numpy() for name, tensor in explain(asked).items()}
    ours = predictions.decode(answers, len(TEXTS))
    scores, words = theirs(directory, TEXTS, [tiny.LABELS.index("negative")] * len(TEXTS))
    largest, difference = 0.0, 0.0
    for row, one in enumerate(ours):
        want = np.zeros(len(one.words))
        for place, word in enumerate(words[row]):
            if word is None:
                assert scores[row, place] == 0
            else:
                want[word] += scores[row, place]
        got = np.array([word.score for word in one.words])
        difference = max(difference, np.abs(got - want).max(initial=0.0))
        largest = max(largest, np.abs(want).max(initial=0.0))
    print(f"{difference:.1e}, scores up to {largest:.2f}")
    assert difference < TOLERANCE
    assert largest > 0.1
