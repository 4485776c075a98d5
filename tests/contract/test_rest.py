"""The REST API: one table for both servers. The values are what TensorFlow Serving 2.21 answered.

Sources in tensorflow/serving: model_servers/{http_rest_api_handler,http_rest_api_util,http_server}.cc,
util/json_tensor.cc.
"""

from __future__ import annotations

import gzip
import http.client
import json
from math import inf as INF
from math import nan as NAN
from typing import Any

import pytest

pytestmark = pytest.mark.contract

STATUS = {
    "model_version_status": [
        {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
}

OTHER = [
    ("GET", "/v1/models/half", 200, STATUS),
    ("GET", "/v1/models/half/versions/3", 200, STATUS),
    ("GET", "/v1/models/half/versions/9", 404, "Could not find version 9 of model half"),
    ("GET", "/v1/models/none", 404, "Could not find any versions of model none"),
    ("GET", "/v1/models", 400, "Missing model name in request."),
    ("GET", "/v1/models/none/metadata", 404, "Servable not found for request: Latest(none)"),
    ("GET", "/v1/models/half/labels/x", 200, STATUS),
    ("GET", "/v1/models/half/labels/x/metadata", 400, "Unrecognized servable version label: x"),
    ("GET", "/v1/foo", 400, "Malformed request: GET /v1/foo"),
    ("GET", "/V1/MODELS/half", 200, STATUS),
    ("PUT", "/v1/models/half:predict", 400, "Malformed request: PUT /v1/models/half:predict"),
    ("DELETE", "/v1/models/half", 400, "Malformed request: DELETE /v1/models/half"),
    ("GET", "/v1/models/half:predict", 400, "Malformed request: GET /v1/models/half:predict"),
    ("GET", "/v1/models/half?x=1", 404, "Could not find any versions of model half?x=1"),
    ("GET", "/v1/models/..%2f..%2fetc", 404, "Could not find any versions of model ../../etc"),
    ("GET", "/v1/models/../../etc", 400, "Malformed request: GET /v1/models/../../etc"),
    ("GET", "/v1/models/%00", 404, "Could not find any versions of model \x00"),
    ("GET", "/v1/models/h%61lf", 200, STATUS),
    ("GET", "/v1/models/half/versions/0003", 200, STATUS),
    ("GET", "/v1/models/half/METADATA", 200, STATUS),
    ("POST", "/v1/models/half/versions/3:PREDICT", 400, "Malformed request: POST /v1/models/half/vers"),
]

PREDICT = [
    (b'{"instances": [1.0, 2.0, 5]}', 200, {"predictions": [2.5, 3.0, 4.5]}),
    (b'{"inputs": [1.0, 2.0]}', 200, {"outputs": [2.5, 3.0]}),
    (b'{"inputs": {"x": [1.0]}}', 200, {"outputs": [2.5]}),
    (b'{"instances": [{"x": 1}]}', 200, {"predictions": [2.5]}),
    (b"", 400, "JSON Parse error: The document is empty"),
    (b" ", 400, "JSON Parse error: The document is empty. at offset: 1"),
    (b"{", 400, "JSON Parse error: Missing a name for object member. at offset: 1"),
    (b"instances = [1]", 400, "JSON Parse error: Invalid value. at offset: 0"),
    (b"[1]", 400, "JSON Value: [1] Is not object"),
    (
        b'{"instances": 1}',
        400,
        "JSON Value: {\n    \"instances\": 1\n} Expecting 'instances' to be an list/array",
    ),
    (b'{"instances": []}', 400, "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
    (b'{"inputs": []}', 200, {"outputs": []}),
    (
        b'{"instances": ["a"]}',
        400,
        "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"a\" Type: String is not of expected type: float",
    ),
    (
        b'{"instances": [1, [2]]}',
        400,
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [] but got: [1]",
    ),
    (
        b'{"instances": [[1, 2], [3]]}',
        400,
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 1",
    ),
    (b'{"instances": [[1,2],[3,4]]}', 200, {"predictions": [[2.5, 3.0], [3.5, 4.0]]}),
    (
        b'{"instances": [1], "inputs": [1]}',
        400,
        "JSON Value: {\n    \"instances\": [1],\n    \"inputs\": [1]\n} Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
    ),
    (b"{}", 400, "Missing 'inputs' or 'instances' key"),
    (b'{"instances": [NaN, Infinity, -Infinity]}', 200, {"predictions": [NAN, INF, -INF]}),
    (
        b'{"instances": [1e400]}',
        400,
        "JSON Parse error: Number too big to be stored in double. at offset: 15",
    ),
    (b'{"instances": [1e39]}', 200, {"predictions": [INF]}),
    (
        b'{"instances": [null]}',
        400,
        "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: null Type: Null is not of expected type: float",
    ),
    (
        b'{"instances": [true]}',
        400,
        "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: true Type: True is not of expected type: float",
    ),
    (b'{"instances": [1]} trailing', 200, {"predictions": [2.5]}),
    (
        b'{"signature_name": "upper", "instances": ["a\x00b"]}',
        400,
        "JSON Parse error: Missing a closing quotation mark in string. at offset: 44",
    ),
    (
        b'{"instances": [1], "signature_name": "nope"}',
        400,
        'Serving signature name: "nope" not found in signature def',
    ),
    (
        b'{"instances": [1], "signature_name": 3}',
        400,
        'JSON Value: {\n    "instances": [1],\n    "signature_name": 3\n} not formatted correctly. \'signature_name\' key must be a string value.',
    ),
    (b'{"instances": [1,]}', 400, "JSON Parse error: Invalid value. at offset: 17"),
    (
        b'{"instances": [1 2]}',
        400,
        "JSON Parse error: Missing a comma or ']' after an array element. at offset: 17",
    ),
    (
        b'{"instances" [1]}',
        400,
        "JSON Parse error: Missing a colon after a name of object member. at offset: 13",
    ),
    (
        b'{"instances": [1] "b": 1}',
        400,
        "JSON Parse error: Missing a comma or '}' after an object member. at offset: 18",
    ),
    (b"{instances: [1]}", 400, "JSON Parse error: Missing a name for object member. at offset: 1"),
    (b'{"a": "\x01"}', 400, "JSON Parse error: Invalid escape character in string. at offset: 7"),
    (b'{"a": "\\x"}', 400, "JSON Parse error: Invalid escape character in string. at offset: 7"),
    (
        b'{"a": "\\u12"}',
        400,
        "JSON Parse error: Incorrect hex digit after \\u escape in string. at offset: 7",
    ),
    (b'{"a": "\\ud800"}', 400, "JSON Parse error: The surrogate pair in string is invalid. at offset: 7"),
    (b'{"a": "b', 400, "JSON Parse error: Missing a closing quotation mark in string. at offset: 8"),
    (b'{"a": 1.}', 400, "JSON Parse error: Miss fraction part in number. at offset: 8"),
    (b'{"a": 01}', 400, "JSON Parse error: Missing a comma or '}' after an object member. at offset: 7"),
    (b'{"a": tru}', 400, "JSON Parse error: Invalid value. at offset: 9"),
    (b'{"a": 1e}', 400, "JSON Parse error: Miss exponent in number. at offset: 8"),
    (b'{"a": -}', 400, "JSON Parse error: Invalid value. at offset: 7"),
    (b"nul", 400, "JSON Parse error: Invalid value. at offset: 3"),
    (
        b'{"instances": [{"b64": "AA=="}]}',
        400,
        'Failed to process element: 0 of \'instances\' list. Error: INVALID_ARGUMENT: JSON Value: {\n    "b64": "AA=="\n} Type: Object is not of expected type: float',
    ),
    (
        b'{"instances": [{"x": 1, "y": 2}]}',
        400,
        "Failed to process element: 0 key: y of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: y",
    ),
    (
        b'{"instances": [{"y": 2}]}',
        400,
        "Failed to process element: 0 key: y of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: y",
    ),
    (b'{"instances": [{"x": 1}, 2]}', 400, "Expecting object but got list at item 1 of input list"),
    (b'{"instances": [2, {"x": 1}]}', 400, "Expecting value/list but got object at item 1 of input list"),
    (b'\xef\xbb\xbf{"instances": [1]}', 200, {"predictions": [2.5]}),
    (b'{"instances": [1], "instances": [2]}', 200, {"predictions": [2.5]}),
    (
        b'{"instances": [0.1, 0.2, 0.3, 1234567.0, 1e10, 3e-5, 1e-8, 16777217]}',
        200,
        {"predictions": [2.05, 2.1, 2.15, 617285.5, 5000000000.0, 2.00001502, 2.0, 8388610.0]},
    ),
    (b'{"instances": [99999999999999999999]}', 200, {"predictions": [5e19]}),
    (b'{"instances": [[]]}', 200, {"predictions": [[]]}),
    (b'{"instances": [[[1]]]}', 200, {"predictions": [[[2.5]]]}),
    (
        b'{"instances": [{"x": {"a": [1, 2.5, "s", null, true, {"k": 1e30}]}}]}',
        400,
        'Failed to process element: 0 key: x of \'instances\' list. Error: INVALID_ARGUMENT: JSON Value: {\n    "a": [1, 2.5, "s", null, true, {\n            "k": 1e30\n        }]\n} Type: Object is not of expected type: float',
    ),
    (
        b'{"signature_name": "upper", "instances": [{"b64": "YWI="}, {"b64": "YWI"}]}',
        200,
        {"predictions": [{"bytes": 2, "upper": "AB"}, {"bytes": 2, "upper": "AB"}]},
    ),
    (
        b'{"signature_name": "upper", "instances": [{"b64": "!!"}]}',
        400,
        "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: Unable to base64 decode",
    ),
    (
        b'{"signature_name": "upper", "instances": [{"b64": "YQ=="}, "b"]}',
        200,
        {"predictions": [{"bytes": 1, "upper": "A"}, {"bytes": 1, "upper": "B"}]},
    ),
    (b'{"signature_name": "upper", "inputs": {"b64": "YQ=="}}', 200, {"outputs": {"bytes": 1, "upper": "A"}}),
    (b'{"signature_name": "upper", "inputs": {"text": [{"b64": "Y Q="}]}}', 400, "Unable to base64 decode"),
    (
        b'{"signature_name": "upper", "inputs": {"text": ["x"]}}',
        200,
        {"outputs": {"bytes": [1], "upper": ["X"]}},
    ),
    (
        b'{"signature_name": "upper", "instances": [1]}',
        400,
        "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 1 Type: Number is not of expected type: string",
    ),
    (
        b'{"signature_name": "upper", "instances": [{"b64": 1}]}',
        400,
        "Failed to process element: 0 key: b64 of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: b64",
    ),
    (
        b'{"signature_name": "upper", "instances": ["a\\u0000b", "\\ud83d\\ude00"]}',
        200,
        {"predictions": [{"bytes": 3, "upper": "A\x00B"}, {"bytes": 4, "upper": "😀"}]},
    ),
    (
        b'{"signature_name": "upper", "instances": [{"b64": "YR=="}, {"b64": "_-8="}]}',
        400,
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Unable to base64 decode",
    ),
    (
        b'{"signature_name": "upper", "instances": [{"b64": "YWI=="}]}',
        400,
        "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: Unable to base64 decode",
    ),
    (
        b'{"signature_name": "upper", "instances": [{"b64": "Y"}]}',
        400,
        "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: Unable to base64 decode",
    ),
    (
        b'{"signature_name": "two", "instances": [{"a": 1, "b": 2}, {"a": 1.5, "b": 3}]}',
        200,
        {"predictions": [{"sum": 3.0, "difference": -1.0}, {"sum": 4.5, "difference": -1.5}]},
    ),
    (
        b'{"signature_name": "two", "inputs": {"a": [1, 2], "b": [1, 2]}}',
        200,
        {"outputs": {"difference": [0.0, 0.0], "sum": [2.0, 4.0]}},
    ),
    (b'{"signature_name": "two", "inputs": {"a": [1]}}', 400, "Missing named input: b in 'inputs' object."),
    (
        b'{"signature_name": "two", "instances": [1]}',
        400,
        "instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map",
    ),
    (
        b'{"signature_name": "two", "inputs": [1]}',
        400,
        "inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map",
    ),
    (
        b'{"signature_name": "two", "instances": [{"a": 1, "b": 2.5}]}',
        400,
        "Failed to process element: 0 key: b of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 2.5 Type: Number is not of expected type: int32",
    ),
    (
        b'{"signature_name": "two", "instances": [{"a": 1, "b": 3000000000}]}',
        400,
        "Failed to process element: 0 key: b of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 3000000000 Type: Number is not of expected type: int32",
    ),
    (
        b'{"signature_name": "two", "instances": [{"a": 1}]}',
        400,
        "Failed to process element: 0 of 'instances' list. JSON object: {\n    \"a\": 1\n} keys must be equal to: a,b",
    ),
    (
        b'{"signature_name": "two", "instances": [{"a": 1, "b": 2}, {"a": [1], "b": 3}]}',
        400,
        "Failed to process element: 1 key: a of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [] but got: [1]",
    ),
    (
        b'{"signature_name": "two", "inputs": {"a": [1, 2], "b": [1, 2], "c": 1}}',
        200,
        {"outputs": {"difference": [0.0, 0.0], "sum": [2.0, 4.0]}},
    ),
    (
        b'{"signature_name": "wide", "instances": [[1, 2, 3], [4, 5, 6]]}',
        200,
        {"predictions": [[321.0], [654.0]]},
    ),
    (
        b'{"signature_name": "wide", "instances": [[1, 2], [4, 5]]}',
        400,
        "Matrix size-incompatible: In[0]: [2,2], In[1]: [3,1]",
    ),
    (
        b'{"signature_name": "wide", "inputs": [[1, 2, 3], [4, 5]]}',
        400,
        "Encountered list at unexpected size: 2 at level: 1 expected size: 3",
    ),
    (b'{"signature_name": "picky", "instances": [-1]}', 400, "assertion failed: [x must not be negative.  ]"),
    (b'{"signature_name": "mean", "instances": [1, 2]}', 400, "Tensor name: mean has no shape information "),
    (b'{"signature_name": "mean", "inputs": [1, 2]}', 200, {"outputs": 1.5}),
    (
        b'{"signature_name": "letters", "instances": ["ab", "c"]}',
        200,
        {"predictions": [["a", "b"], ["c", "-"]]},
    ),
    (
        b'{"signature_name": "echo", "inputs": {"float64": [0.1], "float16": [1], "bfloat16": [1], "int8": [1], "uint8": [1], "int64": [1], "bool": [true], "uint32": [1], "complex64": [1]}}',
        501,
        "Conversion of JSON Value: 1 to type: ",
    ),
    (b'{"signature_name": "classify", "instances": ["x"]}', 400, "Could not parse example input, value: 'x'"),
    (b'{"signature_name": "", "instances": [1]}', 200, {"predictions": [2.5]}),
    (b"\x00\x01\x02", 400, "JSON Parse error: The document is empty. at offset: 0"),
    (b'{"instances": [-0, -0.0, 1E5]}', 200, {"predictions": [2.0, 2.0, 50002.0]}),
]

CLASSIFY = [
    (
        b'{"signature_name": "classify", "examples": [{"x": 0.25}, {"x": [0.5]}]}',
        200,
        {"results": [[["low", 0.75], ["high", 0.25]], [["low", 0.5], ["high", 0.5]]]},
    ),
    (
        b'{"signature_name": "classify", "context": {"x": 0.75}, "examples": [{}]}',
        200,
        {"results": [[["low", 0.25], ["high", 0.75]]]},
    ),
    (b'{"examples": [{"x": 0.25}]}', 400, "No classification inputs found in "),
    (
        b'{"signature_name": "classify", "examples": []}',
        400,
        'JSON Value: {\n    "signature_name": "classify",\n    "examples": []\n} \'examples\' value is an empty array',
    ),
    (
        b'{"signature_name": "classify", "examples": 1}',
        400,
        'JSON Value: {\n    "signature_name": "classify",\n    "examples": 1\n} Expecting \'examples\' value to be an list/array',
    ),
    (
        b'{"signature_name": "classify"}',
        400,
        'JSON Value: {\n    "signature_name": "classify"\n} When method is classify, key \'examples\' is expected and was not found',
    ),
    (
        b'{"signature_name": "classify", "examples": [1]}',
        400,
        "Example must be JSON object but got JSON Number",
    ),
    (
        b'{"signature_name": "classify", "examples": [{"x": "a"}]}',
        400,
        "Name: <unknown>, Key: x, Index: 0.  Data types don't match. Data type: string but expected type: float",
    ),
    (
        b'{"signature_name": "classify", "examples": [{"x": null}]}',
        400,
        "Feature: x has element with unexpected JSON type: Null",
    ),
    (
        b'{"signature_name": "classify", "examples": [{"x": [1, "a"]}]}',
        400,
        "Unexpected element type in feature: x expecting type: int64",
    ),
    (
        b'{"signature_name": "classify", "examples": [{"x": 1}]}',
        400,
        "Name: <unknown>, Key: x, Index: 0.  Data types don't match. Data type: int64 but expected type: float",
    ),
    (
        b'{"signature_name": "classify", "examples": [{"x": [[1]]}]}',
        400,
        "Feature: x has element with unexpected JSON type: Array",
    ),
    (
        b'{"signature_name": "classify", "examples": [{"x": {"b64": "YQ=="}}]}',
        400,
        "Name: <unknown>, Key: x, Index: 0.  Data types don't match. Data type: string but expected type: float",
    ),
    (
        b'{"signature_name": "classify", "examples": [{"x": {"a": "YQ=="}}]}',
        400,
        "Feature: x has element with unexpected JSON type: Object",
    ),
    (
        b'{"signature_name": "classify", "examples": [{"x": 18446744073709551615}]}',
        400,
        "Feature: x has uint64_t element. Only int64_t is supported.",
    ),
    (
        b'{"signature_name": "none", "examples": [{"x": 0.1}]}',
        400,
        "No signature was found with the name: none",
    ),
    (
        b'{"signature_name": "regress", "examples": [{"x": 0.1}]}',
        400,
        'Expected classification signature outputs to contain at least one of "classes" or "scores". ',
    ),
    (b"", 400, "JSON Parse error: The document is empty"),
    (
        b'{"signature_name": "classify", "context": 1, "examples": [{}]}',
        400,
        "Example must be JSON object but got JSON Number",
    ),
    (
        b'{"signature_name": "classify", "examples": [{"x": true}]}',
        400,
        "Name: <unknown>, Key: x, Index: 0.  Data types don't match. Data type: int64 but expected type: float",
    ),
    (
        b'{"signature_name": "classify", "examples": [{"x": 1e39}]}',
        200,
        {"results": [[["low", -INF], ["high", INF]]]},
    ),
]

REGRESS = [
    (
        b'{"signature_name": "regress", "examples": [{"x": 0.25}, {"x": [0.1]}]}',
        200,
        {"results": [2.125, 2.05]},
    ),
    (b'{"signature_name": "classify", "examples": [{"x": 0.25}]}', 400, "Expected one output Tensor."),
    (b'{"examples": [{"x": 0.25}]}', 400, "No regression inputs found in "),
]


@pytest.fixture(scope="module")
def call(server):
    """(method, path, body, headers) -> (status, headers, bytes)"""
    connection = http.client.HTTPConnection(server.rest_address, timeout=30)

    def call(method: str, path: str, body: bytes = b"", headers: Any = None) -> tuple[int, Any, bytes]:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()

    yield call
    connection.close()


def check(answer, status, expected):
    """`expected` is the whole answer, or the beginning of the message of an error."""
    got, headers, body = answer
    value = json.loads(body)
    assert headers["content-type"] == "application/json"
    if isinstance(expected, str):
        assert list(value) == ["error"]
        assert value["error"][: len(expected)] == expected
    else:
        assert repr(sort(value)) == repr(sort(expected))  # NaN equals NaN
    assert got == status


def sort(value):
    if isinstance(value, dict):
        return dict(sorted((k, sort(v)) for k, v in value.items()))
    return [sort(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("method", "path", "status", "expected"), OTHER)
def test_paths(call, method, path, status, expected):
    check(call(method, path), status, expected)


@pytest.mark.parametrize(("body", "status", "expected"), PREDICT)
def test_predict(call, body, status, expected):
    check(call("POST", "/v1/models/half:predict", body), status, expected)


@pytest.mark.parametrize(("body", "status", "expected"), CLASSIFY)
def test_classify(call, body, status, expected):
    check(call("POST", "/v1/models/half:classify", body), status, expected)


@pytest.mark.parametrize(("body", "status", "expected"), REGRESS)
def test_regress(call, body, status, expected):
    check(call("POST", "/v1/models/half:regress", body), status, expected)


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/v1/models/half/versions/3:predict", 200, {"predictions": [3.0]}),
        ("/v1/models/half/versions/4:predict", 404, "Servable not found for request: Specific(half, 4)"),
        ("/v1/models/none:predict", 404, "Servable not found for request: Latest(none)"),
        ("/v1/models/half/labels/x:predict", 400, "Unrecognized servable version label: x"),
        (
            "/v1/models/half/labels/x/versions/3:predict",
            400,
            "Malformed request: POST /v1/models/half/labels",
        ),
        ("/v1/models/half/versions/x:predict", 400, "Malformed request: POST /v1/models/half/versions/x"),
        ("/v1/models/half:explain", 400, "Malformed request: POST /v1/models/half:explain"),
    ],
)
def test_the_path_names_model_and_version(call, path, status, expected):
    check(call("POST", path, b'{"instances": [2]}'), status, expected)


def test_metadata_has_all_signatures(call):
    status, _, body = call("GET", "/v1/models/half/metadata")
    value = json.loads(body)
    assert status == 200
    assert value["model_spec"] == {"name": "half", "version": "3", "signature_name": ""}
    signatures = value["metadata"]["signature_def"]["signature_def"]
    dim = [{"size": "-1", "name": ""}]
    assert signatures["upper"]["inputs"] == {
        "text": {
            "name": "upper_text:0",
            "dtype": "DT_STRING",
            "tensor_shape": {"dim": dim, "unknown_rank": False},
        }
    }
    assert {"serving_default", "classify", "regress", "two"} < set(signatures)


def test_the_body_may_be_compressed(call):
    body = gzip.compress(b'{"instances": [2]}')
    answer = call("POST", "/v1/models/half:predict", body, {"Content-Encoding": "gzip"})
    check(answer, 200, {"predictions": [3.0]})


def test_a_compressed_body_has_one_part(call):
    parts = gzip.compress(b'{"instances"') + gzip.compress(b": [2]}")
    assert call("POST", "/v1/models/half:predict", parts, {"Content-Encoding": "gzip"})[0] == 400


def test_bytes_that_are_not_utf8_go_through_the_model_unchanged(call):
    body = b'{"signature_name": "upper", "inputs": ["a", "\xff\xfeb", "caf\xc3\xa9"]}'
    status, _, answer = call("POST", "/v1/models/half:predict", body)
    assert status == 200
    assert b'"\xff\xfeB"' in answer
    assert b'"CAF\xc3\xa9"' in answer


def test_browsers_may_ask_first(call):
    status, _, body = call("OPTIONS", "/v1/models/half:predict", headers={"Origin": "https://example.com"})
    assert (status, body) == (200, b"")
    assert call("OPTIONS", "/v1/models/half:predict")[0] == 400


def test_other_paths_are_not_found(call):
    assert call("GET", "/")[0] == 404
    assert call("GET", "/v2/models/half")[0] == 404


def test_a_version_that_is_no_number_of_64_bits_is_refused(call):
    assert call("GET", "/v1/models/half/versions/9223372036854775807")[0] == 404
    assert call("GET", "/v1/models/half/versions/9223372036854775808")[0] == 400
    assert call("GET", f"/v1/models/half/versions/{'9' * 5000}")[0] == 400
    assert call("POST", f"/v1/models/half/versions/{'9' * 5000}:predict", b"{}")[0] == 400


def test_a_label_names_a_version(start, publish, tmp_path):
    model_dir = tmp_path / "half"
    model_dir.mkdir()
    publish(model_dir, 3, "plus2")
    publish(model_dir, 4, "plus3")
    (model_dir / "labels.json").write_text('{"labels": {"stable": 3}, "previous": {}}')
    with start(model_dir) as served:
        connection = http.client.HTTPConnection(served.rest_address, timeout=30)
        for path, answer in (("/labels/stable", 3.0), ("/versions/4", 4.0), ("", 4.0)):
            connection.request("POST", f"/v1/models/half{path}:predict", b'{"instances": [2]}')
            assert json.loads(connection.getresponse().read()) == {"predictions": [answer]}
        connection.request("GET", "/v1/models/half/labels/stable/metadata")
        assert json.loads(connection.getresponse().read())["model_spec"]["version"] == "3"
        connection.close()
