"""`serve`: what a user sees, how it ends, and one sentence for each thing that can be wrong."""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import subprocess
import sys

import grpc
import pytest

from tfpipeline.errors import UserError
from tfpipeline.serving.server import make_options, serve
from tfpipeline.serving.server.model_config import ModelConfig
from tfpipeline.serving.server.sources import find_models

_STUB = """
import sys
from tfpipeline.serving.server import serve
heavy = {"tensorflow", "grpc", "tensorflow_serving"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.fixture(autouse=True)
def no_binary(monkeypatch, tmp_path):
    monkeypatch.setenv(
        "PATH", str(tmp_path / "no-binary-here") + os.pathsep + os.path.dirname(sys.executable)
    )


@pytest.fixture
def model_dir(tmp_path):
    version = tmp_path / "models" / "m" / "7"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    return version.parent


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_what_a_user_sees_from_start_to_stop(tmp_path, publish, number):
    model_dir = publish(tmp_path / "models" / "sentiment", 1)
    code = _STUB + f"serve({str(model_dir)!r}, port=0)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    said = []
    for line in process.stderr:
        said.append(line.rstrip())
        if line.startswith("serving"):
            break
    match = re.fullmatch(
        r"serving sentiment version 1 on (127\.0\.0\.1:\d+) \(embedded development server\)", said[-1]
    )
    assert match, said
    # Ready means ready: no waiting, no retrying.
    with grpc.insecure_channel(match[1]) as channel:
        method = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")
        # GetModelStatusRequest(model_spec.name="sentiment") -> version 1, AVAILABLE (30), OK
        assert method(b"\x0a\x0b\x0a\x09sentiment", timeout=10) == b"\x0a\x06\x08\x01\x10\x1e\x1a\x00"
    process.send_signal(number)
    out, rest = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == ""
    # Ours alone: none of TensorFlow's start-up lines; a slow start may add lines of progress.
    lines = [line for line in [*said, *rest.splitlines()] if not line.startswith("starting sentiment")]
    assert lines == [
        "no tensorflow_model_server on the PATH: using the embedded development server",
        said[-1],
        "stopped",
    ]


def refused(*arguments, **options):
    with pytest.raises(UserError) as caught:
        serve(*arguments, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_missing_directory_names_what_is_there(model_dir):
    sentence = refused(model_dir.parent / "sentimnet")
    assert sentence.startswith(
        f"there is no directory {model_dir.parent / 'sentimnet'}; {model_dir.parent} has m;"
    )


def test_a_path_the_system_refuses(tmp_path):
    long = tmp_path / ("m" * 300)
    assert refused(long) == f"cannot read {long}: File name too long; check the path and its permissions"


def test_a_file(tmp_path):
    file = tmp_path / "model.bin"
    file.touch()
    assert "is a file; give the directory models/NAME" in refused(file)


def test_no_version_says_what_is_there(tmp_path):
    for name in ("latest", ".tmp-1-x", "notes.txt", "v1", "z"):
        (tmp_path / "m" / name).mkdir(parents=True)
    sentence = refused(tmp_path / "m")
    assert (
        "has no version to serve: it holds .tmp-1-x, latest, notes.txt, v1 and 1 more, and a version is"
        in sentence
    )


def test_an_empty_directory(tmp_path):
    (tmp_path / "m").mkdir()
    assert "has no version to serve: it holds nothing" in refused(tmp_path / "m")


def test_a_version_directory(model_dir):
    assert refused(model_dir / "7").endswith(
        f"is a SavedModel itself, not a directory of versions; give its parent: {model_dir}"
    )


def test_a_saved_model_without_a_version(model_dir):
    saved_model = (model_dir / "7").rename(model_dir / "export")
    assert refused(saved_model).endswith(f"move it to {saved_model}/1 and run this again")


def test_a_run(tmp_path):
    run = tmp_path / "runs" / "tweets"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    assert refused(run).endswith(f"export it first: tfpipeline export {run} --to models/tweets")


def test_a_version_without_a_saved_model(model_dir):
    (model_dir / "7" / "saved_model.pb").rename(model_dir / "7" / "saved_model.pb.part")
    assert f"{model_dir / '7'} holds saved_model.pb.part and no saved_model.pb" in refused(model_dir)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_an_occupied_port(model_dir, host):
    with socket.socket() as taken:
        taken.bind((host, 0))
        taken.listen()
        port = taken.getsockname()[1]
        sentence = refused(model_dir, host=host, port=port)
    assert (
        sentence
        == f"port {port} on {host} is in use by another program; choose another with --port, or --port 0"
    )


@pytest.mark.parametrize(
    ("field", "option"), [("rest_port", "--rest-port"), ("metrics_port", "--metrics-port")]
)
def test_an_occupied_port_of_rest_or_metrics_names_its_option(model_dir, field, option):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sentence = refused(model_dir, port=0, **{field: port})
    assert sentence == (
        f"port {port} on 127.0.0.1 is in use by another program; choose another with {option}, or {option} 0"
    )


def test_a_key_that_cannot_be_read(model_dir, tmp_path):
    (tmp_path / "key.pem").write_text("nonsense")
    sentence = refused(model_dir, port=0, tls_key=tmp_path / "key.pem", tls_certificate=tmp_path / "key.pem")
    assert sentence.startswith(f"--tls-key {tmp_path / 'key.pem'} is not a PEM file")


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_range(model_dir, port):
    assert (
        refused(model_dir, port=port) == f"port {port} is out of range; give 1 to 65535, or 0 for a free one"
    )


def test_a_host_of_another_machine(model_dir):
    sentence = refused(model_dir, host="192.0.2.1", port=0)  # RFC 5737: nobody's address
    assert "no interface of this machine has that address; use --host 127.0.0.1" in sentence


def test_a_host_that_is_no_name(model_dir):
    assert "cannot listen on 'no such host': that name has no address here" in refused(
        model_dir, host="no such host", port=0
    )


def test_a_binary_that_is_not_there(model_dir):
    assert "there is no server binary /nowhere/tfs" in refused(model_dir, server_binary="/nowhere/tfs")


@pytest.mark.parametrize(
    "option",
    [
        {"host": ""},
        {"latest_versions": 0},
        {"poll_seconds": -1.0},
        {"threads": 0},
        {"poll_seconds": math.nan},
        {"max_connection_age": math.nan},
        {"max_connection_age": math.inf},
        {"max_connection_age": 3e6},  # more milliseconds than 32 bits hold
    ],
    ids=str,
)
def test_options_that_cannot_work(model_dir, option):
    assert "give" in refused(model_dir, **option)


def test_name_and_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stable").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    assert find_models(make_options("stable/")) == (ModelConfig("stable", tmp_path / "stable"),)
    assert find_models(make_options("stable", name="other"))[0].name == "other"
