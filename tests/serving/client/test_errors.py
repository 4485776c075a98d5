"""One class a status, one sentence a message."""

from __future__ import annotations

import dataclasses
import pickle

import grpc
import pytest

from tfpipeline.serving.client import PredictClient, calls, errors, steps

CODES = [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


def failed(code, details="their words", timeout=2.5):
    return errors.from_status(code, details, target="host:1", asked='predict, model "m"', timeout=timeout)


def test_every_status_has_exactly_one_class():
    assert sorted(errors.BY_CODE) == sorted(CODES)
    assert len(errors.CallError.__subclasses__()) == len(CODES)
    for code in CODES:
        words = "".join(word.title() for word in code.split("_"))
        assert type(failed(code)) is getattr(errors, f"{words}Error")


def test_the_tree_in_the_docstring_is_whole():
    classes = [
        cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.ClientError)
    ]
    assert len(classes) == 7 + len(CODES)
    assert [cls.__name__ for cls in classes if f" {cls.__name__}" not in errors.__doc__] == []
    assert [cls for cls in classes if not issubclass(cls, errors.ClientError)] == []


@pytest.mark.parametrize("code", CODES)
def test_messages_are_one_sentence_with_what_where_and_what_to_do(code):
    message = str(failed(code, "first line\n\tsecond {line}."))
    assert "host:1" in message
    assert '(predict, model "m"): first line second {line}; ' in message
    what_to_do = message.partition("second {line}; ")[2]
    assert len(what_to_do) > 8
    assert "\n" not in message
    assert ". " not in message
    assert not message.endswith(".")


def test_details_are_bounded_and_never_missing():
    assert len(str(failed("INTERNAL", "x" * 100_000))) < 1_000
    assert failed("INTERNAL", "x" * 100_000).details == "x" * 100_000
    assert "no details" in str(failed("INTERNAL", ""))


def test_a_status_newer_than_us_is_unknown():
    assert type(failed("TEAPOT")) is errors.UnknownError


def test_a_long_message_and_a_full_server_are_told_apart():
    assert "max_message_bytes" in str(
        failed("RESOURCE_EXHAUSTED", "Received message larger than max (9 vs. 4)")
    )
    full = str(failed("RESOURCE_EXHAUSTED", "No thread quota"))
    assert "max_message_bytes" not in full
    assert "fewer requests at a time" in full


def test_the_deadline_is_said():
    assert "in 2.5 s" in str(failed("DEADLINE_EXCEEDED"))


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(failed("NOT_FOUND")))
    assert type(error) is errors.NotFoundError
    assert str(error) == str(failed("NOT_FOUND"))
    assert (error.code, error.details, error.target) == ("NOT_FOUND", "their words", "host:1")


def test_the_signature_that_was_asked_is_named():
    """That of the request: explain asks another one than the client's own."""
    with PredictClient("localhost:1", model="m") as client:
        endpoint = dataclasses.replace(client.endpoint, signature="explain")
        call = steps.Call(calls.PREDICT, calls.predict_request(endpoint, {"text": ["a"]}))
        assert 'signature "explain"' in str(client._status_error("NOT_FOUND", "no such signature", call))
