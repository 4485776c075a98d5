"""A run's vocabulary and labels belong to its weights: one that was edited afterwards is noticed."""

from __future__ import annotations

import shutil

import pytest

from tests import random_runs
from tfpipeline.errors import UserError
from tfpipeline.evaluation import evaluate
from tfpipeline.export import export_run
from tfpipeline.predictors import open_local
from tfpipeline.training import load_checkpoint, open_run


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return random_runs.random_run(folder, *random_runs.TASKS["classifier"]).path


@pytest.fixture
def path(original, tmp_path):
    return shutil.copytree(original, tmp_path / "copy")


def edit(path):
    path.write_text(path.read_text("utf-8").replace("e", "E", 1), "utf-8")


@pytest.mark.parametrize("name", ["vocab.txt", "labels.txt", "tokenizer_config.json", "model_config.json"])
@pytest.mark.parametrize(
    "use",
    [
        lambda path: export_run(path, path.parent / "m"),
        lambda path: open_local(path),
        lambda path: evaluate(path),
        lambda path: load_checkpoint(path),
    ],
    ids=["export", "predict", "evaluate", "convert"],
)
def test_an_edited_file_is_refused(path, name, use):
    edit(path / name)
    with pytest.raises(
        UserError, match=rf"/{name} was changed after the run was started, and the weights do"
    ):
        use(path)
    assert not (path.parent / "m").exists()


def test_a_removed_and_an_added_file(path):
    (path / "labels.txt").unlink()
    with pytest.raises(UserError, match=r"labels\.txt was removed after"):
        open_run(path).task  # noqa: B018 - which is read when it is asked for
    (path / "labels.txt").write_text("negative\nneutral\npositive\n")
    assert open_run(path).task.fitted == ["negative", "neutral", "positive"]
    (path / "task.json").write_text("{}")
    with pytest.raises(UserError, match=r"task\.json was added after"):
        open_run(path).vocabulary  # noqa: B018


def test_who_means_it_deletes_the_fingerprints(path):
    edit(path / "labels.txt")
    (path / "fingerprints.json").unlink()
    assert open_run(path).task.fitted == ["nEgative", "neutral", "positive"]


def test_fingerprints_that_cannot_be_read(path):
    (path / "fingerprints.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot read .*fingerprints\.json: .*; put it back, or train"):
        open_run(path).vocabulary  # noqa: B018
