"""The version policy alone: models are stand-ins, directories are real."""

from __future__ import annotations

import contextlib
import shutil
import threading

import grpc
import pytest

from tfpipeline.serving.server import make_options, versions
from tfpipeline.serving.server.model_config import Latest, ModelConfig
from tfpipeline.serving.server.status import StatusError, invalid_argument
from tfpipeline.serving.server.versions import State, VersionManager

LATEST = Latest()
LOADING, AVAILABLE, UNLOADING, END = State.LOADING, State.AVAILABLE, State.UNLOADING, State.END


class Model:
    signatures = None

    def __init__(self, path):
        content = (path / "saved_model.pb").read_text()
        if content == "broken":
            raise invalid_argument("Op type not registered 'Foo'\n\t [[node]]")
        self.path = path
        self.closed = False

    def run(self, feeds, fetches):
        raise NotImplementedError

    def close(self):
        self.closed = True


def put(model_dir, version, content="good"):
    (model_dir / str(version)).mkdir(parents=True, exist_ok=True)
    written = model_dir / str(version) / "written"
    written.write_text(content)
    written.rename(written.with_name("saved_model.pb"))  # never seen empty, which would be a good model


@pytest.fixture
def model_dir(tmp_path):
    put(tmp_path / "m", 1)
    return tmp_path / "m"


