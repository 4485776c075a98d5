"""JSON as TensorFlow Serving's parser (RapidJSON) reads it, and values as its messages quote them.

Python's parser does the work. What differs is decided here: bytes that are not UTF-8 are kept, anything after
the document is ignored, the first of two equal keys counts, and errors have RapidJSON's words.

Sources: ParseJson and JsonValueToDebugString in tensorflow/serving, util/json_tensor.cc;
rapidjson/error/en.h.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from tfpipeline.serving.server.status import StatusError, invalid_argument

_MAX_QUOTED_BYTES = 256
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1

# Python's message -> RapidJSON's.
_WORDS = {
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Illegal trailing comma before end of array": "Invalid value.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid escape character in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}
_LITERALS = ("true", "false", "null", "-")
_SPACE = re.compile(r"[ \t\n\r]*")
# Group 1: a surrogate that is not half of a pair.
_ESCAPES = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def parse(body: bytes) -> dict[str, Any]:
    """The object in the body of a request.

    Returns:
        name -> value. A byte of a string that is not UTF-8 is a lone surrogate (`surrogateescape`); see
        :func:`to_bytes`.
    Raises:
        StatusError: INVALID_ARGUMENT, it is not JSON, or not an object.
    """
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    space = _SPACE.match(text)
    start = space.end() if space else 0
    if text[start : start + 1] in ("", "\0"):
        raise _parse_error("The document is empty.", text, start)
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise _parse_error(*_described(error)) from error
    except OverflowError as error:
        position = text.find(str(error))
        raise _parse_error("Number too big to be stored in double.", text, position) from error
    except RecursionError as error:
        raise invalid_argument("JSON Parse error: lists or objects are nested too deeply") from error
    if "\\ud" in text or "\\uD" in text:
        for escape in _ESCAPES.finditer(text, start, end):
            if escape[1]:
                raise _parse_error("The surrogate pair in string is invalid.", text, escape.start())
    if not isinstance(value, dict):
        raise invalid_argument(f"JSON Value: {quote(value)} Is not object")
    return value


def to_bytes(text: str) -> bytes:
    """The bytes of a parsed string, as they were sent."""
    return text.encode("utf-8", "surrogateescape")


def type_name(value: Any) -> str:
    """RapidJSON's name of a value's type."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, (int, float)):
        return "Number"
    if isinstance(value, str):
        return "String"
    return "Array" if isinstance(value, list) else "Object"


def quote(value: Any) -> str:
    """A value as messages quote it: indented like the server's, cut after 256 bytes."""
    parts: list[str] = []
    size = 0
    for part in _tokens(value, 0):
        if size >= _MAX_QUOTED_BYTES:
            break
        parts.append(part)
        size += len(part.encode("utf-8", "surrogateescape"))
    return "".join(parts)


def string(text: str) -> str:
    """A JSON string; bytes that were not UTF-8 stay what they were."""
    return json.dumps(text, ensure_ascii=False)


def decimal(value: float) -> str:
    """A double as RapidJSON writes it: digits up to 21 places, then an exponent without a plus sign."""
    if not math.isfinite(value):
        return ""
    sign = "-" if math.copysign(1, value) < 0 else ""
    mantissa, _, power = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0") if whole == "0" else whole + fraction
    exponent = int(power or 0) - len(fraction)
    digits, zeros = digits.rstrip("0"), len(digits) - len(digits.rstrip("0"))
    exponent += zeros
    if not digits:
        return sign + "0.0"
    point = len(digits) + exponent
    if exponent >= 0 and point <= 21:
        return f"{sign}{digits}{'0' * exponent}.0"
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{point - 1}"


def _tokens(value: Any, level: int) -> Iterator[str]:
    if isinstance(value, list):
        # Elements are one unit each with the comma before them: the limit is checked before each.
        yield "["
        for index, item in enumerate(value):
            yield from _after(", " if index else "", _tokens(item, level + 1))
        yield "]"
    elif isinstance(value, dict):
        indent = "\n" + "    " * (level + 1)
        yield "{"
        for index, (key, item) in enumerate(value.items()):
            yield ("," if index else "") + indent + string(key)
            yield from _after(": ", _tokens(item, level + 1))
        yield ("\n" + "    " * level if value else "") + "}"
    elif isinstance(value, str):
        yield string(value)
    elif isinstance(value, float):
        yield decimal(value)
    elif value is None:
        yield "null"
    elif isinstance(value, bool):
        yield "true" if value else "false"
    else:
        yield str(value)


def _after(before: str, tokens: Iterator[str]) -> Iterator[str]:
    for token in tokens:
        yield before + token
        before = ""


def _first_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs)) if len({key for key, _ in pairs}) < len(pairs) else dict(pairs)


def _integer(digits: str) -> Any:
    if len(digits) <= 20 and _INT64_MIN <= (number := int(digits)) <= _UINT64_MAX:
        return number
    return _double(digits)  # RapidJSON stores larger integers as doubles


def _double(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise OverflowError(digits)
    return number


def _described(error: json.JSONDecodeError) -> tuple[str, str, int]:
    """RapidJSON's words, the text, and RapidJSON's position in it."""
    text, position = error.doc, error.pos
    words = _WORDS.get(error.msg, f"{error.msg}.")
    if error.msg == "Expecting value":
        position += max(_shared(text[position:], word) for word in _LITERALS)
    elif error.msg == "Unterminated string starting at":
        position = len(text)
    elif error.msg == "Invalid \\uXXXX escape":
        position -= 1
    elif error.msg == "Invalid control character at" and text[position] == "\0":
        words = _WORDS["Unterminated string starting at"]  # for RapidJSON, the text ends there
    elif error.msg == "Expecting ',' delimiter":
        number = text[position - 1 : position].isdigit()
        if number and text[position] == ".":
            return "Miss fraction part in number.", text, position + 1
        if number and text[position] in "eE":
            return "Miss exponent in number.", text, position + 1
        words = (
            "Missing a comma or '}' after an object member."
            if _in_object(text, position)
            else "Missing a comma or ']' after an array element."
        )
    return words, text, position


def _shared(text: str, word: str) -> int:
    """How many characters both begin with."""
    return next((size for size in range(len(word), 0, -1) if text.startswith(word[:size])), 0)


def _in_object(text: str, end: int) -> bool:
    """Whether the position is directly inside an object; the text before it is well-formed."""
    opened: list[str] = []
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', text[:end], re.DOTALL):
        if match[0] in "[{":
            opened.append(match[0])
        elif match[0] in "]}" and opened:
            opened.pop()
    return bool(opened) and opened[-1] == "{"


def _parse_error(words: str, text: str, position: int) -> StatusError:
    offset = len(text[:position].encode("utf-8", "surrogateescape"))
    return invalid_argument(f"JSON Parse error: {words} at offset: {offset}")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_double, object_pairs_hook=_first_keys)
