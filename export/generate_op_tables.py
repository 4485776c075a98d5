"""Writes ``op_tables.json.xz``: the operations and attributes that releases of TensorFlow support.

    python -m tfpipeline.export.generate_op_tables [--wheels FOLDER]

Downloads the wheels of the releases (about 1 GB), or takes them from a folder. Then it reads the operations
from each wheel's library through TensorFlow's C API, which does not depend on the version of Python. It is
run only to add a release.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import lzma
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from tfpipeline.export.compatibility import TABLES

# release -> the Python version of its wheel
RELEASES = {"2.6": "3.9", "2.12": "3.11", "2.16": "3.11", "2.20": "3.11", "2.21": "3.11"}
_LIBRARIES = (
    "tensorflow/libtensorflow_framework.so.2",
    "tensorflow/libtensorflow_cc.so.2",
    "tensorflow/python/_pywrap_tensorflow_internal.so",  # has the operations up to 2.9
)


class _Buffer(ctypes.Structure):
    """``TF_Buffer``, tensorflow/c/tf_buffer.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("deallocator", ctypes.c_void_p),
    )


def op_list(folder: Path) -> bytes:
    """The serialized ``OpList`` of the libraries in an unpacked wheel; does not need TensorFlow."""
    libraries = [ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL | os.RTLD_LAZY) for path in _present(folder)]
    for library in libraries:
        if hasattr(library, "TF_GetAllOpList"):
            library.TF_GetAllOpList.restype = ctypes.POINTER(_Buffer)
            buffer = library.TF_GetAllOpList().contents
            return ctypes.string_at(buffer.data, buffer.length)
    raise SystemExit(f"no library in {folder} has TF_GetAllOpList")


def _present(folder: Path) -> list[Path]:
    paths = [folder / name for name in _LIBRARIES]
    # From 2.10 on, the library of the operations does not need Python.
    return [path for path in paths if path.exists()][:2]


def table(serialized: bytes) -> dict[str, Any]:
    """Operation -> attribute -> its type, its default if it has one, and the allowed values if limited.

    Args:
        serialized: an ``OpList``.
    """
    from tfpipeline._tensorflow_internals import OpList

    return {
        op.name: {attribute.name: _attribute(attribute) for attribute in op.attr}
        for op in OpList.FromString(serialized).op
    }


def _attribute(attribute: Any) -> dict[str, Any]:
    from tfpipeline.export.compatibility import plain

    entry: dict[str, Any] = {"type": attribute.type}
    if attribute.HasField("default_value"):
        entry["default"] = plain(attribute.default_value)
    if attribute.HasField("allowed_values"):
        entry["allowed"] = plain(attribute.allowed_values)
    return entry


def _download(release: str, folder: Path) -> Path:
    wheels = sorted(folder.glob(f"tensorflow_cpu-{release}.*.whl"))
    if not wheels:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        options = ["--python-version", RELEASES[release], "--dest", str(folder)]
        subprocess.run([*command, *options, f"tensorflow-cpu=={release}.*"], check=True)
        wheels = sorted(folder.glob(f"tensorflow_cpu-{release}.*.whl"))
    return wheels[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the tables of operations.")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels; missing ones are downloaded there")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)  # in a process for each release
    arguments = parser.parse_args()
    if arguments.read:
        sys.stdout.buffer.write(op_list(arguments.read))
        return
    tables = {}
    with tempfile.TemporaryDirectory() as scratch:
        for release in RELEASES:
            folder = Path(scratch) / release
            with zipfile.ZipFile(_download(release, arguments.wheels or Path(scratch))) as wheel:
                wheel.extractall(folder, [name for name in _LIBRARIES if name in wheel.namelist()])
            command = [sys.executable, "-m", "tfpipeline.export.generate_op_tables", "--read", str(folder)]
            tables[release] = table(subprocess.run(command, check=True, capture_output=True).stdout)
            print(f"{release}: {len(tables[release])} operations")
    text = json.dumps(tables, sort_keys=True, separators=(",", ":"))
    TABLES.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{TABLES}: {TABLES.stat().st_size} bytes")


if __name__ == "__main__":
    main()
