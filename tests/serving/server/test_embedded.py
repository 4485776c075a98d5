"""The embedded server over gRPC: the official stubs, many callers, versions, threads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfpipeline.errors import UserError
from tfpipeline.serving.server import BatchingOptions, EmbeddedServer, make_options, saved_model
from tfpipeline.serving.server.versions import State

# A client as a user would write it: nothing of ours is imported.
OFFICIAL_CLIENT = """
import json, sys
import grpc, tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc
channel = grpc.insecure_channel(sys.argv[1])
request = predict_pb2.PredictRequest()
request.model_spec.name = "m"
request.model_spec.signature_name = "upper"
request.inputs["text"].CopyFrom(tf.make_tensor_proto(["caf\\u00e9", ""]))
answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=20)
status_request = get_model_status_pb2.GetModelStatusRequest()
status_request.model_spec.name = "m"
status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status_request, timeout=20)
assert not [name for name in sys.modules if name.startswith("tfpipeline")]
print(json.dumps({
    "answer": [text.decode() for text in tf.make_ndarray(answer.outputs["upper"])],
    "version": answer.model_spec.version.value,
    "states": [[one.version, one.state] for one in status.model_version_status],
}))
"""


def quiet(sentence):
    pass


def serve(model_dir, **options):
    return EmbeddedServer(make_options(model_dir, port=0, poll_seconds=0.05, **options), say=quiet)


@pytest.fixture
def ask():
    """(address, model, signature, inputs, timeout) -> (version, outputs as arrays); channels are closed at
    the end.
    """
    channels = {}

    def ask(address, model="m", signature="", timeout=30, **inputs):
        if address not in channels:
            channels[address] = grpc.insecure_channel(address)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = signature
        for alias, value in inputs.items():
            request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channels[address])
        response = stub.Predict(request, timeout=timeout)
        return response.model_spec.version.value, {k: tf.make_ndarray(v) for k, v in response.outputs.items()}

    yield ask
    for channel in channels.values():
        channel.close()


def test_official_stubs_from_another_process(tmp_path, publish):
    with serve(publish(tmp_path / "m", 4)) as server:
        done = subprocess.run(
            [sys.executable, "-c", OFFICIAL_CLIENT, server.address],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"answer": ["CAFé", ""], "version": 4, "states": [[4, 30]]}


def test_two_models_in_one_process_never_mix(tmp_path, publish, ask):
    # tf.nondifferentiable_batch_function got half of these wrong: its queue has one global name.
    two = publish(tmp_path / "two", 1, "plus2")
    three = publish(tmp_path / "three", 1, "plus3")
    with serve(two) as first, serve(three) as second, ThreadPoolExecutor(16) as pool:

        def call(i):
            model, server, plus = (("two", first, 2), ("three", second, 3))[i % 2]
            x = np.arange(i % 5 + 1, dtype=np.float32) + i
            _, outputs = ask(server.address, model, x=x)
            return np.array_equal(outputs["y"], x / 2 + plus)

        assert all(pool.map(call, range(400)))


def test_callers_of_different_signatures_and_widths_never_mix(tmp_path, publish, ask):
    with serve(publish(tmp_path / "m", 1)) as server, ThreadPoolExecutor(16) as pool:

        def call(i):
            if i % 3 == 0:
                return ask(server.address, signature="upper", text=[f"t{i}"])[1]["upper"].tolist() == [
                    b"T%d" % i
                ]
            if i % 3 == 1:
                rows = np.full((2, i % 4 + 1), i, np.float32)
                return (
                    ask(server.address, signature="row_sums", x=rows)[1]["sum"].tolist()
                    == [i * (i % 4 + 1)] * 2
                )
            # As wide as its own longest row, whoever else asks.
            text = ["x" * (i % 7 + 1), "y"]
            return ask(server.address, signature="letters", text=text)[1]["letters"].shape == (2, i % 7 + 1)

        assert all(pool.map(call, range(300)))


def test_one_bad_row_fails_nobody_else(tmp_path, publish, ask):
    batching = BatchingOptions(timeout_seconds=0.02)
    with serve(publish(tmp_path / "m", 1), batching=batching) as server, ThreadPoolExecutor(16) as pool:

        def call(i):
            try:
                return ask(server.address, signature="picky", x=[-1.0 if i % 8 == 3 else float(i)])[1][
                    "y"
                ].tolist()
            except grpc.RpcError as error:
                return error.code()

        answers = list(pool.map(call, range(160)))
    want = [grpc.StatusCode.INVALID_ARGUMENT if i % 8 == 3 else [i + 1.0] for i in range(160)]
    assert answers == want


def test_a_signature_that_is_not_row_by_row_is_answered_without_batching(tmp_path, publish, ask):
    with serve(publish(tmp_path / "m", 1)) as server:
        for _ in range(2):
            assert ask(server.address, signature="lies", x=[1.0, 2.0, 4.0])[1]["y"].tolist() == [7.0]


def test_batching_changes_no_answer(tmp_path, publish, ask):
    model_dir = publish(tmp_path / "m", 1)
    x = np.random.default_rng(7).normal(size=150).astype(np.float32)
    with serve(model_dir, batching=BatchingOptions(max_rows=1)) as one, serve(model_dir) as many:
        np.testing.assert_array_equal(ask(one.address, x=x)[1]["y"], ask(many.address, x=x)[1]["y"])


def test_too_many_calls_at_once_are_refused(tmp_path, publish, ask):
    batching = BatchingOptions(timeout_seconds=1.0)
    with (
        serve(publish(tmp_path / "m", 1), threads=2, batching=batching) as server,
        ThreadPoolExecutor(24) as pool,
    ):

        def call(i):
            try:
                return ask(server.address, x=[float(i)])[1]["y"].tolist()
            except grpc.RpcError as error:
                return error.code()

        answers = list(pool.map(call, range(24)))
        refused = answers.count(grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert refused > 0
        assert sum(answer == [i / 2 + 2] for i, answer in enumerate(answers)) == 24 - refused
        assert ask(server.address, x=[2.0])[1]["y"].tolist() == [3.0]


def test_a_graph_whose_weights_are_still_being_copied_is_not_served(
    tmp_path, publish, saved_models, ask, eventually
):
    with serve(publish(tmp_path / "m", 1)) as server:
        (tmp_path / "m" / "2").mkdir()
        shutil.copy(saved_models / "plus3" / "saved_model.pb", tmp_path / "m" / "2")
        eventually(
            lambda: [state for _, state, _ in server._models.states("m")] == [State.LOADING, State.AVAILABLE]
        )
        assert ask(server.address, x=[2.0])[0] == 1
        shutil.copytree(saved_models / "plus3", tmp_path / "m" / "2", dirs_exist_ok=True)
        eventually(lambda: server.versions() == [2])
        assert ask(server.address, x=[2.0])[1]["y"].tolist() == [4.0]


def test_status_calls_get_through_when_no_more_predictions_do(
    tmp_path, publish, ask, monkeypatch, eventually
):
    run, running, go_on = saved_model.SavedModel.run, [], threading.Event()

    def slow(model, feeds, fetches):
        running.append(1)
        assert go_on.wait(20)
        return run(model, feeds, fetches)

    monkeypatch.setattr(saved_model.SavedModel, "run", slow)
    unbatched = BatchingOptions(max_rows=1)
    with (
        serve(publish(tmp_path / "m", 1), threads=2, batching=unbatched) as server,
        ThreadPoolExecutor(2) as pool,
    ):
        calls = [pool.submit(ask, server.address, x=[2.0]) for _ in range(2)]
        eventually(lambda: len(running) == 2)
        for _ in range(20):
            with pytest.raises(grpc.RpcError) as caught:
                ask(server.address, x=[2.0])
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        with grpc.insecure_channel(server.address) as channel:
            status = get_model_status_pb2.GetModelStatusRequest()
            status.model_spec.name = "m"
            (one,) = (
                model_service_pb2_grpc.ModelServiceStub(channel)
                .GetModelStatus(status, timeout=20)
                .model_version_status
            )
            assert one.state == one.AVAILABLE
            described = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
            described.model_spec.name = "m"
            prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(described, timeout=20)
        go_on.set()
        assert [call.result(20)[1]["y"].tolist() for call in calls] == [[3.0]] * 2
        assert ask(server.address, x=[2.0])[1]["y"].tolist() == [3.0]  # refused calls gave their places back


def test_no_thread_outlives_its_server_or_its_version(tmp_path, publish, ask, eventually):
    def others():  # the calls' own threads come as they are needed, up to a limit
        return sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("calls"))

    before = set(threading.enumerate())
    model_dir = publish(tmp_path / "m", 1)
    with serve(model_dir) as server:
        ask(server.address, x=[1.0])
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: ask(server.address, x=[float(i)]), range(50)))
        steady = others()
        for version in range(2, 6):
            publish(model_dir, version)
            eventually(lambda version=version: server.versions() == [version])
            assert ask(server.address, x=[1.0])[0] == version
        assert others() == steady
    # The client's own channel polls in a thread of gRPC's.
    left = [thread for thread in set(threading.enumerate()) - before if "channel" not in thread.name.lower()]
    assert left == []


def test_calls_being_answered_finish_when_the_server_stops(tmp_path, publish, ask):
    server = serve(publish(tmp_path / "m", 1), batching=BatchingOptions(timeout_seconds=0.5)).start()
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(ask, server.address, x=[float(i)]) for i in range(4)]
        # All four have arrived: a call that the server has not picked up yet is refused, which is another
        # matter.
        while (
            sum(v.users for v in server._models._managers["m"]._versions.values())
            + sum(c.done() for c in calls)
            < 4
        ):
            time.sleep(0.001)
        server.stop()
        for number, call in enumerate(calls):
            assert call.result(20)[1]["y"].tolist() == [2.0 + number / 2]
    server.stop()  # a second time does nothing


def test_a_model_that_cannot_be_loaded_is_one_sentence_and_leaves_nothing(tmp_path):
    before = set(threading.enumerate())
    version = tmp_path / "m" / "3"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"\x00nonsense")
    with pytest.raises(UserError) as caught:
        serve(tmp_path / "m").start()
    assert str(caught.value) == (
        f"version 3 of m in {tmp_path / 'm'} cannot be loaded: Can't parse {version / 'saved_model.pb'} as "
        f"binary proto; "
        "export it again or move the directory 3 away"
    )
    assert set(threading.enumerate()) <= before


def test_a_version_that_is_not_complete_is_told_at_the_start(tmp_path, publish):
    said = []
    model_dir = publish(tmp_path / "m", 1)
    (model_dir / "2").mkdir()
    with EmbeddedServer(make_options(model_dir, port=0), say=said.append) as server:
        assert server.models() == {"m": [1]}
    reason = "Specified file path does not appear to contain a SavedModel bundle"
    assert said[0].startswith(f"version 2 of m cannot be loaded ({reason}")
    assert said[0].endswith("; the others are being served")


def test_a_half_copied_version_is_refused(tmp_path, publish):
    model_dir = publish(tmp_path / "m", 1)
    (data,) = (model_dir / "1" / "variables").glob("variables.data*")
    data.unlink()
    with pytest.raises(
        UserError, match=r"version 1 of m .* cannot be loaded: .*No such file or directory; export it again"
    ):
        serve(model_dir).start()


def test_without_batching_calls_go_straight_to_the_session(tmp_path, publish, ask):
    with serve(publish(tmp_path / "m", 1), batching=BatchingOptions(max_rows=1)) as server:
        with server._models.use_version("m", None) as version:
            assert version.batcher is None
        assert ask(server.address, x=[2.0, 4.0])[1]["y"].tolist() == [3.0, 4.0]
