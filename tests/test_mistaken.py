"""What is taken for a checkpoint or for a run, and what is said of it. Only names of files are looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfpipeline.errors import UserError
from tfpipeline.mistaken import check_checkpoint, check_run


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with one of everything."""
    for name in (
        "runs/a/config.yaml",
        "runs/a/model_config.json",
        "runs/a/environment.json",
        "runs/a/vocab.txt",
        "runs/a/data/train.jsonl",
        "runs/a/checkpoints/index.json",
        "runs/a/checkpoints/step-00000007/model.safetensors",
        "runs/a/checkpoints/step-00000007/state.json",
        "runs/a/bert/config.json",  # somebody's checkpoint, kept in a run's folder
        "copied/model.safetensors",
        "copied/state.json",
        "models/x/1/saved_model.pb",
        "models/x/1/variables/variables.index",
        "m.keras",
        "run.yaml",
        "bert/config.json",
        "bert/model.safetensors",
        "bert/out/config.yaml",
        "bert/out/model_config.json",
        "bert/out/environment.json",
        "garden/params.yaml",
        "train.csv",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


CONVERT = (
    "write one from it: tfpipeline convert runs/a DEST; or load it in Python: "
    'tfpipeline.training.load_checkpoint("runs/a")'
)


@pytest.mark.parametrize(
    ("path", "as_checkpoint", "as_run"),
    [
        ("runs/a", f"is a run of tfpipeline train, not a checkpoint; {CONVERT}", None),
        (
            "runs/a/checkpoints",
            "is a part of the run runs/a, not a checkpoint; give the run itself: runs/a",
            "is a part of the run runs/a; give the run itself: runs/a",
        ),
        *(
            (
                path,
                "is a part of the run runs/a, not",
                "is a part of the run runs/a; give the run itself: runs/a",
            )
            for path in (
                "runs/a/checkpoints/step-00000007",
                "runs/a/checkpoints/step-00000007/model.safetensors",
                "runs/a/checkpoints/last",  # not there: who writes this means the role
                "runs/a/model_config.json",
            )
        ),
        (
            "copied",
            "holds the weights of a run without the run, not a checkpoint; give the whole run directory",
            "holds the weights of a run without the run; give the whole run directory",
        ),
        (
            "m.keras",
            "is a model that Keras has saved, not a checkpoint; load it in Python: "
            'keras.models.load_model("m.keras")',
            "is a model that Keras has saved; load it",
        ),
    ],
)
def test_what_is_never_a_checkpoint(here, path, as_checkpoint, as_run):
    for given in (path, Path(path)):
        with pytest.raises(UserError) as caught:
            check_checkpoint(given)
        assert str(caught.value).startswith(f"{path} {as_checkpoint}")
        if as_run is None:
            check_run(given, unread=True)
            continue
        with pytest.raises(UserError) as caught:
            check_run(given)
        assert str(caught.value).startswith(f"{path} {as_run}")


def test_an_adapter(here):
    adapter = b'{"__metadata__":{"format":"\\"tfpipeline.adapter\\""}}'
    plain = b'{"__metadata__":{"format":"pt"}}'
    for header, is_adapter in ((adapter, True), (plain, False), (b"{", False), (b"[1]", False), (b"", False)):
        Path("a").write_bytes(len(header).to_bytes(8, "little") + header + b"data")
        if not is_adapter:
            check_checkpoint("a", unread=True)
            continue
        for check, what in (
            (check_run, "is an adapter; "),
            (check_checkpoint, "is an adapter, not a checkpoint; "),
        ):
            with pytest.raises(UserError) as caught:
                check("a")
            assert str(caught.value) == f"a {what}merge it into its base: tfpipeline adapter merge a --to DIR"
    Path("a").write_bytes(len(adapter).to_bytes(8, "little") + adapter[:-3])  # truncated
    check_checkpoint("a")


@pytest.mark.parametrize(
    ("path", "what"),
    [
        (
            "models/x/1",
            "is an exported SavedModel; get predictions from it: tfpipeline predict --from models/x/1 TEXT",
        ),
        (
            "models/x/1/saved_model.pb",
            "is an exported SavedModel; get predictions from it: tfpipeline predict --from models/x/1",
        ),
        (
            "models/x",
            "holds the versions of an exported model; get predictions from it: tfpipeline predict --from models/x ",
        ),
        (
            "models",
            "is a folder of exported models (x); get predictions from it: tfpipeline predict --from models/x ",
        ),
        ("runs", "is a folder of runs (a); name one of them, such as runs/a"),
        (
            "run.yaml",
            "is a run file; train it: tfpipeline train run.yaml; then give the folder that it calls output",
        ),
    ],
)
def test_what_may_be_one_besides_is_told_when_none_was_found(here, path, what):
    check_run(path)
    check_checkpoint(path)
    with pytest.raises(UserError) as caught:
        check_run(path, unread=True)
    assert str(caught.value).startswith(f"{path} {what}")
    with pytest.raises(UserError) as caught:
        check_checkpoint(path, unread=True)
    assert str(caught.value).startswith(f"{path} {what.split(';')[0]}, not a checkpoint; ")


@pytest.mark.parametrize(
    "path", ["bert", "garden", "garden/params.yaml", "runs/a/bert", "none", "hf://org/name"]
)
def test_checkpoints_are_none_of_them(here, path):
    """Also with a run inside, or inside a run."""
    check_checkpoint(path)
    check_run(path)


@pytest.mark.parametrize("path", ["train.csv", "garden", "none", "x" * 5000, "a\0b"])
def test_what_nobody_knows_is_left_to_others(here, path):
    check_checkpoint(path, unread=True)
    check_run(path, unread=True)


def test_from_inside_a_run(here, monkeypatch):
    monkeypatch.chdir(here / "runs" / "a" / "checkpoints")
    with pytest.raises(
        UserError, match=r"^step-00000007 is a part of the run .*/runs/a; give the run itself"
    ):
        check_run("step-00000007")
