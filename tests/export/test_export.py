from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tfpipeline import config
from tfpipeline.errors import UserError
from tfpipeline.export import checks, export_run
from tfpipeline.training import Run, RunConfig, train

TEXTS = ["the food was good", "", "a very bad film !", "x " * 60, "😀 door"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(config.load(tiny.write_run_file(tmp_path_factory.mktemp("run"), epochs=2), RunConfig))


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return export_run(run, tmp_path_factory.mktemp("models") / "tiny")


def trained_answers(run, texts):
    tokens = run.encode(texts, None, run.config.text.max_length)
    return run.answer(run.model(), texts), tokens


def test_the_exported_model_answers_as_the_trained_one(run, exported):
    expected, tokens = trained_answers(run, TEXTS)
    loaded = tf.saved_model.load(str(exported))
    from_text = loaded.signatures["serving_default"](text=tf.constant(TEXTS))
    lengths = tokens["attention_mask"].sum(-1).astype(np.int32)
    from_ids = loaded.signatures["input_ids"](
        input_ids=tf.constant(tokens["input_ids"]), lengths=tf.constant(lengths)
    )
    for found in (from_text, from_ids):
        assert sorted(found) == ["classes", "label", "probabilities"]
        np.testing.assert_allclose(found["probabilities"], expected["probabilities"], rtol=0, atol=1e-6)
        assert found["label"].numpy().tolist() == expected["label"].tolist()
        assert found["classes"].numpy().tolist() == expected["classes"].tolist()


def test_whatever_pads_the_ids_does_not_change_the_answer(exported):
    """A server that pads variable lengths pads with each row's own first element."""
    function = tf.saved_model.load(str(exported)).signatures["input_ids"]
    ids, lengths = tf.constant([[2, 5, 6, 3]]), tf.constant([4])
    padded = tf.constant([[2, 5, 6, 3, 2, 2, 2]])
    np.testing.assert_allclose(
        function(input_ids=padded, lengths=lengths)["probabilities"],
        function(input_ids=ids, lengths=lengths)["probabilities"],
        atol=1e-6,
    )


def test_no_texts_no_answers(exported):
    found = tf.saved_model.load(str(exported)).signatures["serving_default"](text=tf.constant([], tf.string))
    assert found["probabilities"].shape == (0, 3)
    assert found["label"].shape == (0,)


def test_core_operations_and_the_weights_once(exported):
    assert {"MatMul"} <= checks.operations(exported)
    checks.check_operations(exported)
    assert not [
        name for name in checks.operations(exported) if "Sentencepiece" in name or "Wordpiece" in name
    ]


def test_saved_model_cli_reads_it(exported):
    command = [Path(sys.executable).with_name("saved_model_cli"), "show", "--dir", exported, "--all"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "signature_def['serving_default']" in shown
    assert "inputs['text'] tensor_info" in shown
    assert "outputs['probabilities'] tensor_info" in shown


def test_the_same_model_is_not_published_twice(run, exported, capsys):
    assert export_run(run, exported.parent) == exported
    assert "already holds this model; nothing to do" in capsys.readouterr().err
    assert [path.name for path in exported.parent.iterdir()] == ["1"]


def test_the_next_model_is_the_next_version(run, tmp_path):
    first = export_run(run, tmp_path / "m", weights="last")
    (first / "assets.extra" / "tfpipeline.json").write_text(json.dumps({"identity": "another"}))
    assert export_run(run, tmp_path / "m") == tmp_path / "m" / "2"
    (tmp_path / "m" / "10").mkdir()
    (tmp_path / "m" / ".tmp-11-x").mkdir()
    assert export_run(run, tmp_path / "m") == tmp_path / "m" / "11"


def test_a_model_that_answers_differently_is_not_published(run, tmp_path, monkeypatch):
    real = checks.answers_of_fresh_process

    def slightly_off(saved_model, asked):
        answers = real(saved_model, asked)
        answers["input_ids"]["probabilities"] += np.float32(2e-5)
        return answers

    monkeypatch.setattr(checks, "answers_of_fresh_process", slightly_off)
    with pytest.raises(
        checks.ExportError, match=r"output probabilities differs by 2\.0e-05, more than 1e-05"
    ):
        export_run(run, tmp_path / "m")
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            {"p": np.array([0.5, np.nan], np.float32), "label": np.array(["a", "b"])},
            "output p differs by nan",
        ),
        (
            {"p": np.array([0.5, 0.5], np.float32), "label": np.array(["a", "a"])},
            "output label, row 1: .*a.* instead of .*b",
        ),
        (
            {"p": np.array([[0.5, 0.5]], np.float32), "label": np.array(["a", "b"])},
            r"output p: shape \(1, 2\) instead of \(2,\)",
        ),
        ({"p": np.array([0.5, 0.5], np.float32)}, "outputs differ"),
    ],
)
def test_differences_are_found(found, message):
    expected = {"p": np.array([0.5, 0.5], np.float32), "label": np.array(["a", "b"])}
    with pytest.raises(checks.ExportError, match=message):
        checks.largest_difference(expected, found)


