"""`~` is the home directory wherever a path comes in; no folder of that name is ever made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny
from tfpipeline import checkpoints, config, paths, predictors
from tfpipeline.data import read_records
from tfpipeline.errors import UserError
from tfpipeline.evaluation import evaluate
from tfpipeline.export import export_run
from tfpipeline.serving.client import TLS, InputError
from tfpipeline.serving.server import make_options
from tfpipeline.serving.server.run import find_binary
from tfpipeline.text import load_vocabulary
from tfpipeline.training import RunConfig, open_run
from tfpipeline.training.run_file import read_run_file


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home directory, and another one to be in, which must stay empty."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "home"
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "expanded"),
    [
        ("~", "HOME"),
        ("~/a b/c", "HOME/a b/c"),
        (Path("~/x"), "HOME/x"),
        ("file://~/x", "file://HOME/x"),
        ("a/~/b", "a/~/b"),
        ("./~", "./~"),
        ("~nobody-of-this-name/x", "~nobody-of-this-name/x"),
        ("gs://bucket/~/x", "gs://bucket/~/x"),
        ("hf://org/name@main", "hf://org/name@main"),
    ],
)
def test_what_is_expanded(home, given, expanded):
    assert paths.expand(given) == expanded.replace("HOME", str(home))


@pytest.mark.parametrize(
    ("given", "scheme"),
    [
        ("gs://bucket/x", "gs"),
        (Path("gs://bucket/x"), "gs"),  # which has lost a slash
        ("S3://bucket", "S3"),
        ("file:///x", ""),
        ("file:/x", ""),
        ("c:/x", ""),
        ("a/gs://x", ""),
        ("a:b/c", ""),
        ("./gs:/x", ""),
    ],
)
def test_what_is_far_away(given, scheme):
    assert paths.scheme(given) == scheme
    assert paths.is_far(given) == bool(scheme)


def test_an_address_is_no_local_path(tmp_path, monkeypatch):
    with pytest.raises(
        UserError, match=r"^s3://b/x: s3:// cannot be used here; give a path on this machine$"
    ):
        paths.local(Path("s3://b/x"))
    with pytest.raises(
        UserError, match=r"^gs:/b/x: an address has two slashes; write gs://b/x, or \./gs:/b/x"
    ):
        paths.local("gs:/b/x")
    assert paths.local("file:///x/y") == paths.local("file:/x/y") == Path("/x/y")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gs:").mkdir()
    assert paths.local("gs:/") == Path("gs:")  # there is such a folder


def test_addresses_in_a_run_file(tmp_path):
    settings = {"checkpoint": str(tmp_path), "output": "o", "task": {"name": "classification"}}
    data = {"train": "s3://b/a.csv", "test": "gs://b/c.csv"}
    with pytest.raises(UserError) as caught:
        read_run_file({**settings, "data": data})
    assert str(caught.value).splitlines()[1:] == [
        f"  data.{field}: {path}: {path[:2]}:// cannot be used here; give a path on this machine"
        for field, path in data.items()
    ]
    with pytest.raises(UserError, match=r'output: found "gs:/b/o"; gs:/b/o: an address has two slashes'):
        read_run_file({**settings, "data": {"train": "a.csv"}, "output": "gs:/b/o"})
    (tmp_path / "a.csv").touch()
    found = read_run_file({**settings, "data": {"train": f"file://{tmp_path}/a.csv"}})
    assert found.data.train == f"{tmp_path}/a.csv"


@pytest.mark.parametrize("given", [None, 3, ["a.csv"], b"a.csv"])
def test_what_is_no_path_is_said(given):
    with pytest.raises(UserError, match="expected a path, found"):
        paths.local(given)


def test_every_path_of_a_run_file(home):
    settings = {
        "checkpoint": "~/c",
        "output": "~/o",
        "data": {"train": "~/a.csv", "validation": "~/b.csv", "test": "~/c.csv", "text": "~/t"},
        "task": {"name": "classification"},
        "training": {
            "callbacks": [{"name": "CSVLogger", "options": {"filename": "~/log.csv", "append": True}}]
        },
    }
    found = config.resolve(settings, RunConfig, ["output=~/p"], source="here")
    assert (found.checkpoint, found.output) == (f"{home}/c", f"{home}/p")
    data = found.data
    assert [data.train, data.validation, data.test] == [f"{home}/{name}.csv" for name in "abc"]
    assert data.text == "~/t"  # a column
    assert found.training.callbacks[0].options == {"filename": f"{home}/log.csv", "append": True}


def test_functions(home):
    source = tiny.write_checkpoint(home / "model", **tiny.CLASSIFIER)
    tiny.write_csv(home / "rows.csv", tiny.texts(6))
    assert len(list(read_records("~/rows.csv"))) == 6
    assert load_vocabulary("~/model") == load_vocabulary(source)
    (home / "tokens.txt").write_text("new\n")
    assert checkpoints.read_tokens("~/tokens.txt") == ("new",)
    assert checkpoints.load("~/model").config == checkpoints.load(Path("~/model")).config
    assert checkpoints.is_checkpoint("~/model")
    checkpoints.convert("~/model", "~/google")
    assert (home / "google" / "vocab.txt").is_file()
    assert open_run("~/model").model_config == open_run(source).model_config
    assert evaluate("~/model", "~/rows.csv").rows == 6
    with pytest.raises(UserError, match=f"{home}/rows.csv is a file; name a folder"):
        export_run("~/model", "~/rows.csv")
    with predictors.open_local("~/model") as predictor:
        assert len(predictor.predict(["good"])) == 1
    (home / "versions" / "1").mkdir(parents=True)
    with pytest.raises(UserError, match=f"the SavedModel in {home}/versions/1"):
        predictors.open_local("~/versions")


def test_options_of_server_and_client(home):
    assert make_options("~/models/x").model_dir == home / "models" / "x"
    with pytest.raises(UserError, match="there is no server binary ~/server"):
        find_binary("~/server")
    (home / "server").touch(mode=0o700)
    assert find_binary("~/server") == home / "server"
    (home / "root.pem").write_text("no certificate")
    with pytest.raises(InputError, match="TLS root is not PEM"):
        TLS(root="~/root.pem").channel_credentials()


def run_file(folder, **changes):
    settings = {
        "checkpoint": "checkpoint",
        "output": "run",
        "data": {"train": "rows.csv"},
        "task": {"name": "classification"},
        **changes,
    }
    (folder / "run.yaml").write_text(str(settings))
    return folder / "run.yaml"


def test_who_meant_the_folder_of_the_run_file_is_told_so(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    path = run_file(tmp_path / "sub")
    (tmp_path / "sub" / "rows.csv").touch()
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        read_run_file("sub/run.yaml")
    assert str(caught.value) == (
        f"sub/run.yaml: data.train: rows.csv does not exist in the current directory ({tmp_path}), to which "
        "relative paths are relative; it exists beside the run file: write sub/rows.csv"
    )
    (tmp_path / "checkpoint").rmdir()
    (tmp_path / "checkpoint.index").touch()  # a TensorFlow checkpoint is named by its prefix
    assert read_run_file(path, ["data.train=sub/rows.csv"]).output == "run"


def test_a_run_directory_is_no_run_file(tmp_path):
    run = tmp_path / "my run"
    run.mkdir()
    with pytest.raises(UserError, match=r"my run is a directory; give the path of a run file \(YAML\)$"):
        read_run_file(run)
    (run / "config.yaml").touch()
    with pytest.raises(UserError) as caught:
        read_run_file(str(run))
    assert str(caught.value) == (
        f"{run} is a run directory, not a run file; its run file is {run}/config.yaml; to resume the "
        f"run: tfpipeline train '{run}/config.yaml'"
    )


def test_all_that_is_missing_is_named_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        read_run_file(run_file(tmp_path, data={"train": "rows.csv", "test": "/no/such.csv"}))
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/run.yaml: 3 paths cannot be used:",
        f"  checkpoint: checkpoint does not exist in the current directory ({tmp_path}); check the path",
        f"  data.train: rows.csv does not exist in the current directory ({tmp_path}); check the path",
        "  data.test: /no/such.csv does not exist; check the path",
    ]


@pytest.mark.parametrize("directory", ["run", "run.worker-1"])
def test_a_run_that_is_there_needs_its_sources_no_more(tmp_path, monkeypatch, directory):
    monkeypatch.chdir(tmp_path)
    (tmp_path / directory).mkdir()
    (tmp_path / directory / "config.yaml").touch()
    assert read_run_file(run_file(tmp_path)).data.train == "rows.csv"


def test_rows_of_the_callers_own_need_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoint").mkdir()
    assert read_run_file(run_file(tmp_path), own_data=True).data.train == "rows.csv"
    with pytest.raises(UserError, match=r"rows\.csv does not exist"):
        read_run_file(run_file(tmp_path))


def test_settings_in_python(tmp_path, monkeypatch):
    """A dict, with what Python has in place of YAML's values, is a run file; it is left as it is."""
    import numpy as np

    (tmp_path / "rows.csv").touch()
    (tmp_path / "checkpoint").mkdir()
    settings = {
        "checkpoint": tmp_path / "checkpoint",
        "output": "run",
        "data": {"train": tmp_path / "rows.csv"},
        "task": {"name": "classification", "labels": ("a", "b")},
        "training": {"epochs": np.int64(2), "learning_rate": np.float64(1e-3)},
    }
    before = repr(settings)
    found = read_run_file(settings, "training.epochs=4")  # one override, not its letters
    assert (found.training.epochs, found.training.learning_rate) == (4, 1e-3)
    assert found.data.train == str(tmp_path / "rows.csv")
    assert repr(settings) == before
    assert read_run_file(found, ["training.epochs=5"]).training.epochs == 5
    assert read_run_file(found) == found


