"""One training step: weights of examples, clipping, ragged batches, replicas."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.training.replicas import mirrored
from tfpipeline import checkpoints
from tfpipeline.models import TextModel
from tfpipeline.tasks.classification import Classification, ClassificationOptions
from tfpipeline.training.global_batch import WEIGHTS, pad_batch
from tfpipeline.training.optimizer import build_optimizer
from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.precision import policy
from tfpipeline.training.step import TrainStep


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return checkpoints.load(tiny.write_checkpoint(tmp_path_factory.mktemp("step") / "checkpoint"))


def batch(rows=5, width=9, seed=0, classes=3):
    random = np.random.default_rng(seed)
    lengths = random.integers(3, width + 1, rows)
    lengths[0] = width
    mask = (np.arange(width) < lengths[:, None]).astype(np.int32)
    ids = random.integers(5, len(tiny.VOCABULARY), (rows, width)).astype(np.int32) * mask
    return {
        "input_ids": ids,
        "token_type_ids": np.zeros_like(ids),
        "attention_mask": mask,
        "label": random.integers(0, classes, rows).astype(np.int32),
        WEIGHTS: random.uniform(0.5, 2, rows).astype(np.float32),
    }


def setup(checkpoint, strategy=None, dropout=0.1, make=TrainStep, precision="float64", task=None, **options):
    """A fresh model, in float64 by default, and its training step."""
    strategy = strategy or tf.distribute.OneDeviceStrategy("/cpu:0")
    options = TrainingOptions(precision=precision, **{"learning_rate": 0.01, "warmup": 0.0, **options})
    task = task or Classification(ClassificationOptions(dropout=dropout), ["a", "b", "c"])
    config = dataclasses.replace(
        checkpoint.config, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout
    )
    with strategy.scope(), policy(precision):
        model = TextModel(checkpoint.encoder(config), task.head(config, seed=0))
        optimizer = build_optimizer(options, model, total_steps=100)
    return model, make(strategy, model, task, optimizer, options)


def values(model):
    """Weights by path, without the attention's key bias: it has no gradient, and Adam turns noise into
    steps.
    """
    found = {}
    for variable in model.trainable_variables:
        value = variable.numpy()
        if variable.path.endswith("qkv/bias"):
            value = np.delete(value.reshape(3, -1), 1, axis=0)
        found[variable.path] = value
    assert len(found) > 10
    return found


def assert_equal(one, other, rtol=1e-9):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=rtol, atol=1e-12, err_msg=name)


def repeat(batch, rows):
    return {name: array[rows] for name, array in batch.items()}


def operations(step):
    """How many operations a traced training step has, those of functions in its graph included."""
    (compiled,) = step._compiled.values()
    graph = compiled.get_concrete_function().graph.as_graph_def()
    return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)


def test_a_training_step_has_no_more_operations_than_it_needs(checkpoint):
    """What a step costs besides its matrix products, without a clock.

    It has 2,492 operations with TensorFlow 2.21 and Keras 3.15: the way there and back of two blocks and the
    head, and the update of 31 variables. There is room for 1.5 %, an operation a variable, as other releases
    of Keras cast a little more or less. What has cost time is more than that: Keras's own update of AdamW has
    558 operations more, and the gradient of slices of the query, key and value, where one unstacking would
    do, 52. If a change needs more, measure a step (``python -m benchmarks.train``), then raise the bound.
    """
    model, step = setup(checkpoint, precision="float32")
    step(batch(), 0)
    assert len(model.trainable_variables) == 31
    assert 2000 < operations(step) < 1.015 * 2492


@pytest.mark.parametrize("strategy", [None, 2], ids=["one device", "2 replicas"])
def test_a_graph_is_freed_with_its_step(checkpoint, strategy):
    """A process that trains many runs needs no more memory for it."""
    _, step = setup(checkpoint, strategy=strategy and mirrored(strategy))
    step(batch(), 0)
    (compiled,) = step._compiled.values()
    graph = weakref.ref(compiled.get_concrete_function().graph)
    del step, _, compiled
    gc.collect()
    assert graph() is None


def test_an_example_of_weight_two_is_two_examples(checkpoint):
    one, step_one = setup(checkpoint, dropout=0.0)
    weighted = batch()
    weighted[WEIGHTS] = np.array([2, 1, 1, 0, 1], np.float32)
    two, step_two = setup(checkpoint, dropout=0.0)
    doubled = repeat(batch(), [0, 0, 1, 2, 4])
    doubled[WEIGHTS] = np.ones(5, np.float32)
    for step in range(3):
        losses = step_one(weighted, step)["loss"], step_two(doubled, step)["loss"]
        np.testing.assert_allclose(*losses, rtol=1e-9)
    assert_equal(values(one), values(two))


def test_the_loss_is_the_weighted_mean_of_the_cross_entropies(checkpoint):
    """In float64 to its last digits: no weight, nor its share, nor the smoothing passes through float32."""
    options = ClassificationOptions(dropout=0.0, label_smoothing=0.1)
    task = Classification(options, ["a", "b", "c"])

    def smoothed(strategy, model, _, *rest):
        return TrainStep(strategy, model, task, *rest)

    model, step = setup(checkpoint, dropout=0.0, make=smoothed)
    given = batch()
    given[WEIGHTS] = np.array([0.1, 0.2, 0.3, 0.7, 1.3])
    inputs = {name: tf.constant(given[name]) for name in ("input_ids", "token_type_ids", "attention_mask")}
    logits = model(inputs)["logits"].numpy().astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    logs = np.log(probabilities)
    entropies = -(1 - 0.1) * logs[np.arange(5), given["label"]] - 0.1 * logs.mean(-1)
    expected = (entropies * given[WEIGHTS]).sum() / given[WEIGHTS].sum()
    np.testing.assert_allclose(step(given, 0)["loss"], expected, rtol=1e-14)


def test_clipping_scales_the_whole_gradient(checkpoint):
    """Plain SGD of rate 1 without momentum moves the weights by the clipped gradient: its norm is the
    limit.
    """
    options = TrainingOptions(precision="float64", clip_norm=0.01)
    task = Classification(ClassificationOptions(dropout=0.0), ["a", "b", "c"])
    with policy("float64"):
        model = TextModel(checkpoint.encoder(), task.head(checkpoint.config, seed=0))
        optimizer = keras.optimizers.SGD(1.0)
        optimizer.build(model.trainable_variables)
    before = [variable.numpy() for variable in model.trainable_variables]
    step = TrainStep(tf.distribute.OneDeviceStrategy("/cpu:0"), model, task, optimizer, options)
    norm = float(step(batch(), 0)["gradient_norm"])
    assert norm > 0.1  # there was something to clip
    moved = [variable.numpy() - old for variable, old in zip(model.trainable_variables, before, strict=True)]
    np.testing.assert_allclose(np.sqrt(sum((change**2).sum() for change in moved)), 0.01, rtol=1e-12)


def test_weight_decay_spares_biases_and_layer_norm(checkpoint):
    """With no gradient (all weights 0) only the decay moves anything."""
    model, step = setup(checkpoint, weight_decay=0.5)
    before = {variable.path: variable.numpy() for variable in model.trainable_variables}
    still = batch()
    still[WEIGHTS] = np.zeros(5, np.float32)
    assert float(step(still, 0)["loss"]) == 0
    for variable in model.trainable_variables:
        decayed = variable.path.rpartition("/")[2] not in ("bias", "scale")
        factor = 1 - 0.01 * 0.5 if decayed else 1
        np.testing.assert_allclose(
            variable.numpy(), before[variable.path] * factor, rtol=1e-15, err_msg=variable.path
        )
    assert sum(path.endswith("scale") for path in before) == 5


def test_filling_up_repeats_a_row_of_no_weight():
    filled = pad_batch(batch(rows=5), 4)
    assert {len(array) for array in filled.values()} == {8}
    assert filled[WEIGHTS][5:].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(filled["input_ids"][5:], np.repeat(filled["input_ids"][:1], 3, 0))
    assert pad_batch(batch(rows=4), 4)["input_ids"].shape[0] == 4


def test_dropout_depends_on_the_step_and_the_seed(checkpoint):
    losses = {}
    for seed in (0, 1):
        for number in (0, 1):
            _, step = setup(checkpoint, seed=seed)
            losses[seed, number] = float(step(batch(), number)["loss"])
    assert len(set(losses.values())) == 4
    _, step = setup(checkpoint, seed=0)
    assert float(step(batch(), 0)["loss"]) == losses[0, 0]


@pytest.mark.parametrize("replicas", [2, 3])
def test_replicas_end_where_one_device_does(tmp_path, replicas):
    """Dropout and clipping on, last batches ragged down to a single row."""
    checkpoint = checkpoints.load(tiny.write_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1))
    ends = []
    for strategy in (None, mirrored(replicas)):
        model, step = setup(checkpoint, strategy, clip_norm=0.5)
        losses = [
            float(step(batch(rows=rows, seed=number), number)["loss"])
            for number, rows in enumerate([6, 6, 5, 1])
        ]
        ends.append({"losses": np.array(losses), **values(model)})
    assert_equal(*ends)
