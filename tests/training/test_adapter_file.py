"""Adapters as files: what they hold, on which base they work, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests import tiny
from tests.adapted_runs import adapted_run
from tests.random_runs import TASKS
from tfpipeline.errors import UserError
from tfpipeline.evaluation import evaluate
from tfpipeline.models import peft
from tfpipeline.training import Run, adapter_file, adapters
from tfpipeline.training.adapted import AdaptedCheckpoint
from tfpipeline.training.base_identity import tensors_hash

TEXTS = [text for text, _ in tiny.texts(20)]


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    """A run with LoRA, and its adapter beside it."""
    folder = tmp_path_factory.mktemp("lora")
    run = adapted_run(folder, {"method": "lora", "rank": 2})
    adapters.extract(run.path, folder / "adapter.safetensors")
    return run, folder / "adapter.safetensors"


def changed(source: Path, dest: Path, **changes) -> Path:
    """A copy of an adapter with other metadata, as values; None removes an entry."""
    with safe_open(source, "numpy") as file:
        metadata = file.metadata()
    metadata |= {name: json.dumps(value) for name, value in changes.items()}
    metadata = {name: text for name, text in metadata.items() if text != "null"}
    save_file(load_file(source), dest, metadata)
    return dest


@pytest.mark.parametrize("method", peft.names())
def test_of_every_method_head_and_labels_survive(method, tmp_path):
    """peft#577, #876: heads got lost on loading. Evaluated, the file is the run."""
    run = adapted_run(tmp_path, method)
    adapters.extract(run.path, tmp_path / "adapter.safetensors")
    loaded = AdaptedCheckpoint(tmp_path / "adapter.safetensors", tmp_path / "checkpoint")
    assert loaded.task.labels == run.task.labels == ("negative", "neutral", "positive")
    want, got = (one.predict(one.model(), TEXTS) for one in (run, loaded))
    np.testing.assert_allclose(got["probabilities"], want["probabilities"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(got["label"], want["label"])
    first = run.predict(run.model("initial"), TEXTS)
    assert np.abs(first["probabilities"] - want["probabilities"]).max() > 1e-3
    data = tiny.write_csv(tmp_path / "test.csv", tiny.texts(40, seed=3))
    reports = [evaluate(one, data=data, baseline=False) for one in (run, loaded)]
    mine, theirs = (report.entries[-1].scores for report in reports)
    assert mine.keys() == theirs.keys()
    for name, score in mine.items():
        assert theirs[name] == pytest.approx(score, abs=1e-6), name


@pytest.mark.parametrize("task", ["tagger", "answerer"])
def test_other_tasks(task, tmp_path):
    run = adapted_run(tmp_path, "lora", task=task, data={})
    adapters.extract(run.path, tmp_path / "adapter.safetensors")
    loaded = AdaptedCheckpoint(tmp_path / "adapter.safetensors")
    assert loaded.task.fitted == run.task.fitted
    texts = TEXTS if not run.has_pairs else TEXTS[:10]
    pairs = None if not run.has_pairs else TEXTS[10:]
    want, got = (one.predict(one.model(), texts, pairs) for one in (run, loaded))
    for name, values in want.items():
        np.testing.assert_array_equal(got[name], values, name)


def test_what_the_file_holds(lora):
    run, path = lora
    model = run.model()
    stored = load_file(path)
    variables = [*model.adaptation.variables, *model.head.weights]
    assert stored.keys() == {variable.path for variable in variables}
    for variable in variables:
        np.testing.assert_array_equal(stored[variable.path], variable)
    adapter = adapter_file.read(path)
    assert (adapter.method, adapter.method_version, adapter.weights, adapter.step) == ("lora", 1, "best", 7)
    assert adapter.settings["peft"]["rank"] == 2
    assert adapter.scores == {"accuracy": 0.5, "loss": 1.25}
    assert adapter.base.name == run.config.checkpoint
    assert adapter.base.sha256 == tensors_hash(run.model("initial").encoder.tensors())
    text = json.dumps(adapter.metadata())
    assert str(run.config.data.train) not in text  # no path of the data
    assert path.stat().st_size < 30_000


def test_the_hash_depends_on_names_shapes_and_values_only():
    a, b = np.arange(6, dtype=np.float32), np.ones(2, np.float32)
    want = tensors_hash({"a": a, "b": b})
    assert want == tensors_hash({"b": b.astype(np.float16), "a": a.astype(">f4")})
    assert want != tensors_hash({"a": a.reshape(2, 3), "b": b})
    assert want != tensors_hash({"b": a, "a": b})
    assert want != tensors_hash({"a": a, "b": b + 1e-6})


def test_initial_weights_of_a_run_that_saved_no_scores(lora, tmp_path):
    run, _ = lora
    adapters.extract(run.path, tmp_path / "a", weights="initial")
    adapter = adapter_file.read(tmp_path / "a")
    assert (adapter.weights, adapter.step, dict(adapter.scores)) == ("initial", 0, {})
    loaded = AdaptedCheckpoint(adapter)
    np.testing.assert_array_equal(
        loaded.predict(loaded.model(), TEXTS)["probabilities"],
        run.predict(run.model("initial"), TEXTS)["probabilities"],
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"seed": 5},
            r"was trained on .*checkpoint \(2 layers, .*sha256 \w{12}\), not on .*other \(2 layers",
        ),
        ({"hidden_act": "relu"}, "was trained on .*, not on .*; give the checkpoint it names"),
        ({"num_hidden_layers": 3}, r"not on .*other \(3 layers"),
    ],
)
def test_another_base_is_refused_by_name(lora, tmp_path, changes, sentence):
    other = tiny.write_checkpoint(tmp_path / "other", **changes)
    for use in (
        lambda: AdaptedCheckpoint(lora[1], other),
        lambda: adapters.merge(lora[1], tmp_path / "out", base=other),
    ):
        with pytest.raises(UserError, match=sentence):
            use()
    assert not (tmp_path / "out").exists()


