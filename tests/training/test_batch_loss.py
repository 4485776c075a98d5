"""A loss of the whole batch, against one worked out by hand; on replicas and processes: test_exactness.py."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.training.batch_tasks import InBatchNegatives, Options, in_batch_losses
from tests.training.test_step import assert_equal, batch, repeat, setup, values
from tfpipeline import checkpoints
from tfpipeline.data import evaluation_batches
from tfpipeline.models.inputs import INPUTS
from tfpipeline.tasks.multitask.task import Multitask
from tfpipeline.text import Truncation
from tfpipeline.training import gradients
from tfpipeline.training import step as step_module
from tfpipeline.training.global_batch import WEIGHTS
from tfpipeline.training.gradients import whole_batch_losses
from tfpipeline.training.inference import Inference
from tfpipeline.training.prediction_graph import PredictionGraph, TextInputs
from tfpipeline.training.step import TrainStep


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return checkpoints.load(
        tiny.write_checkpoint(tmp_path_factory.mktemp("batch") / "checkpoint", num_hidden_layers=1)
    )


def make(checkpoint, *, static=False, **options):
    def step(*arguments):
        return TrainStep(*arguments, static=static)

    task = InBatchNegatives(Options())
    return setup(checkpoint, make=step, task=task, optimizer={"name": "sgd"}, **options)


def outputs_of(model, given):
    outputs = model({name: tf.constant(given[name]) for name in INPUTS})
    return [outputs[name].numpy() for name in ("query", "key")]


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_loss_is_that_of_the_whole_batch(checkpoint, accumulation):
    """A row of weight 0 and the copies of row 0 that fill the batch up are no negatives."""
    given = batch(rows=7)
    given[WEIGHTS] = np.array([0.5, 1, 0, 2, 1, 1, 1.5])
    model, step = make(checkpoint, dropout=0.0, accumulation=accumulation)
    counted = given[WEIGHTS] > 0
    losses = in_batch_losses(*outputs_of(model, given), counted)
    expected = np.average(losses[counted], weights=given[WEIGHTS][counted])
    np.testing.assert_allclose(step(given, 0)["loss"], expected, rtol=1e-12)
    with_copies = in_batch_losses(*outputs_of(model, given), np.ones(7, bool))
    assert abs(np.average(with_copies, weights=given[WEIGHTS]) - expected) > 1e-3


def test_the_gradient_is_that_of_the_whole_batch(checkpoint, monkeypatch):
    """By TensorFlow's own tape over one call of the model on all rows that count, in one SGD step of rate
    1.
    """
    given = batch(rows=7)
    given[WEIGHTS] = np.array([0.5, 1, 0, 2, 1, 1, 1.5])
    model, step = make(checkpoint, dropout=0.0, accumulation=4, learning_rate=1.0, schedule="constant")
    kept = repeat(given, np.flatnonzero(given[WEIGHTS]))
    shares = kept[WEIGHTS] / kept[WEIGHTS].sum()
    with tf.GradientTape() as tape:
        outputs = model({name: tf.constant(kept[name]) for name in INPUTS})
        logits = 20.0 * outputs["query"] @ tf.transpose(outputs["key"])
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.range(6), logits)
        loss = tf.reduce_sum(loss * shares)
    variables = model.trainable_variables
    by_hand = tape.gradient(loss, [variable.value for variable in variables], unconnected_gradients="zero")
    norm = np.sqrt(sum(float(tf.reduce_sum(tf.convert_to_tensor(one) ** 2)) for one in by_hand))
    np.testing.assert_allclose(step(given, 0)["gradient_norm"], norm, rtol=1e-10)
    assert norm > 0.1
    # A loss that is scaled for 16-bit floats makes larger gradients, and the step takes the scale off again.
    for module in (gradients, step_module):
        monkeypatch.setattr(module, "loss_scale", lambda optimizer: 1024.0)
    _, scaled = make(checkpoint, dropout=0.0)
    np.testing.assert_allclose(scaled(given, 0)["gradient_norm"], norm, rtol=1e-10)


@pytest.mark.parametrize(("accumulation", "static"), [(4, False), (1, True)])
def test_parts_and_xla_train_as_the_whole_batch_does(checkpoint, accumulation, static):
    """With dropout and clipping; the last batch is ragged."""
    ends = []
    for options in ({}, {"accumulation": accumulation, "static": static}):
        model, step = make(checkpoint, dropout=0.1, clip_norm=0.05, **options)
        losses = [float(step(batch(rows=rows, seed=rows), at)["loss"]) for at, rows in enumerate([8, 5])]
        ends.append({"losses": np.array(losses), **values(model)})
    assert_equal(*ends)


def test_a_part_of_a_multitask_model_sees_the_rows_that_it_has_labels_for():
    random = np.random.default_rng(0)
    query, key = (tf.constant(random.normal(size=(6, 8))) for _ in range(2))
    filled, counted = np.array([1, 1, 0, 1, 1, 0.0]), np.array([1, 1, 1, 0, 1, 1], bool)
    task = Multitask(SimpleNamespace(weights={"a": 2.0}), {"a": InBatchNegatives(Options())})
    assert task.batch_loss
    targets = {"a/share": tf.constant(filled), WEIGHTS: tf.constant(counted.astype(float))}
    losses = whole_batch_losses(task, {"a/query": query, "a/key": key}, targets)
    kept = counted & (filled > 0)
    expected = 2 * np.nan_to_num(in_batch_losses(query.numpy(), key.numpy(), kept))
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


class Tokens:
    """Tokens of rows, as a TokenCache has them."""

    def __init__(self, given):
        self._given = {name: given[name] for name in INPUTS}
        self.lengths = given["attention_mask"].sum(-1)
        self.max_length = given["attention_mask"].shape[1]

    def widths(self, rows, choose):
        return {"text": choose(int(self.lengths[rows].max()))}

    def batch(self, rows, width=None):
        batch = repeat(self._given, rows)
        more = 0 if width is None else width["text"] - batch["input_ids"].shape[1]
        return {name: np.pad(array, ((0, 0), (0, more))) for name, array in batch.items()}


def test_validation_takes_the_loss_of_each_evaluation_batch(checkpoint):
    """Batches of rows drawn at random; a batch that is filled up, and a row of weight 0, add no negatives."""
    given = batch(rows=10)
    given[WEIGHTS][3] = 0
    model, _ = make(checkpoint)
    inputs = TextInputs(None, Truncation(), pair=False, offsets=False)
    graph = PredictionGraph(model, InBatchNegatives(Options()), inputs)
    infer = Inference(graph, batch_size=6, widths=[given["input_ids"].shape[1]])
    losses = infer([None] * 10, Tokens(given), {"label": given["label"]}, "rows", given[WEIGHTS]).losses
    lengths = given["attention_mask"].sum(-1)
    drawn = evaluation_batches(lengths, 6, by_length=False)
    by_length = [sorted(rows) for rows in evaluation_batches(lengths, 6)]
    assert [sorted(rows) for rows in drawn] != by_length
    query, key = outputs_of(model, given)
    expected = np.empty(10)
    for rows in drawn:
        expected[rows] = in_batch_losses(query[rows], key[rows], given[WEIGHTS][rows] > 0)
    assert losses[3] == 0
    np.testing.assert_allclose(np.delete(losses, 3), np.delete(expected, 3), rtol=1e-5)


class Weights(InBatchNegatives):
    """Its loss is the weight of each row."""

    def loss(self, outputs, targets):
        return tf.cast(targets["example_weights"], tf.float64)


def test_a_loss_gets_the_weights_relative_to_their_mean():
    weights = np.array([0.5, 0, 1.5, 2])
    for given in (weights, weights / weights.sum()):
        losses = whole_batch_losses(Weights(Options()), {}, {WEIGHTS: tf.constant(given)})
        np.testing.assert_allclose(losses, weights * 3 / 4, rtol=1e-12)
    assert not whole_batch_losses(Weights(Options()), {}, {WEIGHTS: tf.zeros(4)}).numpy().any()
    task = Multitask(SimpleNamespace(weights={}), {"a": Weights(Options())})
    targets = {"a/share": tf.constant([1.0, 1, 0, 3]), WEIGHTS: tf.constant(weights)}
    found = whole_batch_losses(task, {}, targets)
    np.testing.assert_allclose(found, np.array([0.5, 0, 0, 6]) * 2 / 6.5 * [1, 1, 0, 3], rtol=1e-6)


def test_validation_has_the_weights_of_the_rows(checkpoint):
    given = batch(rows=4)
    given[WEIGHTS] = np.array([0.5, 0, 1.5, 2])
    model, _ = make(checkpoint)
    inputs = TextInputs(None, Truncation(), pair=False, offsets=False)
    infer = Inference(PredictionGraph(model, Weights(Options()), inputs), batch_size=4)
    found = infer([None] * 4, Tokens(given), {"label": given["label"]}, "rows", given[WEIGHTS])
    np.testing.assert_allclose(found.losses, given[WEIGHTS] * 3 / 4, rtol=1e-6)
