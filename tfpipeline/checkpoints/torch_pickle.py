"""Reads the tensors of a PyTorch ``state_dict`` file without PyTorch, and without executing its pickle.

A ``.bin`` or ``.pt`` file is a zip archive (PyTorch 1.6 and later). ``NAME/data.pkl`` describes the tensors
and ``NAME/data/KEY`` holds their bytes, uncompressed. A pickle can call any function. This reader supports
only the few that describe tensors and refuses all others by name.

Source: ``torch/serialization.py``.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfpipeline.errors import UserError

_DTYPES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": None,  # NumPy has no such type; see _as_array
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}

# Exceptions of zipfile. A flipped bit can look like an unknown compression method or a password.
_DAMAGED_ARCHIVE = (zipfile.BadZipFile, RuntimeError, zlib.error)


@dataclasses.dataclass(frozen=True)
class _Storage:
    kind: str
    key: str


@dataclasses.dataclass(frozen=True)
class LazyTensor:
    """The location of a tensor in the archive; offset and strides are in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class StateDict:
    """The tensors of a file, by name.

    Attributes:
        shapes: name -> shape.
    Raises:
        UserError: the file is not a state dict, is damaged, or its pickle refers to anything but tensors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
            description = next(name for name in self._archive.namelist() if name.endswith("/data.pkl"))
            self._root = description.removesuffix("data.pkl")
            with self._archive.open(description) as file:
                content = _Unpickler(file, path).load()
        except (*_DAMAGED_ARCHIVE, StopIteration) as error:
            raise UserError(
                f"{path} is not a PyTorch file, is truncated, or was written before PyTorch 1.6; copy it "
                f"again, or save it as safetensors"
            ) from error
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
        except (
            pickle.UnpicklingError,
            EOFError,
            ValueError,
            TypeError,
            IndexError,
            KeyError,
            AttributeError,
            MemoryError,  # a flipped bit can ask for exabytes
            OverflowError,
        ) as error:
            raise UserError(
                f"{path}: its description of the tensors is damaged ({error}); copy it again"
            ) from error
        if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
            content = content["state_dict"]
        if not isinstance(content, dict):
            raise UserError(f"{path} holds no state dict; save model.state_dict()")
        self._tensors = {name: value for name, value in content.items() if isinstance(value, LazyTensor)}
        self.shapes = {name: tensor.shape for name, tensor in self._tensors.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        tensor = self._tensors[name]
        try:
            raw = self._archive.read(f"{self._root}data/{tensor.storage.key}")
            values = _as_array(raw, tensor.storage.kind)
        except (KeyError, *_DAMAGED_ARCHIVE, OSError, EOFError, ValueError) as error:
            raise UserError(
                f"{self.path}: cannot read {name}, the file is truncated or damaged; copy it again"
            ) from error
        last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides))
        if math.prod(tensor.shape) and not 0 <= last < len(values):
            raise UserError(
                f"{self.path}: {name} reaches beyond its data, the file is damaged; copy it again"
            )
        strides = [stride * values.itemsize for stride in tensor.strides]
        view = np.lib.stride_tricks.as_strided(
            values[tensor.offset :], tensor.shape, strides, writeable=False
        )
        return np.array(view, order="C")  # ascontiguousarray would turn a scalar into an array of one


def _as_array(raw: bytes, kind: str) -> np.ndarray:
    if kind == "BFloat16Storage":  # the upper half of a float32
        return (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, _DTYPES[kind])


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> LazyTensor:
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise ValueError("not a tensor")
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError("not a tensor")
    return LazyTensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor: LazyTensor, *_: Any) -> LazyTensor:
    return tensor


class _Unpickler(pickle.Unpickler):
    """Supports tensors, and nothing that could execute code."""

    def __init__(self, file: Any, path: Path) -> None:
        opened: BinaryIO = file
        super().__init__(opened)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _rebuild_parameter
        if module == "torch" and name in _DTYPES:
            return name
        raise UserError(
            f"{self._path} asks to run {module}.{name}, which no checkpoint needs; do not trust this file, "
            f"get the model as safetensors"
        )

    def persistent_load(self, identifier: Any) -> _Storage:
        kind, storage, key = identifier[0], identifier[1], identifier[2]
        if kind != "storage" or storage not in _DTYPES:
            raise ValueError("unknown persistent object")
        return _Storage(storage, str(key))
