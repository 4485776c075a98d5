"""AdaLoRA in training: replicas and parts, loss scaling, resuming, and the ranks in the report."""

from __future__ import annotations

import json
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.forked import Forked, tfpipeline
from tests.models import adapted
from tests.training import faults
from tests.training.replicas import mirrored
from tests.training.test_step import batch
from tfpipeline import checkpoints, config
from tfpipeline.errors import UserError
from tfpipeline.evaluation import evaluate
from tfpipeline.training import Run, freezing, train
from tfpipeline.training.optimizer import build_optimizer
from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.resuming import check_settings
from tfpipeline.training.run_config import RunConfig
from tfpipeline.training.step import TrainStep

ADALORA = {
    "method": "adalora",
    "projections": ["query", "value", "outer"],
    "initial_rank": 3,
    "target_rank": 1,
    "warmup": 1,
    "final": 2,
    "interval": 2,
    "dropout": 0.2,
    "orthogonality": 0.2,
}
STEPS = 8


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adalora") / "checkpoint"
    return checkpoints.load(tiny.write_checkpoint(folder, num_hidden_layers=1))


def trainer(checkpoint, strategy=None, precision="float64", static=False, method=ADALORA, **options):
    """A fresh model with AdaLoRA, and its training step, as a run makes them."""
    strategy = strategy or tf.distribute.OneDeviceStrategy("/cpu:0")
    options = TrainingOptions(
        precision=precision, **{"learning_rate": 0.02, "warmup": 0.0, "clip_norm": 0.5, **options}
    )
    with strategy.scope():
        made = adapted.model(checkpoint, method, precision)
        made.adaptation.prepare(STEPS)
        variables = freezing.select(made, [])
        optimizer = build_optimizer(options, made, STEPS, variables)
    step = TrainStep(strategy, made, adapted.task(0.1), optimizer, options, variables, static=static)
    return made, step


def trained(checkpoint, group=1, **options):
    """The variables by path after 8 steps of 8 rows, and the losses."""
    made, step = trainer(checkpoint, **options)
    batches = [batch(rows=8, seed=number) for number in range(STEPS)]
    losses = [
        float(loss)
        for at in range(0, STEPS, group)
        for loss in step.many(batches[at : at + group], at)["loss"]
    ]
    return {"losses": np.array(losses), **{each.path: each.numpy() for each in made.variables}}


def test_replicas_and_parts_end_where_one_device_does(checkpoint):
    """In float64: singular values, importance, masks and all else."""
    one = trained(checkpoint)
    masks = {path: value for path, value in one.items() if path.endswith("_mask")}
    assert sum(mask.sum() for mask in masks.values()) == 3  # of 9
    for way in (
        {"strategy": mirrored(2), "accumulation": 2},
        {"static": True, "accumulation": 2, "group": 4},
    ):
        other = trained(checkpoint, **way)
        assert one.keys() == other.keys()
        for name in one:
            if not name.endswith("qkv/bias"):  # frozen, like all that has no gradient
                np.testing.assert_allclose(
                    other[name], one[name], rtol=1e-9, atol=1e-12, err_msg=f"{name} {way}"
                )