def test_differences_of_large_numbers_are_a_share_of_them():
    prices = {"value": np.array([2e5, -0.5, 3.0], np.float32)}
    assert checks.largest_difference(prices, {"value": prices["value"] + 1}) == pytest.approx(5e-6)
    with pytest.raises(checks.ExportError, match=r"output value differs by 1\.5e-05"):
        checks.largest_difference(prices, {"value": prices["value"] + 3})
    with pytest.raises(checks.ExportError, match="output value differs by nan"):
        checks.largest_difference(
            {"value": np.array([np.nan, 1e6], np.float32)}, {"value": np.array([1.0, 1e6], np.float32)}
        )


def test_words_may_differ_where_they_hang_on_a_rounding():
    want = {"label": np.array(["a", "b"]), "p": np.array([0.5, 0.9], np.float32)}
    found = {**want, "label": np.array(["b", "b"])}
    assert checks.largest_difference(want, found, np.array([True, False])) == 0
    with pytest.raises(checks.ExportError, match="output label, row 0"):
        checks.largest_difference(want, found, np.array([False, True]))


def test_python_functions_are_refused(tmp_path):
    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
        def __call__(self, x):
            return tf.py_function(lambda y: y + 1, [x], tf.float32)

    tf.saved_model.save(Module(), str(tmp_path / "m"))
    with pytest.raises(checks.ExportError, match="EagerPyFunc"):
        checks.check_operations(tmp_path / "m")


def test_compiled_functions_are_refused(tmp_path):
    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.float32)], jit_compile=True)
        def __call__(self, x):
            return x + 1

    tf.saved_model.save(Module(), str(tmp_path / "m"))
    with pytest.raises(checks.ExportError, match="compiled by XLA"):
        checks.check_operations(tmp_path / "m")


def test_weights_written_twice_are_noticed(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "variables.data").write_bytes(b"x" * 2_000_000)
    with pytest.raises(checks.ExportError, match="2000000 bytes for 1000000 bytes of weights"):
        checks.check_size(tmp_path, 1_000_000, 0)


def test_an_untrained_run_is_refused(tmp_path, run):
    import shutil

    copy = shutil.copytree(run.path, tmp_path / "copy")
    (copy / "checkpoints" / "index.json").unlink()
    with pytest.raises(UserError, match="has not finished an epoch yet; train it first"):
        export_run(Run(copy), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_full_disk_publishes_nothing(run, tmp_path, monkeypatch):
    import errno

    from tfpipeline import files

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_sync", full)
    with pytest.raises(UserError, match=r"cannot write .*m/1: No space left on device; free some space"):
        export_run(run, tmp_path / "m")
    assert list((tmp_path / "m").iterdir()) == []
