"""A row's loss counts by its number of terms, such as masked tokens: in training and in scores."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.training.test_step import batch, setup
from tfpipeline import checkpoints
from tfpipeline.errors import UserError
from tfpipeline.models.inputs import encoder_inputs
from tfpipeline.tasks.masked_lm import MaskedLM, MaskedLMOptions
from tfpipeline.text import WordPieceTokenizer
from tfpipeline.training.augmentation import Augmentation
from tfpipeline.training.batching import Group
from tfpipeline.training.global_batch import WEIGHTS
from tfpipeline.training.inference import Predictions
from tfpipeline.training.losses import Losses
from tfpipeline.training.state import State
from tfpipeline.training.step import TrainStep


def test_the_loss_of_a_step_is_the_mean_over_all_masked_tokens(tmp_path):
    checkpoint = checkpoints.load(tiny.write_checkpoint(tmp_path / "checkpoint"))
    tokenizer = WordPieceTokenizer(checkpoint.vocabulary, checkpoint.tokenizer)
    task = MaskedLM(MaskedLMOptions(mask_share=0.4)).with_tokenizer(
        checkpoint.vocabulary, checkpoint.tokenizer
    )
    given = batch(rows=7)
    given["word"] = np.cumsum(given["attention_mask"], 1, np.int32) * given["attention_mask"]
    model, step = setup(
        checkpoint,
        dropout=0.0,
        task=task,
        make=lambda *arguments: TrainStep(*arguments, tokenizer=tokenizer),
    )
    masked = Augmentation(task, tokenizer).train(
        {name: tf.constant(array) for name, array in given.items()}, 0, tf.constant(0)
    )
    losses = task.loss(model(encoder_inputs(masked)), masked).numpy()
    terms = (masked["masked_ids"].numpy() >= 0).sum(1)
    assert len(set(terms)) > 1
    result = step(given, 0)
    assert float(result["weight"]) == pytest.approx((given[WEIGHTS] * terms).sum())
    loss = float(result["loss"])
    assert loss == pytest.approx(np.average(losses, weights=given[WEIGHTS] * terms), rel=1e-6)
    assert loss != pytest.approx(np.average(losses, weights=given[WEIGHTS]), rel=1e-3)


def test_the_loss_of_an_epoch_is_the_mean_over_the_terms_of_all_steps():
    run = SimpleNamespace(config=SimpleNamespace(training=SimpleNamespace(precision="float32")))
    state = State()
    losses = Losses(run, state, None, writes=True)
    group = Group([{}, {}], [np.arange(4), np.arange(4)], 0)
    result = {"loss": [1.0, 3.0], "weight": [2.0, 6.0], "gradient_norm": [1.0, 1.0]}
    losses.add(group, {name: np.array(values) for name, values in result.items()}, 0)
    losses.read()
    assert state.train_loss == pytest.approx((2 * 1 + 6 * 3) / 8)


class _Scorer:
    def complete(self, predictions, targets, embed):
        return predictions

    def metrics(self, predictions, targets, weights):
        return {}

    def intervals(self, predictions, targets, weights):
        return {}


class _Task:
    scorer = _Scorer()


def test_so_is_the_loss_of_scores():
    losses, terms = np.array([1.0, 2.0, 4.0], np.float32), np.array([1.0, 3.0, 0.0], np.float32)
    weights = np.array([2.0, 1.0, 1.0])
    found = Predictions({}, losses, terms)
    assert found.scores(_Task(), {}, weights)["loss"] == pytest.approx((2 * 1 + 3 * 2) / 5)
    low, high = found.intervals(_Task(), {}, weights)["loss"]
    assert (low, high) == (1, 2)  # the row without a term is in neither
    assert Predictions({}, losses).scores(_Task(), {}, weights)["loss"] == pytest.approx(8 / 4)


def test_rows_without_any_term_cannot_be_scored():
    found = Predictions({}, np.zeros(2, np.float32), np.zeros(2, np.float32))
    with pytest.raises(UserError, match="no row has anything that the model could predict"):
        found.scores(_Task(), {}, np.ones(2))
