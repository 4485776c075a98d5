"""Runs on a far file system; TensorFlow's own ``ram://`` stands in for ``gs://``."""

from __future__ import annotations

import shutil

import pytest
import tensorflow as tf

from tests.training import faults
from tests.training.test_train import At, interrupt
from tfpipeline.errors import UserError
from tfpipeline.evaluation import evaluate
from tfpipeline.training import Interrupted, open_run, train
from tfpipeline.training.mirror import Mirror


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tfpipeline" / "runs"


def far(run_config, name):
    return run_config.model_copy(update={"output": f"ram://bucket/{name}"})


def test_a_run_goes_on_on_another_machine(tiny_run, undisturbed, cache):
    want = undisturbed(epochs=2)
    run_config = far(tiny_run("b", epochs=2), "machines")
    with pytest.raises(Interrupted):
        train(run_config, callbacks=[At(9, interrupt)])
    shutil.rmtree(cache)  # the machine is gone
    run = train(run_config)
    assert run.path.parent == cache
    faults.assert_same(want.path, run.path)
    shutil.rmtree(cache)
    opened = open_run("ram://bucket/machines")
    faults.assert_same(want.path, opened.path)
    expected = [entry.scores for entry in evaluate(want).entries]
    assert [entry.scores for entry in evaluate(opened).entries] == expected
    there = {name for _, _, names in tf.io.gfile.walk("ram://bucket/machines") for name in names}
    assert "index.json" in there
    assert not any(name.startswith((".tmp-", "tokens")) for name in there)


def test_what_is_gone_here_goes_there_and_the_index_comes_last(tmp_path, monkeypatch):
    mirror = Mirror("ram://bucket/order", tmp_path)
    for name in ("config.yaml", "checkpoints/index.json", "checkpoints/step-1/model", "cache/tokens", "zz"):
        path = mirror.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    copied = []
    real = tf.io.gfile.copy
    monkeypatch.setattr(
        tf.io.gfile, "copy", lambda a, b, overwrite: (copied.append(b), real(a, b, overwrite))
    )
    mirror.push()
    names = [name.removeprefix("ram://bucket/order/").replace(".tmp-", "") for name in copied]
    assert names == ["checkpoints/step-1/model", "zz", "checkpoints/index.json", "config.yaml"]
    mirror.push()
    assert len(copied) == 4  # nothing is sent twice
    (mirror.local / "zz").unlink()
    mirror.push()
    assert not tf.io.gfile.exists("ram://bucket/order/zz")


def test_a_scheme_that_nobody_knows():
    with pytest.raises(
        UserError,
        match=r"^s9://bucket/run: s9:// cannot be used here; give a path .* starts with gs://$",
    ):
        Mirror("s9://bucket/run")


def test_what_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    mirror = Mirror("ram://bucket/broken", tmp_path)
    mirror.local.mkdir(parents=True)
    (mirror.local / "config.yaml").write_text("x")

    def refuse(*arguments, **options):
        raise tf.errors.PermissionDeniedError(None, None, "no right to it")

    monkeypatch.setattr(tf.io.gfile, "copy", refuse)
    with pytest.raises(UserError, match=r"cannot be written \(no right to it\); the run is in .*broken"):
        mirror.push()


def holding(folder, **files):
    """A folder with what a run begins with."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"config.yaml": "settings", **files}.items():
        (folder / name).write_text(text)


def test_another_run_at_the_same_address_takes_the_place_of_the_copy(tmp_path, capfd):
    mirrors = [Mirror("ram://bucket/renewed", tmp_path / name) for name in ("here", "elsewhere")]
    here, elsewhere = mirrors
    holding(here.local, id="first", old="x", lock="")
    assert not here.is_stale()  # not sent yet
    here.pull()
    here.push()
    assert (here.local / "old").exists()
    elsewhere.pull()
    elsewhere.push()  # the same run
    assert not here.is_stale()
    shutil.rmtree(elsewhere.local)
    tf.io.gfile.rmtree("ram://bucket/renewed")
    holding(elsewhere.local, id="second", new="y")
    elsewhere.push()
    assert here.is_stale()
    capfd.readouterr()
    here.pull()
    said = capfd.readouterr()
    assert (
        f"ram://bucket/renewed holds a different run from {here.local}, which is replaced"
        in said.out + said.err
    )
    names = {path.name: path.read_text() for path in here.local.iterdir()}
    assert names == {"config.yaml": "settings", "id": "second", "new": "y", "lock": ""}
    assert not here.is_stale()
    here.push()
    assert not tf.io.gfile.exists("ram://bucket/renewed/old")


def test_runs_of_earlier_versions_have_no_identity(tmp_path):
    here, elsewhere = (Mirror("ram://bucket/earlier", tmp_path / name) for name in ("here", "elsewhere"))
    holding(here.local)
    here.push()
    elsewhere.pull()
    assert not elsewhere.is_stale()
    (here.local / "id").write_text("new")
    assert here.is_stale()
