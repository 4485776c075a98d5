"""JSON as TensorFlow Serving reads, quotes and writes it; the values are what version 2.21 answered."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfpipeline.serving.server.rest.json_text import decimal, parse, quote, to_bytes
from tfpipeline.serving.server.rest.responses import decimals
from tfpipeline.serving.server.status import StatusError


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The document is empty"),
        (b'{"a": tru}', "Invalid value. at offset: 9"),
        (b"{a: 1}", "Missing a name for object member."),
        (b'{"a" 1}', "Missing a colon after a name of object member."),
        (b'{"a": [1] "b": 1}', "Missing a comma or '}' after an object member."),
        (b'{"a": [1 2]}', "Missing a comma or ']' after an array element."),
        (b'{"a": [{"b": "]"}, 1 2]}', "Missing a comma or ']' after an array element."),
        (b'{"a": "b', "Missing a closing quotation mark in string. at offset: 8"),
        (b'{"a": "\\x"}', "Invalid escape character in string."),
        (b'{"a": "\\u12"}', "Incorrect hex digit after \\u escape in string. at offset: 7"),
        (b'{"a": "\\ud800"}', "The surrogate pair in string is invalid."),
        (b'{"a": "\\\\ud800 \\udc80"}', "The surrogate pair in string is invalid."),
        (b'{"a": "\x01"}', "Invalid escape character in string. at offset: 7"),
        (b'{"a": [1, 1e400]}', "Number too big to be stored in double. at offset: 10"),
        (b'{"a": 1.}', "Miss fraction part in number. at offset: 8"),
        (b'{"a": 1e}', "Miss exponent in number. at offset: 8"),
        (b"\0\1", "The document is empty. at offset: 0"),
        (b'{"a": ' + b"[" * 100_000, "lists or objects are nested too deeply"),
    ],
)
def test_errors_have_the_servers_words(body, message):
    with pytest.raises(StatusError) as caught:
        parse(body)
    assert caught.value.message.startswith(f"JSON Parse error: {message}")


def test_offsets_count_bytes():
    with pytest.raises(StatusError, match="at offset: 9"):
        parse('{"é": 1,}'.encode())


def test_bytes_that_are_not_utf8_are_kept():
    value = parse(b'{"a": "caf\xc3\xa9 \xff", "b": "\\ud83d\\ude00 \\\\ud800"}')
    assert to_bytes(value["a"]) == b"caf\xc3\xa9 \xff"
    assert to_bytes(value["b"]) == "😀 \\ud800".encode()


def test_what_the_server_accepts_is_accepted():
    assert parse(b'\xef\xbb\xbf {"a": 1, "a": 2} and more') == {"a": 1}
    assert parse(b'{"a": [NaN, -Infinity, 18446744073709551615, 18446744073709551616]}')["a"][1:] == [
        -np.inf,
        2**64 - 1,
        1.8446744073709552e19,
    ]


def test_values_are_quoted_as_the_server_quotes_them():
    value = {"x": [1, 2.5, "é", None, True], "y": {}}
    assert quote(value) == '{\n    "x": [1, 2.5, "é", null, true],\n    "y": {}\n}'
    assert quote("y" * 500) == json.dumps("y" * 500)  # the limit is checked before a value, not within it
    assert quote([7] * 500) == "[" + ", ".join(["7"] * 86)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-1.5, "-1.5"),
        (1e10, "10000000000.0"),
        (1e21, "1e21"),
        (123456789012345680000.0, "123456789012345680000.0"),
        (1.25e-5, "0.0000125"),
        (1e-7, "1e-7"),
        (1.5e300, "1.5e300"),
    ],
)
def test_doubles_have_rapidjsons_digits(value, text):
    assert decimal(value) == text
    assert float(text) == value


def test_numbers_are_written_with_as_few_digits_as_keep_them():
    values = [0.2, 1 / 3, 1234567.0, 9e6, 3e-5, 16777217.0, np.nan, np.inf, -np.inf, -0.0, 7.0]
    as_float = np.asarray(values, np.float32).tolist()
    assert " ".join(decimals(as_float, np.float32)) == (
        "0.2 0.333333343 1234567.0 9e+06 3e-05 16777216.0 NaN Infinity -Infinity -0.0 7.0"
    )
    rng = np.random.default_rng(3)
    for dtype in (np.float32, np.float64):
        numbers = np.ldexp(rng.normal(size=2000), rng.integers(-100, 100, 2000)).astype(dtype)
        written = np.asarray([json.loads(text) for text in decimals(numbers.tolist(), dtype)], dtype)
        np.testing.assert_array_equal(written, numbers)
