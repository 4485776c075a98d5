"""The version policy alone: models are stand-ins, directories are real."""

from __future__ import annotations

import contextlib
import shutil
import threading

import grpc
import pytest

from tfpipeline.serving.server import make_options
from tfpipeline.serving.server.model_config import Latest, ModelConfig
from tfpipeline.serving.server.status import StatusError, invalid_argument
from tfpipeline.serving.server.versions import State, VersionManager

LATEST = Latest()
AVAILABLE, UNLOADING, END = State.AVAILABLE, State.UNLOADING, State.END


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
    (model_dir / str(version) / "saved_model.pb").write_text(content)


@pytest.fixture
def model_dir(tmp_path):
    put(tmp_path / "m", 1)
    return tmp_path / "m"


@pytest.fixture
def manage(model_dir):
    """Start a manager; yields (manager, loaded models, what was said), stopped at the end."""
    with contextlib.ExitStack() as stack:

        def manage(policy=LATEST):
            loaded, said = [], []

            def load(path):
                loaded.append(Model(path))
                return loaded[-1]

            config = ModelConfig("m", model_dir, policy)
            manager = VersionManager(config, make_options(model_dir, poll_seconds=0.01), load, said.append)
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


def test_a_broken_version_is_tried_again_only_when_its_files_change(manage, model_dir, eventually):
    manager, _, said = manage()
    put(model_dir, 2, "broken")
    eventually(lambda: said)
    error = next(error for number, _, error in manager.states() if number == 2)
    assert (error.code, states(manager)) == (grpc.StatusCode.INVALID_ARGUMENT, [(2, END), (1, AVAILABLE)])
    assert said == [
        f"{model_dir / '2'} cannot be loaded (Op type not registered 'Foo'); version 1 keeps serving"
    ]
    manager._look()
    assert len(said) == 1
    put(model_dir, 2, "mended now")
    eventually(lambda: states(manager) == [(2, AVAILABLE), (1, END)])
    assert [error for _, _, error in manager.states()] == [None, None]


def test_a_version_without_its_graph_file_is_waited_for(manage, model_dir, eventually):
    (model_dir / "2").mkdir()
    manager, _, _ = manage()
    assert states(manager) == [(2, END), (1, AVAILABLE)]
    assert manager.states()[0][2].code == grpc.StatusCode.NOT_FOUND
    put(model_dir, 2)
    eventually(lambda: states(manager) == [(2, AVAILABLE), (1, END)])


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
