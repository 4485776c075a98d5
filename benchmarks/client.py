"""Cost of the thin client compared with TensorFlow Serving's own stubs.

    python -m benchmarks.client [--rounds N]

- Importing, in fresh processes: CPU seconds (including the interpreter's start), peak memory, and whether
  TensorFlow was imported. Goal: at most 0.35 s and 60 MB, and no TensorFlow.
- Messages, in one process and alternately: building and serialising a request, and parsing a response into
  arrays, compared with ``tf.make_tensor_proto`` and ``tf.make_ndarray`` with the official messages.

One JSON line per measurement: ``speed_ratio`` is the peer's time over ours, so above 1 we are faster.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, Optional

import numpy as np

from benchmarks._measure import report, side_by_side
from tfpipeline.runtime import import_tensorflow
from tfpipeline.serving.client import calls, messages

OURS, THEIRS = "tfpipeline.serving.client", "tensorflow-serving-api"
IMPORTS = {
    OURS: "from tfpipeline.serving.client import PredictClient; PredictClient('localhost:1', "
    "model='m').close()",
    THEIRS: "from tensorflow_serving.apis import get_model_status_pb2, predict_pb2, "
    "prediction_service_pb2_grpc",
    "import grpc, numpy": "import grpc, numpy",
}
# ru_maxrss cannot be used: a child inherits the peak of the process that started it.
_MEASURE = """
import json, sys, time
cpu = time.process_time()
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
peak_mb = int(peak.split()[1]) / 1024
print(json.dumps({"cpu_seconds": cpu, "peak_mb": peak_mb, "tensorflow": "tensorflow" in sys.modules}))
"""


def measure_import(statement: str, rounds: int) -> dict[str, Any]:
    """A statement's cost in fresh processes: medians of ``rounds``, after one that fills the file cache."""
    runs = []
    for _ in range(rounds + 1):
        done = subprocess.run(
            [sys.executable, "-c", statement + "\n" + _MEASURE], capture_output=True, text=True, check=True
        )
        runs.append(json.loads(done.stdout))
    return {
        "cpu_seconds": round(statistics.median(run["cpu_seconds"] for run in runs[1:]), 3),
        "peak_mb": round(statistics.median(run["peak_mb"] for run in runs[1:]), 1),
        "tensorflow": runs[-1]["tensorflow"],
    }


def request_cases() -> dict[str, np.ndarray]:
    """Inputs of requests."""
    texts = np.array([b"they lost my luggage again, thank you %d" % i for i in range(1024)], dtype=object)
    rng = np.random.default_rng(0)
    return {
        "1 text": texts[:1],
        "32 texts": texts[:32],
        "1024 texts": texts,
        "int32 [32, 128]": rng.integers(0, 30_522, (32, 128), np.int32),
        "float32 [256, 768]": rng.random((256, 768), np.float32),
    }


def response_cases() -> dict[str, dict[str, np.ndarray]]:
    """Outputs of responses."""
    rng = np.random.default_rng(0)

    def classified(rows: int) -> dict[str, np.ndarray]:
        classes = np.array([[b"negative", b"neutral", b"positive"]] * rows, dtype=object)
        return {
            "label": classes[:, 1],
            "classes": classes,
            "probabilities": rng.random((rows, 3), np.float32),
        }

    return {
        "1 classification": classified(1),
        "32 classifications": classified(32),
        "1024 classifications": classified(1024),
        "int32 [256, 128]": {"ids": rng.integers(0, 30_522, (256, 128), np.int32)},
        "float32 [256, 768]": {"vectors": rng.random((256, 768), np.float32)},
    }


def encoders() -> dict[str, Callable[[np.ndarray], object]]:
    """Array -> a serialised PredictRequest, ours and theirs."""
    tf = import_tensorflow()
    from tensorflow_serving.apis import predict_pb2

    endpoint = calls.Endpoint("localhost:8500", "m")

    def ours(array: np.ndarray) -> object:
        return calls.predict_request(endpoint, {"x": array}).SerializeToString()

    def theirs(array: np.ndarray) -> object:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.model_spec.signature_name = "serving_default"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(array))
        return request.SerializeToString()

    return {THEIRS: theirs, OURS: ours}


def decoders() -> dict[str, Callable[[bytes], object]]:
    """A serialised PredictResponse -> named arrays, ours and theirs."""
    tf = import_tensorflow()
    from tensorflow_serving.apis import predict_pb2

    def ours(data: bytes) -> object:
        return calls.predict_answer(messages.PredictResponse.FromString(data)).outputs

    def theirs(data: bytes) -> object:
        response = predict_pb2.PredictResponse.FromString(data)
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    return {THEIRS: theirs, OURS: ours}


def response_bytes(outputs: dict[str, np.ndarray], layout: str) -> bytes:
    """The bytes that a server would send.

    Args:
        outputs: name -> array; strings as objects.
        layout: "typed fields", a server's default, or "tensor_content".
    """
    tf = import_tensorflow()
    from tensorflow_serving.apis import predict_pb2

    response = predict_pb2.PredictResponse()
    for name, array in outputs.items():
        proto = tf.make_tensor_proto(array)
        if layout == "typed fields" and proto.tensor_content:
            proto.ClearField("tensor_content")
            field = {"int32": proto.int_val, "float32": proto.float_val}[array.dtype.name]
            field.extend(array.ravel().tolist())
        response.outputs[name].CopyFrom(proto)
    return response.SerializeToString()


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Print every measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=200, help="repetitions of each message")
    parser.add_argument(
        "--import-rounds", type=int, default=5, help="fresh processes for each import; 0 for none"
    )
    options = parser.parse_args(arguments)

    if options.import_rounds:
        for way, statement in IMPORTS.items():
            report(benchmark="client import", way=way, **measure_import(statement, options.import_rounds))
    for case, array in request_cases().items():
        for way, measured in side_by_side(
            encoders(), [array] * (options.rounds + 1), baseline=THEIRS
        ).items():
            report(benchmark="client request", case=case, way=way, **measured)
    for case, outputs in response_cases().items():
        for layout in ("typed fields", "tensor_content"):
            data = response_bytes(outputs, layout)
            for way, measured in side_by_side(
                decoders(), [data] * (options.rounds + 1), baseline=THEIRS
            ).items():
                report(benchmark="client response", case=case, layout=layout, way=way, **measured)


if __name__ == "__main__":
    main()
