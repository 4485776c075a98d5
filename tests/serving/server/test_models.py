"""The models of the embedded server without gRPC and TensorFlow: models are stand-ins, directories are real."""

from __future__ import annotations

import threading
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import model_pb2

from tfpipeline.serving.server import make_options
from tfpipeline.serving.server.model_config import All, Latest, ModelConfig, Specific
from tfpipeline.serving.server.models import Models
from tfpipeline.serving.server.status import StatusError, invalid_argument

NEWEST = Latest()


class Loaded:
    signatures = None

    def __init__(self, path):
        self.path = path
        self.closed = False

    def close(self):
        self.closed = True


@pytest.fixture
def place(tmp_path):
    for name, versions in {"a": (1, 2), "b": (5,), "broken": (1,)}.items():
        for version in versions:
            folder = tmp_path / name / str(version)
            folder.mkdir(parents=True)
            (folder / "saved_model.pb").write_text(name)
    return tmp_path


@pytest.fixture
def models(place):
    loaded = []

    def load(*arguments):
        path = arguments[-1]
        if path.parent.name == "broken":
            raise invalid_argument("Op type not registered 'Foo'")
        if path.parent.name == "slow":
            assert models.release.wait(20)
        loaded.append(Loaded(path))
        return loaded[-1]

    models = Models(make_options(place / "a", poll_seconds=0.01), load, lambda sentence: None)
    models.release = threading.Event()
    models.loads = loaded
    yield models
    models.release.set()
    models.stop()
    assert all(model.closed for model in loaded)


def config(place, name, policy=NEWEST, labels=(), directory=None):
    return ModelConfig(name, place / (directory or name), policy, dict(labels))


def spec(name, version=None, label=None):
    message = model_pb2.ModelSpec(name=name)
    if version is not None:
        message.version.value = version
    if label is not None:
        message.version_label = label
    return message


def used(models, *choice, **more):
    with models.use(spec(*choice, **more)) as version:
        return version.path


def test_versions_labels_and_models(models, place, eventually):
    models.begin([config(place, "a", All(), {"stable": 1}), config(place, "b")])
    eventually(models.loaded)
    assert used(models, "a") == place / "a" / "2"
    assert used(models, "a", label="stable") == used(models, "a", version=1) == place / "a" / "1"
    assert used(models, "b") == place / "b" / "5"
    for choice, code, words in (
        (spec(""), grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (spec("a", label="x"), grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: x"),
        (spec("c", label="x"), grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: x"),
        (spec("c", version=3), grpc.StatusCode.NOT_FOUND, r"Specific\(c, 3\)"),
    ):
        with pytest.raises(StatusError, match=words) as caught, models.use(choice):
            pass
        assert caught.value.code == code


def test_a_label_that_moves_while_it_is_looked_up(models, place, eventually, monkeypatch):
    models.begin([config(place, "a", labels={"stable": 2})])
    eventually(models.loaded)
    answers = iter([1, 2])  # version 1 was unloaded just after the label was read
    monkeypatch.setattr(models, "version_of_label", lambda name, label: next(answers))
    assert used(models, "a", label="stable") == place / "a" / "2"
    monkeypatch.setattr(models, "version_of_label", lambda name, label: 1)
    with pytest.raises(StatusError, match=r"Specific\(a, 1\)"), models.use(spec("a", label="stable")):
        pass


def test_a_removed_model_finishes_its_requests_and_can_come_back(models, place, eventually):
    models.begin([config(place, "a"), config(place, "b")])
    eventually(models.loaded)
    with models.use(spec("b")) as version:
        models.reload([config(place, "a")])
        eventually(lambda: models.states("b")[0][1] == 40)  # UNLOADING
        assert not version.model.closed
    eventually(lambda: models.states("b")[0][1] == 50)  # END
    models.reload([config(place, "b")])
    assert used(models, "b") == place / "b" / "5"
    eventually(lambda: models.available("a") == [])
    assert list(models.configs()) == ["b"]


def test_a_model_moves_to_another_directory_and_policy(models, place, eventually):
    models.begin([config(place, "m", directory="a")])
    eventually(models.loaded)
    models.reload([config(place, "m", Specific((1,)), directory="a")])
    eventually(lambda: models.available("m") == [1])
    models.reload([config(place, "m", directory="b")])
    eventually(lambda: models.available("m") == [5])


def test_a_refused_configuration_changes_nothing(models, place, eventually):
    good = config(place, "a", labels={"stable": 2})
    models.begin([good])
    eventually(models.loaded)
    moved = config(place, "a", labels={"stable": 1})
    for bad in ([good, good], [moved], [good, ModelConfig("c", Path("relative"))]):
        with pytest.raises(StatusError):
            models.reload(bad)
        assert list(models.configs().values()) == [good]
        assert used(models, "a", label="stable") == place / "a" / "2"


def test_a_new_model_that_cannot_be_loaded_is_reported_and_the_rest_is_changed(models, place, eventually):
    models.begin([config(place, "a")])
    with pytest.raises(StatusError) as caught:
        models.reload([config(place, "b"), config(place, "broken")])
    assert caught.value.code == grpc.StatusCode.UNKNOWN
    assert caught.value.message == (
        "1 model(s) did not become available: {{{name: broken version: 1} due to error: INVALID_ARGUMENT: "
        "Op type not registered 'Foo'}, }"
    )
    assert used(models, "b") == place / "b" / "5"


def test_stopping_ends_a_reload_that_waits_and_refuses_others(models, place, eventually):
    models.begin([config(place, "a")])
    slow = place / "slow" / "1"
    slow.mkdir(parents=True)
    (slow / "saved_model.pb").touch()
    ended = []

    def reload():
        try:
            models.reload([config(place, "a"), config(place, "slow")])
        except StatusError as error:
            ended.append(error.message)

    thread = threading.Thread(target=reload)
    thread.start()
    eventually(lambda: "slow" in models.configs())
    models.stop_waiting()
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(StatusError, match="The server is stopping"):
        models.reload([config(place, "b")])
