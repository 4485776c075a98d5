"""Targets of single tokens, a CRF and spans in windows: the training step's numbers are the same
everywhere.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tests import tiny

# Two logical devices have to be there before TensorFlow starts.
PROGRAM = '''
import dataclasses
import sys

from tfpipeline.runtime import import_tensorflow

tf = import_tensorflow()
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import numpy as np

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
from tfpipeline.training.strategy import build_strategy

WIDTH = 19
TAGS = ["O", "B-A", "I-A", "B-B", "I-B"]
kind, checkpoint = sys.argv[1], checkpoints.load(sys.argv[2])


def rows(count, seed):
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


def train(place, parts, compiled):
    options = TrainingOptions(precision="float64", learning_rate=0.01, warmup=0.0, accumulation=parts)
    strategy = build_strategy(place, options)
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
    losses = [float(step(rows(count, seed), seed)["loss"]) for seed, count in enumerate([8, 8, 5])]
    return {"losses": np.array(losses), **values(model)}


for name, case in {"want": ("one_device", 1, False), "xla": ("one_device", 2, True), "replicas": ("mirrored", 2, False)}.items():
    np.savez(f"{sys.argv[3]}/{name}.npz", **train(*case))
'''


@pytest.mark.parametrize("kind", ["tagging", "question_answering"])
def test_the_step_of_token_tasks(tmp_path, kind):
    """One device; parts of a batch, compiled; parts on two replicas."""
    checkpoint = tiny.write_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1)
    subprocess.run([sys.executable, "-c", PROGRAM, kind, str(checkpoint), str(tmp_path)], check=True)
    want, *others = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("want", "xla", "replicas"))
    assert len(set(want["losses"].tolist())) == 3
    assert np.isfinite(want["losses"]).all()
    for found in others:
        assert found.keys() == want.keys()
        for name, array in want.items():
            # The optimizer divides by roots of gradients, tiny ones among them.
            np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-8, err_msg=name)
