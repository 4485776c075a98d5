"""Checks of single values that a caller gives: numbers, seconds, names."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any, Optional, Union

from tfpipeline.serving.client.errors import InputError

Header = tuple[str, Union[str, bytes]]


def whole(name: str, value: Any, low: int, high: Optional[int] = None, otherwise: str = "") -> int:
    """A plain int between two numbers.

    Args:
        name: the argument's name, for errors.
        value: what was given. NumPy's integers are refused, because they reach neither protobuf nor JSON.
        low: the smallest valid number.
        high: the largest; None if there is none.
        otherwise: what else may be given, for errors.
    Raises:
        InputError: it is something else.
    """
    plain = isinstance(value, int) and not isinstance(value, bool)
    if plain and low <= value and (high is None or value <= high):
        return int(value)
    if not plain and not isinstance(value, bool) and isinstance(value, numbers.Integral):
        raise InputError(f"{name} is {_shown(value)}; give a plain int, such as int({name})")
    bounds = f"from {low} on" if high is None else f"from {low} to {high}"
    raise InputError(f"{name} is {_shown(value)}; give a whole number {bounds}{otherwise}")


def seconds(timeout: Any, name: str = "timeout") -> float:
    """A number of seconds above 0.

    Raises:
        InputError: it is not; every call has a deadline.
    """
    if isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and 0 < timeout < 1e9:
        return float(timeout)
    if not isinstance(timeout, (int, float)) and isinstance(timeout, numbers.Real):
        raise InputError(f"{name} is {_shown(timeout)}; give a plain number, such as float({name})")
    why = " (every call has a deadline)" if name == "timeout" else ""
    raise InputError(f"{name} is {timeout!r}; give seconds, more than 0{why}")


def text(name: str, value: Any, example: str) -> str:
    """A string that can be sent.

    Raises:
        InputError: it is empty, not a str, or not valid Unicode.
    """
    if not isinstance(value, str) or not value:
        raise InputError(f"{name} is {_shown(value)}; give {example}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name} is {value!r}, which UTF-8 cannot carry; give {example}") from None
    return value


def headers(given: Optional[Mapping[str, Union[str, bytes]]]) -> tuple[Header, ...]:
    """Headers as gRPC's metadata, the names in lower case.

    Values are never part of a message, because they may be secret.

    Raises:
        InputError: a name or a value that gRPC cannot send.
    """
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise InputError(f'headers is {type(given).__name__}; give a dict such as {{"authorization": "..."}}')
    return tuple(_header(name, value) for name, value in given.items())


def _header(name: Any, value: Any) -> Header:
    # Source: Custom-Metadata in https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
    if not isinstance(name, str) or not name or not set(name.lower()) <= _NAME:
        raise InputError(f"headers has the name {name!r}; use letters, digits, -, _ and . only")
    name = name.lower()
    if name.startswith("grpc-"):
        raise InputError(f"headers has {name!r}; names that start with grpc- belong to gRPC")
    binary = name.endswith("-bin")
    if binary != isinstance(value, bytes) or not (binary or isinstance(value, str)):
        kind = "bytes" if binary else "str"
        rule = "" if binary else " (bytes need a name that ends with -bin)"
        raise InputError(f"headers[{name!r}] is {type(value).__name__}; give {kind}{rule}")
    if not isinstance(value, bytes) and not all(" " <= letter <= "~" for letter in value):
        raise InputError(
            f"headers[{name!r}] is not printable ASCII; send such a value as {name}-bin, in bytes"
        )
    return name, value


_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else type(value).__name__
