"""From texts to predictions: one path, whoever takes it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tfpipeline.data import Example
from tfpipeline.errors import UserError
from tfpipeline.export import ServingModule
from tfpipeline.models.inputs import INPUTS, OFFSETS, InputLimits, encoder_inputs
from tfpipeline.models.model_call import ModelCall
from tfpipeline.text import TokenizerOptions, Truncation, WordPieceTokenizer
from tfpipeline.training import FineTunedCheckpoint, Run, TrainedModel, open_run
from tfpipeline.training.inference import Inference
from tfpipeline.training.prediction_graph import PredictionGraph, TextInputs

TEXTS = ["the food was good", "", "bad", "😀 a very  bad film !", "x " * 60]


def same(got, want):
    """Floats up to another order of additions; all else as it is."""
    assert got.keys() == want.keys()
    for name, expected in want.items():
        found = np.asarray(got[name])
        assert found.dtype == expected.dtype
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        else:
            assert found.tolist() == expected.tolist(), name


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer(tiny.VOCABULARY, TokenizerOptions())


@pytest.mark.parametrize("kind", ["BertForSequenceClassification", "BertForTokenClassification"])
def test_every_way_gives_the_same_predictions(tmp_path, kind):
    """A run in this process, a served signature and a whole data set, of a task without and with offsets."""
    labels = {"id2label": {"0": "O", "1": "B-PER", "2": "I-PER"}} if "Token" in kind else {}
    changes = {**tiny.CLASSIFIER, "architectures": [kind], "num_hidden_layers": 1, **labels}
    source = tiny.write_checkpoint(tmp_path / "model", seed=7, std=0.5, **changes)
    trained = open_run(source)
    model = trained.model()
    want = trained.predict(model, TEXTS)
    graph = trained.graph(model)
    served = ServingModule(graph).functions
    same(served["serving_default"](text=tf.constant(TEXTS)), want)
    if "Token" in kind:
        for unit in ("utf8", "utf16"):
            counted = trained.predict(model, TEXTS, unit=unit)
            same(served[unit](text=tf.constant(TEXTS)), counted)
            assert counted["ends"].tolist() != want["ends"].tolist()
        return
    tokens = trained.encode(TEXTS)
    ids, lengths = tokens["input_ids"], tokens["attention_mask"].sum(-1, dtype=np.int32)
    same(served["input_ids"](input_ids=tf.constant(ids), lengths=tf.constant(lengths)), want)
    rows = [Example(text, label="neutral") for text in TEXTS]
    cache = trained.tokens(rows, tmp_path / "cache")
    scored = Inference(graph, batch_size=2)(rows, cache, trained.task.targets(rows), "all")
    same(scored.predictions, {name: want[name] for name in scored.predictions})
    odds = want["probabilities"][:, want["classes"][0].tolist().index(b"neutral")]
    np.testing.assert_allclose(scored.losses, -np.log(odds), rtol=1e-3)


class Counter:
    """Adds up token ids: a model that is called once for a whole batch, or step by step.

    It remembers how often each way was taken.
    """

    variables = ()
    limits = InputLimits(vocabulary=len(tiny.VOCABULARY), types=2, width=8)

    def __init__(self):
        self.calls = []

    def __call__(self, inputs, training=None):
        assert tuple(inputs) == INPUTS
        assert training is False
        self.calls.append("whole")
        return {"total": tf.reduce_sum(inputs["input_ids"] * inputs["attention_mask"], axis=-1)}

    def start(self, inputs, width):
        assert width == 1
        assert tuple(inputs) == INPUTS
        self.calls.append("start")
        total = tf.reduce_sum(inputs["input_ids"] * inputs["attention_mask"], axis=-1)
        return {"next": total % 7}, total

    def step(self, state, tokens):
        self.calls.append("step")
        return {"next": (state + tokens) % 7}, state + tokens


class Generates:
    """A task that chooses four tokens, one after another."""

    offsets: ClassVar = {}
    batch_loss = augments = False
    cost = 1

    def loss_terms(self, targets):
        return None

    def decode(self, call):
        outputs, state = call.start()
        chosen = tf.zeros([tf.shape(outputs["next"])[0], 0], tf.int32)

        def body(chosen, following, state):
            outputs, state = call.step(state, following)
            return tf.concat([chosen, following[:, None]], axis=1), outputs["next"], state

        loop = (chosen, outputs["next"], state)
        shapes = (tf.TensorShape([None, None]), tf.TensorShape([None]), tf.TensorShape([None]))
        chosen, _, _ = tf.while_loop(
            lambda *_: True, body, loop, shape_invariants=shapes, maximum_iterations=4
        )
        return {"chosen": chosen}

    def predictions(self, outputs, inputs):
        return {"text": tf.strings.reduce_join(tf.strings.as_string(outputs["chosen"]), axis=-1)}

    scored_predictions = predictions

    def loss(self, outputs, targets):
        return tf.cast(outputs["total"] - targets["wanted"], tf.float32)


def by_hand(total):
    """The four digits that follow a sum of ids."""
    digits = ""
    for _ in range(4):
        digit = total % 7
        digits, total = digits + str(digit), total + digit
    return digits.encode()


class Tokens:
    """A cache of rows of one length."""

    def __init__(self, tokens):
        self.tokens, self.lengths = tokens, tokens["attention_mask"].sum(-1)

    def batch(self, rows, width=None):
        return {name: self.tokens[name][rows] for name in INPUTS}


def test_a_task_may_call_the_model_more_than_once(tokenizer):
    """As one that generates text does, by every way of asking it; its loss reads the whole outputs."""
    texts = ["good", "very bad film", "", "x y"]
    text_inputs = TextInputs(tokenizer, Truncation(max_length=8), pair=False, offsets=False)
    model = Counter()
    graph = PredictionGraph(model, Generates(), text_inputs)
    tokens = {name: tensor.numpy() for name, tensor in text_inputs({"text": texts}).items()}
    totals = (tokens["input_ids"] * tokens["attention_mask"]).sum(-1)
    want = [by_hand(int(total)) for total in totals]
    assert len(set(want)) == 3

    assert graph(text_inputs({"text": texts}))["text"].numpy().tolist() == want
    assert set(model.calls) == {"start", "step"}
    served = ServingModule(graph).functions["serving_default"]
    assert served(text=tf.constant(texts))["text"].numpy().tolist() == want
    model.calls.clear()
    wanted = np.array([1, 2, 3, 4], np.int32)
    examples = [Example(text) for text in texts]
    done = Inference(graph)(examples, Tokens(tokens), {"wanted": wanted}, "generated")
    assert done.predictions["text"].tolist() == want
    assert done.losses.tolist() == (totals - wanted).tolist()
    assert model.calls.count("whole") == 1  # once in the graph


class GeneratesSome(Generates):
    """The same task; what is scored says which rows were decoded."""

    def __init__(self):
        self.decoded = 0

    def decode(self, call):
        outputs = super().decode(call)
        self.decoded += 1
        return {**outputs, "total": call.outputs["total"]}

    def scored_predictions(self, outputs, inputs):
        total = outputs["total"]
        text = (
            self.predictions(outputs, inputs)["text"] if "chosen" in outputs else tf.fill(tf.shape(total), "")
        )
        return {"text": text, "total": total}


@pytest.mark.parametrize(("decode", "rows"), [(None, {*range(7)}), (9, {*range(7)}), (3, {0, 2, 4}), (0, {})])
def test_only_a_sample_is_decoded(tokenizer, decode, rows):
    """The sample is spread over the rows, and losses are those of all of them."""
    ids = np.arange(7)[:, None] + np.ones([7, 3], np.int32)
    tokens = {name: np.ones([7, 3], np.int32) for name in INPUTS} | {"input_ids": ids.astype(np.int32)}
    totals = tokens["input_ids"].sum(-1)
    text_inputs = TextInputs(tokenizer, Truncation(max_length=8), pair=False, offsets=False)
    task = GeneratesSome()
    infer = Inference(PredictionGraph(Counter(), task, text_inputs), batch_size=2)
    wanted = np.arange(7, dtype=np.int32)
    done = infer([None] * 7, Tokens(tokens), {"wanted": wanted}, "rows", decode=decode)
    want = [by_hand(int(total)) if row in rows else b"" for row, total in enumerate(totals)]
    assert done.predictions["text"].tolist() == want
    assert done.predictions["total"].tolist() == totals.tolist()
    assert done.losses.tolist() == (totals - wanted).tolist()
    assert (task.decoded > 0) == bool(rows)  # what is not asked for is not even traced


def test_one_call_serves_loss_and_predictions():
    model = Counter()
    ids = {name: tf.ones([2, 3], tf.int32) for name in INPUTS}
    call = ModelCall(model, ids)
    assert call.outputs is call.outputs
    assert model.calls == ["whole"]


def test_what_is_read_of_a_batch(tokenizer):
    """The encoder's inputs; texts and offsets only of a task that reads them."""
    texts = {"text": ["good", "very bad"]}
    plain_inputs = TextInputs(tokenizer, Truncation(max_length=8), pair=False, offsets=False)
    assert plain_inputs.names == ("text",)
    assert tuple(plain_inputs(texts)) == INPUTS
    with_offsets = TextInputs(tokenizer, Truncation(max_length=8), pair=True, offsets=True)
    assert with_offsets.names == ("text", "text_pair")
    inputs = with_offsets({**texts, "text_pair": ["a", "b"]})
    assert tuple(inputs) == (*INPUTS, *OFFSETS, "text", "text_pair")
    assert inputs["text_pair"].numpy().tolist() == [b"a", b"b"]
    cached = {**inputs, "label": 3, "example_weights": 1.0}
    assert tuple(with_offsets.join(cached, {"text": 1})) == (*INPUTS, *OFFSETS, "text")
    assert tuple(encoder_inputs(cached)) == INPUTS
    with pytest.raises(UserError, match="text is one string; give a list of texts"):
        plain_inputs({"text": "good"})


