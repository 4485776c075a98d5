"""Certificates made with openssl."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Certificate:
    """A self-signed certificate, which is its own root, and its key."""

    path: Path
    key_path: Path

    @property
    def pem(self) -> bytes:
        return self.path.read_bytes()

    @property
    def key(self) -> bytes:
        return self.key_path.read_bytes()


def make_certificate(folder: Path, name: str) -> Certificate:
    """A certificate for a name, valid for two days."""
    openssl = shutil.which("openssl")
    assert openssl, "these tests make certificates with openssl: install it"
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    command = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}"
    files = ["-addext", f"subjectAltName=DNS:{name}", "-keyout", str(made.key_path), "-out", str(made.path)]
    subprocess.run([openssl, *command.split(), *files], check=True, capture_output=True)
    return made