class Clock:
    """Time that passes when a test says so."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def manage(model_dir, clock):
    """Start a manager; yields (manager, loaded models, what was said), stopped at the end."""
    with contextlib.ExitStack() as stack:

        def manage(policy=LATEST, poll_seconds=0.01):
            loaded, said = [], []

            def load(path):
                loaded.append(Model(path))
                return loaded[-1]

            config = ModelConfig("m", model_dir, policy)
            options = make_options(model_dir, poll_seconds=poll_seconds)
            manager = VersionManager(config, options, load, said.append, clock)
            manager.start()
            stack.callback(manager.stop)
            assert manager.first_look_done(10)
            return manager, loaded, said

        yield manage


def states(manager):
    return [(number, state) for number, state, _ in manager.states()]


def test_latest_integer_wins_and_other_names_are_ignored(manage, model_dir):
    put(model_dir, 9)
    put(model_dir, 10)
    put(model_dir, ".tmp-11-abc")
    put(model_dir, "12a")
    put(model_dir, "-13")
    put(model_dir, str(2**63))
    manager, loaded, said = manage()
    assert states(manager) == [(10, AVAILABLE)]
    assert [model.path.name for model in loaded] == ["10"]
    assert said == []  # the ready line speaks for the start


def test_the_old_version_goes_when_its_last_request_has_finished(manage, model_dir, eventually):
    manager, loaded, said = manage()
    with manager.use(None) as first, manager.use(1):
        put(model_dir, 2)
        eventually(lambda: states(manager) == [(2, AVAILABLE), (1, UNLOADING)])
        assert first.number == 1
        assert not loaded[0].closed
        with manager.use(None) as second:
            assert second.number == 2
        with (
            pytest.raises(StatusError, match=r"Servable not found for request: Specific\(m, 1\)"),
            manager.use(1),
        ):
            pass
    eventually(lambda: states(manager) == [(2, AVAILABLE), (1, END)])
    assert loaded[0].closed
    eventually(lambda: said == ["version 2 of m is loaded and serving", "version 1 of m is unloaded"])


def test_a_broken_version_is_tried_again_only_when_its_files_change(manage, model_dir, eventually, clock):
    manager, _, said = manage()
    put(model_dir, 2, "broken")
    eventually(lambda: said)
    path, reason = model_dir / "2", "Op type not registered 'Foo'"
    assert said == [f"{path} cannot be loaded yet ({reason}); waiting for its files to change"]
    assert manager.states()[0] == (2, LOADING, None)
    clock.now = versions.SETTLE_SECONDS
    eventually(lambda: len(said) == 2)
    assert said[1] == f"{path} cannot be loaded ({reason}); version 1 keeps serving"
    error = next(error for number, _, error in manager.states() if number == 2)
    assert (error.code, states(manager)) == (grpc.StatusCode.INVALID_ARGUMENT, [(2, END), (1, AVAILABLE)])
    manager._look()
    assert len(said) == 2
    put(model_dir, 2, "mended now")
    eventually(lambda: states(manager) == [(2, AVAILABLE), (1, END)])
    assert [error for _, _, error in manager.states()] == [None, None]
    assert manager.problems() == []


def test_a_version_that_is_still_being_copied_is_loading(manage, model_dir, eventually, clock):
    (model_dir / "2").mkdir()
    manager, _, said = manage()
    (number, problem), *rest = manager.problems()
    assert (number, problem.code, rest) == (2, grpc.StatusCode.NOT_FOUND, [])
    for second in range(60):  # slowly, but the copy goes on
        assert manager.states()[0] == (2, LOADING, None)
        clock.now += versions.SETTLE_SECONDS / 2
        (model_dir / "2" / "variables").write_bytes(b"0" * second)
        manager._look()
    put(model_dir, 2, "broken")  # its graph file is incomplete too
    manager._look()
    assert manager.states()[0] == (2, LOADING, None)
    put(model_dir, 2)
    eventually(lambda: states(manager) == [(2, AVAILABLE), (1, END)])
    eventually(lambda: said == ["version 2 of m is loaded and serving", "version 1 of m is unloaded"])


@pytest.mark.parametrize("overtaken", [False, True], ids=["removed", "overtaken"])
def test_a_version_that_is_waited_for_no_longer_is_ended(manage, model_dir, eventually, overtaken):
    (model_dir / "2").mkdir()
    manager, _, _ = manage()
    assert states(manager) == [(2, LOADING), (1, AVAILABLE)]
    if overtaken:
        put(model_dir, 3)
        eventually(lambda: states(manager) == [(3, AVAILABLE), (2, END), (1, END)])
    else:
        (model_dir / "2").rmdir()
        eventually(lambda: states(manager) == [(2, END), (1, AVAILABLE)])


def test_a_broken_version_is_ended_at_once_if_the_directory_is_checked_once(manage, model_dir):
    (model_dir / "2").mkdir()
    manager, _, _ = manage(poll_seconds=0)
    assert states(manager) == [(2, END), (1, AVAILABLE)]
    assert manager.states()[0][2].code == grpc.StatusCode.NOT_FOUND


def test_removing_the_newest_goes_back(manage, model_dir, eventually):
    put(model_dir, 2)
    manager, _, _ = manage()
    shutil.rmtree(model_dir / "2")
    eventually(lambda: states(manager) == [(2, END), (1, AVAILABLE)])


def test_removing_every_version_unloads_but_a_missing_directory_does_not(manage, model_dir, eventually):
    manager, _, said = manage()
    hidden = model_dir.rename(model_dir.with_name("hidden"))
    eventually(lambda: said)
    assert said == [f"cannot read {model_dir} (No such file or directory); loaded versions are kept"]
    assert states(manager) == [(1, AVAILABLE)]
    hidden.rename(model_dir)
    shutil.rmtree(model_dir / "1")
    eventually(lambda: states(manager) == [(1, END)])
    with pytest.raises(StatusError, match=r"Servable not found for request: Latest\(m\)"), manager.use(None):
        pass


def test_several_versions_at_once(manage, model_dir, eventually):
    for version in (2, 3):
        put(model_dir, version)
    manager, _, _ = manage(Latest(2))
    assert states(manager) == [(3, AVAILABLE), (2, AVAILABLE)]
    put(model_dir, 4)
    eventually(lambda: states(manager) == [(4, AVAILABLE), (3, AVAILABLE), (2, END)])


def test_stopping_closes_every_model_and_ends_the_thread(manage, model_dir):
    put(model_dir, 2)
    manager, loaded, _ = manage(Latest(2))
    manager.stop()
    assert [model.closed for model in loaded] == [True, True]
    assert not [thread for thread in threading.enumerate() if thread.name == "versions of m"]
    assert states(manager) == [(2, END), (1, END)]