def test_the_ids_of_a_request():
    """Whatever is behind a row's length is not read; without types all tokens are the first text's."""
    graph = PredictionGraph(None, SimpleNamespace(offsets={}), None)
    ids, lengths = tf.constant([[2, 5, 3, 9], [2, 3, 2, 2]]), tf.constant([3, 2])
    inputs = graph.from_ids(input_ids=ids, lengths=lengths)
    assert tuple(inputs) == INPUTS
    assert inputs["attention_mask"].numpy().tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]
    assert inputs["token_type_ids"].numpy().tolist() == [[0] * 4] * 2
    types = tf.constant([[0, 0, 1, 1]] * 2)
    assert graph.from_ids(ids, lengths, types)["token_type_ids"] is types


def test_a_run_and_a_checkpoint_are_siblings(tmp_path):
    source = tiny.write_checkpoint(tmp_path / "model", num_hidden_layers=1, **tiny.CLASSIFIER)
    trained = open_run(source)
    assert isinstance(trained, FineTunedCheckpoint)
    assert isinstance(trained, TrainedModel)
    assert not isinstance(trained, Run)
    assert issubclass(Run, TrainedModel)
    assert not issubclass(Run, FineTunedCheckpoint)
    assert not trained.has_split("train")
    for rows in (lambda: trained.examples("train"), lambda: trained.token_cache("train", [])):
        with pytest.raises(UserError, match=r"is a checkpoint without rows of its own; give a data file"):
            rows()
    assert repr(trained) == (
        f"<FineTunedCheckpoint {source}: classification, a fine-tuned checkpoint (huggingface)>"
    )
    with pytest.raises(TypeError, match="abstract"):
        TrainedModel()
