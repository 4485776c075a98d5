"""A run read as a checkpoint: written for other programs, read back, and started from."""

from __future__ import annotations

import dataclasses
import json
import shlex

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

import tfpipeline
from tests import tiny
from tests.models.numpy_bert import encode
from tests.random_runs import CLASSES, TASKS, random_run, save
from tfpipeline import checkpoints, config, locks
from tfpipeline.errors import UserError
from tfpipeline.models.inputs import INPUTS
from tfpipeline.training import load_checkpoint, open_run, sources
from tfpipeline.training.run_config import RunConfig
from tfpipeline.training.run_file import read_run_file

TEXTS = [
    *("the food was good", "a bad film , very bad", "x y", "the table is fine and so"),
    "the [MASK] was very [MASK]",
]
PAIRS = ["the film was bad , so", "good food is fine", "a door", "the chair is the table", "so"]
NUMBERS = (["text", "label"], [[text, str(20 + row)] for row, (text, _) in enumerate(tiny.texts(12))])
SETS = (["text", "label"], [["the good food", "a"], ["a bad film", "a,b"], ["x y", ""], ["so fine", "b"]] * 3)
# With options that a checkpoint has no place for, each of which changes some answer.
KEPT = {
    **TASKS,
    "pairs": (
        {"name": "pair", "answer": {"name": "classification", "pooling": "pooler"}},
        ["text", "second", "label"],
        [[text, text[::-1], label] for text, label in tiny.texts(12)],
    ),
    "number": ({"name": "regression", "pooling": "pooler"}, *NUMBERS),
    "sets": ({"name": "multilabel", "pooling": "pooler", "threshold": 0.75}, *SETS),
    "words": ({"name": "tagging", "words": "whitespace", "max_entities": 3}, *TASKS["tagger"][1:]),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run by its name in ``KEPT``; made once."""
    runs = {}

    def make(name):
        if name not in runs:
            data = {"text_pair": "second"} if name == "pairs" else {}
            runs[name] = random_run(tmp_path_factory.mktemp(name), *KEPT[name], data=data)
        return runs[name]

    return make


def outputs(run, model, texts=TEXTS, pairs=PAIRS):
    """What is asked, a model's outputs, and the finished predictions, of any run."""
    pairs = pairs if run.has_pairs else None
    tokens = {name: tf.constant(array) for name, array in run.encode(texts, pairs).items()}
    found = model({name: tokens[name] for name in INPUTS}, training=False)
    asked = {"text": tf.constant(texts), **({} if pairs is None else {"text_pair": tf.constant(pairs)})}
    return tokens, found, run.task.predictions(found, {**tokens, **asked})


def set_options(checkpoint):
    """The settings that a note names."""
    words = [shlex.split(note.partition(" with: ")[2]) for note in checkpoint.notes if " with: --set" in note]
    return [word for line in words for word in line if word != "--set"]


@pytest.mark.parametrize(("name", "to"), [*((name, "huggingface") for name in KEPT), ("words", "google")])
def test_a_run_written_and_read_back_answers_as_the_run(made, tmp_path, name, to):
    run = made(name)
    done = tfpipeline.convert(run.path, tmp_path / "out", to=to)
    again = open_run(tmp_path / "out", set_options(done.checkpoint))
    *_, want = outputs(run, run.model())
    *_, got = outputs(again, again.model())
    assert got.keys() == want.keys()
    for key, tensor in want.items():
        theirs, ours = got[key].numpy(), tensor.numpy()
        if ours.ndim > 1 and key in ("types", "texts", "starts", "ends", "scores") and "count" in want:
            ours, theirs = ours[:, :2], theirs[:, :2]  # there is room for more of them
        if ours.dtype == object:
            np.testing.assert_array_equal(theirs, ours, key)
        else:
            np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=2e-5, err_msg=key)
    assert tfpipeline.convert(run.path, tmp_path / "out", to=to).reused


