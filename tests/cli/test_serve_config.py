"""`serve-config`, as a newcomer would use it."""

from __future__ import annotations

import json

import pytest
import yaml

from tfpipeline.serving.server.model_config import parse


@pytest.fixture
def folder(tmp_path):
    for version in (3, 7):
        (tmp_path / "models" / "tweets" / str(version)).mkdir(parents=True)
        (tmp_path / "models" / "tweets" / str(version) / "saved_model.pb").write_bytes(b"x" * 2**20)
    (tmp_path / "models" / "tweets" / "labels.json").write_text(json.dumps({"labels": {"stable": 3}}))
    return tmp_path


def test_three_forms_at_once(tfpipeline, folder):
    ask = ["serve-config", "models/tweets", "--kubernetes", "k8s", "--kserve", "kserve", "--compose", "one"]
    done = tfpipeline(
        *ask, "--cpus", "4", "--storage", "pvc://disk/models", "--", "--v=1", cwd=folder, check=True
    )
    written = [folder / line for line in done.stdout.splitlines()]
    made = (
        path for name in ("k8s", "kserve", "one") for path in (folder / name).rglob("*") if path.is_file()
    )
    assert set(made) == set(written)
    folders = [path.relative_to(folder).parts[0] for path in written]
    assert {name: folders.count(name) for name in folders} == {"k8s": 7, "kserve": 4, "one": 4}
    deployment = yaml.safe_load((folder / "k8s" / "deployment.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"][-2:] == ["--tensorflow_session_parallelism=4", "--v=1"]
    config = yaml.safe_load((folder / "k8s" / "configmap.yaml").read_text())["data"]["models.config"]
    assert parse(config, "")[0].labels == {"stable": 3}
    service = yaml.safe_load((folder / "kserve" / "inference-service-tweets.yaml").read_text())
    assert service["spec"]["predictor"]["model"]["storageUri"] == "pvc://disk/models/tweets"
    (folder / "models" / "tweets" / "labels.json").write_text(json.dumps({"labels": {"stable": 7}}))
    again = tfpipeline(*ask, cwd=folder, check=True)  # after a promotion
    assert again.stdout == done.stdout
    assert parse((folder / "one" / "config" / "models.config").read_text(), "")[0].labels == {"stable": 7}


def test_batching_parameters_of_a_file(tfpipeline, folder):
    (folder / "b.pbtxt").write_text("max_batch_size { value: 7 }\n")
    ask = ["serve-config", "models", "--compose", "c"]
    assert "batching is off" in tfpipeline(*ask, cwd=folder, check=True).stderr  # of another program
    assert tfpipeline(*ask, "--batching-file", "b.pbtxt", cwd=folder, check=True).stderr == ""
    assert "max_batch_size { value: 7 }" in (folder / "c" / "config" / "batching.config").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["models/tweets"], "choose what to write: --kubernetes, --kserve, --compose, each with a folder"),
        (["--kubernetes", "k", "--", "--v=1"], "there is nothing to serve; give a models/NAME"),
        (["models/tweets", "--kubernetes", "k", "--kserve", "./k"], "name the same folder"),
        (["models/none", "--kubernetes", "k"], "there is no directory"),
        (["models/tweets", "--kubernetes", "k", "--image", "tensorflow/serving"], "names no version"),
        (
            ["models/tweets", "--kubernetes", "k", "--batching-file", "no.pbtxt"],
            "cannot read the batching file",
        ),
        (["models/tweets", "--kubernetes", "models/tweets/labels.json/x"], "cannot write"),
        (["models/tweets", "--kserve", "k", "--kubernetes", "o", "--storage", "s3://b"], "and gs:// only"),
    ],
)
def test_what_cannot_be_written(tfpipeline, folder, arguments, sentence):
    before = sorted(folder.rglob("*"))
    done = tfpipeline("serve-config", *arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
