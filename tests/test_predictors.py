"""`tfpipeline.predict`: one text or many, in whatever Python keeps them."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tfpipeline
from tests import tiny
from tfpipeline import predictors
from tfpipeline.errors import UserError
from tfpipeline.serving.client import AnswerError, InputError, predictions
from tfpipeline.training import open_run

TEXTS = ["so good", "a table", "very bad !"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A fine-tuned checkpoint."""
    return tiny.write_checkpoint(tmp_path_factory.mktemp("their") / "model", seed=7, **tiny.CLASSIFIER)


class Column:
    """As pandas has one: its own index, NumPy's shape, not a list."""

    def __init__(self, values):
        self.values, self.ndim = values, 1

    def __iter__(self):
        return iter(self.values)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, key):
        raise KeyError(key)


class Table(Column):
    columns = ("text", "label")


def rounded(answers):
    return [{label: round(p, 5) for label, p in answer.probabilities.items()} for answer in answers]


def test_one_text_and_many(source):
    want = rounded(tfpipeline.predict(source, TEXTS))
    assert len({tuple(row.values()) for row in want}) == len(TEXTS)
    one = tfpipeline.predict(str(source), TEXTS[1])
    assert isinstance(one, predictions.Classification)
    assert rounded([one]) == want[1:2]
    assert rounded(tfpipeline.predict(open_run(source), TEXTS, batch_size=2)) == want
    assert tfpipeline.predict(source, []) == []
    assert tfpipeline.predict(source, TEXTS[1], expect=predictions.Classification) == one
    sentence = f'{source}, signature "serving_default", answers with Classification, not with Regression; use'
    with pytest.raises(AnswerError, match=re.escape(sentence)):
        tfpipeline.predict(source, TEXTS, expect=predictions.Regression)
    with pytest.raises(InputError, match="expect is 'Classification'; give a class of predictions"):
        tfpipeline.predict("nowhere", TEXTS, expect="Classification")


def test_whatever_holds_texts(source):
    with predictors.open_local(source) as predictor:
        want = rounded(predictor.predict(TEXTS))
        for given in (
            tuple(TEXTS),
            np.array(TEXTS),
            np.array(TEXTS, object),
            Column(TEXTS),
            (text for text in TEXTS),
            [text.encode() for text in TEXTS],
            np.array([text.encode() for text in TEXTS]),
        ):
            assert rounded(predictor.predict(given)) == want


BAD = [
    ("one", 'input "text" is one string; give a list of texts'),
    (b"one", 'input "text" is one string; give a list of texts'),
    (np.array("one"), 'input "text" is ndarray; give a list of texts'),
    (3, 'input "text" is int; give a list of texts'),
    ({"a": 1}, 'input "text" is dict; give a list of texts, such as its values'),
    ({"a", "b"}, 'input "text" is set, which promises no order; give a list of texts'),
    (Table(TEXTS), r'input "text" is a table \(Table\); give one of its columns'),
    (["a", float("nan")], 'row 1 of input "text" is float, not str or bytes'),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=[str(index) for index in range(len(BAD))])
def test_what_are_no_texts(source, given, message):
    with predictors.open_local(source) as predictor, pytest.raises(InputError, match=message):
        predictor.predict(given)
    client = predictors.ServerPredictor("localhost:1", "m")
    with client, pytest.raises(InputError, match=message):
        client.predict(given)
    if not isinstance(given, (str, bytes)):
        with pytest.raises(InputError, match=message):
            tfpipeline.predict("nowhere", given)


def test_pairs_share_a_second_text(monkeypatch):
    asked = []

    class Echo(predictors.Predictor):
        def predict(self, texts, text_pair=None, adapter=None):
            asked.append((texts, text_pair))
            return [predictions.Regression(float(len(text))) for text in texts]

    monkeypatch.setattr(predictors.opening, "open_local", lambda *_: Echo())
    found = tfpipeline.predict("m", ["a", "bb", "ccc"], "context", batch_size=2)
    assert [answer.value for answer in found] == [1.0, 2.0, 3.0]
    assert asked == [([b"a", b"bb"], [b"context"] * 2), ([b"ccc"], [b"context"])]
    assert tfpipeline.predict("m", "dd", "one").value == 2.0
    assert asked[-1] == ([b"dd"], [b"one"])
    with pytest.raises(InputError, match="2 texts but 1 in text_pair"):
        tfpipeline.predict("m", ["a", "b"], ["c"])


