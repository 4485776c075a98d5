"""TLS and mutual TLS: the files, checked before anything slow starts."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from tfpipeline.errors import UserError

_KEY_ADVICE = "give an unencrypted PEM file with the server's private key"
_CERT_ADVICE = "give a PEM file with the server's certificate, followed by its intermediate certificates"
_CA_ADVICE = "give a PEM file with the certificates that sign those of callers"


@dataclass(frozen=True)
class Tls:
    """The contents of checked PEM files.

    Args:
        key: the server's private key.
        certificate: its certificate, and the certificates between it and the root.
        ca: the certificates that sign those of callers; with it, callers must have one (mutual TLS).
    """

    key: bytes
    certificate: bytes
    ca: Optional[bytes] = None

    def credentials(self) -> Any:
        """For `grpc.Server.add_secure_port`."""
        import grpc

        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)],
            root_certificates=self.ca,
            require_client_auth=self.ca is not None,
        )


def plain_ports(address: Optional[str]) -> str:
    """What to tell the user of TLS with HTTP ports, which have none in TensorFlow Serving."""
    return f"TLS protects the gRPC port only: {address} is plain HTTP, as in TensorFlow Serving"


def read_tls(key: Optional[Path], certificate: Optional[Path], ca: Optional[Path]) -> Optional[Tls]:
    """Read and check the files of ``--tls-key``, ``--tls-certificate`` and ``--tls-ca``.

    Returns:
        None without a key and a certificate: the port is then not encrypted.
    Raises:
        UserError: a file cannot be read or is not what it should be, or key and certificate do not belong
            together.
    """
    if key is None or certificate is None:
        return None
    tls = Tls(
        _read("--tls-key", key, _KEY_ADVICE),
        _read("--tls-certificate", certificate, _CERT_ADVICE),
        None if ca is None else _read("--tls-ca", ca, _CA_ADVICE),
    )
    _check_pair(key, certificate)
    if ca is not None:
        _check_certificates("--tls-ca", ca, _CA_ADVICE)
    return tls


def _read(option: str, path: Path, advice: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {option} {path}: {os.strerror(error.errno or 0)}; {advice}") from error
    if b"-----BEGIN " not in content:
        raise UserError(f"{option} {path} is not a PEM file (no line with -----BEGIN); {advice}")
    return content


def _check_pair(key: Path, certificate: Path) -> None:
    def no_password() -> str:
        raise UserError(f"--tls-key {key} is encrypted; {_KEY_ADVICE}")

    _check_certificates("--tls-certificate", certificate, _CERT_ADVICE)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=no_password)
    except ssl.SSLError as error:
        # Another key of the certificate's algorithm; a key of another algorithm.
        if error.reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            raise UserError(
                f"--tls-key {key} does not belong to --tls-certificate {certificate}; give the key that the "
                "certificate was made for"
            ) from error
        raise UserError(f"--tls-key {key} has no private key that can be read; {_KEY_ADVICE}") from error


def _check_certificates(option: str, path: Path, advice: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except ssl.SSLError as error:
        raise UserError(f"{option} {path} has no certificate that can be read; {advice}") from error
