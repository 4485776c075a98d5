"""tensorflow_model_server: its command line, its private socket, its end; a stand-in plays the binary."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from tfpipeline.errors import UserError
from tfpipeline.serving.server import make_options, probe, serve
from tfpipeline.serving.server.binary import command_line, model_config
from tfpipeline.serving.server.run import find_binary

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_READY = re.compile(r"serving m version 7 on (\S+) \(tensorflow_model_server\)")


def test_command_line_of_a_private_socket():
    options = make_options("/models/m", threads=12, poll_seconds=0.2)
    assert command_line(options, Path("/bin/tfs"), port=0, socket_path="/tmp/x/grpc.sock") == [
        "/bin/tfs",
        "--port=0",
        "--grpc_socket_path=/tmp/x/grpc.sock",
        "--rest_api_port=0",
        "--model_name=m",
        "--model_base_path=/models/m",
        "--file_system_poll_wait_seconds=1",
        "--grpc_max_threads=12",
        "--load_retry_interval_micros=2000000",
    ]


def test_command_line_of_every_interface_and_several_versions():
    options = make_options(
        "/models/m", name="other", host="0.0.0.0", port=9000, latest_versions=2, poll_seconds=0
    )
    assert command_line(options, Path("tfs"), port=9000, config_file="/tmp/c") == [
        "tfs",
        "--port=9000",
        "--rest_api_port=0",
        "--model_config_file=/tmp/c",
        "--file_system_poll_wait_seconds=0",
        "--grpc_max_threads=64",
        "--load_retry_interval_micros=2000000",
        "--grpc_channel_arguments=grpc.so_reuseport=0",
    ]


def test_model_config_is_read_back_by_the_official_message(tmp_path):
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    options = make_options(tmp_path / 'a "b" \\ é\n', name="n'ame", latest_versions=3)
    config = text_format.Parse(model_config(options), model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == (
        "n'ame",
        str(options.model_dir),
        "tensorflow",
    )
    assert model.model_version_policy.latest.num_versions == 3


def test_probe_speaks_the_official_messages():
    from tensorflow_serving.apis import get_model_status_pb2

    assert (
        get_model_status_pb2.GetModelStatusRequest.FromString(probe.encode_request("é")).model_spec.name
        == "é"
    )
    response = get_model_status_pb2.GetModelStatusResponse()
    for version, state in ((9, "END"), (8, "AVAILABLE"), (2**40, "LOADING"), (3, "AVAILABLE")):
        response.model_version_status.add(version=version, state=state).status.error_message = "x"
    assert probe.available_versions(response.SerializeToString()) == [8, 3]
    assert probe.available_versions(b"") == []


@pytest.fixture
def model_dir(tmp_path):
    version = tmp_path / "m" / "7"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    return tmp_path / "m"


@pytest.fixture
def running(tmp_path, model_dir, fake_binary):
    """Start `serve` with the stand-in in a process of its own; yields a function that does, and cleans up."""
    started = []

    def run(mode="", **arguments):
        pid_file = tmp_path / "pid.json"
        arguments = {"port": 0, "server_binary": str(fake_binary), **arguments}
        code = f"from tfpipeline.serving.server import serve; serve({str(model_dir)!r}, **{arguments!r})"
        environment = {**os.environ, "FAKE_PID_FILE": str(pid_file), "FAKE_MODE": mode}
        process = subprocess.Popen(
            [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment
        )
        started.append(process)
        said = []
        for line in process.stderr:
            said.append(line.rstrip())
            if match := _READY.match(line):
                return process, match[1], json.loads(pid_file.read_text()), said
        pytest.fail("not ready: " + "\n".join(said))

    yield run
    for process in started:
        process.kill()
        process.communicate()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie is dead; only its parent has not looked yet.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_loopback_is_passed_on_to_a_private_socket(running, eventually):
    process, address, child, said = running()
    assert child["flags"]["port"] == "0"
    assert child["flags"]["model_name"] == "m"
    path = Path(child["flags"]["grpc_socket_path"])
    assert path.parent.stat().st_mode & 0o077 == 0
    assert "it can only listen on every interface" in said[0]
    host, port = address.split(":")
    assert host == "127.0.0.1"
    payload = os.urandom(20_000_000)  # more than every buffer on the way
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address, options) as channel:
        assert channel.unary_unary(_PREDICT)(payload, timeout=30) == payload
    for other in _other_addresses():
        with pytest.raises(OSError):
            socket.create_connection((other, int(port)), timeout=2).close()

    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=20)
    assert process.returncode == 0
    assert not alive(child["pid"])
    assert not path.parent.exists()
    # Its errors and versions are shown, its chatter is not.
    assert [line for line in rest.splitlines() if line] == [
        "tensorflow_model_server: an error the user should see",
        "version 8 of m is loaded and serving",
        "stopped",
    ]


def _other_addresses():
    found = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    return sorted(address for address in found if not address.startswith("127."))


def test_every_interface_is_left_to_the_binary(running):
    with socket.socket() as free:
        free.bind(("0.0.0.0", 0))
        port = free.getsockname()[1]
    process, address, child, _ = running(host="0.0.0.0", port=port)
    assert address == f"0.0.0.0:{port}"
    assert child["flags"]["port"] == str(port)
    assert "grpc_socket_path" not in child["flags"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert channel.unary_unary(_PREDICT)(b"abc", timeout=10) == b"abc"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    assert not alive(child["pid"])


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_the_binary_ends_with_a_parent_that_was_killed(running, eventually):
    process, _, child, _ = running()
    process.kill()
    process.wait()
    eventually(lambda: not alive(child["pid"]))


def test_a_binary_that_ends_while_serving_is_told_in_one_sentence(running):
    process, address, _, _ = running(mode="crash")
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(_PREDICT)(b"abc", timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    _, rest = process.communicate(timeout=20)
    assert process.returncode == 1  # the command line turns the UserError into 2
    assert "ended with exit code 139 while it was serving: " in rest.splitlines()[-1]
    assert "Check failed: something fatal" in rest.splitlines()[-1]


def test_a_binary_that_does_not_start_is_told_in_one_sentence(model_dir, fake_binary, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "exit")
    with pytest.raises(UserError) as caught:
        serve(model_dir, port=0, server_binary=fake_binary)
    assert str(caught.value) == (
        f"{fake_binary} ended with exit code 255 before it was ready: "
        "Failed to start server. Error: Unknown: 1 servable(s) did not become available"
    )


def test_a_binary_for_another_machine(model_dir, tmp_path):
    binary = tmp_path / "tensorflow_model_server"
    binary.write_bytes(b"\x7fELF nonsense")
    binary.chmod(0o755)
    with pytest.raises(UserError, match=r"tensorflow_model_server cannot be run: .*built for this machine"):
        serve(model_dir, port=0, server_binary=binary)


def test_find_binary(tmp_path, fake_binary, monkeypatch):
    with pytest.raises(
        UserError, match=r"there is no server binary .*nothing; give the path of tensorflow_model_server"
    ):
        find_binary(tmp_path / "nothing")
    plain = tmp_path / "plain"
    plain.touch()
    with pytest.raises(UserError, match=r"plain cannot be executed"):
        find_binary(plain)
    with pytest.raises(UserError, match=r"cannot be executed"):
        find_binary(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert find_binary(None) is None
    monkeypatch.setenv("PATH", str(fake_binary.parent))
    assert find_binary(None) == fake_binary
    assert find_binary("tensorflow_model_server") == fake_binary
