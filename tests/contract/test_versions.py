"""Versions that come, go and break while the server answers: the same story on both servers.

Sources in tensorflow/serving 2.21: core/availability_preserving_policy.cc, core/servable_state.h,
sources/storage_path/file_system_storage_path_source.cc, model_servers/get_model_status_impl.cc.
"""

from __future__ import annotations

import shutil
import threading
import time

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2, prediction_log_pb2

from tfpipeline.serving.server import versions

pytestmark = pytest.mark.contract

_WAIT = 30.0  # tensorflow_model_server looks once a second and tries a broken version for ten
State = get_model_status_pb2.ModelVersionStatus


def half(served, x, version=None):
    """(version that answered, answers)."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    if version is not None:
        request.model_spec.version.value = version
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=len(x))
    request.inputs["x"].float_val.extend(x)
    response = served.predictions.Predict(request, timeout=20)
    return response.model_spec.version.value, list(response.outputs["y"].float_val)


def states(served):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "half"
    return [
        (one.version, one.state)
        for one in served.models.GetModelStatus(request, timeout=20).model_version_status
    ]


def error_of(served, version):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "half"
    request.model_spec.version.value = version
    (one,) = served.models.GetModelStatus(request, timeout=20).model_version_status
    return one.state, one.status.error_code, one.status.error_message


def wait_until(condition):
    end = time.monotonic() + _WAIT
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def model_dir(tmp_path, publish):
    model_dir = tmp_path / "models" / "half"
    model_dir.mkdir(parents=True)
    publish(model_dir, 1)
    return model_dir


def test_a_new_version_takes_over_without_a_wrong_or_missing_answer(start, model_dir, publish):
    (model_dir / "README").write_text("not a version")
    (model_dir / "backup-7").mkdir()
    with start(model_dir) as served:
        assert half(served, [2.0]) == (1, [3.0])
        wrong, answered, done = [], {1: 0, 2: 0}, threading.Event()

        def ask():
            while not done.is_set():
                try:
                    version, (y,) = half(served, [8.0])
                except grpc.RpcError as error:
                    wrong.append(error)
                    return
                answered[version] += 1
                if y != {1: 6.0, 2: 7.0}[version]:
                    wrong.append((version, y))

        callers = [threading.Thread(target=ask) for _ in range(4)]
        for caller in callers:
            caller.start()
        publish(model_dir, 2, "plus3")
        wait_until(lambda: states(served) == [(2, State.AVAILABLE), (1, State.END)])
        wait_until(lambda: answered[2] > 0 or wrong)
        done.set()
        for caller in callers:
            caller.join()
        assert wrong == []
        assert answered[1] > 0
        assert half(served, [2.0]) == (2, [4.0])
        with pytest.raises(grpc.RpcError) as caught:
            half(served, [2.0], version=1)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "Servable not found for request: Specific(half, 1)"
        assert error_of(served, 1) == (State.END, 0, "")

        shutil.rmtree(model_dir / "2")  # and back again
        wait_until(lambda: states(served) == [(2, State.END), (1, State.AVAILABLE)])
        assert half(served, [2.0]) == (1, [3.0])


def test_a_broken_version_leaves_the_old_one_serving(start, model_dir, publish):
    with start(model_dir) as served:
        (model_dir / "2").mkdir()
        (model_dir / "2" / "saved_model.pb").write_bytes(b"not a protocol buffer")
        wait_until(lambda: (2, State.END) in states(served))
        assert states(served) == [(2, State.END), (1, State.AVAILABLE)]
        _, code, message = error_of(served, 2)
        assert code != 0
        assert "saved_model.pb" in message
        assert half(served, [2.0]) == (1, [3.0])

        publish(model_dir, 3, "plus3")
        wait_until(lambda: states(served) == [(3, State.AVAILABLE), (2, State.END), (1, State.END)])
        assert half(served, [2.0]) == (3, [4.0])


def test_a_version_that_is_still_being_copied_is_loading(start, model_dir, saved_models, monkeypatch):
    """Its graph file comes last: the binary would serve a graph without its weights."""
    with start(model_dir) as served:
        monkeypatch.setattr(versions, "SETTLE_SECONDS", 30.0)  # however slow this machine is
        shutil.copytree(saved_models / "plus3" / "variables", model_dir / "2" / "variables")
        wait_until(lambda: (2, State.LOADING) in states(served))
        seen, end = set(), time.monotonic() + 0.7
        while time.monotonic() < end:
            seen.add(tuple(states(served)))
            assert half(served, [2.0]) == (1, [3.0])
        assert seen == {((2, State.LOADING), (1, State.AVAILABLE))}
        assert error_of(served, 2) == (State.LOADING, 0, "")
        shutil.copytree(saved_models / "plus3", model_dir / "2", dirs_exist_ok=True)
        wait_until(lambda: states(served) == [(2, State.AVAILABLE), (1, State.END)])
        assert half(served, [2.0]) == (2, [4.0])


def test_a_version_whose_warm_up_fails_leaves_the_old_one_serving(start, model_dir, saved_models):
    staged = model_dir / ".tmp-2"
    shutil.copytree(saved_models / "plus3", staged)
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = "picky"
    log.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto([-1.0]))
    (staged / "assets.extra").mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(staged / "assets.extra" / "tf_serving_warmup_requests")) as file:
        file.write(log.SerializeToString())
    with start(model_dir) as served:
        staged.rename(model_dir / "2")
        wait_until(lambda: (2, State.END) in states(served))
        assert states(served) == [(2, State.END), (1, State.AVAILABLE)]
        assert "x must not be negative" in error_of(served, 2)[2]
        assert half(served, [2.0]) == (1, [3.0])


def test_an_empty_version_directory_is_an_error_of_its_own(start, model_dir):
    with start(model_dir) as served:
        (model_dir / "2").mkdir()
        wait_until(lambda: (2, State.END) in states(served))
        _, code, message = error_of(served, 2)
        assert code == grpc.StatusCode.NOT_FOUND.value[0]
        # session_bundle/oss/session_bundle_util.cc
        assert message == (
            "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
            f"`saved_model.pb`)\nSpecified file path: {model_dir / '2'}"
        )
        assert half(served, [2.0]) == (1, [3.0])


def test_a_start_beside_a_version_that_is_being_copied(start, model_dir, saved_models):
    (model_dir / "7").touch()  # a stray file with a number as its name
    (model_dir / "2").mkdir()
    with start(model_dir) as served:
        assert half(served, [2.0]) == (1, [3.0])
        (model_dir / "7").unlink()
        shutil.copytree(saved_models / "plus3", model_dir / "2", dirs_exist_ok=True)
        wait_until(lambda: (2, State.AVAILABLE) in states(served))
        wait_until(lambda: (1, State.END) in states(served))
        assert half(served, [2.0]) == (2, [4.0])


def test_two_versions_at_once(start, model_dir, publish):
    publish(model_dir, 2, "plus3")
    publish(model_dir, 10)
    with start(model_dir, latest_versions=2) as served:
        wait_until(lambda: states(served) == [(10, State.AVAILABLE), (2, State.AVAILABLE)])
        assert half(served, [2.0]) == (10, [3.0])
        assert half(served, [2.0], version=2) == (2, [4.0])
