"""``tfpipeline adapter``: extract, inspect, merge, and PEFT's files, in this process."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tests import tiny
from tests.adapted_runs import adapted_run
from tfpipeline import checkpoints
from tfpipeline.models import peft
from tfpipeline.training import adapters, open_run

TEXTS = [text for text, _ in tiny.texts(20)]
MERGEABLE = [name for name in peft.names() if peft.find(name).mergeable]
OTHERS = [name for name in peft.names() if name not in MERGEABLE]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a run by its method; made once."""
    folders = {}

    def make(method):
        if method not in folders:
            folders[method] = tmp_path_factory.mktemp(method)
            adapted_run(folders[method], method)
        return folders[method]

    return make


def probabilities(path, weights="best"):
    run = open_run(path)
    return run.predict(run.model(weights), TEXTS)["probabilities"]


@pytest.mark.parametrize("method", MERGEABLE)
def test_extract_inspect_merge(tfpipeline, made, tmp_path, method):
    folder = made(method)
    file = tmp_path / "adapter.safetensors"
    done = tfpipeline("adapter", "extract", folder / "run", "--to", file, check=True)
    assert done.stdout.startswith(f"wrote {file} (")
    shown = tfpipeline("adapter", "inspect", file, check=True).stdout
    assert f"method   {method} (version {peft.find(method).version})" in shown
    assert "labels   negative, neutral, positive" in shown
    assert "scores   accuracy 0.5000, loss 1.2500" in shown
    assert "head/dense/kernel" in shown
    merged = tmp_path / "merged"
    base = ["--base", folder / "checkpoint"]
    done = tfpipeline("adapter", "merge", file, *base, "--to", merged, check=True)
    assert done.stdout.endswith(f"wrote {merged} (huggingface)\n")
    np.testing.assert_allclose(probabilities(merged), probabilities(folder / "run"), rtol=0, atol=1e-6)
    assert np.abs(probabilities(merged) - probabilities(folder / "run", "initial")).max() > 1e-3
    again = tfpipeline("adapter", "merge", folder / "run", "--to", merged, check=True)
    assert "already holds this model; nothing to do" in again.stdout
    done = tfpipeline("convert", folder / "run", tmp_path / "converted", "--to", "huggingface", check=True)
    assert checkpoints.load(tmp_path / "converted").equals(checkpoints.load(merged))


