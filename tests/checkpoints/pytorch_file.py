"""PyTorch state dict files made opcode by opcode, without PyTorch and without Python's pickler.

Layout: ``torch/serialization.py`` of PyTorch 1.6 and later; opcodes: ``pickletools``.
"""

from __future__ import annotations

import dataclasses
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Global:
    """A name that the unpickler is to look up."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class Call:
    """A function that the unpickler is to call, here or in the place of a class."""

    function: Global
    arguments: tuple[Any, ...] = ()


@dataclasses.dataclass(frozen=True)
class Persistent:
    """An object that the reader, not the pickle, knows."""

    identifier: Any


@dataclasses.dataclass(frozen=True)
class Ordered:
    """An ordered dictionary with attributes, as ``Module.state_dict()`` gives."""

    items: Mapping[str, Any]
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def pickled(value: Any) -> bytes:
    """A pickle of protocol 2."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: Any) -> bytes:
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        raw = value.encode()
        return b"X" + struct.pack("<I", len(raw)) + raw
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_opcodes, value)) + b"t"
    if isinstance(value, Mapping):
        return b"}(" + b"".join(_opcodes(part) for item in value.items() for part in item) + b"u"
    if isinstance(value, Global):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Call):
        return _opcodes(value.function) + _opcodes(value.arguments) + b"R"
    if isinstance(value, Persistent):
        return _opcodes(value.identifier) + b"Q"
    if isinstance(value, Ordered):
        empty = Call(Global("collections", "OrderedDict"))
        items = b"(" + b"".join(_opcodes(part) for item in value.items.items() for part in item) + b"u"
        return _opcodes(empty) + items + (_opcodes(value.attributes) + b"b" if value.attributes else b"")
    raise TypeError(type(value))


def tensor(key: str, shape, strides=None, *, offset: int = 0, storage: str = "FloatStorage", count: int = 0):
    """What a pickle says of a tensor; strides and offset in elements."""
    if strides is None:
        strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    place = Persistent(("storage", Global("torch", storage), key, "cpu", count))
    arguments = (place, offset, tuple(shape), tuple(strides), False, Ordered({}))
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), arguments)


def write(path: Path, description: Any, storages: Mapping[str, bytes], root: str = "archive") -> Path:
    """Write a file of a description (bytes are taken as its pickle) and the storages' bytes."""
    raw = description if isinstance(description, bytes) else pickled(description)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{root}/data.pkl", raw)
        for key, data in storages.items():
            archive.writestr(f"{root}/data/{key}", data)
        archive.writestr(f"{root}/version", b"3\n")
    return path


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write float32 arrays as ``torch.save(model.state_dict(), path)`` does."""
    described = {
        name: tensor(str(key), array.shape, count=array.size)
        for key, (name, array) in enumerate(arrays.items())
    }
    storages = {str(key): array.astype("<f4").tobytes() for key, array in enumerate(arrays.values())}
    return write(path, Ordered(described, {"_metadata": Ordered({})}), storages)
