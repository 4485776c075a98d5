"""What a client is made with."""

from __future__ import annotations

import json

import grpc
import numpy as np
import pytest

from tfpipeline.serving.client import TLS, AsyncPredictClient, InputError, PredictClient, options


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        ("localhost:8500", "dns:///localhost:8500"),
        ("10.0.0.1:1", "dns:///10.0.0.1:1"),
        ("[::1]:8500", "dns:///[::1]:8500"),
        ("models.internal:65535", "dns:///models.internal:65535"),
        ("dns:///a:1", "dns:///a:1"),
        ("unix:/run/model.sock", "unix:/run/model.sock"),
        ("ipv4:10.0.0.1:1,10.0.0.2:1", "ipv4:10.0.0.1:1,10.0.0.2:1"),
    ],
)
def test_targets(target, uri):
    assert options.uri(target) == uri


@pytest.mark.parametrize(
    "target",
    [
        "localhost",
        "localhost:",
        ":8500",
        "localhost:0",
        "localhost:70000",
        "http://localhost:8500",
        "a b:1",
        "::1:8500",
        "",
        None,
        8500,
    ],
)
def test_bad_targets(target):
    with pytest.raises(InputError, match=r"give HOST:PORT, e\.g\. localhost:8500"):
        options.uri(target)


@pytest.mark.parametrize("client", [PredictClient, AsyncPredictClient])
@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"model": ""}, "model is ''"),
        ({"model": None}, "model is None"),
        ({"version": 1, "version_label": "stable"}, "choose one"),
        ({"version": -1}, "version is -1"),
        ({"version": True}, "version is True"),
        ({"version": "3"}, "version is '3'"),
        ({"version": 2**63}, "version is"),
        ({"version": np.int64(1)}, "version is np.int64(1); give a plain int, such as int(version)"),
        ({"version_label": ""}, "version_label is ''; give a label"),
        ({"version_label": 3}, "version_label is 3; give a label"),
        ({"model": b"m"}, "model is b'm'; give the model's name"),
        ({"model": "a\ud83d"}, "which UTF-8 cannot carry"),
        ({"signature": ""}, "signature is ''"),
        (
            {"timeout": np.float32(3)},
            "timeout is np.float32(3.0); give a plain number, such as float(timeout)",
        ),
        ({"max_concurrency": 0}, "max_concurrency is 0; give a whole number from 1 on, or None for no limit"),
        ({"hedge_after": 0}, "hedge_after is 0; give seconds, more than 0"),
        ({"telemetry": 1}, "telemetry is 1; give True, False or None"),
        ({"headers": ["a"]}, "headers is list; give a dict"),
        ({"headers": {"a b": "x"}}, "headers has the name 'a b'"),
        ({"headers": {"": "x"}}, "headers has the name ''"),
        ({"headers": {"grpc-timeout": "x"}}, "names that start with grpc- belong to gRPC"),
        ({"headers": {"a": b"x"}}, "headers['a'] is bytes; give str (bytes need a name that ends with -bin)"),
        ({"headers": {"a-bin": "x"}}, "headers['a-bin'] is str; give bytes"),
        (
            {"headers": {"a": "é"}},
            "headers['a'] is not printable ASCII; send such a value as a-bin, in bytes",
        ),
        ({"headers": {"a": "x\ny: z"}}, "headers['a'] is not printable ASCII"),
        ({"interceptors": "x"}, "interceptors is str; give a list of them"),
        ({"interceptors": [3]}, "interceptors holds a int"),
        ({"timeout": None}, "timeout is None; give seconds"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": float("inf")}, "timeout is inf"),
        ({"retries": 5}, "retries is 5; give a whole number from 0 to 4"),
        ({"retries": 1.0}, "retries is 1.0"),
        ({"max_message_bytes": 0}, "max_message_bytes is 0"),
        ({"max_message_bytes": 2**31}, "max_message_bytes is 2147483648"),
        ({"credentials": "cert.pem"}, "credentials is str; give a TLS"),
        ({"credentials": TLS(certificate=b"-----BEGIN x")}, "TLS needs certificate and key together"),
        ({"credentials": TLS(root="/no/such.pem")}, "TLS root can't be read from '/no/such.pem': "),
        ({"credentials": TLS(root=b"no")}, "TLS root is not PEM"),
    ],
)
def test_bad_options(client, changed, says):
    with pytest.raises(InputError) as caught:
        client("localhost:8500", **{"model": "m", **changed})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ready_made_credentials_are_taken():
    with PredictClient("localhost:8500", model="m", credentials=grpc.ssl_channel_credentials()) as client:
        assert repr(client) == "PredictClient('localhost:8500', model='m')"


def test_channel_options():
    made = dict(
        options.channel_options("host:1", retries=3, max_message_bytes=1000, tls=TLS(server_name="x"))
    )
    service = json.loads(made["grpc.service_config"])
    assert service["loadBalancingConfig"] == [{"round_robin": {}}]
    assert service["methodConfig"][-1]["name"] == [{}]
    assert service["methodConfig"][-1]["retryPolicy"]["maxAttempts"] == 4
    retried = [method for method in service["methodConfig"] if "retryPolicy" in method]
    assert {tuple(method["retryPolicy"]["retryableStatusCodes"]) for method in retried} == {("UNAVAILABLE",)}
    (once,) = [method for method in service["methodConfig"] if method not in retried]
    assert once == {"name": [{"service": "grpc.health.v1.Health"}]}
    assert made["grpc.max_receive_message_length"] == made["grpc.max_send_message_length"] == 1000
    assert made["grpc.ssl_target_name_override"] == "x"
    assert "grpc.enable_http_proxy" not in made
    # More often than every 5 minutes, and servers hang up.
    assert made["grpc.keepalive_time_ms"] > 300_000

    none = dict(options.channel_options("localhost:1", retries=0, max_message_bytes=1000))
    assert "methodConfig" not in json.loads(none["grpc.service_config"])
    assert none["grpc.enable_retries"] == 0


@pytest.mark.parametrize(
    ("target", "direct"),
    [
        ("localhost:1", True),
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("dns:///localhost:1", True),
        ("localhost.example.com:1", False),
        ("10.1.1.1:1", False),
    ],
)
def test_proxies_are_for_other_machines(target, direct):
    made = dict(options.channel_options(target, retries=0, max_message_bytes=1000))
    assert ("grpc.enable_http_proxy" in made) == direct


def test_a_proxy_in_the_environment_is_not_asked_for_this_machine(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with PredictClient(server.target, model="sentiment", retries=0) as client:
        assert client.predict(["good"])[0].to_dict()["label"] == "positiv ✓"