@pytest.mark.parametrize("method", OTHERS)
def test_what_cannot_be_merged_is_one_sentence(tfpipeline, made, tmp_path, method):
    file = tmp_path / "adapter.safetensors"
    tfpipeline("adapter", "extract", made(method) / "run", "--to", file, check=True)
    for source in (file, made(method) / "run"):
        done = tfpipeline("adapter", "merge", source, "--to", tmp_path / "out")
        assert done.returncode == 2
        assert f"{source} with peft.method {method} cannot be merged into the encoder" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_files_of_the_peft_library(tfpipeline, made, tmp_path, method):
    folder, out = made(method), tmp_path / "peft"
    options = ["--format", "peft"]
    done = tfpipeline("adapter", "extract", folder / "run", "--to", out, *options, check=True)
    assert done.stdout.startswith(f"wrote {out} (")
    settings = json.loads((out / "adapter_config.json").read_text())
    assert settings["modules_to_save"] == ["classifier"]
    shown = tfpipeline("adapter", "inspect", out, check=True).stdout
    assert f"method   {method}\n" in shown
    assert "base_model.model.classifier.weight" in shown
    want = probabilities(folder / "run")
    np.testing.assert_allclose(probabilities(out), want, rtol=0, atol=1e-6)
    tfpipeline("convert", out, tmp_path / "converted", check=True)
    tfpipeline(
        "adapter", "merge", out, "--base", folder / "checkpoint", "--to", tmp_path / "merged", check=True
    )
    for merged in ("converted", "merged"):
        np.testing.assert_allclose(probabilities(tmp_path / merged), want, rtol=0, atol=1e-6)
        assert checkpoints.load(tmp_path / merged).labels == ("negative", "neutral", "positive")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["extract", "{run}", "--to", "{run}"], "is there already; choose another path"),
        (
            ["extract", "{run}", "--to", "new", "--weights", "lst"],
            'has no "lst" weights; choose best, last, ',
        ),
        (
            ["extract", "{run}", "--to", "new", "--format", "pft"],
            'unknown format "pft" of adapters; did you mean',
        ),
        (["extract", "nowhere", "--to", "new"], "nowhere: no such run directory"),
        (["extract", "{folder}", "--to", "new"], "is a folder of runs (run); name one of them, such as"),
        (["extract", "{file}", "--to", "new"], "is an adapter; merge it into its base: tfpipeline adapter"),
        (["inspect", "{folder}"], "is a directory without adapter_config.json; give an adapter.safetensors"),
        (["merge", "{file}", "--base", "{file}", "--to", "new"], "is an adapter, not a checkpoint; merge it"),
        (["merge", "{file}", "--to", "{checkpoint}", "--overwrite"], "checkpoint is the base of"),
        (
            ["merge", "{file}", "--to", "{file}", "--overwrite"],
            "is the adapter itself; choose another folder",
        ),
        (["inspect", "{run}"], "is a run; extract its adapter first: tfpipeline adapter extract"),
        (["inspect", "nowhere"], "nowhere: no such file; write one with: tfpipeline adapter extract RUN"),
        (["merge", "{run}", "--base", "x", "--to", "new"], "is a run, which has its base; leave out --base"),
        (["merge", "{run}", "--to", "new", "--format", "googel"], 'did you mean "google"?'),
        (["merge", "{run}", "--to", "{run}"], "is a run; choose another folder"),
    ],
)
def test_one_sentence(tfpipeline, made, tmp_path, arguments, sentence):
    folder = made("lora")
    if not (folder / "adapter").exists():
        adapters.extract(folder / "run", folder / "adapter")
    names = {"folder": folder, "run": folder / "run", "file": folder / "adapter"}
    names["checkpoint"] = folder / "checkpoint"
    done = tfpipeline("adapter", *(word.format(**names) for word in arguments), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command", [["convert", "{}", "new"], ["evaluate", "{}"], ["export", "{}", "--to", "new"]]
)
def test_an_adapter_in_the_place_of_a_checkpoint(tfpipeline, made, tmp_path, command):
    adapters.extract(made("lora") / "run", tmp_path / "a")
    done = tfpipeline(*(word.format("a") for word in command), cwd=tmp_path)
    assert done.returncode == 2
    assert "merge it into its base: tfpipeline adapter merge a --to DIR" in done.stderr.splitlines()[-1]


def test_a_base_that_has_changed_in_its_place(tfpipeline, tmp_path):
    adapted_run(tmp_path, "lora")
    adapters.extract(tmp_path / "run", tmp_path / "a")
    shutil.rmtree(tmp_path / "checkpoint")
    tiny.write_checkpoint(tmp_path / "checkpoint", seed=7)
    done = tfpipeline("adapter", "merge", tmp_path / "a", "--to", tmp_path / "new")
    assert done.stderr.endswith("; its files have changed since then: give a copy of what they were\n")


def test_another_base_of_a_peft_directory_is_told(tfpipeline, made, tmp_path):
    other = tiny.write_checkpoint(tmp_path / "other", seed=7)
    out = tmp_path / "peft"
    adapters.extract(made("ia3") / "run", out, format="peft")
    merge = ["adapter", "merge", out, "--to"]
    done = tfpipeline(*merge, tmp_path / "a", "--base", other, check=True)
    checkpoint = made("ia3") / "checkpoint"
    assert f"note: {out} names the base {checkpoint}; whether {other} is the same is not known" in done.stdout
    done = tfpipeline(*merge, tmp_path / "b", "--base", checkpoint, check=True)
    assert "is not known" not in done.stdout
    done = tfpipeline(*merge, checkpoint, "--overwrite")
    assert done.stderr == f"error: {checkpoint} is the base of {out}; choose another folder\n"


def test_a_method_that_peft_files_cannot_hold(tfpipeline, made, tmp_path):
    done = tfpipeline(
        "adapter", "extract", made("bitfit") / "run", "--to", tmp_path / "x", "--format", "peft"
    )
    assert done.returncode == 2
    assert "has peft.method bitfit; files of the PEFT library can hold lora and ia3" in done.stderr
