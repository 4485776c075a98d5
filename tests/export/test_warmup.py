"""Warm-up requests that an export writes; read with the official messages."""

from __future__ import annotations

import inspect
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests import tiny
from tfpipeline import tasks
from tfpipeline.commands import export as command
from tfpipeline.errors import UserError
from tfpipeline.export import options, prediction_logs, warmup
from tfpipeline.text import TokenizerOptions, Truncation, build_tokenizer
from tfpipeline.training.prediction_graph import TextInputs

TEXT, ROW, IDS = (
    tf.TensorSpec([None], tf.string),
    tf.TensorSpec([None], tf.int32),
    tf.TensorSpec([None, None], tf.int32),
)
TEXTS = {"text": TEXT}
TOKENS = {"input_ids": IDS, "lengths": ROW}


def module(further=MappingProxyType({}), **signatures):
    """Stands for signatures: what is read of them is their specifications."""
    return SimpleNamespace(
        row_inputs={},
        functions={
            name: SimpleNamespace(structured_input_signature=((), specs))
            for name, specs in signatures.items()
        },
        further=further,
        cost=1,
    )


@pytest.fixture(scope="module")
def text_inputs():
    tokenizer = build_tokenizer(tuple(tiny.VOCABULARY), TokenizerOptions())

    def make(longest=128, **changes):
        settings = {"pair": False, "offsets": False, **changes}
        return TextInputs(tokenizer, Truncation(max_length=longest), **settings)

    return make


def read(path):
    """(signature, name -> array) of each record."""
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    return [
        (log.model_spec.signature_name, {name: tf.make_ndarray(proto) for name, proto in log.inputs.items()})
        for log in logs
    ]


def test_each_signature_is_asked_each_size(text_inputs, tmp_path):
    made = module(serving_default=TEXTS, input_ids=TOKENS)
    assert warmup.write(tmp_path, made, text_inputs(), 100) == 24
    path = tmp_path / "assets.extra" / "tf_serving_warmup_requests"
    asked = read(path)
    assert path.stat().st_size < 150_000
    sizes = [(rows, width) for rows in (1, 8, 32) for width in (16, 32, 64, 128)]
    ids = [inputs for name, inputs in asked if name == "input_ids"]
    texts = [inputs["text"] for name, inputs in asked if name == "serving_default"]
    assert sorted(inputs["input_ids"].shape for inputs in ids) == sorted(sizes)
    for inputs, own in zip(ids, texts):
        tokens = text_inputs()({"text": own.tolist()})
        np.testing.assert_array_equal(inputs["input_ids"], tokens["input_ids"])
        np.testing.assert_array_equal(inputs["lengths"], tokens["attention_mask"].numpy().sum(1))
        assert inputs["lengths"].dtype == np.int32
        assert inputs["lengths"].max() == inputs["input_ids"].shape[1]
        assert tiny.VOCABULARY.index("[UNK]") not in inputs["input_ids"]
        if len(own) > 1:  # as in real requests, most texts are shorter than the longest
            assert np.median(inputs["lengths"]) < 0.7 * inputs["input_ids"].shape[1]


@pytest.mark.parametrize("most", [0, 1, 2, 5])
def test_a_limit_leaves_out_the_largest(text_inputs, tmp_path, most):
    made = module(serving_default=TEXTS, input_ids=TOKENS)
    assert warmup.write(tmp_path, made, text_inputs(), most) == most
    path = tmp_path / warmup.REQUESTS
    assert path.exists() == bool(most)
    if most:
        whole = list(warmup.requests(made, text_inputs()))[:most]
        assert [name for name, _ in read(path)] == [name for name, _ in whole]
        assert len(whole[0][1]["text"]) == 1
    if most > 1:
        assert {name for name, _ in read(path)} == {"serving_default", "input_ids"}


def test_sizes_are_limited_in_tokens_and_further_signatures_cost_more(text_inputs):
    inputs = {"text": tasks.Input(), "label": tasks.Input(), "top": tasks.Input("int32", examples=(3, 5))}
    declared = tasks.Signature(inputs, lambda graph, given: given, cost=100)
    made = module({"explain": declared}, serving_default=TEXTS, input_ids=TOKENS, explain={})
    asked = list(warmup.requests(made, text_inputs(300)))
    sizes = [inputs["input_ids"].shape for name, inputs in asked if name == "input_ids"]
    assert max(rows * width for rows, width in sizes) == 4096
    assert (1, 300) in sizes
    explained = [inputs for name, inputs in asked if name == "explain"]
    assert [len(inputs["text"]) for inputs in explained] == [1, 1]  # 16 and 32 tokens
    assert explained[0]["label"].tolist() == [b""]
    assert (explained[0]["top"].dtype, explained[0]["top"].tolist()) == (np.int32, [3])


