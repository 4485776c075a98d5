from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from tests import tiny
from tfpipeline import config
from tfpipeline.errors import UserError
from tfpipeline.export import (
    card,
    checks,
    compatibility,
    export_run,
    inspection,
    precision,
    prediction_logs,
    publish,
    signatures,
    source,
)
from tfpipeline.serving.server.saved_model import SavedModel
from tfpipeline.serving.server.status import StatusError
from tfpipeline.training import Run, RunConfig, open_run, train
from tfpipeline.training.prediction_graph import PredictionGraph

TEXTS = ["the food was good", "", "a very bad film !", "x " * 60, "😀 door"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(config.load(tiny.write_run_file(tmp_path_factory.mktemp("run"), epochs=2), RunConfig))


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return export_run(run, tmp_path_factory.mktemp("models") / "tiny")


def trained_answers(run, texts):
    tokens = run.encode(texts, None, run.config.text.max_length)
    return run.predict(run.model(), texts), tokens


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


def test_wrong_shapes_are_refused_at_the_top_of_each_signature(exported):
    """Asked in a session, as servers do: the loader for Python checks shapes before the graph."""
    model = SavedModel(exported)
    asked = {"serving_default": "text must be [B], got []", "input_ids": "input_ids must be [B, T], got []"}
    for signature, sentence in asked.items():
        found = model.signatures[signature]
        feeds = {
            info.name: np.array("a" if name == "text" else 1, object if name == "text" else np.int32)
            for name, info in found.inputs.items()
        }
        with pytest.raises(StatusError, match=re.escape(f"assertion failed: [{sentence}: send a list of")):
            model.run(feeds, [info.name for info in found.outputs.values()])
    model.close()


def test_core_operations_and_the_weights_once(exported):
    assert {"MatMul"} <= checks.operations(exported)
    checks.check_operations(exported)
    for release in compatibility.RELEASES:  # KServe's default runtime, 2.6, among them
        assert list(compatibility.problems(exported, compatibility.table(release))) == []
    assert not [
        name for name in checks.operations(exported) if "Sentencepiece" in name or "Wordpiece" in name
    ]


@pytest.mark.soak
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


def test_old_versions_go_although_the_model_is_not_new(run, exported, tmp_path, monkeypatch):
    for number in "12":
        shutil.copytree(exported, tmp_path / "m" / number)
    assert export_run(run, tmp_path / "m", keep=1) == tmp_path / "m" / "2"
    assert [path.name for path in (tmp_path / "m").iterdir() if path.name.isdecimal()] == ["2"]
    (tmp_path / "m" / "labels.json").write_text("{")
    monkeypatch.delattr(source, "prepare")  # the file is read before any work
    with pytest.raises(UserError, match=r"labels\.json is not a file of labels"):
        export_run(run, tmp_path / "m", weights="last", keep=1)


def test_the_next_model_is_the_next_version(run, tmp_path):
    first = export_run(run, tmp_path / "m", weights="last")
    (first / "assets.extra" / "model_card.json").write_text(json.dumps({"identity": "another"}))
    assert export_run(run, tmp_path / "m") == tmp_path / "m" / "2"
    (tmp_path / "m" / "10").mkdir()
    (tmp_path / "m" / ".tmp-11-x").mkdir()
    assert export_run(run, tmp_path / "m") == tmp_path / "m" / "11"


def test_an_export_to_a_bucket(run, tmp_path, monkeypatch, capsys):
    """TensorFlow's own ``ram://`` stands in for ``gs://``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    address = export_run(run, "ram://bucket/models/tiny", keep=1)
    assert address == "ram://bucket/models/tiny/1"
    expected, _ = trained_answers(run, TEXTS)
    found = tf.saved_model.load(address).signatures["serving_default"](text=tf.constant(TEXTS))
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], rtol=0, atol=1e-6)
    assert export_run(run, "ram://bucket/models/tiny/") == address
    assert "ram://bucket/models/tiny/1 already holds this model; nothing to do" in capsys.readouterr().err
    assert inspection.inspect(address).card["name"] == "tiny"
    assert list(tf.io.gfile.listdir("ram://bucket/models/tiny")) == ["1"]


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(run, tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "ServingModule", None)  # nothing is traced
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*/file/m: Not a directory; a part of that path is a"):
        export_run(run, tmp_path / "file" / "m")
    with pytest.raises(UserError, match=r"file is a file; name a folder for the model's versions"):
        export_run(run, tmp_path / "file")


@pytest.mark.parametrize("options", [{"keep": 0}, {"licence": " "}, {"weights": "initial"}])
def test_options_that_no_export_has(run, tmp_path, options):
    with pytest.raises(UserError, match=f"^{next(iter(options))} is "):
        export_run(run, tmp_path / "m", **options)
    assert not (tmp_path / "m").exists()


def test_a_model_that_answers_differently_is_not_published(run, tmp_path, monkeypatch):
    real = checks.answers_of_fresh_process

    def slightly_off(saved_model, asked, *, warmup_requests):
        assert warmup_requests == saved_model / "assets.extra" / "tf_serving_warmup_requests"
        answers = real(saved_model, asked, warmup_requests=warmup_requests)
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


def test_numbers_of_another_word_may_differ_with_it():
    """A tag that hangs on a rounding takes its score, and those of the entities behind it, to other slots."""
    want = {
        "starts": np.array([[0, 4], [0, 0]], np.int32),
        "scores": np.array([[0.9, 0.5], [0.7, 0.0]], np.float32),
        "p": np.array([0.5, 0.5], np.float32),
    }
    found = {
        **want,
        "starts": np.array([[4, 0], [0, 0]], np.int32),
        "scores": np.array([[0.5, 0.0], [0.7, 0.0]], np.float32),
    }
    close = np.array([True, False])
    assert checks.largest_difference(want, found, close) == 0
    with pytest.raises(checks.ExportError, match="output starts, row 0"):
        checks.largest_difference(want, found)
    # Where no word differs, and in other rows, numbers are compared as ever; they must be numbers anywhere.
    with pytest.raises(checks.ExportError, match=r"output scores differs by 5\.0e-01"):
        checks.largest_difference(want, {**found, "starts": want["starts"]}, close)
    with pytest.raises(checks.ExportError, match=r"output scores differs by 2\.0e-01"):
        other = {**found, "scores": np.array([[0.5, 0.0], [0.9, 0.0]], np.float32)}
        checks.largest_difference(want, other, close)
    with pytest.raises(checks.ExportError, match="output scores differs by nan"):
        other = {**found, "scores": np.array([[0.5, np.nan], [0.7, 0.0]], np.float32)}
        checks.largest_difference(want, other, close)


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


def test_calibrated_and_abstaining_in_bfloat16(run, tmp_path, capsys, cold_process):
    """All of it in one version, which answers as it was fitted."""
    exported = export_run(
        run,
        tmp_path / "m",
        precision="bfloat16",
        max_accuracy_loss=100,
        calibrate=True,
        abstain=0.4,
        require=["validation.accuracy >= 0", "validation.loss < 100"],
    )
    facts = card.read(exported)
    temperature = facts["calibration"]["temperatures"]["temperature"]
    served = tf.saved_model.load(str(exported)).signatures["serving_default"](text=tf.constant(TEXTS))
    plain = run.predict(run.model(precision="float32"), TEXTS)["probabilities"].astype(np.float64)
    scaled = plain ** (1 / temperature)  # a softmax at another temperature
    want = scaled / scaled.sum(-1, keepdims=True)
    np.testing.assert_allclose(served["probabilities"], want, atol=0.05)
    assert np.abs(served["probabilities"] - want).max() > 1e-6  # of bfloat16
    threshold = facts["abstain"]["abstained"]["threshold"]
    sure = served["probabilities"].numpy().max(-1)
    assert served["abstained"].numpy().tolist() == (sure < np.float32(threshold)).astype(int).tolist()
    assert facts["abstain"]["abstained"]["right"] >= 0.4
    measured = facts["precision"]
    assert measured["points_lost"] == pytest.approx(
        100 * (measured["float32"] - measured["bfloat16"]), abs=1e-9
    )
    assert 0 < measured["differences"]["probabilities"]["mean"] < 0.05
    assert measured["speed"] > 0
    assert set(facts["require"]) == {"validation.accuracy >= 0", "validation.loss < 100"}
    said = capsys.readouterr().err
    assert "expected calibration error" in said
    assert "validation rows are answered" in said


def refusing(run, tmp_path, message, **options):
    with pytest.raises(UserError, match=message):
        export_run(run, tmp_path / "m", **options)
    assert not list((tmp_path / "m").glob("*"))


def test_a_precision_that_costs_too_much_is_refused(run, tmp_path):
    refusing(
        run,
        tmp_path,
        r"bfloat16 costs -?\d+\.\d\d points of accuracy on \d+ validation rows .*more than the -200 that",
        precision="bfloat16",
        max_accuracy_loss=-200,
    )


def test_conditions_are_checked_before_the_model_is_loaded(run, tmp_path, monkeypatch):
    monkeypatch.setattr(type(run), "model", lambda *_, **__: pytest.fail("the model was loaded"))
    refusing(run, tmp_path, r"validation\.accuracy is .*asks for > 1 ", require=["validation.accuracy > 1"])
    refusing(run, tmp_path, 'did you mean "validation.macro_f1"', require=["validation.macrof1 > 1"])
    missing = tmp_path / "report.json"
    refusing(
        run, tmp_path, r"report\.json, which does not exist; run: tfp", require=["f1 > 1"], report=missing
    )
    report = {"scores": {"after": {"macro_f1": 0.5}}, "weights": run.weights_id("best")}
    missing.write_text(json.dumps(report))
    refusing(run, tmp_path, r"macro_f1 is 0\.5, and", require=["macro_f1 > 0.5"], report=missing)


def test_what_needs_validation_rows_or_probabilities_is_refused_without(tmp_path):
    run = open_run(tagger(tmp_path))
    for options in ({"calibrate": True}, {"abstain": 0.9}, {"precision": "bfloat16"}):
        refusing(run, tmp_path, "needs validation rows, and .* has none", **options)


def test_losses_in_points():
    assert precision.lost_points(0.9, 0.88, lower=False) == pytest.approx(2)
    assert precision.lost_points(0.9, 0.91, lower=False) == pytest.approx(-1)
    assert precision.lost_points(200.0, 210.0, lower=True) == pytest.approx(5)
    assert precision.lost_points(0.0, 0.1, lower=True) == 100


def test_differences_between_two_precisions():
    want = {
        "probabilities": np.array([[0.6, 0.4], [0.9, 0.1]], np.float32),
        "answer": np.array([b"a", b"b"], object),
        "start": np.array([1, 2], np.int32),
    }
    found = {
        "probabilities": np.array([[0.4, 0.6], [0.9, 0.1]], np.float32),
        "answer": np.array([b"a", b"c"], object),
        "start": np.array([1, 3], np.int32),
    }
    got = precision.differences(want, found, {"start": "text"})
    assert (got["changed_rows"], got["changed_places"]) == (2, 1)
    assert got["differences"]["probabilities"] == pytest.approx({"largest": 0.2, "mean": 0.1}, abs=1e-6)


# Tasks that answer with places in a text.

PLACED = ["good 😀 bad film", "é the very food", "", "x\u0000", "你 好 good", "the " * 60]


def tagger(folder):
    """A fine-tuned checkpoint of transformers: what needs no training here."""
    labels = {"0": "NOUN", "1": "VERB", "2": "ADJ"}  # every word is answered
    return tiny.write_checkpoint(
        folder / "tagger",
        architectures=["BertForTokenClassification"],
        id2label=labels,
        seed=3,
        num_hidden_layers=1,
    )


def reader(folder):
    path = tiny.write_checkpoint(folder / "reader", seed=4, num_hidden_layers=1)
    random, width = np.random.default_rng(0), tiny.SHAPE["hidden_size"]
    head = {"qa_outputs.weight": random.normal(size=(2, width)), "qa_outputs.bias": random.normal(size=2)}
    raw = {
        **load_file(path / "model.safetensors"),
        **{name: a.astype(np.float32) for name, a in head.items()},
    }
    save_file(raw, path / "model.safetensors")
    return path


def in_python(texts, places, codec, size):
    """Places counted as a signature counts them, one by one."""
    found = [
        [place if place < 0 else len(text[:place].encode(codec)) // size for place in np.ravel(row)]
        for text, row in zip(texts, places)
    ]
    return np.array(found, np.int32).reshape(places.shape)


@pytest.mark.parametrize("kind", ["tagger", "reader"])
def test_signatures_of_a_task_with_places(tmp_path, kind):
    run = open_run(tagger(tmp_path) if kind == "tagger" else reader(tmp_path))
    exported = export_run(run, tmp_path / "m")
    served = tf.saved_model.load(str(exported)).signatures
    assert sorted(served) == ["serving_default", "utf16", "utf8"]
    asked = {"text": PLACED, **({"text_pair": PLACED[::-1]} if kind == "reader" else {})}
    own = asked["text_pair" if kind == "reader" else "text"]
    want = run.predict(run.model(), *asked.values())
    tensors = {name: tf.constant(texts) for name, texts in asked.items()}
    for signature, (codec, size) in {
        "serving_default": ("utf-32-le", 4),
        "utf8": ("utf-8", 1),
        "utf16": ("utf-16-le", 2),
    }.items():
        _, specs = served[signature].structured_input_signature
        assert {name: (spec.shape.rank, spec.dtype) for name, spec in specs.items()} == dict.fromkeys(
            asked, (1, tf.string)
        )
        found = {name: tensor.numpy() for name, tensor in served[signature](**tensors).items()}
        assert found.keys() == want.keys()
        for name, values in want.items():
            if name in run.task.offsets:
                values = in_python(own, values, codec, size)
            if values.dtype.kind == "f":
                np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-5)
            else:
                assert found[name].tolist() == values.tolist(), (signature, name)
    places = {name: want[name] for name in run.task.offsets}
    moved = [name for name in places if (in_python(own, places[name], "utf-8", 1) != places[name]).any()]
    assert moved  # there is something to count


def test_signatures_of_other_tasks_are_as_before(exported):
    served = tf.saved_model.load(str(exported)).signatures
    found = {name: sorted(function.structured_input_signature[1]) for name, function in served.items()}
    assert found == {"serving_default": ["text"], "input_ids": ["input_ids", "lengths"]}


@pytest.mark.parametrize("place", ["starts", pytest.param("ends", marks=pytest.mark.soak)])
def test_a_wrong_place_in_one_signature_is_not_published(tmp_path, monkeypatch, place):
    class Wrong(PredictionGraph):
        def in_unit(self, predictions, texts, unit):
            counted = dict(super().in_unit(predictions, texts, unit))
            if unit == "utf16":  # as if a place counted bytes
                counted[place] = super().in_unit(predictions, texts, "utf8")[place]
            return counted

    def served(graph, explanations):
        wrong = Wrong(graph.model, graph.task, graph.text_inputs, graph.confidence)
        return signatures.ServingModule(wrong, explanations)

    monkeypatch.setattr(publish, "ServingModule", served)
    run = open_run(tagger(tmp_path))
    with pytest.raises(checks.ExportError, match=rf"output {place}, row \d+: array"):
        export_run(run, tmp_path / "m")
    assert list((tmp_path / "m").iterdir()) == []


def test_what_a_fresh_process_is_asked_and_answers(tmp_path, cold_process):
    """Strings whole, be they long, empty or with NUL at their ends; names that NumPy has its own use for."""

    class Echo(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")], autograph=False)
        def echo(self, text):
            length = tf.strings.length(text)
            return {
                "text": text,
                "many": tf.tile(text[:3, None, None], [1, 100, 40]),
                "none": tf.zeros([0, 7], tf.string),
                "file": length,
                "allow_pickle": tf.cast(length, tf.float32) / 3,
                "part/starts": tf.stack([length, -length], axis=1),
                "output x": length,
            }

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, "ids")], autograph=False)
        def numbers(self, ids):
            return {"ids": ids + 1, "text": tf.strings.as_string(ids)}

    module = Echo()
    functions = {"echo": module.echo, "numbers": module.numbers}
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=functions)
    texts = [
        "a\u0000\u0000",
        "\u0000",
        "",
        '\u0000 é 😀\ud7ff\ufffd\n"\\',
        " x ",
        "y" * 2_000_000,
        *["z"] * 2000,
    ]
    ids = np.array([[2**31 - 2, -5], [0, 3]], np.int32)
    requests = tmp_path / "requests"
    prediction_logs.write(str(requests), [("echo", {"text": np.array([b"a", b""], object)})])
    found = checks.answers_of_fresh_process(
        tmp_path / "m", {"echo": {"text": texts}, "numbers": {"ids": ids}}, warmup_requests=requests
    )
    echo = found["echo"]
    lengths = [len(text.encode()) for text in texts]
    assert echo["text"].tolist() == texts
    assert echo["many"].shape == (3, 100, 40)
    assert set(echo["many"].flat) == set(texts[:3])
    assert echo["none"].shape == (0, 7)
    for name in ("file", "output x"):
        assert echo[name].dtype == np.int32
        assert echo[name].tolist() == lengths
    np.testing.assert_allclose(echo["allow_pickle"], np.array(lengths) / 3, rtol=1e-6)
    assert echo["part/starts"].tolist() == [[length, -length] for length in lengths]
    assert found["numbers"]["ids"].tolist() == (ids + 1).tolist()
    assert found["numbers"]["text"].tolist() == [["2147483646", "-5"], ["0", "3"]]


def test_a_wrong_warmup_request_is_named(exported, tmp_path):
    ids = {"input_ids": np.array([[2, 5, 3]], np.int32), "lengths": np.array([3], np.int32)}
    requests = tmp_path / "requests"
    prediction_logs.write(str(requests), [("input_ids", ids), ("none", ids)])
    with pytest.raises(checks.ExportError, match="warm-up request 2 of signature none fails: "):
        checks.answers_of_fresh_process(exported, {}, warmup_requests=requests)


def test_a_fresh_process_that_fails_says_why(tmp_path, cold_process):
    (tmp_path / "m").mkdir()
    with pytest.raises(checks.ExportError, match=r"a fresh process can't run .*\n(.*\n)*.*OSError"):
        checks.answers_of_fresh_process(tmp_path / "m", {"x": {"text": ["a"]}})
