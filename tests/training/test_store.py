from __future__ import annotations

import errno
import json

import keras
import numpy as np
import pytest
from safetensors import safe_open

from tfpipeline import files
from tfpipeline.errors import UserError
from tfpipeline.training.store import CheckpointStore


def small_model(seed=0):
    model = keras.Sequential([keras.layers.Dense(3, name="dense")], name="model")
    model.build((None, 2))
    generator = np.random.default_rng(seed)
    for variable in model.variables:
        variable.assign(generator.normal(size=variable.shape))
    optimizer = keras.optimizers.AdamW(name="optimizer")
    optimizer.build(model.trainable_variables)
    return model, optimizer


def deep_model(seed=0):
    """Two layers, of which the first is frozen, and the optimizer of the second."""
    model = keras.Sequential(
        [keras.layers.Dense(3, name="frozen"), keras.layers.Dense(2, name="trained")], name="model"
    )
    model.build((None, 2))
    generator = np.random.default_rng(seed)
    for variable in model.variables:
        variable.assign(generator.normal(size=variable.shape))
    optimizer = keras.optimizers.AdamW(name="optimizer")
    optimizer.build(model.layers[1].variables)
    return model, optimizer, model.layers[0].variables


def names_in(path):
    with safe_open(path, "numpy") as file:
        return sorted(file.keys())


def values(variables):
    return {variable.path: variable.numpy().tolist() for variable in variables}


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    store = CheckpointStore(tmp_path)
    model, optimizer = small_model(1)
    optimizer.apply([v + 1.0 for v in model.trainable_variables], model.trainable_variables)
    store.save(["last"], 7, model, optimizer, {"step": 7})
    other, other_optimizer = small_model(2)
    assert values(other.variables) != values(model.variables)
    store.restore_model("last", other)
    store.restore_optimizer(other_optimizer)
    assert values(other.variables) == values(model.variables)
    assert values(other_optimizer.variables) == values(optimizer.variables)
    assert store.state("last") == {"step": 7}


def test_only_what_the_index_names_is_kept(tmp_path):
    store = CheckpointStore(tmp_path)
    model, optimizer = small_model()
    store.save(["initial", "last"], 0, model, optimizer, {})
    store.save(["last", "best"], 5, model, optimizer, {})
    store.save(["last"], 10, model, optimizer, {})
    store.save(["last"], 10, model, optimizer, {"finished": "yes"})
    assert store.index() == {"initial": "step-00000000", "best": "step-00000005", "last": "step-00000010-1"}
    contents = {path.name: sorted(f.name for f in path.iterdir()) for path in tmp_path.glob("step-*")}
    weights = ["model.safetensors", "state.json"]
    assert contents == {
        "step-00000000": weights,
        "step-00000005": weights,
        "step-00000010-1": ["model.safetensors", "optimizer.safetensors", "state.json"],
    }


def test_each_of_the_last_ones_can_be_resumed_from(tmp_path):
    """By giving it the role "last" in the index."""
    store = CheckpointStore(tmp_path)
    states = []
    for step in range(4):
        model, optimizer = small_model(step)
        optimizer.apply([v + float(step) for v in model.trainable_variables], model.trainable_variables)
        store.save(["last"], step, model, optimizer, {"step": step}, keep=3)
        states.append((values(model.variables), values(optimizer.variables)))
    index = {"last": "step-00000003", "last-1": "step-00000002", "last-2": "step-00000001"}
    assert store.index() == index
    for step, kept in ((3, "last"), (2, "last-1"), (1, "last-2")):
        (tmp_path / "index.json").write_text(json.dumps({"last": index[kept]}))
        model, optimizer = small_model(9)
        store.restore_model("last", model)
        store.restore_optimizer(optimizer)
        assert (values(model.variables), values(optimizer.variables)) == states[step]


def test_once_it_has_ended_only_weights_are_kept(tmp_path):
    """Also where several of the last ones are kept; one checkpoint of two roles is stored once."""
    store = CheckpointStore(tmp_path)
    model, optimizer = small_model()
    store.save(["initial", "last"], 0, model, optimizer, {}, keep=2)
    store.save(["last", "best"], 5, model, optimizer, {}, keep=2)
    assert store.has_optimizer()
    store.save(["last", "best"], 9, model, None, {"finished": "yes"}, keep=2)
    assert not store.has_optimizer()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.safetensors")) == [
        f"step-0000000{step}/model.safetensors" for step in (0, 5, 9)
    ]
    assert store.index() == {
        "initial": "step-00000000",
        "last-1": "step-00000005",
        "last": "step-00000009",
        "best": "step-00000009",
    }


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path)
    model, optimizer = small_model(1)
    store.save(["last"], 1, model, optimizer, {"step": 1})

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync", full)
        with pytest.raises(UserError, match="No space left on device; free some space"):
            store.save(["last"], 2, model, optimizer, {"step": 2})
    assert store.index() == {"last": "step-00000001"}
    assert store.state("last") == {"step": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.json", "step-00000001"]


def test_a_crash_before_the_index_is_replaced_is_harmless(tmp_path):
    store = CheckpointStore(tmp_path)
    model, optimizer = small_model(1)
    store.save(["last"], 1, model, optimizer, {"step": 1})
    (tmp_path / "step-00000002").mkdir()  # renamed, but the index was never written
    assert store.state("last") == {"step": 1}
    store.save(["last"], 2, model, optimizer, {"step": 2})
    assert store.state("last") == {"step": 2}
    assert json.loads((tmp_path / "index.json").read_text()) == {"last": "step-00000002-1"}
    assert not (tmp_path / "step-00000002").exists()


def test_a_truncated_file_says_so(tmp_path):
    store = CheckpointStore(tmp_path)
    model, optimizer = small_model()
    store.save(["last"], 1, model, optimizer, {})
    path = tmp_path / "step-00000001" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"cannot read .*model\.safetensors"):
        store.restore_model("last", model)


