"""What a server answers to requests of wrong shapes or numbers: asked in a session, as servers do, without a model."""

from __future__ import annotations

import functools

import grpc
import numpy as np
import pytest
import tensorflow as tf

from tfpipeline.export.shape_checks import checked
from tfpipeline.models.inputs import InputLimits
from tfpipeline.serving.server.saved_model import SavedModel
from tfpipeline.serving.server.status import StatusError
from tfpipeline.tasks import Input

TEXT, ROW, IDS = (
    tf.TensorSpec([None], tf.string),
    tf.TensorSpec([None], tf.int32),
    tf.TensorSpec([None, None], tf.int32),
)
LIMITS = InputLimits(vocabulary=30, types=2, width=6)
DECLARED = {
    "further": {
        "text": Input(),
        "k": Input("int32", least=1, most=100),
        "steps": Input("int32", per_row=False, least=0),
    },
    "one": {"steps": Input("int32", per_row=False, most=5)},
    "chosen": {
        "beams": Input("int32", least=1, most=4, unset=-1),
        "share": Input("float32", least=0.5, most=1, unset=-1),
    },
}
SIGNATURES = {
    "further": {"text": TEXT, "k": ROW, "steps": tf.TensorSpec([], tf.int32)},
    "one": {"steps": tf.TensorSpec([], tf.int32)},
    "chosen": {"beams": ROW, "share": tf.TensorSpec([None], tf.float32)},
    "serving_default": {"text": TEXT},
    "pair": {"text": TEXT, "text_pair": TEXT},
    "input_ids": {"input_ids": IDS, "lengths": ROW, "token_type_ids": IDS},
    "separate": {"input_ids": IDS, "lengths": ROW, "text_pair_input_ids": IDS, "text_pair_lengths": ROW},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Signatures that answer with what they were asked."""
    functions = {}
    for name, specs in SIGNATURES.items():
        echo = functools.partial(checked, limits=LIMITS, declared=DECLARED.get(name, {}))
        functions[name] = tf.function(
            lambda echo=echo, **inputs: echo(inputs), autograph=False
        ).get_concrete_function(
            **{key: tf.TensorSpec(spec.shape, spec.dtype, key) for key, spec in specs.items()}
        )
    path = tmp_path_factory.mktemp("echo") / "1"
    tf.saved_model.save(tf.Module(), str(path), signatures=functions)
    model = SavedModel(path)
    yield model
    model.close()


def ask(model, signature, inputs):
    found = model.signatures[signature]
    dtypes = {
        name: object if spec.dtype == tf.string else spec.dtype.as_numpy_dtype
        for name, spec in SIGNATURES[signature].items()
    }
    feeds = {found.inputs[name].name: np.array(value, dtypes[name]) for name, value in inputs.items()}
    fetches = [found.outputs[name].name for name in sorted(found.outputs)]
    return dict(zip(sorted(found.outputs), model.run(feeds, fetches)))


VOCABULARY = "make them with the tokenizer of this model, and pad with 0"
IDS_12 = {"input_ids": [[2, 3]], "lengths": [2], "token_type_ids": [[0, 0]]}
TWO = {"input_ids": [[2, 3]], "lengths": [1], "text_pair_input_ids": [[4, 5, 6]], "text_pair_lengths": [3]}


def test_padding_beyond_what_the_model_reads_is_cut_off(served):
    """A server pads a batch to any width that its configuration allows."""
    wide = {"input_ids": [[2] * 6 + [0], [3] + [0] * 6], "token_type_ids": [[1] * 7] * 2, "lengths": [6, 1]}
    answer = ask(served, "input_ids", wide)
    assert answer["input_ids"].tolist() == [[2] * 6, [3] + [0] * 5]
    assert answer["token_type_ids"].tolist() == [[1] * 6] * 2
    second = {**TWO, "text_pair_input_ids": [[4] * 9]}
    assert ask(served, "separate", second)["text_pair_input_ids"].shape == (1, 6)


@pytest.mark.parametrize(
    ("signature", "inputs"),
    [
        ("serving_default", {"text": ["a", ""]}),
        ("serving_default", {"text": []}),
        ("further", {"text": ["a", "b"], "k": [1, 100], "steps": 0}),
        ("further", {"text": [], "k": [], "steps": 7}),
        ("one", {"steps": 5}),
        ("chosen", {"beams": [-1, 1, 4], "share": [0.5, -1.0, 1.0]}),
        ("pair", {"text": ["a"], "text_pair": ["b"]}),
        ("input_ids", IDS_12),
        (
            "input_ids",
            {"input_ids": [[2, 3, 0], [2, 3, 4]], "lengths": [1, 3], "token_type_ids": [[0, 1, 1]] * 2},
        ),
        ("input_ids", {"input_ids": np.zeros((0, 3)), "lengths": [], "token_type_ids": np.zeros((0, 3))}),
        ("separate", TWO),
        ("input_ids", {"input_ids": [[0, 29] * 3], "lengths": [6], "token_type_ids": [[0, 1] * 3]}),
    ],
)
def test_right_shapes_pass(served, signature, inputs):
    found = ask(served, signature, inputs)
    assert found.keys() == inputs.keys()
    for name, value in inputs.items():
        want = np.array(value)
        assert found[name].shape == want.shape
        assert [
            v.decode() if isinstance(v, bytes) else v for v in found[name].ravel()
        ] == want.ravel().tolist()


@pytest.mark.parametrize(
    ("signature", "inputs", "sentence"),
    [
        ("serving_default", {"text": "a"}, "text must be [B], got []: send a list of texts"),
        ("serving_default", {"text": [["a"]]}, "text must be [B], got [1,1]: send a list of texts"),
        ("further", {"text": ["a"], "k": [0], "steps": 1}, "k must be at least 1, got 0"),
        ("further", {"text": ["a"] * 2, "k": [3, 101], "steps": 1}, "k must be at most 100, got 101"),
        ("further", {"text": ["a"], "k": 3, "steps": 1}, "k must be [B], got []: send a list of numbers"),
        (
            "further",
            {"text": ["a"], "k": [3, 3], "steps": 1},
            "k must have as many rows as text, got [2] and [1]",
        ),
        ("further", {"text": ["a"], "k": [3], "steps": -1}, "steps must be at least 0, got -1"),
        ("further", {"text": ["a"], "k": [3], "steps": [1]}, "steps must be [], got [1]: send one number"),
        ("one", {"steps": 6}, "steps must be at most 5, got 6"),
        (
            "chosen",
            {"beams": [-1, 0], "share": [-1] * 2},
            "beams must be at least 1 (or -1 for the default), got 0",
        ),
        (
            "chosen",
            {"beams": [5], "share": [1]},
            "beams must be at most 4 (or -1 for the default), got 5",
        ),
        (
            "chosen",
            {"beams": [1] * 2, "share": [-1, 0]},
            "share must be at least 0.5 (or -1 for the default), got 0",
        ),
        ("pair", {"text": ["a"], "text_pair": "b"}, "text_pair must be [B], got []: send a list of texts"),
        (
            "pair",
            {"text": ["a"], "text_pair": ["b", "c"]},
            "text_pair must have as many rows as text, got [2] and [1]",
        ),
        (
            "input_ids",
            {**IDS_12, "input_ids": [2, 3]},
            "input_ids must be [B, T], got [2]: send a list of rows of one length",
        ),
        ("input_ids", {**IDS_12, "lengths": 2}, "lengths must be [B], got []: send a list of numbers"),
        ("input_ids", {**IDS_12, "lengths": [[2]]}, "lengths must be [B], got [1,1]: send a list of numbers"),
        (
            "input_ids",
            {**IDS_12, "lengths": [2, 2]},
            "lengths must have as many rows as input_ids, got [2] and [1,2]",
        ),
        (
            "input_ids",
            {**IDS_12, "lengths": [3]},
            "lengths must be between 1 and the width of input_ids, got 3 to 3 for [1,2]: count the real tokens of each row",
        ),
        (
            "input_ids",
            {**IDS_12, "lengths": [0]},
            "lengths must be between 1 and the width of input_ids, got 0 to 0 for [1,2]: count the real tokens of each row",
        ),
        (
            "input_ids",
            {**IDS_12, "token_type_ids": [0, 0]},
            "token_type_ids must be [B, T], got [2]: send a list of rows of one length",
        ),
        (
            "input_ids",
            {**IDS_12, "token_type_ids": [[0, 0, 0]]},
            "token_type_ids must have the shape of input_ids, got [1,3] and [1,2]",
        ),
        (
            "input_ids",
            {**IDS_12, "token_type_ids": [[0, 0]] * 2},
            "token_type_ids must have as many rows as input_ids, got [2,2] and [1,2]",
        ),
        (
            "separate",
            {**TWO, "text_pair_lengths": [4]},
            "text_pair_lengths must be between 1 and the width of text_pair_input_ids, got 4 to 4 for [1,3]: count the real tokens of each row",
        ),
        (
            "separate",
            {**TWO, "lengths": [3]},
            "lengths must be between 1 and the width of input_ids, got 3 to 3 for [1,2]: count the real tokens of each row",
        ),
        (
            "input_ids",
            {"input_ids": [[2] * 7], "lengths": [7], "token_type_ids": [[0] * 7]},
            "input_ids must have at most 6 tokens per row, got 7: truncate the texts",
        ),
        (
            "separate",
            {**TWO, "text_pair_input_ids": [[2] * 7], "text_pair_lengths": [7]},
            "text_pair_input_ids must have at most 6 tokens per row, got 7: truncate the texts",
        ),
        (
            "input_ids",
            {**IDS_12, "input_ids": [[2, 30]]},
            f"input_ids must be between 0 and 29, got 2 to 30: {VOCABULARY}",
        ),
        (
            "input_ids",
            {**IDS_12, "input_ids": [[2, -1]], "lengths": [1]},
            f"input_ids must be between 0 and 29, got -1 to 2: {VOCABULARY}",
        ),
        (
            "separate",
            {**TWO, "text_pair_input_ids": [[4, 5, 99]]},
            f"text_pair_input_ids must be between 0 and 29, got 4 to 99: {VOCABULARY}",
        ),
        (
            "input_ids",
            {**IDS_12, "token_type_ids": [[0, 2]]},
            "token_type_ids must be between 0 and 1, got 0 to 2: 0 is for the tokens of the first text and for padding, 1 for those of the second",
        ),
    ],
)
def test_wrong_shapes_get_a_sentence(served, signature, inputs, sentence):
    with pytest.raises(StatusError) as caught:
        ask(served, signature, inputs)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.message.startswith(f"assertion failed: [{sentence}]")
