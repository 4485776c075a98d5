"""Advice fits what happened: real servers that cannot be talked to, and the words of other releases."""

from __future__ import annotations

import contextlib
import http.server
import re
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tfpipeline.serving.client import (
    TLS,
    DeadlineExceededError,
    PredictClient,
    ResourceExhaustedError,
    UnavailableError,
    UnimplementedError,
    errors,
    hints,
    options,
)

FIREWALL = "no connection was made in this time; is the address right"


@contextlib.contextmanager
def rest_port():
    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A certificate that nobody knows, and its key."""
    folder = tmp_path_factory.mktemp("other")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=other.test"
    subprocess.run(
        [*command.split(), "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem", folder / "key.pem"


def message(connect, target, kind=UnavailableError, **options):
    with pytest.raises(kind) as caught:
        connect("m", target=target, **{"retries": 0, "timeout": 20, **options}).predict(["a"])
    return str(caught.value)


def test_the_rest_port(connect):
    with rest_port() as target:
        said = message(connect, target)
        assert said.startswith(f"{target} cannot be reached (predict, ")
        assert (
            "; it does not speak gRPC; is this the REST port (8501 by default) instead of the gRPC port"
            in said
        )
        assert "it does not speak TLS on this port" in message(connect, target, credentials=TLS())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls(connect, server, other, host):
    """Of the two addresses of localhost, nobody listens on ::1: that is not the reason."""
    certificate, key = other
    plain, tls = (target.rpartition(":")[2] for target in (server.target, server.tls_target))
    plain, tls = f"{host}:{plain}", f"{host}:{tls}"
    known = {"root": server.tls.root, "certificate": server.tls.certificate, "key": server.tls.key}
    named = {"server_name": "model.test"}
    for target, credentials, advice in (
        (plain, TLS(**known, **named), "it does not speak TLS on this port; leave out credentials"),
        (tls, None, "it ends the connection at once; does it require TLS: credentials=TLS(...)?"),
        (
            tls,
            TLS(root=server.tls.root, **named),
            "does it require a certificate of the client, signed by an authority that it trusts: TLS(",
        ),
        (
            tls,
            TLS(**{**known, "root": certificate}, **named),
            "its certificate is not trusted; give that of the auth",
        ),
        (tls, TLS(**known), "for another name than the target's; give that name: TLS(server_name=...)"),
        (
            tls,
            TLS(**{**known, "key": key}, **named),
            "the certificate and the key of TLS(...) do not belong together",
        ),
    ):
        said = message(connect, target, credentials=credentials)
        assert advice in said
        assert said.startswith(f"{target} cannot be reached")


@pytest.mark.parametrize(
    ("target", "details", "address"),
    [
        ("localhost:1", "ipv6:%5B::1%5D:1: Failed to connect: Connection refused", "ipv4:127.0.0.1:1"),
        ("dns:///localhost:1", "ipv6:[::1]:1: Connection refused", "ipv4:127.0.0.1:1"),
        ("localhost:1", "ipv4:127.0.0.1:1: Connection refused", "ipv6:[::1]:1"),
        ("localhost:1", "ipv4:127.0.0.1:1: Tls handshake failed", None),
        ("127.0.0.1:1", "ipv4:127.0.0.1:1: Connection refused", None),
        ("localhost.example.com:1", "ipv4:10.0.0.1:1: Connection refused", None),
    ],
)
def test_the_other_address_of_this_machine(target, details, address):
    assert options.other_address(target, details) == address


def test_nobody_there(connect):
    with socket.create_server(("127.0.0.1", 0)) as held:
        target = f"127.0.0.1:{held.getsockname()[1]}"
    for host in ("127.0.0.1", "localhost"):
        named = target.replace("127.0.0.1", host)
        assert "; is the server running, and is the address right?" in message(connect, named)
    assert "its host name is unknown; is it spelt right?" in message(connect, "no-such-host.invalid:8500")


def test_never_connected_and_slow_are_told_apart(connect):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        said = message(connect, target, DeadlineExceededError, timeout=0.5)
    assert said.startswith(f"{target} was not connected to in 0.5 s (predict, ")
    assert FIREWALL in said
    with pytest.raises(DeadlineExceededError) as caught:
        connect("slow:10", timeout=0.5).predict(["a"])
    assert "raise timeout, or send fewer texts in a request" in str(caught.value)
    assert "did not answer in 0.5 s" in str(caught.value)


def test_a_server_without_the_health_service():
    import grpc

    server = grpc.server(None)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with PredictClient(f"127.0.0.1:{port}", model="m") as client:
        with pytest.raises(
            UnimplementedError, match=r"has no health service .*--enable_grpc_healthcheck_service"
        ):
            client.health()
        with pytest.raises(UnimplementedError, match="is it TensorFlow Serving's gRPC port"):
            client.model_status()
    server.stop(None).wait()


# Those of grpcio 1.62, which differ from those that the tests above meet.
OLD = {
    "Failed parsing HTTP/2": "REST port",
    "Trying to connect an http1.x server": "REST port",
    "Ssl handshake failed: SSL_ERROR_SSL: error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER": "does not speak TLS",
    "Ssl handshake failed: SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED": "not trusted",
    "Ssl handshake failed: SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED: certificate has expired": "has expired",
    "Ssl handshake failed: TSI_PROTOCOL_FAILURE": "check TLS(...)",
    "Peer name 127.0.0.1 is not in peer certificate": "server_name",
    "DNS resolution failed for no.such.host:8500: C-ares status is not ARES_SUCCESS": "host name is unknown",
    "unix:/tmp/nosuch.sock: No such file or directory": "is the server running",
    "HTTP proxy returned response code 403": "no_proxy",
    "the server shuts down": "send the request again later",
}


def failed(code, details, **situation):
    return str(
        errors.from_status(
            code,
            details,
            target="host:1",
            asked="predict",
            timeout=1,
            situation=hints.Situation(**situation),
        )
    )


@pytest.mark.parametrize("details", OLD)
def test_the_words_of_another_release(details):
    prefix = "" if "shuts" in details else "connections to all backends failing; last error: UNKNOWN: "
    said = failed("UNAVAILABLE", prefix + details)
    assert OLD[details] in said.partition(details)[2]
    assert ("cannot be reached" in said) == bool(prefix)


def test_advice_by_situation():
    assert "fewer texts" not in failed("DEADLINE_EXCEEDED", "x", connected=True, method="metadata")
    assert "raise timeout, or see the server's log" in failed("DEADLINE_EXCEEDED", "x", method="metadata")
    assert "fewer texts" in failed("DEADLINE_EXCEEDED", "x", connected=None)
    assert FIREWALL in failed("DEADLINE_EXCEEDED", "x", connected=False)
    ours = failed("RESOURCE_EXHAUSTED", "CLIENT: Received message larger than max (9 vs. 4)")
    theirs = failed("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (9 vs. 4)")
    assert "max_message_bytes" in ours
    assert "max_message_bytes" not in theirs


def test_advice_names_only_what_exists():
    """Names with brackets, arguments and classes of the client, and options of tensorflow_model_server."""
    source = Path(hints.__file__).read_text("utf-8") + Path(errors.__file__).read_text("utf-8")
    strings = " ".join(re.findall(r'"([^"\n]*)"', source))
    methods = set(re.findall(r"(?<![\w.])([a-z_]+)\(\)", strings))
    assert {"metadata", "wait_until_ready", "model_status"} <= methods
    assert all(callable(getattr(PredictClient, name)) for name in methods)
    for name in re.findall(r"TLS\((\w+)=", strings):
        assert name in TLS.__dataclass_fields__
    arguments = PredictClient.__init__.__annotations__
    for name in ("timeout", "credentials", "headers", "max_concurrency", "max_message_bytes"):
        assert name in strings
        assert name in arguments
    assert set(re.findall(r"--[a-z_]+", strings)) == {"--enable_grpc_healthcheck_service"}


NODE = "\n\t [[{{node explain/Assert/Assert}}]]"


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (f"assertion failed: [label must be one of a, b; found nix]{NODE}", "label must be one of a, b; found nix"),
        (f"assertion failed: [label must be a; found] [nix nix]{NODE}", "label must be a; found nix nix"),
        (
            f"assertion failed: [lengths must be at most the width, got 9 for [2,16]: count them]{NODE}",
            "lengths must be at most the width, got 9 for [2,16]: count them",
        ),
        (
            r'assertion failed: [say \"no\" to \'it\', C:\\x] [1]' + "\n\t [[{{function_node f}}{{node a}}]] [Op:__inference_f_1]",
            "say \"no\" to 'it', C:\\x 1",
        ),
        ("indices[0] = 9 is not in [0, 3)\n\t [[{{node GatherV2}}]]", "indices[0] = 9 is not in [0, 3)"),
        (
            f"2 root error(s) found.\n  (0) INVALID_ARGUMENT: assertion failed: [no]{NODE}{NODE}\n"
            f"  (1) INVALID_ARGUMENT: assertion failed: [no]{NODE}\n0 successful operations.\n0 derived errors ignored.",
            "no",
        ),
        (
            "Graph execution error:\n\nDetected at node f defined at (most recent call last):\n  File x\n\nassertion failed: [no]"
            + NODE,
            "no",
        ),
        ("Servable not found for request: Latest(m)", "Servable not found for request: Latest(m)"),
        ("say [[hello]] to {{them}}", "say [[hello]] to {{them}}"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_refusal_is_its_authors_sentence(message, wanted):
    assert hints.reason(message) == wanted


def test_a_servers_refusal(connect):
    with pytest.raises(errors.InvalidArgumentError) as caught:
        connect("picky").predict(["bad"])
    assert str(caught.value).endswith(
        '): text must not be bad, got "bad" 2 rows; the client\'s metadata() lists the names, dtypes and shapes of '
        "the model's inputs"
    )
    assert caught.value.details.startswith("assertion failed: [")  # as it came


def test_a_message_that_is_too_long(connect):
    with pytest.raises(
        ResourceExhaustedError, match=r"; send fewer texts in a request, or raise max_message_bytes"
    ):
        connect("big:1000000", max_message_bytes=1_000_000).predict(["x"])
