"""The states of callbacks in a checkpoint, so that a resumed run ends like an uninterrupted one.

If a callback has ``get_state`` and ``set_state``, these define its state. Otherwise its state is every
attribute that has changed since the callback was created and that consists of numbers, strings, arrays and
Python's containers. States are stored as JSON and arrays. Pickles are not used, because loading one can run
code of whoever wrote the run directory.
"""

from __future__ import annotations

import base64
import collections
import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfpipeline.console import say
from tfpipeline.errors import UserError

# Attributes of Callback itself, or derived from other attributes.
_NOT_STATE = frozenset({"_model", "params", "monitor_op", "min_delta"})
# What cannot be saved of these callbacks does not affect training: open files, connections.
_SILENT = ("keras.", "wandb.", "mlflow.")
_CONTAINERS: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset, "deque": collections.deque}

Arrays = dict[str, np.ndarray]


class CallbackStates:
    """The states of a list of callbacks.

    Args:
        callbacks: newly created callbacks; only later changes to them are saved.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        self._callbacks = list(callbacks)
        self._first = [_attributes(callback)[0] for callback in self._callbacks]
        self._told: set[str] = set()

    def get(self) -> tuple[list[dict[str, Any]], Arrays]:
        """The states as JSON values, and the arrays that they refer to. Reports once what cannot be saved.

        Raises:
            UserError: a ``get_state`` returns something that cannot be saved.
        """
        states: list[dict[str, Any]] = []
        arrays: Arrays = {}
        for callback, first in zip(self._callbacks, self._first):
            entry: dict[str, Any] = {"kind": _kind(callback)}
            if _has_own(callback):
                try:
                    entry["own"] = _Encoder(arrays, f"{len(states)}/own").encode(callback.get_state())
                except _Opaque as error:
                    raise UserError(
                        f"{type(callback).__name__}.get_state returns something that a checkpoint cannot "
                        "save; return numbers, strings, NumPy arrays, or lists and dicts of these"
                    ) from error
            else:
                now, new_arrays, opaque = _attributes(callback, f"{len(states)}")
                kept = {name: value for name, value in now.items() if first.get(name) != value}
                entry["attributes"] = {name: json.loads(value)[0] for name, value in kept.items()}
                arrays.update({key: array for key, array in new_arrays.items() if key.split("/")[1] in kept})
                self._tell(callback, opaque)
            if isinstance(callback, keras.callbacks.CSVLogger) and os.path.exists(callback.filename):
                entry["bytes"] = os.path.getsize(callback.filename)
            states.append(entry)
        return states, arrays

    def before_begin(self, states: Sequence[dict[str, Any]]) -> None:
        """Set what must be set before ``on_train_begin``: a CSV log is truncated to its length at the
        checkpoint and then appended to.
        """
        for callback, entry in self._pairs(states):
            if entry is not None and "bytes" in entry and os.path.exists(callback.filename):
                os.truncate(callback.filename, min(entry["bytes"], os.path.getsize(callback.filename)))
                callback.append = True

    def set(self, states: Sequence[dict[str, Any]], arrays: Arrays) -> None:
        """Restore the states of a checkpoint, matched by class and order. Reports saved states that no
        callback takes.
        """
        for callback, entry in self._pairs(states):
            if entry is None:
                continue
            if "own" in entry and _has_own(callback):
                callback.set_state(_decode(entry["own"], arrays))
            for name, value in entry.get("attributes", {}).items():
                setattr(callback, name, _decode(value, arrays))
        for kind in collections.Counter(entry["kind"] for entry in states) - self._kinds():
            say(
                f"the run was started with {kind} among its callbacks, which is missing now: it may end "
                f"differently"
            )

    def _pairs(self, states: Sequence[dict[str, Any]]) -> list[tuple[Any, dict[str, Any] | None]]:
        left: dict[str, list[dict[str, Any]]] = {}
        for entry in states:
            left.setdefault(entry["kind"], []).append(entry)
        return [
            (callback, left[_kind(callback)].pop(0) if left.get(_kind(callback)) else None)
            for callback in self._callbacks
        ]

    def _kinds(self) -> collections.Counter[str]:
        return collections.Counter(map(_kind, self._callbacks))

    def _tell(self, callback: Any, opaque: list[str]) -> None:
        kind = _kind(callback)
        fresh = [name for name in opaque if f"{kind}.{name}" not in self._told]
        if fresh and not kind.startswith(_SILENT):
            self._told.update(f"{kind}.{name}" for name in fresh)
            say(
                f"{type(callback).__name__}: a checkpoint cannot save {', '.join(fresh)}; in a resumed run "
                "they start afresh (get_state and set_state can define what the callback saves)"
            )


def _kind(callback: Any) -> str:
    return f"{type(callback).__module__}.{type(callback).__qualname__}"


def _has_own(callback: Any) -> bool:
    return callable(getattr(callback, "get_state", None)) and callable(getattr(callback, "set_state", None))


def _attributes(callback: Any, prefix: str = "") -> tuple[dict[str, str], Arrays, list[str]]:
    """Attributes as JSON strings that show whether one has changed, their arrays, and the names of the
    attributes that cannot be saved.
    """
    texts: dict[str, str] = {}
    arrays: Arrays = {}
    opaque: list[str] = []
    for name, value in vars(callback).items():
        if name in _NOT_STATE or _is_code(value):
            continue
        own: Arrays = {}
        try:
            encoded = _Encoder(own, f"{prefix}/{name}").encode(value)
        except _Opaque:
            opaque.append(name)
            continue
        digests = [
            hashlib.blake2b(np.ascontiguousarray(array).tobytes()).hexdigest() for array in own.values()
        ]
        texts[name] = json.dumps([encoded, digests])
        arrays.update(own)
    return texts, arrays, opaque


def _is_code(value: Any) -> bool:
    """Whether a value is a function, a class or a module, which training does not change."""
    return callable(value) or type(value).__name__ == "module"


class _Opaque(Exception):
    """A value that cannot be saved."""


class _Encoder:
    """Encodes Python values as JSON; arrays are stored separately.

    Args:
        arrays: the dict to which arrays are added.
        prefix: the prefix of the arrays' names.
    """

    def __init__(self, arrays: Arrays, prefix: str) -> None:
        self._arrays, self._prefix = arrays, prefix

    def encode(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if kind is list:
            return [self.encode(inner) for inner in value]
        if kind is dict:
            return {"dict": [[self.encode(key), self.encode(inner)] for key, inner in value.items()]}
        if kind.__name__ in _CONTAINERS and kind is _CONTAINERS[kind.__name__]:
            items = sorted(value, key=repr) if kind in (set, frozenset) else value
            maxlen = {"maxlen": value.maxlen} if kind is collections.deque else {}
            return {kind.__name__: [self.encode(inner) for inner in items], **maxlen}
        if kind is bytes:
            return {"bytes": base64.b64encode(value).decode("ascii")}
        if isinstance(value, Path):
            return {"path": str(value)}
        array = _as_array(value)
        if array is None:
            raise _Opaque
        name = f"{self._prefix}/{len(self._arrays)}"
        self._arrays[name] = array
        return {"array": name, "scalar": isinstance(value, np.generic)}


def _as_array(value: Any) -> np.ndarray | None:
    """A NumPy array, a scalar or an eager tensor as an array of numbers; None for anything else."""
    if not isinstance(value, (np.ndarray, np.generic)) and not keras.ops.is_tensor(value):
        return None
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, NotImplementedError):  # a symbolic tensor
        return None
    return array if array.dtype.kind in "biufc" else None


def _decode(value: Any, arrays: Arrays) -> Any:
    if isinstance(value, list):
        return [_decode(inner, arrays) for inner in value]
    if not isinstance(value, dict):
        return value
    ((kind, content), *more) = value.items()
    if kind == "float":
        return float(content)
    if kind == "dict":
        return {_decode(key, arrays): _decode(inner, arrays) for key, inner in content}
    if kind == "bytes":
        return base64.b64decode(content)
    if kind == "path":
        return Path(content)
    if kind == "array":
        array = arrays[content]
        return array[()] if value["scalar"] else array
    return _CONTAINERS[kind]([_decode(inner, arrays) for inner in content], **dict(more))
