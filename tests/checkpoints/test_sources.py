"""Where checkpoints come from: local paths, the hub (a server on loopback stands in), TensorFlow's file systems."""

from __future__ import annotations

import gc
import io
import json
import os
import pty
import resource
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
import tensorflow as tf

from tests import tiny
from tests.checkpoints.hub_server import COMMIT, Hub, serve
from tfpipeline.checkpoints import remote, sources
from tfpipeline.checkpoints.selection import select_files
from tfpipeline.checkpoints.temporary import TemporaryFolder
from tfpipeline.errors import UserError

HF = ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]
GOOGLE = ["bert_config.json", "vocab.txt"]
CKPT = ["bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index"]


# --- which files ---


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ([*HF, "model.safetensors", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack"], [*HF, "model.safetensors"]),
        ([*HF, "pytorch_model.bin", "tf_model.h5", "README.md"], [*HF, "pytorch_model.bin"]),
        ([*HF, "tf_model.h5", "onnx/model.onnx"], [*HF, "tf_model.h5"]),
        # Google's files are left out, or the folder would be taken for that format.
        ([*HF, "model.safetensors", *GOOGLE, *CKPT], [*HF, "model.safetensors"]),
        ([*GOOGLE, *CKPT, "bert_model.ckpt.meta", "checkpoint"], [*GOOGLE, *CKPT]),
        (["config.json", "vocab.txt", *CKPT], ["config.json", "vocab.txt", *CKPT]),
        ([*GOOGLE, *CKPT, "model.ckpt-9.index", "model.ckpt-9.data-00000-of-00001"], [*GOOGLE, *CKPT]),
        (
            ["config.json", "metadata.json", "tokenizer.json", "assets/tokenizer/vocabulary.txt", "model.weights.h5", "x.md"],
            ["config.json", "metadata.json", "tokenizer.json", "assets/tokenizer/vocabulary.txt", "model.weights.h5"],
        ),
        (HF, []),
        (["sub/model.safetensors", "model.fp16.safetensors", *HF], []),
        (["sub/bert_model.ckpt.index"], []),
    ],
)  # fmt: skip
def test_one_kind_of_weights_and_what_belongs_to_it(there, wanted):
    assert sorted(select_files(there, where="x")) == sorted(set(wanted))


def test_shards_are_taken_if_all_are_there():
    shards = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    index = "model.safetensors.index.json"
    assert select_files([*shards, index], where="x") == [index, *shards]
    assert select_files([*shards[:2], index, "pytorch_model.bin"], where="x") == ["pytorch_model.bin"]
    assert select_files([shards[0], shards[2], index], where="x") == []
    assert select_files(shards, where="x") == []


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("pytorch_model.bin", "pytorch_model.bin"),
        ("model.ckpt-9", "model.ckpt-9.index"),
        ("model.ckpt-9.index", "model.ckpt-9.index"),
        ("model.ckpt-9.meta", "model.ckpt-9.index"),
        ("model.ckpt-99", "model.ckpt-99.index"),
        ("config.json", "model.safetensors"),
        ("", "model.safetensors"),
    ],
)
def test_the_weights_that_are_asked_for(asked, wanted):
    there = [
        "config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "model.ckpt-9.index",
        "model.ckpt-99.index",
    ]
    assert select_files(there, asked, where="x") == ["config.json", wanted]


def test_several_checkpoints_and_none_asked_for():
    there = ["bert_config.json", "model.ckpt-9.index", "model.ckpt-99.index"]
    with pytest.raises(UserError, match=r"x holds several checkpoints \(model.ckpt-9, model.ckpt-99\)"):
        select_files(there, where="x")


# --- here ---


def test_local_paths(tmp_path):
    folder = tmp_path / "google"
    folder.mkdir()
    for name in (*GOOGLE, *CKPT):
        (folder / name).write_text("x")
    for given, name in {
        folder: "",
        str(folder): "",
        folder / "bert_model.ckpt": "bert_model.ckpt",
        folder / "bert_model.ckpt.index": "bert_model.ckpt.index",
        folder / "vocab.txt": "vocab.txt",
        f"file://{folder}/vocab.txt": "vocab.txt",
    }.items():
        assert sources.locate(given) == sources.Located(folder, name, None, str(given))


