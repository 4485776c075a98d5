"""Runs that train a part of the encoder keep the rest once, for all their checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import tensorflow as tf
from safetensors import safe_open

from tests import tiny
from tests.forked import Forked
from tests.training import faults
from tests.training.test_train import At, interrupt
from tfpipeline import config, files
from tfpipeline.training import Interrupted, Run, RunConfig, train


@pytest.fixture
def adapted_run(tmp_path):
    """``adapted_run(name, **training options)`` -> the run file of a tiny run with LoRA, resolved."""

    def make(name, peft="lora", **training):
        folder = tmp_path / name
        folder.mkdir()
        path = tiny.write_run_file(folder, save_every=1, epochs=1, **training)
        settings = json.loads(path.read_text())
        path.write_text(json.dumps({**settings, "peft": peft}))
        return config.load(path, RunConfig)

    return make


@pytest.fixture
def undisturbed(shared):
    """The run with LoRA that nothing happens to; its name turns the graph optimizer on, as in other processes."""

    def fill(folder):
        path = tiny.write_run_file(folder, save_every=1, epochs=1)
        path.write_text(json.dumps({**json.loads(path.read_text()), "peft": "lora"}))
        train(path)

    return Run(shared.folder("adapted", {}, fill) / "run")


def stored(run, role):
    store = run.store
    with safe_open(store.directory / store.index()[role] / "model.safetensors", "numpy") as file:
        return set(file.keys())


def base(run):
    with safe_open(run.store.directory / "base.safetensors", "numpy") as file:
        return set(file.keys())


def test_each_checkpoint_has_what_is_trained(undisturbed):
    model = undisturbed.model("last")
    trained = {variable.path for variable in [*model.adaptation.variables, *model.head.weights]}
    frozen = {variable.path for variable in model.encoder.weights} - trained
    assert base(undisturbed) == frozen  # the pooler included
    for role in ("initial", "last", "best"):
        assert stored(undisturbed, role) >= trained
        assert not stored(undisturbed, role) & frozen
    directory = undisturbed.store.directory
    in_each = directory / undisturbed.store.index()["last"] / "model.safetensors"
    assert in_each.stat().st_size < (directory / "base.safetensors").stat().st_size / 4


@pytest.mark.parametrize(
    ("freeze", "some"), [([], ()), (["embeddings"], ("encoder/embeddings/word", "encoder/pooler/kernel"))]
)
def test_settings_that_freeze_make_the_file(tiny_run, freeze, some):
    """The pooler alone, which the head does not use, is left where it was."""
    run = train(tiny_run(epochs=1, freeze=freeze))
    everything = {variable.path for variable in run.model("last").variables}
    if not some:
        assert not (run.store.directory / "base.safetensors").exists()
        assert stored(run, "last") == everything
    else:
        assert set(some) <= {name.removeprefix("text_model/") for name in base(run)}
        assert stored(run, "last") == everything - base(run)


def test_killed_and_resumed_it_is_bit_equal(adapted_run, undisturbed, tmp_path):
    run_config = adapted_run("b")
    process = Forked(faults.train_until_killed, tmp_path / "b" / "run.yaml", 4)
    process.communicate(120)
    assert process.returncode == -signal.SIGKILL
    resumed = train(run_config)
    faults.assert_same(undisturbed.path, resumed.path)
    assert base(resumed) == base(undisturbed)


def killed_while_writing(run_file: Path, name: str) -> None:
    """Train in this process, which is killed when a file of that name has been written but not renamed."""
    real = files._sync

    def sync(path):
        if path.name == name:
            os.kill(os.getpid(), signal.SIGKILL)
        real(path)

    files._sync = sync
    train(run_file)


def test_killed_while_the_base_is_written(adapted_run, undisturbed, tmp_path):
    run_config = adapted_run("b")
    process = Forked(killed_while_writing, tmp_path / "b" / "run.yaml", "base.safetensors")
    process.communicate(120)
    assert process.returncode == -signal.SIGKILL
    checkpoints = Path(run_config.output) / "checkpoints"
    assert not (checkpoints / "base.safetensors").exists()
    resumed = train(run_config)
    faults.assert_same(undisturbed.path, resumed.path)
    assert not faults.has_temporaries(resumed.path)


def test_a_far_run_sends_the_base_once_and_goes_on_elsewhere(adapted_run, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run_config = adapted_run("b").model_copy(update={"output": "ram://bucket/adapted"})
    copied, real = [], tf.io.gfile.copy
    monkeypatch.setattr(
        tf.io.gfile, "copy", lambda a, b, overwrite: (copied.append(str(b)), real(a, b, overwrite))
    )
    with pytest.raises(Interrupted):
        train(run_config, callbacks=[At(3, interrupt)])
    assert sum("base.safetensors" in name for name in copied) == 1
    shutil.rmtree(tmp_path / "cache")
    run = train(run_config)
    faults.assert_same(undisturbed.path, run.path)
