"""Both clients against a server made from the official stubs: same answers, same errors."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2

from tfpipeline.serving.client import (
    AnswerError,
    AsyncPredictClient,
    Classification,
    ClientError,
    DeadlineExceededError,
    InputError,
    NamedOutputs,
    PredictClient,
    ResourceExhaustedError,
    TensorSpec,
    UnavailableError,
    VersionState,
    VersionStatus,
    errors,
)

TEXTS = ["good day", "", "schlecht 😀 \u4e2d\u6587", b"good \xff bytes", "NUL\0"]


def calls(connect, model):
    """How often the server was asked for this model."""
    return int(connect(f"counts:{model}").predict_raw({}).outputs["calls"])


@pytest.fixture
def key(request):
    """Part of a model's name, so that its calls are counted for this test alone."""
    return request.node.name


def test_predict(connect):
    answers = connect("sentiment").predict(TEXTS)
    assert [type(answer) for answer in answers] == [Classification] * 5
    assert [answer.label for answer in answers] == ["positiv ✓", "negativ", "negativ", "positiv ✓", "negativ"]
    assert answers[1] == Classification("negativ", 0.5, {"negativ": 0.5, "positiv ✓": 0.5})
    lengths = [len(text if isinstance(text, bytes) else text.encode()) for text in TEXTS]
    assert [answer.probability for answer in answers] == pytest.approx([1 - 1 / (2 + n) for n in lengths])
    assert [answer.probabilities[answer.label] for answer in answers] == [
        answer.probability for answer in answers
    ]
    assert json.loads(json.dumps(answers[1].to_dict())) == {
        "label": "negativ",
        "probability": 0.5,
        "probabilities": {"negativ": 0.5, "positiv ✓": 0.5},
    }


@pytest.mark.parametrize("batch_size", [2, None])
def test_explain(connect, batch_size):
    """The signature explain is asked, whatever the client's own is."""
    client = connect("explain")
    texts, labels = ["good", "", "你好"], ["a", "", "ccc"]
    found = client.explain(texts, labels=labels, batch_size=batch_size)
    assert [(one.label, one.words[0].word, one.words[0].score) for one in found] == [
        ("a", "good", 1.0),
        ("", "", 0.0),
        ("ccc", "你好", 3.0),
    ]
    assert [one.label for one in client.explain(texts, labels="yes")] == ["yes"] * 3
    assert [one.label for one in client.explain(texts)] == [""] * 3
    assert client.explain([]) == []
    with pytest.raises(InputError, match="3 texts but 1 label; give one for each text, or one for all"):
        client.explain(texts, labels=["a"])
    with pytest.raises(InputError, match="batch_size is 0"):
        client.explain(texts, batch_size=0)
    with pytest.raises(AnswerError, match="does not give explanations as this client knows them"):
        connect("sentiment").explain(texts)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 5, 100])
