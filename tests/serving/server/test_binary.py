"""tensorflow_model_server: its command line, its private socket, its end; a stand-in plays the binary."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf import text_format

from tfpipeline.errors import UserError
from tfpipeline.export.labels import promote
from tfpipeline.serving.server import docker, make_options, serve
from tfpipeline.serving.server.binary_command import _messages, command_line, server_files
from tfpipeline.serving.server.model_config import ModelConfig, Specific, parse
from tfpipeline.serving.server.run import find_binary, print_command
from tfpipeline.serving.server.sockets import free_port

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_READY = re.compile(r"serving m version 7 on (\S+) \(tensorflow_model_server\)")


def flags_of(options, **arguments):
    defaults = {"directory": "/c", "files": {"models.config": ""}, "port": 0}
    return command_line(options, ["tfs"], **{**defaults, **arguments})


def test_command_line_of_a_private_socket():
    options = make_options("/models/m", threads=12, poll_seconds=0.2)
    assert flags_of(options, socket_path="/c/grpc.sock") == [
        "tfs",
        "--port=0",
        "--grpc_socket_path=/c/grpc.sock",
        "--rest_api_port=0",
        "--model_config_file=/c/models.config",
        "--model_config_file_poll_wait_seconds=1",
        "--file_system_poll_wait_seconds=1",
        "--allow_version_labels_for_unavailable_models=true",
        "--grpc_max_threads=12",
        "--load_retry_interval_micros=2000000",
        "--enable_grpc_healthcheck_service=true",
    ]


def test_command_line_with_everything(tmp_path):
    (tmp_path / "b").write_text("max_batch_size { value: 8 }")
    options = make_options(
        "/models/m",
        host="0.0.0.0",
        port=9000,
        rest_port=9001,
        poll_seconds=0,
        max_concurrency=200,
        max_connection_age=1.5,
        batching_file=tmp_path / "b",
        flags=("--load_retry_interval_micros=5", "--grpc_channel_arguments=grpc.a=1", "--enable_profiler"),
    )
    files = server_files(options, [ModelConfig("m", Path("/models/m"))])
    assert files["batching.config"] == "max_batch_size { value: 8 }"
    assert files["monitoring.config"].split() == (
        ["prometheus_config", "{", "enable:", "true", "path:", '"/monitoring/prometheus/metrics"', "}"]
    )
    assert flags_of(options, files=files, port=9000, http=9001) == [
        "tfs",
        "--port=9000",
        "--rest_api_port=9001",
        "--model_config_file=/c/models.config",
        "--model_config_file_poll_wait_seconds=0",
        "--file_system_poll_wait_seconds=0",
        "--allow_version_labels_for_unavailable_models=true",
        "--grpc_max_threads=200",
        "--enable_grpc_healthcheck_service=true",
        "--monitoring_config_file=/c/monitoring.config",
        "--enable_batching=true",
        "--batching_parameters_file=/c/batching.config",
        "--grpc_channel_arguments=grpc.a=1,grpc.so_reuseport=0,grpc.max_connection_age_ms=1500",
        "--load_retry_interval_micros=5",
        "--enable_profiler",
    ]


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--port=1", '--port=1 cannot be given after "--": it is set from --port'),
        (
            "--model_config_file=x",
            '--model_config_file=x cannot be given after "--": it is set from --config',
        ),
        ("-p", '"-p" is not a flag of tensorflow_model_server; after "--", write --name=value'),
        ("4", '"4" is not a flag of tensorflow_model_server; after "--", write --name=value'),
    ],
)
def test_flags_that_cannot_be_passed_on(model_dir, fake_binary, flag, sentence):
    with pytest.raises(UserError) as caught:
        serve(model_dir, port=0, server_binary=fake_binary, flags=(flag,))
    assert str(caught.value) == sentence


def test_metrics_on_a_port_of_their_own(model_dir, fake_binary):
    with pytest.raises(
        UserError, match=r"has its metrics on the REST port \(8501\).*leave --metrics-port out"
    ):
        serve(model_dir, server_binary=fake_binary, rest_port=8501, metrics_port=8502)


@pytest.mark.parametrize("field", ["rest_port", "metrics_port"])
def test_an_occupied_port_of_rest_or_metrics_names_its_option(model_dir, fake_binary, field):
    option = "--" + field.replace("_", "-")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=f"in use by another program; choose another with {option}, or"):
            serve(model_dir, port=0, server_binary=fake_binary, **{field: taken.getsockname()[1]})


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


def test_loopback_is_passed_on_to_a_private_socket(running, model_dir):
    process, address, child, said = running()
    assert child["flags"]["port"] == "0"
    assert parse(child["config"], "file") == (ModelConfig("m", model_dir),)
    assert not Path(child["flags"]["model_config_file"]).exists()  # see binary.py: it would undo reloads
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


def test_a_label_is_followed_through_the_polled_file(running, model_dir, eventually, tmp_path):
    (model_dir / "6").mkdir()
    (model_dir / "6" / "saved_model.pb").touch()
    promote(model_dir, 7)
    process, _, child, _ = running(mode="poll", poll_seconds=0.1)
    assert parse(child["config"], "") == (ModelConfig("m", model_dir, Specific((7,)), {"stable": 7}),)
    configs = tmp_path / "pid.json.configs"
    promote(model_dir, 6)
    eventually(configs.exists)
    # Version 6 is loaded first: the label does not move to it yet.
    first = json.loads(configs.read_text().splitlines()[0])
    assert parse(first, "") == (ModelConfig("m", model_dir, Specific((6, 7)), {"stable": 7}),)
    file = Path(child["flags"]["model_config_file"])
    eventually(lambda: not file.exists())  # read once, so that it does not undo a client's reload later
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=20)
    assert "Failed to read" not in rest


def test_the_container(running, fake_binary, model_dir, monkeypatch, tmp_path):
    program = fake_binary.with_name("docker")
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "open(os.environ['FAKE_PID_FILE'] + '.docker', 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
        "if sys.argv[1] == 'run':\n"
        "    image = sys.argv.index('some/image')\n"
        "    published = next(a for a in sys.argv if a.startswith('--publish=')).split(':')[1]\n"
        "    flags = [f'--port={published}' if a == '--port=8500' else a for a in sys.argv[image + 1:]]\n"
        f"    os.execv({str(fake_binary)!r}, [{str(fake_binary)!r}, *flags])\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    rest_port = free_port("127.0.0.1", 0)
    process, address, child, said = running(
        docker=True, image="some/image", server_binary=None, rest_port=rest_port, latest_versions=2
    )
    assert said[0] == f"using {program} run some/image"
    assert child["flags"]["rest_api_port"] == "8501"
    with grpc.insecure_channel(address) as channel:
        assert channel.unary_unary(_PREDICT)(b"abc", timeout=10) == b"abc"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    started, removed = map(json.loads, (tmp_path / "pid.json.docker").read_text().splitlines())
    config = str(Path(child["flags"]["model_config_file"]).parent)
    name = Path(config).name
    assert started[: started.index("some/image")] == [
        "run",
        "--rm",
        "--init",
        "--env=TF_CPP_MIN_LOG_LEVEL=0",
        f"--name={name}",
        f"--publish={address}:8500",
        f"--publish=127.0.0.1:{rest_port}:8501",
        f"--volume={model_dir}:{model_dir}:ro",
        f"--volume={config}:{config}:ro",
        "--entrypoint=tensorflow_model_server",
    ]
    assert removed == ["rm", "--force", name]


def test_what_a_container_sees(tmp_path):
    a, b, other = (tmp_path / name for name in ("models/a", "models/b", "other/c"))
    assert docker.outermost([a, tmp_path / "models", b, other]) == [tmp_path / "models", other]
    mounts = [tmp_path / "models"]
    assert docker.hidden([ModelConfig("a", a), ModelConfig("b", b)], mounts) is None
    assert docker.hidden([ModelConfig("a", a), ModelConfig("c", other)], mounts) == other


def test_the_printed_container(model_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))  # docker need not be there
    script = print_command(model_dir, docker=True, host="localhost", port=8123, rest_port=8124)
    command = script[script.index("exec ") :].replace(" \\\n    ", " ")
    assert command.startswith(
        "exec docker run --rm --init --env=TF_CPP_MIN_LOG_LEVEL=0 --publish=127.0.0.1:8123:8500 "
        f"--publish=127.0.0.1:8124:8501 --volume={model_dir}:{model_dir}:ro "
        '"--volume=$config:$config:ro" --entrypoint=tensorflow_model_server tensorflow/serving --port=8500 '
        '--rest_api_port=8501 "--model_config_file=$config/models.config" '
    )
    assert "--name" not in command


def test_the_keys_of_tls_are_given_in_a_private_file_and_never_printed(model_dir, fake_binary, tmp_path):
    key, certificate = tmp_path / "server's key.pem", tmp_path / "c.pem"
    options = shlex.split("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost")
    command = ["openssl", *options, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    where = {"tls_key": key, "tls_certificate": certificate, "tls_ca": certificate}
    written = server_files(make_options(model_dir, **where), ())["ssl.config"]
    fields = text_format.Parse(written, _messages()["SSLConfig"]())
    assert (fields.server_key, fields.server_cert, fields.custom_ca, fields.client_verify) == (
        key.read_text(),
        certificate.read_text(),
        certificate.read_text(),
        True,
    )
    without_ca = server_files(make_options(model_dir, **{**where, "tls_ca": None}), ())["ssl.config"]
    assert "client_verify" not in without_ca

    script = print_command(model_dir, server_binary=fake_binary, host="0.0.0.0", port=8123, **where)
    assert "BEGIN" not in script
    fake_binary.write_text('#!/bin/sh\ncat "$config/ssl.config" > "$OUT"\n')
    out = tmp_path / "out"
    subprocess.run(
        ["sh", "-eu", "-a"],
        input=script,
        text=True,
        env={**os.environ, "OUT": str(out)},
        timeout=20,
        check=True,
    )
    assert text_format.Parse(out.read_text(), _messages()["SSLConfig"]()) == fields


def test_the_printed_script_starts_the_same_server(model_dir, fake_binary, tmp_path, monkeypatch):
    promote(model_dir, 7)
    text = print_command(model_dir, server_binary=fake_binary, host="0.0.0.0", port=8123, flags=("--a=b c",))
    fake_binary.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$OUT"; cat "$config"/* >> "$OUT"\n')
    done = subprocess.run(
        ["sh", "-eu", "-a"],
        input=text,
        text=True,
        env={**os.environ, "OUT": str(tmp_path / "out")},
        timeout=20,
    )
    assert done.returncode == 0
    words, _, config = (tmp_path / "out").read_text().partition("model_config_list")
    assert parse("model_config_list" + config, "") == (
        ModelConfig("m", model_dir, Specific((7,)), {"stable": 7}),
    )
    lines = words.splitlines()
    assert (lines[0], lines[-1]) == ("--port=8123", "--a=b c")


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_the_binary_ends_with_a_parent_that_was_killed(running, eventually):
    process, _, child, _ = running()
    process.kill()
    process.wait()
    eventually(lambda: not alive(child["pid"]))


def test_a_server_that_is_stopped_while_it_loads_says_so(model_dir, fake_binary, tmp_path, eventually):
    source = fake_binary.read_text()
    fake_binary.write_text(source.replace("time.sleep(0.3)  # it loads", "time.sleep(60)  # it loads"))
    code = f"from tfpipeline.serving.server import serve; serve({str(model_dir)!r}, port=0, server_binary={str(fake_binary)!r})"
    pid_file = tmp_path / "pid.json"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FAKE_PID_FILE": str(pid_file)},
    )
    eventually(lambda: pid_file.exists() and pid_file.read_text().endswith("}"))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert said.splitlines()[-1] == "stopped"
    assert not alive(json.loads(pid_file.read_text())["pid"])


@pytest.mark.parametrize("hurry", [False, True], ids=["one signal", "two signals"])
def test_calls_in_flight_are_answered_before_the_binary_ends(running, hurry, tmp_path, eventually):
    arrived, go = tmp_path / "pid.json.calls", tmp_path / "pid.json.go"
    process, address, child, _ = running(mode="slow")
    with grpc.insecure_channel(address) as busy, grpc.insecure_channel(address) as idle:
        grpc.channel_ready_future(idle).result(10)  # its connection holds nothing up
        calls = [busy.unary_unary(_PREDICT).future(b"abc", timeout=10) for _ in range(3)]
        eventually(lambda: arrived.exists() and len(arrived.read_text()) == 3)
        process.send_signal(signal.SIGTERM)
        line = process.stderr.readline()
        while "being answered" not in line:
            line = process.stderr.readline()
        assert line == "stopping: 3 calls are being answered\n"
        if hurry:
            process.send_signal(signal.SIGTERM)
        else:
            go.touch()
        outcomes = [call.code() for call in calls]
        want = grpc.StatusCode.UNAVAILABLE if hurry else grpc.StatusCode.OK
        assert outcomes == [want] * 3
        with pytest.raises(grpc.RpcError) as caught:  # new calls go to another replica
            busy.unary_unary(_PREDICT)(b"abc", timeout=10)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert process.wait(timeout=5) == 0
    assert not alive(child["pid"])


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


def test_flags_that_the_binary_refuses_are_told_in_one_sentence(model_dir, fake_binary):
    with pytest.raises(UserError) as caught:
        serve(model_dir, port=0, server_binary=fake_binary, flags=("--threds=4",))
    assert str(caught.value) == (
        f"{fake_binary} has no flag --threds=4; see its flags with {fake_binary} --help"
    )
    fake_binary.write_text("#!/bin/sh\necho 'unknown argument: --rest_api_num_threads'\nexec sleep 60\n")
    with pytest.raises(UserError, match=r"or it needs a value \(--rest_api_num_threads=VALUE\); see its"):
        serve(model_dir, port=0, server_binary=fake_binary, flags=("--rest_api_num_threads",))


def test_values_that_the_binary_refuses_are_told_in_one_sentence(model_dir, fake_binary):
    with pytest.raises(UserError) as caught:
        serve(model_dir, port=0, server_binary=fake_binary, flags=("--tensorflow_session_parallelism=many",))
    assert str(caught.value) == (
        f"{fake_binary} ended with exit code 255 before it was ready: "
        "Couldn't interpret value many for flag tensorflow_session_parallelism."
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
