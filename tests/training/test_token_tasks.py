"""Targets of single tokens, a CRF and spans in windows: the training step's numbers are the same
everywhere.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.training.replicas import mirrored
from tests.training.test_step import batch, values
from tfpipeline import checkpoints
from tfpipeline.models import TextModel
from tfpipeline.models.windows import Windows
from tfpipeline.tasks.question_answering import QuestionAnswering, QuestionAnsweringOptions
from tfpipeline.tasks.tagging import Tagging, TaggingOptions
from tfpipeline.text import Truncation
from tfpipeline.training.optimizer import build_optimizer
from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.precision import policy
from tfpipeline.training.step import TrainStep

WIDTH = 19
TAGS = ["O", "B-A", "I-A", "B-B", "I-B"]


def rows(kind, count, seed):
    """Random rows; of some nothing is learnt: no tag, no answer."""
    found, rng = batch(rows=count, width=WIDTH, seed=seed), np.random.default_rng(seed)
    del found["label"]
    real = found["attention_mask"]
    if kind == "tagging":
        learns = (rng.random(real.shape) < 0.6) * real
        found["tags"] = (rng.integers(1, 1 + len(TAGS), real.shape) * learns).astype(np.int32)
        found["tags"][1] = 0
        return found
    found["token_type_ids"] = ((np.arange(WIDTH) >= 4) * real).astype(np.int32)
    lengths = real.sum(axis=1)
    found["offsets"] = np.zeros((count, WIDTH, 2), np.int32)
    found["answer"] = np.zeros((count, WIDTH), np.int32)
    for row, length in enumerate(lengths):
        for token in range(4, length - 1):
            found["offsets"][row, token] = [2 * token, 2 * token + 1]
        if length > 6:
            found["answer"][row, 5] = 1
            found["answer"][row, length - 2] |= 2
    return found


def trained(kind, checkpoint, strategy, parts, compiled):
    options = TrainingOptions(precision="float64", learning_rate=0.01, warmup=0.0, accumulation=parts)
    if kind == "tagging":
        task = Tagging(TaggingOptions(crf=True), {"tags": TAGS, "max_entities": 16})
    else:
        task = QuestionAnswering(QuestionAnsweringOptions(), {"no_answer": True})
    config = dataclasses.replace(checkpoint.config, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    pair = kind != "tagging"
    cut = Truncation(12 if pair else 8, "windows", overlap=1, max_windows=6)
    with strategy.scope(), policy("float64"):
        head = task.head(config, seed=0)
        model = TextModel(checkpoint.encoder(config), head, Windows(cut, pair))
        optimizer = build_optimizer(options, model, total_steps=100)
    step = TrainStep(strategy, model, task, optimizer, options, static=compiled)
    losses = [float(step(rows(kind, count, seed), seed)["loss"]) for seed, count in enumerate([8, 8, 5])]
    return {"losses": np.array(losses), **values(model)}


@pytest.mark.parametrize("kind", ["tagging", "question_answering"])
def test_the_step_of_token_tasks(tmp_path, kind):
    """One device; parts of a batch, compiled; parts on two replicas."""
    checkpoint = checkpoints.load(tiny.write_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1))
    one = tf.distribute.OneDeviceStrategy("/cpu:0")
    want = trained(kind, checkpoint, one, 1, False)
    assert len(set(want["losses"].tolist())) == 3
    assert np.isfinite(want["losses"]).all()
    for place in ((one, 2, True), (mirrored(2), 2, False)):
        found = trained(kind, checkpoint, *place)
        assert found.keys() == want.keys()
        for name, array in want.items():
            # The optimizer divides by roots of gradients, tiny ones among them.
            np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-8, err_msg=name)
