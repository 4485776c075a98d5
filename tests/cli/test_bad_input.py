"""What a user gets wrong: one clear sentence, exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from tests import tiny


@pytest.fixture
def folder(tmp_path):
    tiny.write_run_file(tmp_path)
    return tmp_path


def refused(done, message):
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert done.stdout == ""


def test_the_package_is_a_program_too(in_a_process):
    """Where the program is not on the PATH, and with the same usage."""
    command = [sys.executable, "-m", "tfpipeline", "predict", "--nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    other = in_a_process("predict", "--nonsense")
    assert (done.returncode, done.stderr) == (other.returncode, other.stderr)
    assert "No such option: --nonsense" in done.stderr


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


CHECKPOINTS = {
    "no checkpoint": (
        lambda c: shutil.rmtree(c),
        "no such checkpoint; give the directory|checkpoint: .* does not exist; check the path",
    ),
    "no weights": (lambda c: (c / "model.safetensors").unlink(), r"has neither model\.safetensors nor"),
    "truncated": (lambda c: truncate(c / "model.safetensors"), r"model\.safetensors is truncated or damaged"),
    "config does not fit": (
        lambda c: change(c / "config.json", intermediate_size=31),
        r"(?s)does not fit config\.json \(3 misshapen\).*intermediate\.dense\.weight: found \[32, 16\], expected \[31, 16\]",
    ),
    "another size of vocabulary": (
        lambda c: (c / "vocab.txt").write_text((c / "vocab.txt").read_text() + "one\nmore\n"),
        r"vocab\.txt has \d+ tokens, but the model's vocab_size is \d+",
    ),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_checkpoints(tfpipeline, folder, case):
    spoil, message = CHECKPOINTS[case]
    spoil(folder / "checkpoint")
    refused(tfpipeline("convert", folder / "checkpoint", folder / "google"), message)
    assert not (folder / "google").exists()
    refused(tfpipeline("train", folder / "run.yaml"), message)
    assert not (folder / "run").exists()


RUN_FILES = {
    "missing": (None, r"run\.yaml"),
    "not YAML": ("a: [1", r"run\.yaml:\d+"),
    "a list": ("- 1", r"run\.yaml"),
    "unknown and ill-typed fields, all at once": (
        "checkpoint: c\noutput: o\ndata: {train: t.csv}\ntask: {name: classification}\ntraining:\n  epoch: "
        "3\n  batch_size: many\n",
        r'(?s)run\.yaml:6 .*training\.epoch\b.*did you mean "training.epochs".*run\.yaml:7 .*training\.batch_size',
    ),
    "an unknown task": (
        "checkpoint: c\noutput: o\ndata: {train: t.csv}\ntask: {name: clasification}\n",
        r'run\.yaml:4 .*unknown task "clasification"; did you mean "classification"',
    ),
}


@pytest.mark.parametrize("case", RUN_FILES)
def test_run_files(tfpipeline, tmp_path, case):
    text, message = RUN_FILES[case]
    if text is not None:
        (tmp_path / "run.yaml").write_text(text)
    refused(tfpipeline("train", tmp_path / "run.yaml"), message)


def test_an_unknown_override(tfpipeline, folder):
    refused(
        tfpipeline("train", folder / "run.yaml", "--set", "training.epoch=3"),
        r'training\.epoch.*did you mean "(training\.)?epochs"',
    )


DATA = {
    "missing column": (
        "text,lable\na,b\n",
        r'train\.csv:1: there is no column "label"; did you mean "lable"',
    ),
    "broken row": ("text,label\na,positive\nb\n", r"train\.csv:3"),
    "no rows": ("text,label\n", r"train\.csv: the file has no rows"),
    "one label": ("text,label\na,x\nb,x\nc,x\n", 'only the label "x"; a classifier needs at least two'),
    "not UTF-8": (b"text,label\n\xff,x\n", r"train\.csv:2: not UTF-8"),
}


@pytest.mark.parametrize("case", DATA)
def test_data_files(tfpipeline, folder, case):
    text, message = DATA[case]
    (folder / "train.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(tfpipeline("train", folder / "run.yaml"), message)
    assert not (folder / "run").exists()


def test_an_unknown_label_in_the_test_rows(tfpipeline, folder):
    tiny.write_csv(folder / "test.csv", [("a", "positive"), ("b", "positiv")])
    refused(
        tfpipeline("train", folder / "run.yaml"),
        r'test\.csv:3: unknown label "positiv", which no training row has; did you mean "positive"',
    )


def test_an_output_that_is_something_else(tfpipeline, folder):
    (folder / "run").mkdir()
    (folder / "run" / "thesis.txt").write_text("mine")
    refused(tfpipeline("train", folder / "run.yaml"), "exists and is not a run directory")
    assert [path.name for path in (folder / "run").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate"],
        ["export", "--to", "m"],
        ["index", "--data", "rows.csv", "--to", "m"],
        ["mine", "--data", "rows.csv", "--to", "m.jsonl"],
    ],
    ids=lambda command: command[0],
)
def test_no_run(tfpipeline, tmp_path, command):
    (tmp_path / "rows.csv").write_text("id,text\n1,one\n")
    refused(
        tfpipeline(*command, "nowhere", cwd=tmp_path),
        "nowhere: no such run directory; make one with: tfpipeline train",
    )
    (tmp_path / "empty").mkdir()
    refused(
        tfpipeline(*command, "empty", cwd=tmp_path),
        "empty is not a run directory",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["text"], "choose a model: --target HOST:PORT --model NAME, or --from PATH"),
        (["--target", "a:1", "text"], "--target needs the model's name: --model NAME"),
        (["--from", "nowhere", "text"], "nowhere: no such directory"),
        (["--from", ".", "text"], "is neither a run"),
        (["--target", "127.0.0.1:1", "--model", "m", "text"], r"127\.0\.0\.1:1 cannot be reached"),
        (["--target", "127.0.0.1:1", "--model", "m", "--input", "nowhere.csv"], r"nowhere\.csv"),
        (["--target", "127.0.0.1:1", "--model", "m", "--input", "x.csv", "text"], "choose one"),
        (
            ["--from", "m", "--model-version", "7", "text"],
            "--model-version is for a server; give --from the folder",
        ),
        (["--from", "m", "--pair-column", "c", "text"], "--pair-column is for the rows of files"),
        (["--from", "m", "--pair-column", "c"], "--pair-column is for the rows of files"),  # standard input
        (["--from", "m", "--pair-column", "c", "--pair", "x", "text"], "with --pair alone"),
        (
            ["--from", "m", "--pair-column", "c", "--pair", "x", "--input", "a.csv"],
            "--pair is for texts that come from no file",
        ),
    ],
)
def test_predict(tfpipeline, tmp_path, arguments, message):
    refused(tfpipeline("predict", *arguments, cwd=tmp_path), message)


def test_a_signature_that_a_run_has_not(trained, tfpipeline):
    """A classifier answers with no places in texts, so its exported model has no signature of other units
    either.
    """
    folder, _ = trained
    refused(
        tfpipeline("predict", "--from", folder / "run", "--signature", "utf16", "text"),
        'run has no signature "utf16"; it has: serving_default',
    )


def test_a_broken_saved_model(tfpipeline, tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"nonsense")
    refused(tfpipeline("predict", "--from", tmp_path / "m", "text"), "cannot load the SavedModel in .*m/1")


def test_serve_without_a_model_or_a_port(tfpipeline, tmp_path):
    refused(tfpipeline("serve", tmp_path / "nowhere"), "nowhere")
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(tfpipeline("serve", tmp_path / "m", "--port", port), f"port {port} .*in use")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
class TestFullDisk:
    """A real full disk: a file system of a few hundred kilobytes."""

    @pytest.fixture
    def disk(self, tmp_path):
        point = tmp_path / "disk"
        point.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", point], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
        yield point
        subprocess.run(["umount", "-l", point], check=True)

    def test_training(self, tfpipeline, folder, disk):
        """Room for the run's rows, not for many checkpoints: what was saved before stays, nothing
        half-written does.
        """
        done = tfpipeline("train", folder / "run.yaml", "--set", f"output={disk / 'run'}")
        refused(done, r"cannot write .*No space left on device.*free some space and run the command again")
        left = [str(path.relative_to(disk)) for path in disk.rglob("*")]
        assert not [name for name in left if ".tmp-" in name], left
        index = disk / "run" / "checkpoints" / "index.json"
        if index.exists():
            assert {path.name for path in index.parent.glob("step-*")} == set(
                json.loads(index.read_text()).values()
            )

    def test_exporting(self, trained, tfpipeline, disk):
        folder, _ = trained
        (disk / "filler").write_bytes(b"x" * 200_000)
        refused(
            tfpipeline("export", folder / "run", "--to", disk / "m"),
            "cannot write .*No space left on device.*free some space and run the command again",
        )
        assert [str(path.relative_to(disk)) for path in disk.rglob("*")] in (
            ["filler"],
            ["filler", "m"],
            ["m", "filler"],
        )

    def test_converting(self, tfpipeline, folder, disk):
        (disk / "filler").write_bytes(b"x" * 250_000)
        refused(
            tfpipeline("convert", folder / "checkpoint", disk / "google"), "cannot write .*free some space"
        )
        assert [path.name for path in disk.iterdir()] == ["filler"]


def test_a_missing_extra_names_the_pip_line(tmp_path):
    """The command without TensorFlow, as the base installation has it."""
    blocker = "import sys; sys.modules.update(dict.fromkeys(['tensorflow', 'pydantic'])); "
    code = blocker + "from tfpipeline.cli import main; sys.argv = ['tfpipeline', *sys.argv[1:]]; main()"
    for arguments in (
        ["convert", "a", "b"],
        ["train", "run.yaml"],
        ["evaluate", "r"],
        ["predict", "--from", ".", "x"],
    ):
        (tmp_path / "config.yaml").touch()
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        refused(done, r"install the `train` extra .*: pip install ")