def test_another_vocabulary_is_another_base(lora, tmp_path):
    other = tiny.write_checkpoint(tmp_path / "other")
    (other / "vocab.txt").write_text("\n".join([*tiny.VOCABULARY[:-1], "zebra"]) + "\n")
    with pytest.raises(UserError, match="their vocabularies differ"):
        AdaptedCheckpoint(lora[1], other)


def test_other_dropout_is_the_same_base(lora, tmp_path):
    other = tiny.write_checkpoint(tmp_path / "other", hidden_dropout_prob=0.3)
    assert AdaptedCheckpoint(lora[1], other).task.labels == ("negative", "neutral", "positive")


def test_another_task_is_refused(lora):
    with pytest.raises(UserError, match="is an adapter of the task classification, not of regression"):
        AdaptedCheckpoint(lora[1], overrides=["task.name=regression"])
    with pytest.raises(UserError, match=r"task\.pooling of .* is fixed by its head"):
        AdaptedCheckpoint(lora[1], overrides=["task.pooling=mean"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method_version": 2}, "needs the version 2 of the method lora, this installation has 1; use the"),
        ({"format_version": 9}, r"has the version 9 of the format, this installation reads 1; .*\(0\.1\.0\)"),
        ({"format": "other"}, "was not written by tfpipeline adapter extract"),
        ({"base": None}, r"its metadata is incomplete \('base'\); extract it again"),
        ({"task": ["labels.txt"]}, r"its metadata is incomplete \('task'\)"),
        ({"task": {"labels.txt": 3}}, r"its metadata is incomplete \('task'\)"),
        ({"scores": {"loss": "low"}}, r"its metadata is incomplete \('scores'\)"),
        ({"tokenizer": "uncased"}, r"its metadata is incomplete \('tokenizer'\)"),
        ({"settings": {"peft": {"method": "lora"}}}, r"its metadata is incomplete \('data'\)"),
    ],
)
def test_other_versions_and_files_are_refused(lora, tmp_path, changes, sentence):
    path = changed(lora[1], tmp_path / "changed.safetensors", **changes)
    with pytest.raises(UserError, match=sentence):
        adapter_file.read(path)


def test_a_method_that_is_not_known_here(lora, tmp_path):
    settings = {**adapter_file.read(lora[1]).settings, "peft": {"method": "lorra"}}
    path = changed(lora[1], tmp_path / "changed.safetensors", settings=settings)
    with pytest.raises(UserError, match=r'changed\.safetensors: unknown method "lorra"; .*\(0\.1\.0\)'):
        adapter_file.read(path)


