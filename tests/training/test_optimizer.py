"""Optimizers against NumPy, layer-wise learning rates, loss scaling."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.training.replicas import mirrored
from tests.training.test_step import batch, setup, values
from tfpipeline import checkpoints
from tfpipeline.errors import UserError
from tfpipeline.models import ClassificationHead, HeadGroup, TaggingHead, TextModel
from tfpipeline.training.global_batch import WEIGHTS
from tfpipeline.training.optimizer import (
    UNDECAYED,
    build_optimizer,
    head_factors,
    layer_factors,
    learning_rate_at,
)
from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.precision import policy

RATE, DECAY = 0.1, 0.3  # no float32 is either
NAMES = ["adamw", "sgd", "adafactor", "lamb", "lion"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return checkpoints.load(tiny.write_checkpoint(tmp_path_factory.mktemp("optimizer") / "checkpoint"))


def make(checkpoint, name, precision="float64", **options):
    options = TrainingOptions(
        **{
            "optimizer": {"name": name},
            "learning_rate": RATE,
            "weight_decay": DECAY,
            "warmup": 0.0,
            "schedule": "constant",
            "precision": precision,
            **options,
        }
    )
    with policy(precision):
        model = TextModel(checkpoint.encoder(), ClassificationHead(3, pooling="pooler"))
        return model, build_optimizer(options, model, 100)


def gradients(model, step):
    random = np.random.default_rng(step)
    return [random.normal(size=variable.shape) for variable in model.trainable_variables]


def adamw(weight, gradient, rate, memory, t):
    m, v = memory.get("m", 0), memory.get("v", 0)
    m, v = 0.9 * m + (1 - 0.9) * gradient, 0.999 * v + (1 - 0.999) * gradient**2
    memory.update(m=m, v=v)
    return weight - rate * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def sgd(weight, gradient, rate, memory, t):
    memory["m"] = 0.9 * memory.get("m", 0) - rate * gradient
    return weight + memory["m"]


def lion(weight, gradient, rate, memory, t):
    m = memory.get("m", 0)
    memory["m"] = 0.99 * m + (1 - 0.99) * gradient
    return weight - rate * np.sign(0.9 * m + (1 - 0.9) * gradient)


def lamb(weight, gradient, rate, memory, t):
    m, v = memory.get("m", 0), memory.get("v", 0)
    m, v = 0.9 * m + (1 - 0.9) * gradient, 0.999 * v + (1 - 0.999) * gradient**2
    memory.update(m=m, v=v)
    update = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6)
    lengths = np.linalg.norm(weight), np.linalg.norm(update)
    return weight - rate * (lengths[0] / lengths[1] if min(lengths) > 0 else 1) * update


def adafactor(weight, gradient, rate, memory, t):
    def rms(x):
        return np.sqrt(np.mean(x**2))

    share = 1 - float(t) ** -0.8
    square = gradient**2 + 1e-30
    if weight.ndim >= 2:
        memory["r"] = share * memory.get("r", 0) + (1 - share) * square.mean(-1)
        memory["c"] = share * memory.get("c", 0) + (1 - share) * square.mean(-2)
        rows, columns = memory["r"], memory["c"]
        v = (rows / rows.mean(-1, keepdims=True))[..., None] * columns[..., None, :]
    else:
        v = memory["v"] = share * memory.get("v", 0) + (1 - share) * square
    update = gradient / np.sqrt(v)
    size = min(rate, 1 / np.sqrt(t)) * max(1e-3, rms(weight))
    return weight - size * update / max(1, rms(update))


@pytest.mark.parametrize("layer_decay", [1.0, 0.3])
@pytest.mark.parametrize("update", [adamw, sgd, lion, lamb, adafactor])
def test_three_steps_by_hand(checkpoint, update, layer_decay):
    """Decoupled decay before the update, none of biases and LayerNorm; each layer at its own rate; float64
    throughout.

    A constant that passes through float32 on its way (0.9, 1e-8, the rate) is wrong by up to 6e-8 of itself.
    """
    model, optimizer = make(checkpoint, update.__name__, layer_decay=layer_decay, schedule="linear")
    factors = layer_factors(model, layer_decay)
    expected = [variable.numpy() for variable in model.trainable_variables]
    memories = [{} for _ in expected]
    for step in range(3):
        given = gradients(model, step)
        optimizer.apply([tf.constant(gradient) for gradient in given], model.trainable_variables)
        for index, variable in enumerate(model.trainable_variables):
            rate = RATE * ((100 - step) / 100) * factors.get(variable.path, 1.0)
            before = weight = expected[index]
            if variable.path.rpartition("/")[2] not in UNDECAYED:
                weight = weight * (1 - rate * DECAY)
            weight = expected[index] = update(weight, given[index], rate, memories[index], step + 1)
            # Of what is added up: near 0 the sum has lost digits, for whoever works it out.
            size = np.abs(before) + np.abs(weight - before)
            wrong = np.abs(variable.numpy() - weight) / np.maximum(size, 1e-300)
            # Later, moments of gradients of either sign have lost digits too.
            assert wrong.max() < (1e-15 if step == 0 else 1e-13), (variable.path, step, wrong.max())


def test_layer_factors_by_hand(checkpoint):
    """One for the head and the pooler, halved with each layer further down."""
    model, _ = make(checkpoint, "adamw")
    factors = layer_factors(model, 0.5)
    expected = {"head": 1.0, "pooler": 1.0, "layer_1": 0.5, "layer_0": 0.25, "embeddings": 0.125}
    assert factors.keys() == {variable.path for variable in model.trainable_variables}
    for path, factor in factors.items():
        (part,) = [part for part in path.split("/") if part in expected]
        assert factor == expected[part], path


def test_transitions_of_a_crf_learn_faster(checkpoint):
    """At the rate of trained weights they would stay near 0, where they start, beside logits of several
    units.
    """
    encoder = checkpoint.encoder()
    for head, path in (
        (TaggingHead(3, crf=True), "transitions"),
        (HeadGroup({"ner": TaggingHead(3, crf=True), "pos": TaggingHead(4)}), "ner/transitions"),
    ):
        model = TextModel(encoder, head)
        assert head_factors(model, 1e-5) == {f"head/{path}": pytest.approx(300)}
        assert head_factors(model, 0.1) == {f"head/{path}": 1}
        options = TrainingOptions(learning_rate=3e-5, weight_decay=0.5, warmup=0, schedule="constant")
        optimizer = build_optimizer(options, model, 10)
        before = [variable.numpy() for variable in model.trainable_variables]
        optimizer.apply([tf.ones_like(array) for array in before], model.trainable_variables)
        moved = {
            variable.path: np.abs(variable.numpy() - array).max()
            for variable, array in zip(model.trainable_variables, before, strict=True)
        }
        assert moved[f"head/{path}"] == pytest.approx(3e-3, rel=1e-4)  # Adam's first step is the rate
        assert moved[f"head/{path.replace('transitions', 'dense/bias')}"] == pytest.approx(3e-5, rel=1e-3)
        assert ("head/pos/dense/bias" in moved) == ("/" in path)


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_at_a_tenth_moves_as_at_a_tenth_of_the_rate(checkpoint, name):
    """The top layer under layer_decay 0.1 against Keras's own class at a tenth of the learning rate."""
    model, optimizer = make(checkpoint, name, layer_decay=0.1)
    other, plain = make(checkpoint, name, learning_rate=RATE * 0.1)
    for step in range(3):
        given = [tf.constant(gradient) for gradient in gradients(model, step)]
        optimizer.apply(given, model.trainable_variables)
        plain.apply(given, other.trainable_variables)
    compared = 0
    for one, two in zip(model.trainable_variables, other.trainable_variables, strict=True):
        if "/layer_1/" in one.path:
            np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-6, atol=1e-8, err_msg=one.path)
            compared += 1
    assert compared == 12
    head = model.head.dense.kernel.numpy() - other.head.dense.kernel.numpy()
    assert np.abs(head).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_learns_and_resumes_by_unique_paths(checkpoint, name):
    rate = {"adamw": 0.01, "sgd": 0.05, "adafactor": 0.05, "lamb": 0.03, "lion": 0.003}[name]
    _, step = setup(checkpoint, optimizer={"name": name}, learning_rate=rate)
    losses = [float(step(batch(rows=8), number)["loss"]) for number in range(30)]
    assert min(losses[-3:]) < 0.7 * losses[0]
    _, optimizer = make(checkpoint, name)
    paths = [variable.path for variable in optimizer.variables]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"name": "adamw", "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-4}, (0.8, 0.9, 1e-4)),
        ({"name": "adamw"}, (0.9, 0.999, 1e-8)),
        ({"name": "lamb"}, (0.9, 0.999, 1e-6)),
    ],
)
def test_constants_reach_the_optimizer(checkpoint, options, expected):
    _, optimizer = make(checkpoint, "adamw", optimizer=options)
    assert (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == expected


def test_the_learning_rate_of_a_step(checkpoint):
    for precision in ("float32", "mixed_float16"):
        _, optimizer = make(checkpoint, "adamw", precision, schedule="linear", warmup=10)
        assert learning_rate_at(optimizer, 5) == pytest.approx(RATE / 2)
        assert learning_rate_at(optimizer, 55) == pytest.approx(RATE / 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_that_is_set_is_a_factor_on_the_schedule(checkpoint, name):
    """Set as Keras's callbacks do, half-way down the schedule; layers keep their shares of it, and nothing is
    traced anew.
    """
    half, optimizer = make(checkpoint, name, schedule="linear", layer_decay=0.5)
    other, plain = make(checkpoint, name, schedule="linear", layer_decay=0.5, learning_rate=RATE / 4)
    traced = []

    @tf.function(autograph=False)
    def apply(*given):
        traced.append(1)
        optimizer.apply(given, half.trainable_variables)

    for one in (optimizer, plain):
        one.iterations.assign(50)
    assert float(optimizer.learning_rate) == pytest.approx(RATE / 2)
    apply(*[tf.zeros_like(variable.value) for variable in half.trainable_variables])
    optimizer.iterations.assign(50)
    for model, one in ((half, optimizer), (other, plain)):
        for variable in model.trainable_variables:
            variable.assign(tf.ones_like(variable.value))
        for variable in one.variables[2:]:
            if variable is not one.schedule_factor:
                variable.assign(tf.zeros_like(variable.value))
    optimizer.learning_rate = RATE / 8
    assert float(optimizer.learning_rate) == pytest.approx(RATE / 8)
    assert learning_rate_at(optimizer, 75) == pytest.approx(RATE / 16)
    given = [tf.constant(gradient) for gradient in gradients(half, 0)]
    apply(*given)
    plain.apply(given, other.trainable_variables)
    assert len(traced) == 1
    for one, two in zip(half.trainable_variables, other.trainable_variables, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-14, err_msg=one.path)
    assert "optimizer/schedule_factor" in [variable.path for variable in optimizer.variables]


def test_a_rate_set_where_the_schedule_is_at_0_is_its_peak(checkpoint):
    for precision in ("float32", "mixed_float16"):
        _, optimizer = make(checkpoint, "adamw", precision, warmup=10)
        optimizer.learning_rate = 0  # what it is
        assert learning_rate_at(optimizer, 20) == pytest.approx(RATE)
        optimizer.learning_rate = np.float32(RATE / 2)
        assert learning_rate_at(optimizer, 20) == pytest.approx(RATE / 2)
        assert learning_rate_at(optimizer, 5) == pytest.approx(RATE / 4)


@pytest.mark.parametrize("rate", [-1.0, math.nan, "fast", keras.optimizers.schedules.CosineDecay(0.1, 10)])
def test_a_rate_that_is_none_is_refused(checkpoint, rate):
    _, optimizer = make(checkpoint, "adamw")
    with pytest.raises(UserError, match=r"set the learning rate to .*, which is not a number of at least 0"):
        optimizer.learning_rate = rate


def test_float16_learns_with_its_loss_scaled(checkpoint):
    """The norm that is shown and clipped is that of the unscaled gradient."""
    _, half = setup(checkpoint, precision="mixed_float16", dropout=0.0, clip_norm=0.1)
    _, full = setup(checkpoint, precision="float32", dropout=0.0, clip_norm=0.1)
    shown = [(half(batch(rows=8), number), full(batch(rows=8), number)) for number in range(20)]
    np.testing.assert_allclose(shown[0][0]["gradient_norm"], shown[0][1]["gradient_norm"], rtol=0.02)
    np.testing.assert_allclose(shown[0][0]["loss"], shown[0][1]["loss"], rtol=0.01)
    assert float(shown[-1][0]["loss"]) < 0.7 * float(shown[0][0]["loss"])


def test_an_overflow_leaves_the_weights_and_halves_the_scale(checkpoint):
    model, step = setup(checkpoint, precision="mixed_float16", dropout=0.0)
    step(batch(), 0)
    optimizer = step._optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    optimizer.dynamic_scale.assign(2.0**60)  # no gradient survives that in 16 bits
    before = values(model)
    result = step(batch(), 1)
    assert np.isfinite(float(result["loss"]))
    after = values(model)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert float(optimizer.dynamic_scale.value) == 2.0**59


def test_float16_on_two_devices(checkpoint):
    losses = []
    for strategy in (mirrored(2), None):
        _, step = setup(checkpoint, strategy, precision="mixed_float16", dropout=0.0, clip_norm=0.5)
        losses.append([float(step(batch(rows=8), number)["loss"]) for number in range(8)])
        step._optimizer.learning_rate = 0.0  # on both devices
        still = [float(step(batch(rows=8), 8)["loss"]) for _ in range(2)]
        assert still[0] == still[1] < losses[-1][-1], still
    np.testing.assert_allclose(*losses, rtol=0.02)
    assert losses[0][-1] < 0.9 * losses[0][0], losses


def test_a_batch_of_no_weight_only_decays(checkpoint):
    for name in NAMES:
        model, step = setup(checkpoint, optimizer={"name": name}, weight_decay=0.5, layer_decay=0.5)
        before = values(model)
        still = batch()
        still[WEIGHTS] = np.zeros(5, np.float32)
        step(still, 0)
        after = values(model)
        bias, kernel = "bias", "kernel"
        for path in before:
            if path.endswith(bias):
                np.testing.assert_array_equal(after[path], before[path], err_msg=f"{name} {path}")
            elif path.endswith(kernel) and "layer_1" in path:
                np.testing.assert_allclose(after[path], before[path] * (1 - 0.01 * 0.5 * 0.5), rtol=1e-6)