def test_expensive_predictions_get_small_requests(text_inputs):
    made = module(serving_default=TEXTS, input_ids=TOKENS)
    made.cost = 64
    asked = [
        inputs["input_ids"].shape
        for name, inputs in warmup.requests(made, text_inputs())
        if name == "input_ids"
    ]
    assert asked == [(1, 16), (1, 32), (1, 64)]


def test_further_signatures_are_asked_with_their_examples(text_inputs):
    inputs = {
        "text": tasks.Input(),
        "text_pair": tasks.Input(),  # predictions take one text
        "k": tasks.Input("int32", examples=(1, 9)),
        "temperature": tasks.Input("float32", per_row=False, examples=(0.5,)),
    }
    declared = tasks.Signature(inputs, lambda graph, given: given)
    asked = list(warmup.requests(module({"search": declared}, search={}), text_inputs(16)))
    assert [len(given["text"]) for _, given in asked] == [1, 8, 32]
    _, given = asked[1]
    assert given["k"].tolist() == [1, 9] * 4
    assert (given["k"].dtype, given["text_pair"].shape) == (np.int32, (8,))
    assert all(given["text_pair"])
    assert (given["temperature"].dtype, given["temperature"].tolist()) == (np.float32, 0.5)


def test_further_signatures_get_few_requests(text_inputs):
    """The model that they run is warm already; each number of rows is asked once, and the longest text."""
    declared = tasks.Signature({"text": tasks.Input()}, lambda graph, given: given)
    made = module({"search": declared}, serving_default=TEXTS, search={})
    asked = list(warmup.requests(made, text_inputs()))
    sizes = {name: [] for name in ("serving_default", "search")}
    for name, inputs in asked:
        tokens = text_inputs()({"text": inputs["text"].tolist()})
        sizes[name].append(tuple(tokens["input_ids"].shape))
    assert sizes["search"] == [(1, 16), (1, 128), (8, 16), (32, 16)]
    assert len(sizes["serving_default"]) == 12


@pytest.mark.parametrize("separate", [False, True])
def test_pairs(text_inputs, separate):
    second = {"text_pair_input_ids": IDS, "text_pair_lengths": ROW} if separate else {"token_type_ids": IDS}
    made = module(serving_default={**TEXTS, "text_pair": TEXT}, input_ids={**TOKENS, **second})
    asked = list(warmup.requests(made, text_inputs(32, pair=True, separate=separate)))
    for (_, texts), (_, tokens) in zip(asked[::2], asked[1::2]):
        assert len(texts["text"]) == len(texts["text_pair"])
        assert tokens.keys() == {*TOKENS, *second}
        assert tokens["lengths"].max() == tokens["input_ids"].shape[1] in (16, 32)
        if separate:
            assert tokens["text_pair_lengths"].max() == tokens["input_ids"].shape[1]
        else:
            assert set(tokens["token_type_ids"].ravel()) == {0, 1}


def test_a_vocabulary_without_whole_words():
    tokenizer = build_tokenizer(
        ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##x", "!"), TokenizerOptions()
    )
    found = TextInputs(tokenizer, Truncation(max_length=16), pair=False, offsets=False)
    _, inputs = next(warmup.requests(module(serving_default=TEXTS), found))
    assert inputs["text"].shape == (1,)


def test_what_is_written_is_read(tmp_path):
    asked = [
        ("a", {"text": np.array([b"\x00 x", b""], object), "n": np.int32([[1, 2]])}),
        ("b", {"n": np.int32([3])}),
    ]
    prediction_logs.write(str(tmp_path / "f"), asked)
    found = list(prediction_logs.read(str(tmp_path / "f")))
    assert [name for name, _ in found] == ["a", "b"]
    assert tf.io.parse_tensor(found[0][1]["text"], tf.string).numpy().tolist() == [b"\x00 x", b""]
    assert tf.io.parse_tensor(found[0][1]["n"], tf.int32).numpy().tolist() == [[1, 2]]
    assert tf.io.parse_tensor(found[1][1]["n"], tf.int32).numpy().tolist() == [3]


@pytest.mark.parametrize("number", [-1, 1001])
def test_the_number_of_requests_is_checked_first(number):
    with pytest.raises(
        UserError, match=rf"warmup is {number}; it must be from 0 \(no warm-up requests\) to 1000"
    ):
        options.ExportOptions(warmup=number)


def test_the_command_has_the_options_default():
    assert inspect.signature(command.command).parameters["warmup"].default.default == options.DEFAULT_WARMUP