def test_local_paths_that_are_none(tmp_path, monkeypatch):
    with pytest.raises(
        UserError, match=r"nothing: no such checkpoint; give the directory that holds its files"
    ):
        sources.locate(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"cannot read .*: File name too long; check the path"):
        sources.locate(tmp_path / ("n" * 300))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ab:").mkdir()
    (tmp_path / "ab:" / "model.h5").write_text("x")
    assert sources.locate(Path("ab:/model.h5")).name == "model.h5"  # looks like a place far away, and is none


# --- the hub ---

LOCATE = """
import json, sys
from tfpipeline.checkpoints import sources
from tfpipeline.errors import UserError
from pathlib import Path
for source in sys.argv[1:]:
    try:
        located = sources.locate(Path(source) if "#" in source else source)
        print(json.dumps({"directory": str(located.directory), "name": located.name, "display_name": located.display_name}))
    except UserError as error:
        print(json.dumps({"error": str(error)}))
    print(json.dumps("tensorflow" in sys.modules))
"""


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "checkpoint"
    tiny.write_checkpoint(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def hub(files):
    hub = Hub()
    hub.files = {
        "org/name": {**files, "pytorch_model.bin": b"x", "README.md": b"x", "onnx/model.onnx": b"x"},
        "bare": files,
        "org/gated": files,
        "org/empty": {"README.md": b"x"},
    }
    hub.gated = {"org/gated"}
    with serve(hub):
        yield hub


def environment(hub, home, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {**kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", **more}


def ask(hub, home, *given, **more):
    """Locate in a new process, as huggingface_hub reads its settings on import; answers, and standard error."""
    done = subprocess.run(
        [sys.executable, "-c", LOCATE, *given],
        env=environment(hub, home, **more),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[1::2] == [False] * len(given)  # the hub needs no TensorFlow
    return lines[::2], done.stderr


def errors(answers):
    return [answer["error"] for answer in answers]


def downloads(hub):
    return sorted(
        line.rpartition("/")[2] for line in hub.requests if line.startswith("GET") and "/resolve/" in line
    )


def test_what_a_checkpoint_needs_is_fetched_once_and_used_offline(hub, files, tmp_path):
    given = ["hf://org/name", "hf://org/name@v1", f"hf://org/name@{COMMIT}", "hf://bare", "hf://org/name/"]
    answers, printed = ask(hub, tmp_path, *given)
    assert printed == ""
    assert [answer["display_name"] for answer in answers] == given
    assert len({answers[at]["directory"] for at in (0, 1, 2, 4)}) == 1
    for answer in answers:
        found = {file.name: file.read_bytes() for file in Path(answer["directory"]).iterdir()}
        assert (answer["name"], found) == ("", files)
    assert downloads(hub) == sorted([*files, *files])

    hub.requests.clear()
    again, printed = ask(hub, tmp_path, given[0])
    assert (again[0], printed, downloads(hub)) == (answers[0], "", [])

    hub.failing = 503
    again, printed = ask(hub, tmp_path, given[0], "hf://org/empty")
    assert again[0] == answers[0]
    assert printed.splitlines() == [
        f"hf://org/name: {hub.url} answered with status 503; using the copy in the cache, {answers[0]['directory']}"
    ]
    assert "answered with status 503, and the cache" in again[1]["error"]


def test_the_cache_without_a_server(hub, files, tmp_path):
    answers, _ = ask(hub, tmp_path, "hf://org/name")
    dead = Hub()
    dead.url = "http://127.0.0.1:9"  # "discard": nobody listens
    again, printed = ask(dead, tmp_path, "hf://org/name", "hf://org/other", "hf://org/name@v2")
    assert again[0] == answers[0]
    assert len(printed.splitlines()) == 1
    assert "cannot be reached" in printed
    assert "using the copy in the cache" in printed
    for error in errors(again[1:]):
        assert "cannot be reached" in error
        assert f"the cache in {tmp_path}/hub has no complete copy" in error
    again, printed = ask(dead, tmp_path, "hf://org/name", "hf://org/other", HF_HUB_OFFLINE="1")
    assert (again[0], printed) == (answers[0], "")
    assert "HF_HUB_OFFLINE forbids requests to the hub" in again[1]["error"]
    # Where the weights are not there, what is there is no checkpoint.
    (Path(answers[0]["directory"]) / "model.safetensors").unlink()
    again, _ = ask(dead, tmp_path, "hf://org/name")
    assert "has no complete copy" in again[0]["error"]


def test_what_the_hub_refuses(hub, tmp_path):
    answers, printed = ask(
        hub, tmp_path, "hf://org/none", "hf://org/gated", "hf://org/name@nope", "hf://org/empty", "hf://a/b/c", "hf://", "hf://a b",
    )  # fmt: skip
    assert printed == ""
    none, gated, revision, empty, *names = errors(answers)
    assert none.startswith(
        f"hf://org/none: {hub.url} has no such repository, or it is private; check the name"
    )
    assert gated.startswith("hf://org/gated is gated: ask for access")
    assert 'hf://org/name@nope: the repository has no revision "nope"' in revision
    assert empty.startswith("hf://org/empty holds no weights of a known kind")
    assert len(names) == 3
    assert all("is not the name of a repository; give hf://organisation/name" in name for name in names)
    assert not any("\n" in error for error in errors(answers))
    hub.failing = 401
    assert "refused access (401); log in" in errors(ask(hub, tmp_path, "hf://org/name")[0])[0]


def test_a_download_that_breaks_off(hub, tmp_path):
    hub.cut = True
    answers, printed = ask(hub, tmp_path, "hf://org/name")
    assert printed == ""
    assert "has no complete copy; run the command again" in errors(answers)[0]
    assert not list(tmp_path.rglob("*.incomplete"))
    hub.cut = False
    assert "directory" in ask(hub, tmp_path, "hf://org/name")[0][0]


def test_a_cache_that_may_not_be_written(hub, tmp_path):
    (tmp_path / "file").write_text("x")
    answers, _ = ask(hub, tmp_path, "hf://org/name", HF_HUB_CACHE=str(tmp_path / "file" / "hub"))
    assert errors(answers)[0].startswith(f"cannot write {tmp_path}/file/hub: Not a directory; ")


def test_a_terminal_shows_our_bar_and_no_other(hub, tmp_path):
    hub.files["org/name"]["model.safetensors"] = bytes(30_000_000)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", LOCATE, "hf://org/name"],
        env=environment(hub, tmp_path, TERM="xterm", COLUMNS="120"),
        stdout=subprocess.DEVNULL,
        stderr=slave,
    )
    os.close(slave)
    shown = io.BytesIO()
    while True:
        try:
            data = os.read(master, 4096)
        except OSError:  # how a terminal says that the last writer is gone
            break
        if not data:
            break
        shown.write(data)
    os.close(master)
    assert process.wait(timeout=60) == 0
    text = shown.getvalue().decode()
    assert "fetching hf://org/name (MB)" in text
    assert "30/30" in text
    assert "Fetching" not in text
    assert "Downloading" not in text


# --- TensorFlow's file systems ---


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_what_a_killed_process_left_of_its_folder_is_removed(temporary):
    left = temporary / ".tmp-checkpoint-x"
    (left / "files").mkdir(parents=True)
    gone = {"pid": 1, "host": socket.gethostname(), "since": "", "started": "x"}
    (left / "owner").write_text(json.dumps(gone))
    one, two = TemporaryFolder(), TemporaryFolder()
    assert not left.exists()
    one.remove()
    assert list(temporary.glob("*/files")) == [two.path]
    del two
    assert list(temporary.iterdir()) == []


def put(where, files):
    """Write files into a folder that holds nothing else."""
    if tf.io.gfile.exists(where):
        tf.io.gfile.rmtree(where)
    tf.io.gfile.makedirs(where)
    for name, data in files.items():
        tf.io.gfile.makedirs(f"{where}/{name}".rpartition("/")[0])
        with tf.io.gfile.GFile(f"{where}/{name}", "wb") as file:
            file.write(data)
    return where


def held(located):
    return {
        path.relative_to(located.directory).as_posix()
        for path in located.directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("given", ["", "/", "/bert_model.ckpt", "/bert_model.ckpt.index", "/vocab.txt"])
def test_a_folder_far_away(given, temporary):
    files = {name: name.encode() for name in (*GOOGLE, *CKPT, "bert_model.ckpt.meta", "other.txt")}
    where = put("ram://bucket/uncased", files)
    located = sources.locate(where + given)
    assert (located.name, located.display_name) == (given.strip("/"), where + given)
    assert held(located) == {*GOOGLE, *CKPT}
    assert all((located.directory / name).read_bytes() == name.encode() for name in held(located))
    assert list(temporary.glob("*/files")) == [located.directory]
    del located
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_a_path_object_of_a_place_far_away(temporary):
    where = put("ram://bucket/path", dict.fromkeys([*GOOGLE, *CKPT], b"x"))
    assert sources.locate(Path(where)).display_name == where


def test_a_preset_far_away(temporary):
    names = ["config.json", "tokenizer.json", "assets/tokenizer/vocabulary.txt", "model.weights.h5"]
    where = put("ram://bucket/preset", dict.fromkeys(names, b"x"))
    assert held(sources.locate(where)) == set(names)


def test_large_files_come_in_pieces(temporary, monkeypatch):
    monkeypatch.setattr(remote, "_CHUNK", 1000)
    data = os.urandom(12_345)
    where = put("ram://bucket/pieces", {"config.json": b"", "model.safetensors": data})
    located = sources.locate(where)
    assert (located.directory / "model.safetensors").read_bytes() == data
    assert (located.directory / "config.json").read_bytes() == b""


def test_an_archive_far_away(temporary, files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"uncased/{name}", data)
    where = put("ram://bucket/zips", {"uncased.zip": packed.getvalue(), "bad.zip": packed.getvalue()[:-99]})
    located = sources.locate(f"{where}/uncased.zip")
    assert held(located) == set(files)
    assert (located.name, located.directory.name) == ("", "uncased")
    assert list(temporary.glob("*/files")) == [located.keep.path]  # the archive itself is gone
    del located
    with pytest.raises(UserError, match=f"^{where}/bad.zip is truncated or damaged"):
        sources.locate(f"{where}/bad.zip")
    gc.collect()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("ram://bucket/nowhere", "ram://bucket/nowhere: no such checkpoint"),
        ("ram://bucket/here/bert_model.ckpt-9", "bert_model.ckpt-9: no such checkpoint"),
        ("ram://", "ram://: no such checkpoint"),
        ("ram://bucket/here", "ram://bucket/here holds no weights of a known kind"),
        (
            "s9://bucket/x",
            "s9://bucket/x: s9:// cannot be used here; give a path on this machine, or an address that starts "
            "with gs:// or hf://",
        ),
        (
            "https://x.org/bert.zip",
            "x.org/bert.zip: https:// cannot be used here; give a path on this machine",
        ),
    ],
)
def test_places_that_cannot_be_read(given, said, temporary):
    put("ram://bucket/here", {"vocab.txt": b"x"})
    with pytest.raises(UserError) as caught:
        sources.locate(given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_a_server_that_does_not_answer(temporary, monkeypatch):
    """Several lines of TensorFlow's become one of ours; listdir alone would say that nothing is there."""

    def stat(path):
        raise tf.errors.FailedPreconditionError(
            None, None, "Could not resolve host: x\n\t when reading metadata of y"
        )

    monkeypatch.setattr(tf.io.gfile, "stat", stat)
    with pytest.raises(
        UserError, match=r"^cannot read gs://bucket/x: Could not resolve host: x; check the network"
    ):
        sources.locate("gs://bucket/x")
    assert not [name for name in os.environ if name.startswith("GCS_")]
    assert list(temporary.iterdir()) == []


def test_a_full_disk(temporary):
    where = put("ram://bucket/full", {"config.json": b"{}", "model.safetensors": bytes(3 << 20)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(
            UserError, match=f"^cannot write {where}/model.safetensors to .*; free some space there"
        ):
            sources.locate(where)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_a_file_that_ends_early(temporary, monkeypatch):
    where = put("ram://bucket/early", {"config.json": b"{}", "model.safetensors": b"12345"})
    read = tf.io.gfile.GFile.read
    monkeypatch.setattr(tf.io.gfile.GFile, "read", lambda file, n=-1: read(file, n)[:3] if n == 5 else b"")
    with pytest.raises(UserError, match="ended 2 bytes early; run the command again"):
        sources.locate(f"{where}/model.safetensors")
    assert list(temporary.iterdir()) == []
