"""TLS and mutual TLS: the files are checked before the start, and who may call."""

from __future__ import annotations

import http.client
import re
import subprocess

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from tests.serving.server.certificates import make_certificate
from tfpipeline.errors import UserError
from tfpipeline.serving.server import EmbeddedServer, make_options
from tfpipeline.serving.server.tls import read_tls


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """`server.test`, `client.test` and `stranger.test`, each its own root."""
    folder = tmp_path_factory.mktemp("certificates")
    return {name: make_certificate(folder, f"{name}.test") for name in ("server", "client", "stranger")}


def status(address, credentials=None):
    """The state of version 1 of the model m, or the code of the refusal."""
    options = [("grpc.ssl_target_name_override", "server.test")]
    make = grpc.insecure_channel if credentials is None else grpc.secure_channel
    with make(address, *([credentials] if credentials else []), options=options) as channel:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "m"
        try:
            answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=20)
        except grpc.RpcError as error:
            return error.code().name
    return answer.model_version_status[0].state


def test_with_a_key_and_a_certificate_only_tls_is_answered(tmp_path, publish, certificates):
    server = certificates["server"]
    said = []
    options = make_options(
        publish(tmp_path / "m", 1),
        port=0,
        rest_port=0,
        tls_key=server.key_path,
        tls_certificate=str(server.path),
    )
    with EmbeddedServer(options, say=said.append) as running:
        assert status(running.address, grpc.ssl_channel_credentials(server.pem)) == 30
        assert status(running.address) == "UNAVAILABLE"
        assert said == [
            f"TLS protects the gRPC port only: {running.rest_address} is plain HTTP, as in TensorFlow Serving"
        ]
        connection = http.client.HTTPConnection(running.rest_address, timeout=20)
        connection.request("GET", "/v1/models/m")
        assert connection.getresponse().status == 200
        connection.close()


def test_with_a_ca_callers_need_a_certificate(tmp_path, publish, certificates):
    server, client, stranger = (certificates[name] for name in ("server", "client", "stranger"))
    options = make_options(
        publish(tmp_path / "m", 1),
        port=0,
        tls_key=server.key_path,
        tls_certificate=server.path,
        tls_ca=client.path,
    )
    with EmbeddedServer(options, say=lambda sentence: None) as running:
        known = grpc.ssl_channel_credentials(server.pem, client.key, client.pem)
        unknown = grpc.ssl_channel_credentials(server.pem, stranger.key, stranger.pem)
        assert status(running.address, known) == 30
        assert status(running.address, unknown) == "UNAVAILABLE"
        assert status(running.address, grpc.ssl_channel_credentials(server.pem)) == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("broken", "content", "sentence"),
    [
        ("key", None, "cannot read --tls-key .*: No such file or directory; give an unencrypted PEM file"),
        ("key", "nonsense", r"--tls-key .* is not a PEM file \(no line with -----BEGIN\); give"),
        ("key", "certificate", "--tls-key .* has no private key that can be read; give an unencrypted PEM"),
        ("key", "stranger", "--tls-key .* does not belong to --tls-certificate .*; give the key that the"),
        (
            "key",
            "another algorithm",
            "--tls-key .* does not belong to --tls-certificate .*; give the key that",
        ),
        ("key", "encrypted", "--tls-key .* is encrypted; give an unencrypted PEM file"),
        ("certificate", None, "cannot read --tls-certificate .*: No such file or directory; give a PEM file"),
        ("certificate", "key", "--tls-certificate .* has no certificate that can be read; give a PEM file"),
        ("ca", None, "cannot read --tls-ca .*: No such file or directory; give a PEM file with the"),
        ("ca", "nonsense", "--tls-ca .* is not a PEM file"),
        ("ca", "key", "--tls-ca .* has no certificate that can be read; give a PEM file with the"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, certificates, broken, content, sentence):
    server = certificates["server"]
    path = tmp_path / "file"
    if content == "encrypted":
        command = ["openssl", "ec", "-in", server.key_path, "-aes256", "-passout", "pass:x", "-out", path]
        subprocess.run(command, check=True, capture_output=True)
    elif content == "another algorithm":
        subprocess.run(["openssl", "genrsa", "-out", path, "1024"], check=True, capture_output=True)
    elif content is not None:
        others = {
            "nonsense": b"nonsense",
            "key": server.key,
            "certificate": server.pem,
            "stranger": certificates["stranger"].key,
        }
        path.write_bytes(others[content])
    files = {"key": server.key_path, "certificate": server.path, "ca": certificates["client"].path}
    with pytest.raises(UserError) as caught:
        read_tls(**{**files, broken: path})
    assert re.match(sentence, str(caught.value))
    assert str(path) in str(caught.value)
