"""``tfpipeline convert`` with its options, in this process; the plain way is walked in test_path.py."""

from __future__ import annotations

import json
import shutil
import zipfile

import pytest

from tests import tiny
from tests.random_runs import TASKS, random_run
from tfpipeline import checkpoints, cli


@pytest.fixture
def command(monkeypatch, capsys):
    """Run the command; gives exit code, output and error output."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["tfpipeline", "convert", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


@pytest.fixture
def source(tmp_path):
    return tiny.write_checkpoint(tmp_path / "source", **tiny.CLASSIFIER)


def test_check_prints_and_writes_nothing(command, source, tmp_path):
    code, out, _ = command(source, "--check")
    assert code == 0
    assert out == checkpoints.parity_report(checkpoints.load(source)) + "\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_check_and_write(command, source, tmp_path):
    code, out, _ = command(source, tmp_path / "dest", "--check", "--to", "huggingface")
    assert code == 0
    assert "41 tensors mapped, 0 left out" in out
    assert out.endswith(f"wrote {tmp_path / 'dest'} (huggingface)\n")
    assert checkpoints.load(tmp_path / "dest").labels == ("positive", "negative", "neutral")


def test_all_options_at_once(command, source, tmp_path):
    (tmp_path / "tokens.txt").write_text("badly\n[PERSON]\n")
    options = ["--gelu", "tanh", "--positions", "60", "--add-tokens", tmp_path / "tokens.txt"]
    code, _, _ = command(source, tmp_path / "dest", *options)
    assert code == 0
    found = checkpoints.load(tmp_path / "dest")
    assert (found.config.hidden_act, found.config.max_position_embeddings) == ("gelu_tanh", 60)
    assert found.vocabulary[-2:] == ("badly", "[PERSON]")
    again = command(source, tmp_path / "dest", *options)
    assert again[0] == 0
    assert "already holds this model; nothing to do" in again[1]


def test_a_run(command, tmp_path):
    run = random_run(tmp_path, *TASKS["classifier"])
    code, out, _ = command(run.path, tmp_path / "dest", "--to", "huggingface")
    assert code == 0
    assert out.startswith(f"read {run.path} (run): 39 tensors, 2 layers")
    assert "heads sequence_classifier (negative, neutral, positive)\n" in out
    assert "  note: evaluate and export answer as the run does with: --set text.max_length=24\n" in out
    code, out, _ = command(run.path, "--check", "--weights", "last")
    assert code == 0
    assert "note: the last weights: those after step 7\n" in out
    code, out, err = command(run.path, tmp_path / "more", "--weights", "first")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == 'error: a run has no "first" weights; choose best, last, initial'
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "run")
    code, _, err = command(archive, tmp_path / "more")
    assert code == 2
    assert err.endswith(f"{archive} holds a run of tfpipeline train; unpack it and give its folder\n")


def test_an_archive(command, source, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "source")
    code, out, _ = command(archive, tmp_path / "dest")
    assert code == 0
    assert out.startswith(f"read {archive} (huggingface): 39 tensors")
    assert checkpoints.load(tmp_path / "dest").equals(checkpoints.load(source))


def test_an_archive_that_leaves_its_folder(command, source, tmp_path):
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(source / "config.json", "../config.json")
    code, out, err = command(archive, tmp_path / "dest")
    assert (code, out) == (2, "")
    assert err.startswith(f'error: ../config.json of {archive} has ".." in its path; nothing was unpacked')
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.zip", "source"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            [],
            "the destination is missing: tfpipeline convert SOURCE DEST; to only inspect SOURCE, add --check",
        ),
        (["dest", "--to", "googel"], 'the format "googel" can\'t be written; did you mean "google"?'),
        (["dest", "--gelu", "new"], 'gelu is "new"; it must be erf or tanh'),
        (["dest", "--positions", "3"], "has 40 positions already; ask for more than that"),
        (
            ["dest", "--add-tokens", "nowhere.txt"],
            "cannot read nowhere.txt: No such file or directory; check the path",
        ),
    ],
)
def test_one_sentence(command, source, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(source, *arguments)
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert line.endswith(sentence)
    assert not (tmp_path / "dest").exists()


def test_a_folder_of_several_formats(command, source, tmp_path):
    command(source, tmp_path / "google")
    for path in (tmp_path / "google").iterdir():
        shutil.copy(path, source)
    code, _, err = command(source, tmp_path / "dest")
    assert code == 2
    assert (
        "holds checkpoints in several formats (google and huggingface); name the weights' file to read" in err
    )
    for file, name in (("model.safetensors", "huggingface"), ("bert_model.ckpt", "google")):
        code, out, _ = command(source / file, tmp_path / name / "again")
        assert code == 0
        assert f"({name}): 39 tensors" in out
    config = json.loads((tmp_path / "google" / "again" / "bert_config.json").read_text())
    assert config["labels"] == ["positive", "negative", "neutral"]
