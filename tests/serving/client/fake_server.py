"""A small TensorFlow Serving made from the official stubs, so that wire compatibility is proven by code not
ours.

    python fake_server.py [CERTIFICATE KEY ROOT]

What it does is chosen by the model's name, ``KIND`` or ``KIND:ARGUMENT:...``; see the functions. It prints
one JSON line with its ports and serves until its standard input is closed.
"""

from __future__ import annotations

import collections
import json
import os
import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

VERSION = 7
CLASSES = ["negativ", "positiv ✓"]
_FIELDS = {
    "float32": "float_val",
    "float64": "double_val",
    "int32": "int_val",
    "int64": "int64_val",
    "bool": "bool_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
}
_counts: collections.Counter[str] = collections.Counter()
_lock = threading.Lock()
_busy: collections.Counter[str] = collections.Counter()
_peaks: collections.Counter[str] = collections.Counter()
# What a server's message looks like when a model's own check fails.
REFUSAL = 'assertion failed: [text must not be bad, got \\"{}\\"] [2 rows]\n\t [[{{{{node check/Assert}}}}]]'


def count(key: str) -> int:
    """How often this was called with ``key`` before."""
    with _lock:
        _counts[key] += 1
        return _counts[key] - 1


def typed(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Typed fields, as TensorFlow Serving answers by default."""
    proto = tensor_pb2.TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    proto.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    if array.dtype == object:
        proto.dtype = types_pb2.DT_STRING
        proto.string_val.extend(v if isinstance(v, bytes) else v.encode() for v in array.ravel())
    else:
        getattr(proto, _FIELDS[array.dtype.name]).extend(array.ravel().tolist())
    return proto


def sentiment(texts: np.ndarray) -> dict[str, np.ndarray]:
    """Positive when "good" is in the text; the probability depends on its length, so rows can be told
    apart.
    """
    positive = np.array([b"good" in text for text in texts])
    sure = np.array([1 - 1 / (2 + len(text)) for text in texts], np.float32)
    return {
        "label": np.array([CLASSES[int(p)] for p in positive], dtype=object),
        "classes": np.array([CLASSES] * len(texts), dtype=object).reshape(len(texts), 2),
        "probabilities": np.stack(
            [np.where(positive, 1 - sure, sure), np.where(positive, sure, 1 - sure)], axis=1
        ),
    }


def matched(request, context, prompts):
    """Vectors [length, 0 or 1 for a document]; the similarity of two texts is that of their lengths; a search
    finds the query k times, in an index of 3 rows.
    """
    signature = request.model_spec.signature_name
    asked = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
    lengths = np.array([len(text) for text in asked["text"]], np.float32)
    if signature == "similarity":
        return {"score": lengths / [len(text) for text in asked["text_pair"]]}
    if signature == "search":
        assert asked["k"].dtype == np.int32
        count = np.minimum(asked["k"], 3)
        rows = [
            [text if place < most else b"" for place in range(4)] for text, most in zip(asked["text"], count)
        ]
        texts = np.array(rows, object).reshape(len(rows), 4)
        scores = np.where(texts != b"", lengths[:, None] - np.arange(4, dtype=np.float32), 0)
        ids = np.where(texts != b"", np.array([b"1", b"2", b"3", b"4"], object), b"")
        return {"ids": ids, "texts": texts, "scores": scores, "count": count, "web url": ids}
    if signature == "document" and not prompts:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "document" not found.')
    return {"embedding": np.stack([lengths, np.full_like(lengths, signature == "document")], axis=1)}


def written(request):
    """Repeats the source, as often as ``num_beams`` says, at most three times; the scores are what was chosen."""
    asked = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
    if request.model_spec.signature_name != "generate":
        return {"text": asked["text"], "score": np.full(len(asked["text"]), -0.5, np.float32)}
    wholes = (
        "seed",
        "do_sample",
        "top_k",
        "num_beams",
        "min_new_tokens",
        "max_new_tokens",
        "no_repeat_ngram_size",
    )
    reals = ("temperature", "top_p", "length_penalty", "repetition_penalty")
    assert asked.keys() == {"text", *wholes, *reals}
    assert {asked[name].dtype for name in wholes} == {np.dtype(np.int32)}
    assert {asked[name].dtype for name in reals} == {np.dtype(np.float32)}
    count = np.clip(asked["num_beams"], 1, 3)
    texts = [
        [text if place < most else b"" for place in range(3)] for text, most in zip(asked["text"], count)
    ]
    chosen = [asked[name].astype(np.float32) for name in ("seed", "do_sample", "temperature")]
    return {
        "texts": np.array(texts, object).reshape(-1, 3),
        "scores": np.stack(chosen, axis=1),
        "count": count,
    }


def one_word_each(texts: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    ends = np.array([[len(text.decode("utf-8", "replace"))] for text in texts], np.int32)
    scores = np.array([[len(label)] for label in labels], np.float32)
    zeros = np.zeros_like(ends)
    return {
        "label": labels,
        "value": scores[:, 0],
        "baseline": np.zeros(len(texts), np.float32),
        "words": texts[:, np.newaxis],
        "starts": zeros,
        "ends": ends,
        "text_numbers": zeros,
        "scores": scores,
        "count": np.ones(len(texts), np.int32),
    }


class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def Predict(self, request, context):  # noqa: N802
        before = count(request.model_spec.name)
        kind, *arguments = request.model_spec.name.split(":")
        if kind == "status":  # status:CODE: that status
            context.abort(grpc.StatusCode[arguments[0]], "the server's\n  own words.")
        if kind == "unavailable" and before < int(arguments[0]):  # unavailable:N: the first N calls fail
            context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
        if kind == "slow":
            time.sleep(float(arguments[0]))
        if kind == "hedge" and before == 0:  # only the first call is slow
            time.sleep(3)
        if kind == "busy":  # for 50 ms; see peak
            with _lock:
                _busy[request.model_spec.name] += 1
                _peaks[request.model_spec.name] = max(
                    _peaks[request.model_spec.name], _busy[request.model_spec.name]
                )
            time.sleep(0.05)
            with _lock:
                _busy[request.model_spec.name] -= 1
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = VERSION
        response.model_spec.signature_name = request.model_spec.signature_name
        arrays = {}
        if kind == "echo":  # tensors as they came
            for name, proto in request.inputs.items():
                response.outputs[name].CopyFrom(proto)
        elif kind == "typed":  # the same values in typed fields
            arrays = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        elif kind == "spec":  # the request itself
            arrays = {"request": np.array([request.SerializeToString()], dtype=object)}
        elif kind == "counts":  # counts:MODEL: how often that was asked
            arrays = {"calls": np.array(_counts[":".join(arguments)])}
        elif kind == "peak":  # peak:MODEL: how many calls of that one there were at a time at most
            arrays = {"peak": np.array(_peaks[":".join(arguments)])}
        elif kind == "headers":
            pairs = [f"{key}={value!r}" for key, value in context.invocation_metadata()]
            arrays = {"headers": np.array(pairs, dtype=object)}
        elif kind == "batches":  # of each row: the number of its request, and the lengths of its texts
            texts = tf.make_ndarray(request.inputs["text"])
            lengths = " ".join(str(len(text)) for text in texts)
            arrays = {
                "request": np.full(len(texts), before, np.int32),
                "lengths": np.full(len(texts), lengths.encode(), object),
                "text": texts,
            }
        elif kind == "picky":  # refuses requests with a bad text
            texts = tf.make_ndarray(request.inputs["text"])
            for text in texts:
                if b"bad" in text:
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, REFUSAL.format(text.decode()))
            arrays = sentiment(texts)
        elif kind == "big":
            arrays = {"zeros": np.zeros((1, int(arguments[0])), np.float32)}
        elif kind == "variant":
            response.outputs["x"].dtype = types_pb2.DT_VARIANT
        elif kind == "short":  # a row too few
            arrays = sentiment(tf.make_ndarray(request.inputs["text"])[:-1])
        elif kind == "explain":  # each text is one word, which its label's length explains
            asked = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            assert request.model_spec.signature_name == "explain"
            arrays = one_word_each(asked["text"], asked["label"])
        elif kind == "matching":  # matching:prompts: documents have a prompt of their own
            arrays = matched(request, context, bool(arguments))
        elif kind == "generation":
            arrays = written(request)
        elif kind == "pair":
            first, second = (tf.make_ndarray(request.inputs[name]) for name in ("text", "text_pair"))
            arrays = {"same": first == second, "both": first + b"|" + second}
        else:
            arrays = sentiment(tf.make_ndarray(request.inputs["text"]))
        for name, array in arrays.items():
            response.outputs[name].CopyFrom(typed(array))
        for name in set(request.output_filter) and set(response.outputs) - set(request.output_filter):
            del response.outputs[name]
        return response

    def GetModelMetadata(self, request, context):  # noqa: N802
        if request.model_spec.name == "absent":
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(absent)")
        kind, *arguments = request.model_spec.name.split(":")
        # labelled:N: the label is given after N looks
        if kind == "labelled" and count(request.model_spec.name) < int(arguments[0]):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: stable")
        assert list(request.metadata_field) == ["signature_def"], request
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = VERSION
        signatures = get_model_metadata_pb2.SignatureDefMap()
        default = signatures.signature_def["serving_default"]
        default.method_name = "tensorflow/serving/predict"
        default.inputs["text"].CopyFrom(_info(types_pb2.DT_STRING, [None]))
        default.outputs["probabilities"].CopyFrom(_info(types_pb2.DT_FLOAT, [None, 3]))
        default.outputs["anything"].CopyFrom(_info(types_pb2.DT_BFLOAT16, None))
        default.outputs["scalar"].CopyFrom(_info(types_pb2.DT_INT64, []))
        signatures.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = "NoOp"
        response.metadata["signature_def"].Pack(signatures)
        return response


def _info(dtype, shape) -> meta_graph_pb2.TensorInfo:
    return meta_graph_pb2.TensorInfo(name="x:0", dtype=dtype, tensor_shape=tf.TensorShape(shape).as_proto())


class Model(model_service_pb2_grpc.ModelServiceServicer):
    def GetModelStatus(self, request, context):  # noqa: N802
        State = get_model_status_pb2.ModelVersionStatus  # noqa: N806
        response = get_model_status_pb2.GetModelStatusResponse()

        def version(number, state, code=0, message=""):
            status = response.model_version_status.add(version=number, state=state)
            status.status.error_code = code
            status.status.error_message = message

        kind, *arguments = request.model_spec.name.split(":")
        if kind == "absent":
            context.abort(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model absent")
        elif kind == "status":
            context.abort(grpc.StatusCode[arguments[0]], "the server's own words")
        elif kind == "slowly":  # unknown, then starting, then loading, then ready
            seen = count(request.model_spec.name)
            if seen == 0:
                context.abort(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model slowly")
            version(1, {1: State.START, 2: State.LOADING}.get(seen, State.AVAILABLE))
        elif kind == "loading":
            version(1, State.LOADING)
        elif kind == "failed":
            version(3, State.END, 3, "Could not find\n meta graph def matching supplied tags: { serve }.")
            version(2, State.END)
        elif kind == "failing":  # a failed version, but another one is on its way
            version(3, State.END, 3, "bad")
            version(2, State.LOADING)
        elif kind == "ended":
            version(2, State.END)
        else:
            version(VERSION - 1, State.END)
            version(VERSION, State.AVAILABLE)
            version(VERSION + 1, 99)
        return response


def main() -> None:
    server = grpc.server(
        futures.ThreadPoolExecutor(64),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Prediction(), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Model(), server)
    healthy = health.HealthServicer()
    healthy.set("sick", health_pb2.HealthCheckResponse.NOT_SERVING)
    healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    ports = {"port": server.add_insecure_port("127.0.0.1:0")}
    if len(sys.argv) > 1:
        certificate, key, root = (Path(path).read_bytes() for path in sys.argv[1:])
        credentials = grpc.ssl_server_credentials([(key, certificate)], root, require_client_auth=True)
        ports["tls_port"] = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    print(json.dumps(ports), flush=True)
    sys.stdin.read()
    os._exit(0)  # not waiting for answers that are still slow


if __name__ == "__main__":
    main()