def test_a_server_is_asked_with_its_options(monkeypatch):
    made = []

    class Client:
        def __init__(self, target, **options):
            made.append((target, options))

        def predict(self, texts, text_pair, adapter):
            return [predictions.Regression(0.5)] * len(texts)

        def close(self):
            made.append("closed")

    monkeypatch.setattr(predictors.server, "PredictClient", Client)
    answer = tfpipeline.predict("tweets", "a", target="host:8500", version=3, signature="utf8")
    assert answer.value == 0.5
    assert made == [("host:8500", {"model": "tweets", "signature": "utf8", "version": 3}), "closed"]
    with pytest.raises(UserError, match="timeout, version: for a server only; give its target as well"):
        tfpipeline.predict("tweets", "a", version=3, timeout=1.0)
    with pytest.raises(UserError, match="batch_size is 0; give 1 or more"):
        tfpipeline.predict("tweets", "a", batch_size=0)


TOKENS = [
    ("one string", r"texts is one string; give a list of texts: \['one string'\]"),
    (b"bytes", r"texts is one string; give a list of texts: \[b'bytes'\]"),
    (3, "texts is int; give a list of texts"),
    (np.array("x"), "texts is ndarray; give a list of texts"),
    (["a", None], r"texts\[1\] is None \(NoneType\), not a text"),
    ({"text": ["a"]}, "texts is dict; give a list of texts, of a table one column"),
    ({"a", "b"}, "texts is set; give a list of texts, of a table one column"),
    (["a", "b\ud800"], r"texts\[1\] holds the lone surrogate U\+D800, which is no character"),
    (["a", float("nan")], r"texts\[1\] is nan \(float\), not a text"),
    (np.array([1, 2]), r"texts\[0\] is .*1.* \(int64\), not a text"),
]


@pytest.mark.parametrize(("given", "message"), TOKENS, ids=[str(index) for index in range(len(TOKENS))])
def test_the_tokenizer_takes_texts(source, given, message):
    tokenizer = open_run(source).tokenizer
    with pytest.raises(UserError, match=message):
        tokenizer(given)
    with pytest.raises(UserError, match=message):
        tokenizer.tokenize(given)
    with pytest.raises(UserError, match=message.replace("texts", "text_pair", 1)):
        tokenizer(["a"], given)


def test_the_tokenizer_takes_tensors_arrays_and_columns(source):
    import tensorflow as tf

    tokenizer = open_run(source).tokenizer
    want = tokenizer(TEXTS)["input_ids"].numpy().tolist()
    for given in (tf.constant(TEXTS), np.array(TEXTS), Column(TEXTS), tuple(TEXTS), np.array(TEXTS, "S")):
        assert tokenizer(given)["input_ids"].numpy().tolist() == want
    assert tokenizer([])["input_ids"].shape[0] == 0
    for bad in (tf.constant("one"), tf.constant([1]), tf.constant([["a"]])):
        with pytest.raises(UserError, match=r"texts is a tensor .*; expected string \[B\]"):
            tokenizer(bad)


def test_versions_on_a_far_file_system():
    """The newest one answers; TensorFlow's own ``ram://`` stands in for ``gs://``."""
    import tensorflow as tf

    class Constant(tf.Module):
        def __init__(self, label):
            super().__init__()
            self.label = label

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")], autograph=False)
        def answer(self, text):
            rows = tf.shape(text)[:1]
            return {"label": tf.fill(rows, self.label)}

    for version in (9, 10):
        module = Constant(f"of {version}")
        path = f"ram://predictors/m/{version}"
        tf.saved_model.save(module, path, signatures={"serving_default": module.answer})
    for source in ("ram://predictors/m", "ram://predictors/m/10/"):
        predictor = predictors.open_local(source)
        assert isinstance(predictor, predictors.SavedModelPredictor)
        found = predictor._function(text=tf.constant(["x"]))
        assert found["label"].numpy().tolist() == [b"of 10"]
    with pytest.raises(UserError, match="ram://predictors/none"):
        predictors.open_local("ram://predictors/none")


def test_the_newest_version_of_a_folder_is_that_of_the_largest_number(tmp_path, monkeypatch):
    monkeypatch.setattr(predictors.opening, "SavedModelPredictor", lambda path, signature: path)
    for name in ("2", "010", "11x", ".tmp-12"):
        (tmp_path / "m" / name).mkdir(parents=True)
    assert predictors.open_local(tmp_path / "m") == str(tmp_path / "m" / "010")
