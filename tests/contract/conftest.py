"""One `server` for every contract test: the embedded server and, when on the PATH,
tensorflow_model_server.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from tfpipeline.serving.server import EmbeddedServer, make_options, versions
from tfpipeline.serving.server.run import BINARY
from tfpipeline.serving.server.sockets import free_port

NAME = "half"
VERSION = 3
_SERVE = "from tfpipeline.serving.server import serve; serve({!r}, **{!r})"


@dataclass
class Served:
    """A server that answers, and its model directory."""

    address: str
    rest_address: str
    model_dir: Path
    channel: grpc.Channel

    @property
    def predictions(self) -> Any:
        return prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    @property
    def models(self) -> Any:
        return model_service_pb2_grpc.ModelServiceStub(self.channel)


class Signatures(tf.Module):
    """Small signatures whose answers are known."""

    def __init__(self, plus: float) -> None:
        super().__init__()
        self.plus = tf.Variable(plus)
        self.kernel = tf.Variable([[1.0], [10.0], [100.0]])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def half_plus(self, x):
        return {"y": x / 2 + self.plus}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def upper(self, text):
        return {"upper": tf.strings.upper(text), "bytes": tf.strings.length(text)}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def wide(self, x):
        return {"y": tf.matmul(x, self.kernel)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="a"),
            tf.TensorSpec([None], tf.int32, name="b"),
        ]
    )
    def two(self, a, b):
        return {"sum": a + tf.cast(b, tf.float32), "difference": a - tf.cast(b, tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def picky(self, x):
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, message="x must not be negative")]):
            return {"y": tf.identity(x) + 1}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def mean(self, x):
        return {"mean": tf.reduce_mean(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def letters(self, text):
        return {"letters": tf.strings.bytes_split(text).to_tensor("-")}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.int32, name="input_ids"),
            tf.TensorSpec([None], tf.int32, name="lengths"),
        ]
    )
    def input_ids(self, input_ids, lengths):
        real = tf.sequence_mask(lengths, tf.shape(input_ids)[1], tf.int32)
        valid = tf.debugging.assert_less_equal(
            lengths, tf.shape(input_ids)[1], message="a length is too long"
        )
        with tf.control_dependencies([valid]):
            return {"total": tf.reduce_sum(input_ids * real, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs):
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
        names = tf.tile([["low", "high"]], [tf.shape(x)[0], 1])
        return {"classes": names, "scores": tf.concat([1 - x, x], axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs):
        return {
            "outputs": tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"] / 2
            + self.plus
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], dtype, name=dtype.name)
            for dtype in (
                tf.float64,
                tf.float16,
                tf.bfloat16,
                tf.int8,
                tf.uint8,
                tf.int64,
                tf.bool,
                tf.uint32,
                tf.complex64,
            )
        ]
    )
    def echo(self, float64, float16, bfloat16, int8, uint8, int64, bool, uint32, complex64):  # noqa: A002
        values = (float64, float16, bfloat16, int8, uint8, int64, bool, uint32, complex64)
        return {value.dtype.name: tf.identity(value) for value in values}

    def save(self, path: Path) -> None:
        names = (
            *("upper", "wide", "two", "picky", "mean", "letters", "input_ids"),
            *("classify", "regress", "echo"),
        )
        tf.saved_model.save(
            self,
            str(path),
            {"serving_default": self.half_plus, **{name: getattr(self, name) for name in names}},
        )


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory) -> Path:
    """`plus2` and `plus3`: two SavedModels to copy into place as versions."""
    folder = tmp_path_factory.mktemp("saved_models")
    for plus in (2, 3):
        Signatures(float(plus)).save(folder / f"plus{plus}")
    return folder


@pytest.fixture
def publish(saved_models):
    """Put a saved model into a model directory as a version, the way an export does: copy, then rename."""

    def publish(model_dir: Path, version: int, which: str = "plus2") -> None:
        temporary = model_dir / f".tmp-{version}"
        shutil.copytree(saved_models / which, temporary)
        os.rename(temporary, model_dir / str(version))

    return publish


def _binary() -> str:
    found = shutil.which(BINARY)
    if found is None:
        pytest.skip(f"{BINARY} is not on the PATH")
    return found


@pytest.fixture(scope="session", params=["embedded", "tensorflow_model_server"])
def start(request):
    """A context manager: (model directory, options of `serve`) -> :class:`Served`."""
    if request.param == "tensorflow_model_server":
        _binary()

    @contextlib.contextmanager
    def started(model_dir: Path, **options: Any) -> Iterator[Served]:
        run = _embedded if request.param == "embedded" else _real
        with (
            run(model_dir, {"name": NAME, "port": 0, **options}) as (address, rest),
            grpc.insecure_channel(address) as channel,
        ):
            yield Served(address, rest, model_dir, channel)

    return started


@contextlib.contextmanager
def _embedded(model_dir: Path, options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    checked = make_options(model_dir, poll_seconds=0.2, rest_port=0, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions, "SETTLE_SECONDS", 1.0)  # the binary needs its ten
        with EmbeddedServer(checked, say=lambda sentence: None) as server:
            assert server.rest_address is not None
            yield server.address, server.rest_address


@contextlib.contextmanager
def _real(model_dir: Path, options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    rest_port = free_port("127.0.0.1", 0)
    options = {"server_binary": _binary(), "rest_port": rest_port, **options}
    code = _SERVE.format(str(model_dir) if model_dir else (), options)
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if match := re.match(r"serving .* on (\S+) \(tensorflow_model_server\)", line):
                break
        else:
            pytest.fail("tensorflow_model_server did not start: " + "".join(said))
        yield match[1], f"127.0.0.1:{rest_port}"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        process.stderr.close()


@pytest.fixture(scope="session")
def server(start, saved_models, tmp_path_factory) -> Iterator[Served]:
    """One server with version 3 of the model `half`; for tests that change nothing."""
    model_dir = tmp_path_factory.mktemp("contract") / NAME
    shutil.copytree(saved_models / "plus2", model_dir / str(VERSION))
    with start(model_dir) as served:
        yield served