def softmax(x):
    odds = np.exp(x - x.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


@pytest.mark.parametrize("name", ["classifier", "tagger", "answerer", "number", "sets"])
def test_the_written_numbers_by_an_independent_reader(made, tmp_path, name):
    """transformers' classes in NumPy: a dense layer on the pooler's output, or on each token."""
    run = made(name)
    tfpipeline.convert(run.path, tmp_path / "out", to="huggingface")
    raw = load_file(tmp_path / "out" / "model.safetensors")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    tokens, found, answers = outputs(run, run.model())
    plain = checkpoints.load(tmp_path / "out")
    states, pooled = encode(plain.config, plain.tensors, *(tokens[key].numpy() for key in INPUTS))
    layer = "qa_outputs" if name == "answerer" else "classifier"
    reads = states[-1] if name in ("tagger", "answerer") else pooled
    logits = reads @ raw[f"{layer}.weight"].T + raw[f"{layer}.bias"]
    real = tokens["attention_mask"].numpy().astype(bool)
    near = {"rtol": 1e-5, "atol": 2e-5}
    if name == "classifier":
        assert written["architectures"] == ["BertForSequenceClassification"]
        assert list(written["id2label"].values()) == ["negative", "neutral", "positive"]
        np.testing.assert_allclose(softmax(logits), answers["probabilities"], **near)
    elif name == "tagger":
        assert written["architectures"] == ["BertForTokenClassification"]
        assert list(written["id2label"].values()) == list(run.task.tags)
        np.testing.assert_allclose(logits[real], found["logits"].numpy()[real], **near)
    elif name == "answerer":
        assert written["architectures"] == ["BertForQuestionAnswering"]
        np.testing.assert_allclose(logits[real], found["span"].numpy()[real], **near)
    elif name == "number":
        assert written["problem_type"] == "regression"
        assert np.ptp(logits) > 0.1
        np.testing.assert_allclose(logits[:, 0], answers["value"], **near)
    else:
        assert written["problem_type"] == "multi_label_classification"
        np.testing.assert_allclose(1 / (1 + np.exp(-logits)), tf.sigmoid(found["logits"]), **near)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_head_that_no_format_has_a_place_for_is_left_out(tmp_path, pooling):
    run = random_run(tmp_path, {"name": "classification", "pooling": pooling}, *CLASSES)
    found = load_checkpoint(run.path)
    assert (found.head_names, found.labels, found.problem_type) == ((), (), None)
    (note,) = [note for note in found.notes if "head is omitted" in note]
    assert f"(task.pooling: {pooling})" in note
    assert not set_options(found)
    for to in ("huggingface", "google"):
        tfpipeline.convert(run.path, tmp_path / to, to=to)
        again = checkpoints.load(tmp_path / to)
        for name, array in run.model().encoder.tensors().items():
            np.testing.assert_array_equal(again.tensors[name], array)


def test_what_is_lost_is_said(tmp_path):
    heads = {"label": "classification", "n": "regression"}
    rows = [[text, label, str(row)] for row, (text, label) in enumerate(tiny.texts(12))]
    several = random_run(
        tmp_path / "several", {"name": "multitask", "heads": heads}, ["text", "label", "n"], rows
    )
    assert not load_checkpoint(several.path).heads
    assert any("the head of the task multitask is omitted" in n for n in load_checkpoint(several.path).notes)

    crf = random_run(tmp_path / "crf", {**TASKS["tagger"][0], "crf": True}, *TASKS["tagger"][1:])
    found = load_checkpoint(crf.path)
    assert found.head_names == ("token_classifier",)
    assert any("the CRF's transition scores are omitted" in note for note in found.notes)

    tuned = random_run(tmp_path / "tuned", {"name": "multilabel", "pooling": "pooler"}, *SETS)
    model = tuned.model()
    model.head.thresholds.assign([0.25, 0.625])
    tuned.store.save(["best"], 8, model, None, tuned.store.state("last"))
    assert (
        "a checkpoint cannot store the labels' thresholds and implies 0.5; this run's are a: 0.25, b: 0.625"
        in load_checkpoint(tuned.path).notes
    )

    text = {"max_length": 12, "long": "windows", "overlap": 2}
    windows = random_run(tmp_path / "windows", *TASKS["classifier"], text=text)
    assert {"text.long=windows", "text.overlap=2", "text.max_length=12"} <= {
        *set_options(load_checkpoint(windows.path))
    }


def test_which_weights(tmp_path):
    run = random_run(tmp_path, *TASKS["classifier"])
    save(run, step=9, seed=2, roles=("last",), finished=None)
    names = ("best", "last", "initial")
    kernels = {name: load_checkpoint(run.path, name).heads["sequence_classifier/kernel"] for name in names}
    np.testing.assert_array_equal(kernels["best"], run.model("best").head.dense.kernel)
    np.testing.assert_array_equal(kernels["best"], kernels["initial"])
    np.testing.assert_array_equal(kernels["last"], run.model("last").head.dense.kernel)
    assert np.abs(kernels["last"] - kernels["best"]).max() > 0.1
    assert load_checkpoint(run.path).notes[:2] == [
        "the best weights: those after step 7 (accuracy 0.5000 on validation)",
        "the run has not ended: 9 steps are done",
    ]
    with pytest.raises(UserError, match=r'a run has no "lst" weights; choose .*; did you mean "last"'):
        load_checkpoint(run.path, "lst")
    with pytest.raises(UserError, match='is a checkpoint: it has no "last" weights, only its own'):
        load_checkpoint(tmp_path / "checkpoint", "last")
    (run.path / "checkpoints" / "index.json").unlink()
    with pytest.raises(
        UserError, match=r'has no "best" weights yet \(none\); train it first: tfpipeline train'
    ):
        load_checkpoint(run.path)


def test_a_far_run(made, tmp_path, monkeypatch):
    """What is copied here is read."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = made("classifier")
    for path in run.path.rglob("*"):
        if path.is_file():
            tf.io.gfile.makedirs(f"ram://far/{path.relative_to(run.path).parent}")
            tf.io.gfile.copy(str(path), f"ram://far/{path.relative_to(run.path)}", overwrite=True)
    found = load_checkpoint("ram://far")
    assert found.equals(load_checkpoint(run.path))
    assert str(found).startswith("ram://far (run)")


def test_a_far_checkpoint_is_read_as_well(tmp_path):
    directory = tiny.write_checkpoint(tmp_path / "m", **tiny.CLASSIFIER)
    for path in directory.iterdir():
        tf.io.gfile.makedirs("ram://far/checkpoint")
        tf.io.gfile.copy(str(path), f"ram://far/checkpoint/{path.name}", overwrite=True)
    assert load_checkpoint("ram://far/checkpoint").equals(load_checkpoint(directory))


def test_a_run_is_not_written_over(made):
    run = made("classifier")
    for dest in (run.path, run.path / "checkpoints", run.path / "vocab.txt"):
        with pytest.raises(UserError, match=r"is a (run|part of the run .*); choose another folder"):
            tfpipeline.convert(run.path, dest, overwrite=True)
    assert run.has_weights("best")


@pytest.fixture
def next_run(made, tmp_path):
    """A run file that starts from a run, as a dict."""
    run = random_run(tmp_path / "first", *TASKS["classifier"])
    rows = tiny.write_csv(tmp_path / "rows.csv", tiny.texts(24))
    return run, {
        "checkpoint": str(run.path),
        "output": str(tmp_path / "second"),
        "data": {"train": str(rows)},
        "text": {"max_length": 24},
        "task": {"name": "classification"},
        "training": {"steps": 1, "batch_size": 8, "learning_rate": 1e-30},
    }


def test_a_run_starts_from_the_best_weights_of_another(next_run, capfd):
    run, settings = next_run
    save(run, step=9, seed=2, roles=("last",))
    second = tfpipeline.train(settings)
    for weights in ("initial", "last"):  # at a learning rate of nearly 0
        got = second.model(weights).encoder.tensors()
        for name, array in run.model("best").encoder.tensors().items():
            np.testing.assert_array_equal(got[name], array, name)
    assert second.model_config == run.model_config
    printed = capfd.readouterr().err
    assert f"note: {run.path}: the best weights: those after step 7" in printed
    assert "--set" not in printed  # its head is not used

    run_config = config.resolve(settings, RunConfig, [], source="test")
    (run.path / "report.md").write_text("evaluated since")
    sources.check(second.path, run_config)
    save(run, step=11, seed=3, roles=("best",))
    with pytest.raises(UserError, match=r"checkpoint: .*model\.safetensors has changed since"):
        sources.check(second.path, run_config)


def test_runs_that_cannot_be_started_from(next_run, tmp_path):
    run, settings = next_run
    with pytest.raises(UserError, match=r"checkpoint and output are both .*: a run cannot start from itself"):
        read_run_file({**settings, "output": str(run.path.parent / "." / "run")})
    read_run_file(settings)
    lock = locks.Lock(run.path / "lock")
    lock.acquire()
    try:
        with pytest.raises(UserError, match=r"is being trained by another process .*tfpipeline convert"):
            read_run_file(settings)
    finally:
        lock.release()
    with pytest.raises(UserError, match=r"is a part of the run .*; give the run itself"):
        load_checkpoint(run.path / "checkpoints")
    (run.path / "checkpoints" / "index.json").write_text("{}")
    with pytest.raises(UserError, match='has no "best" weights yet'):
        read_run_file(settings)
    assert not (tmp_path / "second").exists()


def test_by_way_of_a_checkpoint_it_is_the_same_model(made, tmp_path):
    """Also with more positions and tokens, and with the other gelu."""
    run = made("classifier")
    options = {"positions": 50, "tokens": ["zebra"], "gelu": "tanh"}
    tfpipeline.convert(run.path, tmp_path / "at_once", to="huggingface", **options)
    tfpipeline.convert(run.path, tmp_path / "plain", to="huggingface")
    tfpipeline.convert(tmp_path / "plain", tmp_path / "after", to="huggingface", **options)
    one, other = (checkpoints.load(tmp_path / name) for name in ("at_once", "after"))
    assert one.equals(other)
    assert one.config == dataclasses.replace(other.config, hidden_act="gelu_tanh")