def test_another_model_is_refused_by_name(tmp_path):
    store = CheckpointStore(tmp_path)
    model, optimizer = small_model()
    store.save(["last"], 1, model, optimizer, {})
    other = keras.Sequential([keras.layers.Dense(3, name="other")], name="model")
    other.build((None, 2))
    with pytest.raises(
        UserError,
        match=r"missing: \['model/other/bias', 'model/other/kernel'\]; unknown: \['model/dense/bias', 'model/dense/kernel'\]",
    ):
        store.restore_model("last", other)


def test_no_checkpoint_yet(tmp_path):
    with pytest.raises(UserError, match=r'no "best" checkpoint \(it has: none\); train the run first'):
        CheckpointStore(tmp_path).state("best")


FROZEN = ["model/frozen/bias", "model/frozen/kernel"]
TRAINED = ["model/trained/bias", "model/trained/kernel"]


def test_frozen_variables_are_stored_once(tmp_path):
    store = CheckpointStore(tmp_path)
    model, optimizer, frozen = deep_model(1)
    saved = {}
    for step, roles in ((0, ["initial", "last"]), (5, ["last", "best"]), (9, ["last"])):
        model.layers[1].kernel.assign_add(np.full((3, 2), step))
        store.save(roles, step, model, optimizer, {}, frozen=frozen)
        saved.update(dict.fromkeys(roles, values(model.variables)))
        if step == 0:
            written = (tmp_path / "base.safetensors").stat().st_mtime_ns
    assert names_in(tmp_path / "base.safetensors") == FROZEN
    assert (tmp_path / "base.safetensors").stat().st_mtime_ns == written
    for step in (0, 5, 9):
        assert names_in(tmp_path / f"step-{step:08d}" / "model.safetensors") == TRAINED
    for role in ("initial", "best", "last"):
        other, *_ = deep_model(2)
        store.restore_model(role, other)
        assert values(other.variables) == saved[role], role


def test_a_frozen_variable_that_was_changed_all_the_same_is_in_the_checkpoint(tmp_path):
    """By a callback, for example; also by a change of no more than the sign of a zero."""
    store = CheckpointStore(tmp_path)
    model, optimizer, frozen = deep_model(1)
    frozen[1].assign([0.0, np.nan, 1.0])
    store.save(["initial"], 0, model, optimizer, {}, frozen=frozen)
    assert names_in(tmp_path / "step-00000000" / "model.safetensors") == TRAINED
    frozen[1].assign([-0.0, np.nan, 1.0])
    store.save(["last"], 1, model, optimizer, {}, frozen=frozen)
    assert names_in(tmp_path / "step-00000001" / "model.safetensors") == [FROZEN[0], *TRAINED]
    for role, sign in (("last", True), ("initial", False)):
        other, *_ = deep_model(2)
        store.restore_model(role, other)
        assert np.signbit(other.layers[0].bias.numpy()[0]) == sign


def test_a_run_of_an_earlier_version_gets_its_base_file_when_it_goes_on(tmp_path):
    store = CheckpointStore(tmp_path)
    model, optimizer, frozen = deep_model(1)
    store.save(["initial", "last"], 0, model, optimizer, {})
    assert names_in(tmp_path / "step-00000000" / "model.safetensors") == FROZEN + TRAINED
    store.save(["last"], 1, model, optimizer, {}, frozen=frozen)
    assert names_in(tmp_path / "step-00000001" / "model.safetensors") == TRAINED
    for role in ("initial", "last"):
        other, *_ = deep_model(2)
        store.restore_model(role, other)
        assert values(other.variables) == values(model.variables)


def test_the_remains_of_a_killed_process_are_replaced(tmp_path):
    """A base file without an index may be another model's; no checkpoint depends on it."""
    store = CheckpointStore(tmp_path)
    store.save(["last"], 0, *deep_model(1)[:2], {}, frozen=small_model(3)[0].variables)
    (tmp_path / "index.json").unlink()
    model, optimizer, frozen = deep_model(2)
    store.save(["initial", "last"], 0, model, optimizer, {}, frozen=frozen)
    assert names_in(tmp_path / "base.safetensors") == FROZEN
    other, *_ = deep_model(3)
    store.restore_model("last", other)
    assert values(other.variables) == values(model.variables)


def test_a_disk_that_is_full_for_the_frozen_variables_is_one_sentence(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path)
    model, optimizer, frozen = deep_model(1)

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync", full)
        with pytest.raises(UserError, match=r"base\.safetensors: No space left on device; free some space"):
            store.save(["initial", "last"], 0, model, optimizer, {}, frozen=frozen)
    assert list(tmp_path.iterdir()) == []
    store.save(["initial", "last"], 0, model, optimizer, {}, frozen=frozen)
    other, *_ = deep_model(2)
    store.restore_model("initial", other)
    assert values(other.variables) == values(model.variables)


def test_a_truncated_base_file_says_so(tmp_path):
    store = CheckpointStore(tmp_path)
    model, optimizer, frozen = deep_model()
    store.save(["last"], 1, model, optimizer, {}, frozen=frozen)
    path = tmp_path / "base.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"cannot read .*base\.safetensors"):
        store.restore_model("last", model)