@pytest.mark.parametrize("name", ["../{}", "heads/../../{}", "{}", "C:/{}", "..\\{}"])
def test_a_file_from_elsewhere_writes_nothing_outside_its_folder(lora, tmp_path, name):
    """Its metadata holds the files of the task, which are written to a temporary folder to be read."""
    name = name.format(tmp_path / "evil.txt")
    path = changed(lora[1], tmp_path / "changed.safetensors", task={name: "x"})
    with pytest.raises(UserError, match="a file outside the folder of the task; do not use it"):
        adapters.inspect(path)
    assert [one.name for one in tmp_path.iterdir()] == ["changed.safetensors"]


@pytest.mark.parametrize("files", [{}, {"labels.txt/x": "a"}, {"a\0b": "a"}])
def test_a_task_that_cannot_be_read(lora, tmp_path, files):
    path = changed(lora[1], tmp_path / "changed.safetensors", task=files)
    message = f"{path}: its metadata holds no task classification that can be read; extract it again"
    for use in (adapters.inspect, AdaptedCheckpoint):
        with pytest.raises(UserError) as caught:
            use(path)
        assert str(caught.value) == message


def test_tensors_that_do_not_fit_are_all_named(lora, tmp_path):
    with safe_open(lora[1], "numpy") as file:
        metadata = file.metadata()
    tensors = load_file(lora[1])
    tensors["more"] = tensors.pop("head/dense/bias")
    save_file(tensors, tmp_path / "a", metadata)
    with pytest.raises(UserError, match=r"1 missing, 1 unknown(.|\n)*head/dense/bias(.|\n)*more"):
        AdaptedCheckpoint(tmp_path / "a").model()


def test_a_file_that_is_none(tmp_path):
    for content, sentence in ((b"x" * 40, "is not an adapter, or is damaged"), (None, "no such file")):
        if content is not None:
            (tmp_path / "a").write_bytes(content)
        with pytest.raises(UserError, match=sentence):
            adapter_file.read(tmp_path / "a" if content else tmp_path / "b")
    for metadata in ({}, {"format": "pt"}):
        save_file({"x": np.zeros(3)}, tmp_path / "plain", metadata)
        with pytest.raises(UserError, match="was not written by tfpipeline adapter extract; give an adapter"):
            adapter_file.read(tmp_path / "plain")
    with pytest.raises(UserError, match=r"is a directory without adapter_config\.json; give an adapter"):
        adapters.inspect(tmp_path)


def test_a_base_that_a_callback_has_changed_is_not_lost(lora, tmp_path):
    run = adapted_run(tmp_path, {"method": "lora", "rank": 2})
    model = run.model("best")
    model.encoder.pooler.bias.assign_add([1.0] * 16)
    run.store.save(["best"], 9, model, None, run.store.state("best"))
    with pytest.raises(
        UserError, match=r"encoder/pooler/bias of .* was changed in training, but not by lora"
    ):
        adapters.extract(run.path, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_nothing_half_written(lora, tmp_path, monkeypatch):
    run, _ = lora
    (tmp_path / "mine").write_text("keep")
    for kind in adapters.FORMATS:
        with pytest.raises(UserError, match="mine is there already; choose another"):
            adapters.extract(run.path, tmp_path / "mine", format=kind)
    assert (tmp_path / "mine").read_text() == "keep"

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    for kind in adapters.FORMATS:
        with pytest.raises(UserError, match="No space left on device; free some space"):
            adapters.extract(run.path, tmp_path / kind, format=kind)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_runs_without_an_adapter(tmp_path):
    from tests.random_runs import random_run

    run = random_run(tmp_path, *TASKS["classifier"])
    with pytest.raises(UserError, match=r"has no peft section, so it has no adapter; convert it: tfpipeline"):
        adapters.extract(run.path, tmp_path / "a")
    with pytest.raises(UserError, match=r"is a checkpoint; adapters are extracted from runs"):
        adapters.extract(tmp_path / "checkpoint", tmp_path / "a")
    assert isinstance(run, Run)
