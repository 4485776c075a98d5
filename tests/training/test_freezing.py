from __future__ import annotations

import numpy as np
import pytest

from tests import tiny
from tests.training.test_step import batch, setup
from tfpipeline import checkpoints
from tfpipeline.errors import UserError
from tfpipeline.models import ClassificationHead, TextModel
from tfpipeline.models.embedding_head import EmbeddingHead
from tfpipeline.training import Run, train
from tfpipeline.training.freezing import phases
from tfpipeline.training.optimizer import build_optimizer
from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.step import TrainStep


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return checkpoints.load(tiny.write_checkpoint(tmp_path_factory.mktemp("freezing") / "checkpoint"))


@pytest.fixture(scope="module")
def model(checkpoint):
    return TextModel(checkpoint.encoder(), ClassificationHead(3, pooling="mean"))


def parts(variables):
    """Which parts of the model they are of."""
    found = set()
    for variable in variables:
        words = variable.path.split("/")
        found |= {word for word in words if word in ("embeddings", "layer_0", "layer_1", "pooler", "head")}
    return found


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [
        ([], {"embeddings", "layer_0", "layer_1", "head"}),
        ("none", {"embeddings", "layer_0", "layer_1", "head"}),
        ("all", {"head"}),
        ("embeddings", {"layer_0", "layer_1", "head"}),
        ("first:1", {"layer_1", "head"}),
        ("first:2", {"head"}),
        (["embeddings", "re:layer_1/"], {"layer_0", "head"}),
    ],
)
def test_what_is_trained(model, freeze, trained):
    found = phases(model, TrainingOptions(freeze=freeze))
    assert len(found) == 1
    assert parts(found[0]) == trained


def test_the_pooler_belongs_to_the_encoder_and_is_unfrozen_with_the_head(checkpoint):
    model = TextModel(checkpoint.encoder(), ClassificationHead(3, pooling="pooler"))
    for freeze, trained in (
        ("none", {"embeddings", "layer_0", "layer_1", "pooler", "head"}),
        ("first:2", {"pooler", "head"}),
        ("all", {"head"}),
    ):
        (found,) = phases(model, TrainingOptions(freeze=freeze))
        assert parts(found) == trained, freeze
    first, second, *_ = phases(model, TrainingOptions(gradual_unfreezing=True))
    assert (parts(first), parts(second)) == ({"pooler", "head"}, {"pooler", "head", "layer_1"})


def test_a_pattern_picks_single_variables(model):
    (trained,) = phases(model, TrainingOptions(freeze="re:bias$"))
    everything = {variable.path for variable in model.trainable_variables}
    assert everything - {variable.path for variable in trained} == {
        path for path in everything if path.endswith("bias")
    }


def test_gradual_unfreezing_goes_down_a_layer_an_epoch(model):
    found = phases(model, TrainingOptions(gradual_unfreezing=True))
    assert [parts(phase) for phase in found] == [
        {"head"},
        {"head", "layer_1"},
        {"head", "layer_1", "layer_0"},
        {"head", "layer_1", "layer_0", "embeddings"},
    ]
    found = phases(model, TrainingOptions(gradual_unfreezing=True), epochs=2)
    assert [parts(phase) for phase in found] == [{"head"}, {"head", "layer_1"}]
    found = phases(model, TrainingOptions(gradual_unfreezing=True, freeze="first:1"))
    assert [parts(phase) for phase in found] == [{"head"}, *[{"head", "layer_1"}] * 3]


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ("first:3", "first:3 asks for more layers than the encoder has, which is 2"),
        ("re:layer_9", "re:layer_9 finds no variable; they are called, for example"),
        ("re:.", "leaves nothing to train; take out what freezes the head"),
    ],
)
def test_what_cannot_be_frozen(model, freeze, message):
    with pytest.raises(UserError, match=message):
        phases(model, TrainingOptions(freeze=freeze))


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_what_is_frozen_neither_moves_nor_decays(checkpoint, layer_decay):
    options = {"freeze": ["first:1"], "weight_decay": 0.5, "layer_decay": layer_decay}

    def make(strategy, model, task, optimizer, _):
        resolved = TrainingOptions(precision="float64", learning_rate=0.01, warmup=0.0, **options)
        (trained,) = phases(model, resolved)
        optimizer = build_optimizer(resolved, model, 100, trained)
        assert len(optimizer.variables) <= 2 + 2 * len(trained)
        return TrainStep(strategy, model, task, optimizer, resolved, trained)

    model, step = setup(checkpoint, make=make, **options)
    before = {variable.path: variable.numpy() for variable in model.variables}
    step(batch(), 0)
    step(batch(), 1)
    for variable in model.trainable_variables:
        moved = not np.array_equal(before[variable.path], variable.numpy())
        assert moved == ("embeddings" not in variable.path and "layer_0" not in variable.path), variable.path


def test_a_run_unfreezes_and_resumes_in_the_right_phase(tiny_run):
    import keras

    class StopAfter(keras.callbacks.Callback):
        def __init__(self, batches):
            super().__init__()
            self.left = batches

        def on_train_batch_end(self, batch, logs=None):
            self.left -= 1
            if self.left == 0:
                import os
                import signal

                os.kill(os.getpid(), signal.SIGINT)

    from tests.training.test_train import same, weights
    from tfpipeline.training import Interrupted

    options = {"epochs": 3, "gradual_unfreezing": True, "tensorboard": False, "layers": 2}
    undisturbed = train(tiny_run("a", **options))
    run_config = tiny_run("b", **options)
    with pytest.raises(Interrupted):
        train(run_config, callbacks=[StopAfter(10)])  # in the second epoch of 7 steps
    store = Run(run_config.output).store
    assert store.state("last")["step"] == 10
    first, last = weights(run_config.output, "initial"), weights(run_config.output, "last")
    moved = {name for name in first if not np.array_equal(first[name], last[name])}
    assert any("layer_1" in name for name in moved)
    assert not any("layer_0" in name or "embeddings" in name for name in moved)
    resumed = train(run_config)
    assert same(weights(undisturbed.path), weights(resumed.path))
    last = weights(run_config.output, "last")
    assert any("layer_0" in name and not np.array_equal(first[name], last[name]) for name in first)


def test_a_head_without_weights_cannot_be_trained_alone(checkpoint):
    model = TextModel(checkpoint.encoder(), EmbeddingHead())
    assert parts(phases(model, TrainingOptions(freeze="first:1"))[0]) == {"layer_1"}
    for options, sentence in (
        (
            {"freeze": "all"},
            "leaves nothing to train; the head of this task has no weights, so leave some layers",
        ),
        (
            {"gradual_unfreezing": True},
            "begins with the head, but the head of this task has no weights; leave it",
        ),
    ):
        with pytest.raises(UserError, match=sentence):
            phases(model, TrainingOptions(**options))
    learnt = TextModel(checkpoint.encoder(), EmbeddingHead(temperature=0.05))
    assert parts(phases(learnt, TrainingOptions(freeze="all"))[0]) == {"head"}