@pytest.mark.parametrize(
    ("given", "overrides", "message"),
    [
        (
            {"output": "o"},
            (),
            r"the dict of settings has 3 errors; correct:\n  checkpoint: missing; it has no default",
        ),
        (
            {"training": {"epochs": Path("x")}},
            (),
            r'\n  training\.epochs: found "x", expected a valid integer',
        ),
        (
            {"training": {"epochs": object}},
            (),
            r"\n  training\.epochs: found .*object.*, expected a valid integer",
        ),
        ({"output": "o"}, {"training.epochs": 1}, r'give a list such as \["training.epochs=2"\]'),
        (
            {"output": "o"},
            [("training.epochs", 1)],
            r"overrides\[0\] is \('training.epochs', 1\); give a list",
        ),
        ({"output": "o"}, 3, "the overrides are 3; give a list"),
        (3, (), "expected a run file's path, a dict of settings or a RunConfig; found int"),
    ],
)
def test_settings_in_python_that_cannot_be_used(given, overrides, message):
    with pytest.raises(UserError, match=message):
        read_run_file(given, overrides)


def test_one_override_is_no_list_of_letters(tmp_path):
    source = tiny.write_checkpoint(tmp_path / "model", **tiny.CLASSIFIER)
    assert open_run(source, "text.max_length=12").config.text.max_length == 12
