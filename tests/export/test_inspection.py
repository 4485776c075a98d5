from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from tfpipeline.errors import UserError
from tfpipeline.export import inspection


class Scorer(tf.Module):
    """Scores a text by its length."""

    def __init__(self, factor, table):
        super().__init__()
        self.factor = tf.Variable(factor, name="head/factor")
        self.table = tf.Variable(table, name="table")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")], autograph=False)
    def score(self, text):
        score = tf.cast(tf.strings.length(text), tf.float32) * self.factor
        label = tf.where(score > 6.0, "long", "short")
        return {"score": score, "label": label, "both": tf.stack([score, -score], 1)}


def saved(folder, factor=2.0, table=(1.0, 2.0), **card):
    module = Scorer(factor, table)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.score})
    if card:
        (folder / "assets.extra").mkdir()
        (folder / "assets.extra" / "model_card.json").write_text(json.dumps(card))
    return folder


def test_what_a_version_is(tmp_path):
    found = inspection.inspect(saved(tmp_path / "1", run="r", text={"max_length": 5}))
    assert found.signatures == {
        "serving_default": (
            {"text": "string [?]"},
            {"score": "float32 [?]", "label": "string [?]", "both": "float32 [?, 2]"},
        )
    }
    assert found.weights == 3
    assert found.size == sum(path.stat().st_size for path in (tmp_path / "1").rglob("*") if path.is_file())
    assert found.operations["StringLength"] == 1
    text = found.text()
    assert "signature serving_default\n  <- text: string [?]\n  -> both: float32 [?, 2]\n" in text
    assert "  text.max_length: 5" in text


def test_how_two_versions_differ(tmp_path):
    one = saved(tmp_path / "1", run="a", created="x", text={"max_length": 5, "long": "head"})
    other = saved(tmp_path / "2", 3.5, run="b", created="y", text={"max_length": 7, "long": "head"}, keep=1)
    found = inspection.compare(one, other, {"text": ["ab", "abc", "", *["abcd"] * 40]})
    assert found.weights == {"head/factor": "largest difference 1.50e+00"}
    assert found.equal_weights == 1
    assert found.options == {"text.max_length": (5, 7), "keep": (None, 1)}
    # Scores are 4, 6, 0, 8 ... and 7, 10.5, 0, 14 ...
    assert found.answers == {"both": (42, 6.0), "label": (2, None), "score": (42, 6.0)}
    lines = found.text().splitlines()
    assert "weights: 1 equal, 1 different" in lines
    assert "  text.max_length: 5 -> 7" in lines
    assert "  score: 42 differ, by 6.00e+00 at most" in lines


def test_a_version_far_away(tmp_path):
    """``ram://`` takes any prefix for a folder, as object stores may."""
    one = saved(tmp_path / "1")
    module = Scorer(4.0, (1.0, 2.0))
    tf.saved_model.save(module, "ram://inspected/m/2", signatures={"serving_default": module.score})
    assert inspection.inspect("ram://inspected/m/2/").weights == 3
    found = inspection.compare(one, "ram://inspected/m/2", {"text": ["ab"]})
    assert found.weights == {"head/factor": "largest difference 2.00e+00"}
    assert found.answers["score"] == (1, 4.0)


def test_a_version_and_itself(tmp_path):
    one = saved(tmp_path / "1")
    found = inspection.compare(one, one, {"text": ["ab"]})
    assert (found.weights, found.equal_weights, found.options) == ({}, 2, {})
    assert set(found.answers.values()) == {(0, 0.0), (0, None)}
    assert inspection.compare(one, one).answers is None


def test_an_output_of_one_version_only(tmp_path):
    one = saved(tmp_path / "1")

    class More(Scorer):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def more(self, text):
            return {**self.score(text), "more": tf.strings.length(text)}

    module = More(2.0, (1.0, 2.0))
    other = str(tmp_path / "2")
    tf.saved_model.save(module, other, signatures={"serving_default": module.more})
    compared = inspection.compare(one, other, {"text": ["ab"]})
    assert compared.only == {"more": other}
    assert "more" not in compared.answers
    assert f"  more: only in {other}" in compared.text().splitlines()


def test_weights_of_other_shapes_and_types(tmp_path):
    one = saved(tmp_path / "1", 2.0, (1.0, 2.0))
    shape = saved(tmp_path / "2", 2.0, (1.0, 2.0, 3.0))
    dtype = saved(tmp_path / "3", 2.0, np.array([1.0, 2.5]))
    assert inspection.compare(one, shape).weights == {"table": "[2] -> [3]"}
    assert inspection.compare(one, dtype).weights == {
        "table": "float32 -> float64, largest difference 5.00e-01"
    }


def test_what_is_no_version(tmp_path):
    saved(tmp_path / "m" / "3")
    with pytest.raises(UserError, match=r"m holds versions; give one of them: .*m/3$"):
        inspection.inspect(tmp_path / "m")
    with pytest.raises(UserError, match=r"/m has no version 7; it has 3$"):
        inspection.inspect(tmp_path / "m" / "7")
    with pytest.raises(UserError, match=r"none holds no saved_model\.pb; give the directory of a version"):
        inspection.inspect(tmp_path / "none")
    one = tmp_path / "m" / "3"
    with pytest.raises(UserError, match=r"m/3 takes text, but was given text, text_pair; name the columns"):
        inspection.compare(one, one, {"text": ["a"], "text_pair": ["b"]})


def test_a_label_of_a_version_that_does_not_exist_is_named(tmp_path, capsys):
    saved(tmp_path / "m" / "3")
    for content, told in {
        '{"labels": {"stable": 7}}': 'the label "stable" points to version 7, which does not exist (it has 3)',
        "{": "labels.json is not a file of labels",
        '{"labels": {"stable": 3}}': "",
    }.items():
        (tmp_path / "m" / "labels.json").write_text(content)
        assert inspection.inspect(tmp_path / "m" / "3").weights
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == bool(told)