def test_the_penalty_is_part_of_the_gradient_and_not_of_the_loss(checkpoint):
    """Clipped with the rest: with plain SGD and no rows, singular vectors move along it alone."""
    no_weights = batch(rows=8)
    no_weights["example_weights"] = np.zeros(8, np.float32)
    made, step = trainer(
        checkpoint, clip_norm=None, weight_decay=0.0, optimizer={"name": "sgd", "momentum": 0.0}
    )
    vectors = [each for each in made.adaptation.trained if each.path.endswith(("_a", "_b"))]
    before = [each.numpy() for each in vectors]
    result = step(no_weights, 0)
    assert float(result["loss"]) == 0
    squares = 0.0
    for each, old in zip(vectors, before, strict=True):
        columns = old if each.path.endswith("_a") else old.T
        gradient = 0.2 * 4 * columns @ (columns.T @ columns - np.eye(3))
        gradient = gradient if each.path.endswith("_a") else gradient.T
        squares += np.sum(gradient**2)
        np.testing.assert_allclose(each.numpy() - old, -0.02 * gradient, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(float(result["gradient_norm"]), np.sqrt(squares), rtol=1e-12)


def test_a_skipped_step_of_float16_does_not_count(checkpoint):
    made, step = trainer(checkpoint, precision="mixed_float16", method={**ADALORA, "interval": 7})
    step(batch(rows=8), 0)
    optimizer = step._optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    before = {each.path: each.numpy() for each in made.variables}
    optimizer.dynamic_scale.assign(2.0**60)  # no gradient survives that in 16 bits
    step(batch(rows=8), 1)
    for each in made.variables:
        np.testing.assert_array_equal(each, before[each.path], err_msg=each.path)
    optimizer.dynamic_scale.assign(2.0**10)
    step(batch(rows=8), 2)
    state = {each.path: each.numpy() for each in made.adaptation.added}
    assert all(np.isfinite(value).all() for value in state.values())
    (path,) = [path for path in state if path.endswith("query_sensitivity")]
    assert np.abs(state[path] - before[path]).max() > 0


def run_file(folder, **method):
    """A run with AdaLoRA of 14 steps, which chooses after 4, 6, 8 and 10 of them."""
    folder.mkdir()
    path = tiny.write_run_file(folder, epochs=2, save_every=1)
    settings = json.loads(path.read_text())
    settings["peft"] = {**ADALORA, "warmup": 3, "final": 4, **method}
    path.write_text(json.dumps(settings))
    return path


class EachBatch(keras.callbacks.Callback):
    """Does something after each batch."""

    def __init__(self, action):
        super().__init__()
        self.action = action

    def on_train_batch_end(self, batch, logs=None):
        self.action()


def train_until_killed(path, batches):
    """Train in this process, which is killed after so many batches. (What a callback counts itself goes on
    when the run is resumed.)
    """
    left = iter(range(batches - 1, -1, -1))
    train(path, callbacks=[EachBatch(lambda: next(left) or os.kill(os.getpid(), signal.SIGKILL))])


@pytest.fixture(scope="module")
def finished(shared):
    def make(folder):
        process = Forked(tfpipeline, "train", str(run_file(folder / "a")))
        faults.finish(process)

    return Run(shared.folder("adalora", ADALORA, make) / "a" / "run")


def test_killed_and_resumed_is_uninterrupted(finished, tmp_path):
    """Between two choices, and after the last one."""
    path = run_file(tmp_path / "b")
    for more, done in ((7, 6), (6, 11)):  # the checkpoint of the last batch is not yet written
        process = Forked(train_until_killed, path, more)
        process.communicate(120)
        assert process.returncode == -signal.SIGKILL
        assert faults.step(tmp_path / "b" / "run") == done
    faults.finish(faults.start(path))
    faults.assert_same(finished.path, tmp_path / "b" / "run")
    kept = faults.weights(finished.path, "last")
    masks = [value for name, value in kept.items() if name.endswith("_mask")]
    assert len(masks) == 3
    assert sum(mask.sum() for mask in masks) == 3


def test_the_report_has_the_ranks(finished, tmp_path):
    report = evaluate(finished, to=tmp_path)
    model = finished.model("best")
    ranks = {
        f"layer_0/{place}": int(np.count_nonzero(values))
        for place, values in zip(
            ("attention/query", "attention/value", "feed_forward/outer"),
            [each.numpy() for each in model.adaptation.trained if each.path.endswith("_lambda")],
            strict=True,
        )
    }
    assert report.adaptation == {"rank": ranks}
    assert json.loads((tmp_path / "report.json").read_text())["adaptation"] == {"rank": ranks}
    page = (tmp_path / "report.md").read_text()
    rows = "\n".join(f"| {name} | {rank} |" for name, rank in ranks.items())
    assert f"## Parameter-efficient fine-tuning\n\n|  | rank |\n|---|---|\n{rows}\n" in page


def test_a_plan_without_steps_for_choices_is_refused_before_anything_is_written(tmp_path):
    path = run_file(tmp_path / "a", warmup=10)
    with pytest.raises(UserError, match=r"peft\.warmup \(10 steps\) and peft\.final \(4 steps\) leave none"):
        train(path)


def test_a_run_cannot_be_extended(tmp_path):
    """Its ranks were planned for its length, whatever its learning rates."""
    path = run_file(tmp_path / "a")
    old, new = (
        config.load(
            path,
            RunConfig,
            ["training.schedule=constant", "training.warmup=0", f"training.epochs={epochs}"],
        )
        for epochs in (2, 4)
    )
    with pytest.raises(UserError) as caught:
        check_settings(tmp_path, old, new, None, has_optimizer=True)
    assert "because peft.method adalora has planned its steps for 2 epochs; choose another" in str(
        caught.value
    )