def test_batch_size_changes_nothing_but_the_requests(connect, key, batch_size):
    model = f"sentiment:{key}"
    client = connect(model)
    assert client.predict(TEXTS, batch_size=batch_size) == client.predict(TEXTS)
    assert calls(connect, model) == -(-len(TEXTS) // batch_size) + 1


def test_no_texts_no_call(connect):
    client = connect("status:INTERNAL")
    assert client.predict([]) == []
    assert client.predict([], [], batch_size=3) == []


def test_pairs(connect):
    answers = connect("pair").predict(["a", "b"], text_pair=["a", b"c"])
    assert answers == [
        NamedOutputs({"both": "a|a", "same": True}),
        NamedOutputs({"both": "b|c", "same": False}),
    ]


@pytest.mark.parametrize(
    ("texts", "options", "says"),
    [
        ("one string", {}, 'input "text" is one string; give a list of texts'),
        (b"bytes", {}, 'input "text" is one string'),
        (["a", "b\ud83d"], {}, 'row 1 of input "text" holds the lone surrogate U+D83D at character 1'),
        (["a", None], {}, 'row 1 of input "text" is NoneType'),
        (["a"], {"text_pair": ["b", "c"]}, "1 text but 2 in text_pair"),
        (["a"], {"text_pair": "b"}, 'input "text_pair" is one string'),
        (["a"], {"batch_size": 0}, "batch_size is 0"),
        (["a"], {"timeout": 0}, "timeout is 0"),
        (["a"], {"timeout": float("nan")}, "timeout is nan"),
    ],
)
def test_bad_input_is_said_before_any_call(connect, texts, options, says):
    client = connect("status:INTERNAL")  # any call would raise InternalError
    with pytest.raises(InputError) as caught:
        client.predict(texts, **options)
    assert says in str(caught.value)


def test_raw(connect):
    inputs = {
        "f32": np.arange(6, dtype=np.float32).reshape(2, 3),
        "big_endian": np.array([1, 2], ">i4"),
        "strided": np.arange(10, dtype=np.int64)[::3],
        "bool": np.array([[True], [False]]),
        "text": np.array([["a\0", b"\xff"], ["é", ""]], dtype=object),
        "scalar": np.float64(2.5),
        "list": [[1, 2], [3, 4]],
        "floats": [0.1],
        "long": [2**40],
        "empty": np.zeros((0, 3), np.float32),
    }
    for model in ("echo", "typed"):
        answer = connect(model).predict_raw(inputs)
        assert (answer.model, answer.version) == (model, 7)
        got = answer.outputs
        assert set(got) == set(inputs)
        for name in ("f32", "big_endian", "strided", "bool", "scalar", "empty"):
            np.testing.assert_array_equal(got[name], inputs[name])
            assert got[name].dtype == np.asarray(inputs[name]).dtype.newbyteorder("="), name
        assert got["text"].tolist() == [[b"a\0", b"\xff"], ["é".encode(), b""]]
        assert (got["list"].dtype, got["list"].tolist()) == (np.int32, [[1, 2], [3, 4]])
        assert (got["floats"].dtype, got["floats"].tolist()) == (np.float32, [np.float32(0.1)])
        assert (got["long"].dtype, got["long"].tolist()) == (np.int64, [2**40])
        got["f32"][0] = 5  # the caller's own


def test_raw_outputs(connect):
    client = connect("echo")
    inputs = {"a": [1], "b": [2]}
    assert set(client.predict_raw(inputs, outputs=["b"]).outputs) == {"b"}
    with pytest.raises(AnswerError, match="the answer has no output c; it has: a;"):
        client.predict_raw(inputs, outputs=["a", "c"])
    with pytest.raises(InputError, match="give a list of names"):
        client.predict_raw(inputs, outputs="a")


@pytest.mark.parametrize(
    ("options", "want"),
    [
        ({}, {"signature_name": "serving_default"}),
        ({"version": 0}, {"signature_name": "serving_default", "version": {"value": 0}}),
        ({"version": 12, "signature": "other"}, {"signature_name": "other", "version": {"value": 12}}),
        ({"version_label": "stable"}, {"signature_name": "serving_default", "version_label": "stable"}),
    ],
)
def test_the_server_sees_the_model_asked_for(connect, options, want):
    seen = connect("spec", **options).predict_raw({"x": [1]}).outputs["request"][0]
    request = predict_pb2.PredictRequest.FromString(seen)
    assert request.model_spec == predict_pb2.PredictRequest(model_spec={"name": "spec", **want}).model_spec
    assert request.model_spec.WhichOneof("version_choice") == next(
        (k for k in want if k.startswith("v")), None
    )


def test_status_and_metadata(connect):
    client = connect("sentiment")
    assert client.model_status() == [
        VersionStatus(8, VersionState.UNKNOWN),  # a state newer than us
        VersionStatus(7, VersionState.AVAILABLE),
        VersionStatus(6, VersionState.END),
    ]
    metadata = client.metadata()
    assert (metadata.model, metadata.version) == ("sentiment", 7)
    assert list(metadata.signatures) == ["serving_default"]  # not TensorFlow's __saved_model_init_op
    assert metadata.signatures["serving_default"].inputs == {"text": TensorSpec("string", (None,))}
    assert metadata.signatures["serving_default"].outputs == {
        "anything": TensorSpec("bfloat16", None),
        "probabilities": TensorSpec("float32", (None, 3)),
        "scalar": TensorSpec("int64", ()),
    }


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_each_status_is_its_error(connect, server, code):
    client = connect(f"status:{code.name}", version=3, retries=0)
    with pytest.raises(errors.CallError) as caught:
        client.predict(["a"])
    error = caught.value
    assert type(error) is errors.BY_CODE[code.name]
    assert error.details == "the server's\n  own words."
    assert error.target == server.target
    assert (
        f'(predict, model "status:{code.name}" version 3, signature "serving_default"): the server\'s own '
        f"words; " in str(error)
    )
    assert str(error).count(server.target) == 1


def test_a_slow_answer_ends_at_the_deadline(connect):
    client = connect("slow:10", timeout=0.3)
    started = time.monotonic()
    with pytest.raises(DeadlineExceededError, match=r"did not answer in 0\.3 s"):
        client.predict(["a"])
    with pytest.raises(DeadlineExceededError, match=r"did not answer in 0\.2 s"):
        client.predict(["a"], timeout=0.2)
    assert time.monotonic() - started < 8
    assert len(connect("slow:0.5", timeout=0.1).predict(["a"], timeout=20)) == 1


def test_unavailable_is_tried_again(connect, key):
    # More than the 256 KiB that gRPC keeps for a retry by default.
    assert len(connect(f"unavailable:3:{key}").predict(["x" * 1_000_000])) == 1
    assert calls(connect, f"unavailable:3:{key}") == 4
    with pytest.raises(UnavailableError, match="going down"):
        connect(f"unavailable:1:{key}", retries=0).predict(["a"])
    assert calls(connect, f"unavailable:1:{key}") == 1
    with pytest.raises(UnavailableError):
        connect(f"unavailable:100:{key}").predict(["a"])
    assert calls(connect, f"unavailable:100:{key}") == 5


@pytest.mark.parametrize("code", ["INTERNAL", "RESOURCE_EXHAUSTED", "ABORTED"])
def test_only_unavailable_is_tried_again(connect, key, code):
    with pytest.raises(errors.BY_CODE[code]):
        connect(f"status:{code}:{key}").predict(["a"])
    assert calls(connect, f"status:{code}:{key}") == 1


def test_dropped_connections_are_made_again(connect, make_proxy):
    proxy = make_proxy(drop=2)
    assert connect("sentiment", target=proxy.target).predict(["good"])[0].label == "positiv ✓"
    assert proxy.dropped == 2


def test_a_connection_lost_between_calls_is_made_again(connect, make_proxy):
    proxy = make_proxy()
    client = connect("sentiment", target=proxy.target)
    before = client.predict(["good"])
    proxy.cut()
    assert client.predict(["good"]) == before
    proxy.cut()
    assert client.model_status()


def test_large_messages(connect):
    text = "é" * 4_000_000
    assert connect("echo").predict_raw({"x": [text]}).outputs["x"][0] == text.encode()
    zeros = connect("big:5000000").predict_raw({}).outputs["zeros"]  # 20 MB; gRPC's default is 4
    assert (zeros.shape, zeros.dtype, zeros.any()) == ((1, 5_000_000), np.float32, False)


def test_the_message_limit_is_said(connect):
    for model, text in (("big:1000000", "x"), ("sentiment", "x" * 2_000_000)):
        with pytest.raises(ResourceExhaustedError, match="raise max_message_bytes"):
            connect(model, max_message_bytes=1_000_000).predict([text])


def test_an_answer_that_does_not_fit_the_question(connect):
    with pytest.raises(AnswerError, match="does not have 3 rows, one for each text"):
        connect("short").predict(["a", "b", "c"])
    with pytest.raises(AnswerError, match='output "x" is of type variant, which this client cannot read'):
        connect("variant").predict(["a"])


def test_a_port_where_nobody_listens(connect):
    with socket.create_server(("127.0.0.1", 0)) as held:
        target = f"127.0.0.1:{held.getsockname()[1]}"
    with pytest.raises(
        UnavailableError, match=f"^{target} cannot be reached .*Connection refused; is the server running"
    ):
        connect("x", target=target, retries=0).predict(["a"])


def test_a_server_that_is_not_grpc(connect):
    with socket.create_server(("127.0.0.1", 0)) as held:
        target = f"127.0.0.1:{held.getsockname()[1]}"

        def answer():
            connection, _ = held.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(errors.CallError, match=target):
            connect("x", target=target, retries=0).predict(["a"], timeout=5)
        thread.join()


def test_tls(connect, server):
    assert (
        connect("sentiment", target=server.tls_target, credentials=server.tls).predict(["good"])[0].label
        == "positiv ✓"
    )
    for credentials in (
        None,
        type(server.tls)(root=server.tls.root, server_name="model.test"),
    ):  # no TLS; no certificate
        with pytest.raises(UnavailableError):
            connect("sentiment", target=server.tls_target, credentials=credentials, retries=0).predict(
                ["good"]
            )


def test_many_threads_share_a_client(server):
    texts = [f"{'good ' * (i % 2)}{'x' * (i % 37)}" for i in range(300)]
    with (
        PredictClient(server.target, model="sentiment", timeout=60) as client,
        ThreadPoolExecutor(32) as pool,
    ):
        want = client.predict(texts)
        got = list(pool.map(lambda text: client.predict([text])[0], texts))
    assert got == want


def test_many_tasks_share_a_client(server):
    texts = [f"{'good ' * (i % 2)}{'x' * (i % 37)}" for i in range(300)]

    async def main():
        async with AsyncPredictClient(server.target, model="sentiment", timeout=60) as client:
            want = await client.predict(texts)
            got = await asyncio.gather(*(client.predict([text]) for text in texts))
        assert [answer for answers in got for answer in answers] == want

    asyncio.run(main())


def test_every_error_is_a_client_error():
    assert all(issubclass(cls, ClientError) for cls in errors.BY_CODE.values())
