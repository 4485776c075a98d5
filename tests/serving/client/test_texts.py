"""Columns of texts: what is no list of texts is refused with advice."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from types import SimpleNamespace

import numpy as np
import pyarrow
import pytest

from tfpipeline.serving.client import Classification, InputError, PredictClient, texts


class DataFrame:
    """Looks like that of pandas: iterating over it yields the names of its columns."""

    columns = ("text", "label")

    def __iter__(self):
        return iter(self.columns)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "is NoneType; give a list of texts"),
        (3, "is int; give a list of texts"),
        ("abc", "is one string; give a list of texts"),
        (b"abc", "is one string; give a list of texts"),
        (DataFrame(), "is a table (DataFrame); give one of its columns"),
        (pyarrow.table({"text": ["a"]}), "is a table (Table); give one of its columns"),
        ({"text": "a"}, "is dict; give a list of texts, such as its values"),
        (OrderedDict(text="a"), "is OrderedDict; give a list of texts"),
        (UserDict(text="a"), "is UserDict; give a list of texts"),
        ({"a", "b"}, "is set, which promises no order; give a list of texts"),
        (frozenset("ab"), "is frozenset, which promises no order; give a list of texts"),
        (np.array("abc"), "is ndarray; give a list of texts"),
        (SimpleNamespace(), "is SimpleNamespace; give a list of texts"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_list_of_texts(given, says):
    with PredictClient("localhost:1", model="m") as client:
        for name, ask in (
            ("text", lambda: client.predict(given)),
            ("text", lambda: client.classify(given)),
            ("text", lambda: client.explain(given)),
            ("text", lambda: client.embed(given)),
            ("text", lambda: client.search(given)),
            ("text", lambda: client.similarity(given, ["a"])),
            ("text", lambda: client.predict_stream(given)),
            ("text_pair", lambda: client.answer(["a"], given) if given is not None else client.predict(None)),
        ):
            with pytest.raises(InputError) as caught:
                ask()
            assert says in str(caught.value)
            assert f'input "{name}"' in str(caught.value) or given is None
        if given is not None and not isinstance(given, (str, bytes)):
            with pytest.raises(InputError) as caught:
                client.explain(["a"], labels=given)
            assert f'input "labels" {says}' in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [["a", "b"], ("a", b"b"), iter(["a", "b"]), {"x": "a", "y": "b"}.values(), np.array(["a", "b"]), np.array(["a", "b"], object)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is(given):
    assert texts.text_inputs(given, None)["text"].tolist() == [b"a", b"b"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("a", "b"), 'row 0 of input "text" is tuple, not str or bytes; give second texts as text_pair'),
        (["a", "b", "c"], 'row 0 of input "text" is list, not str or bytes; convert or drop it'),
        ({"text": "a"}, 'row 0 of input "text" is dict'),
        (float("nan"), 'row 0 of input "text" is float'),
    ],
)
def test_rows_that_are_no_texts(row, says):
    with pytest.raises(InputError) as caught:
        texts.text_inputs([row], None)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "options", "says"),
    [
        (DataFrame(), {}, "inputs is DataFrame; give a dict: input name -> array"),
        ([1, 2], {}, "inputs is list; give a dict: input name -> array"),
        (None, {}, "inputs is NoneType; give a dict: input name -> array"),
        ({"x": {"a": 1}}, {}, 'input "x" is dict; give an array or a list'),
        ({"x": {1, 2}}, {}, 'input "x" is set; give an array or a list'),
        ({"x": None}, {}, 'input "x" is NoneType; give an array or a list'),
        ({3: [1]}, {}, "an input's name is 3; give a name that metadata() lists"),
        ({"x": [1]}, {"outputs": [3]}, "outputs is 3; give a list of names"),
    ],
)
def test_raw_inputs(inputs, options, says):
    with PredictClient("localhost:1", model="m") as client, pytest.raises(InputError) as caught:
        client.predict_raw(inputs, **options)
    assert says in str(caught.value)


def test_a_column_of_arrow():
    for column in (pyarrow.array(["a", "b"]), pyarrow.chunked_array([["a"], ["b"]])):
        assert texts.text_inputs(column, None)["text"].tolist() == [b"a", b"b"]
    with pytest.raises(InputError, match=r'row 1 of input "text" is NoneType'):
        texts.text_inputs(pyarrow.array(["a", None]), None)


@pytest.mark.parametrize("expect", ["Classification", int, None, Classification("a", 1.0, {"a": 1.0})])
def test_what_cannot_be_expected(expect):
    with PredictClient("localhost:1", model="m") as client:
        for call in (client.predict, lambda *given, **named: list(client.predict_stream(*given, **named))):
            with pytest.raises(InputError, match=r"^expect is .*; give a class of predictions, such as"):
                call(["a"], expect=expect)


def test_uneven_columns_are_counted():
    with pytest.raises(InputError, match=r"^1 text but 2 in text_pair; give one for each text$"):
        texts.text_inputs(["a"], ["b", "c"])
    with pytest.raises(InputError, match=r"^2 texts but 1 label; give one for each text, or one for all$"):
        texts.explain_inputs(["a", "b"], None, ["c"])


def test_the_longest_come_first():
    columns = texts.text_inputs(["a", "ccc", "", "bb", "aa"], ["x", "", "", "", "x"])
    assert texts.by_length(columns) == [1, 4, 0, 3, 2]
