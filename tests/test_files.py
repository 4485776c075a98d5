from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from tfpipeline import files
from tfpipeline.errors import UserError


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_directory_appears_whole(tmp_path):
    with files.atomic_directory(tmp_path / "a" / "b") as temporary:
        (temporary / "file").write_text("x")
        assert not (tmp_path / "a" / "b").exists()
    assert (tmp_path / "a" / "b" / "file").read_text() == "x"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_nothing_is_left_when_the_block_fails(tmp_path):
    with pytest.raises(RuntimeError, match="boom"), files.atomic_directory(tmp_path / "b") as temporary:
        (temporary / "file").write_text("x")
        raise RuntimeError("boom")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_never_overwritten(tmp_path):
    with pytest.raises(UserError, match="appeared while"), files.atomic_directory(tmp_path / "b"):
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "theirs").touch()
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_full_disk_says_so_and_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(UserError) as caught:
        files.write_text(path, "new")
    assert (
        str(caught.value)
        == f"cannot write {path}: No space left on device; free some space and run the command again"
    )
    assert path.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


def test_a_path_through_a_file_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a part of that path is a file; choose another path"):
        files.write_text(tmp_path / "file" / "x", "")


@pytest.mark.parametrize("failing", [1, 2])
def test_a_directory_that_cannot_be_replaced_stays(tmp_path, monkeypatch, failing):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    rename, calls = os.rename, []

    def fail(source, destination):
        calls.append(destination)
        if len(calls) == failing:
            raise OSError(errno.EBUSY, "Device or resource busy")
        rename(source, destination)

    monkeypatch.setattr(os, "rename", fail)
    with (
        pytest.raises(UserError, match="Device or resource busy"),
        files.atomic_directory(target, replace=True) as temporary,
    ):
        (temporary / "new").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in target.iterdir()] == ["old"]


WRITE = (
    "import sys, time, pathlib; from tfpipeline import files\n"
    "with files.atomic_directory(pathlib.Path(sys.argv[1])) as temporary:\n"
    "    (temporary / 'half').write_text('x'); print(temporary, flush=True); time.sleep(60)\n"
)


@pytest.fixture
def writer(tmp_path):
    """Another process in the midst of writing ``tmp_path / "1"``."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, tmp_path / "1"], stdout=subprocess.PIPE, text=True
    )
    half = process.stdout.readline().strip()
    assert os.path.isdir(half)
    yield process
    process.kill()
    process.communicate()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(writer, tmp_path):
    (tmp_path / ".tmp-of-another-program").mkdir()
    files.write_text(tmp_path / "a", "x")
    assert [name[:7] for name in names(tmp_path)] == [".tmp-1-", ".tmp-of", "a"]
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    with files.atomic_directory(tmp_path / "b"):
        assert not any(name.startswith(".tmp-1-") for name in names(tmp_path))
    assert names(tmp_path) == [".tmp-of-another-program", "a", "b"]


def test_what_was_being_replaced_comes_back_after_a_kill(writer, tmp_path):
    """As if it was killed between the two renames: neither the old nor the new has the name."""
    (left,) = tmp_path.glob(".tmp-1-*")
    (left / "replaced-0" / "1").mkdir(parents=True)
    (left / "replaced-0" / "1" / "old").touch()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    files.remove_abandoned(tmp_path)
    assert names(tmp_path) == ["1"]
    assert names(tmp_path / "1") == ["old"]


def test_an_empty_directory_is_filled_and_its_lock_stays(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").write_text("mine")
    with files.atomic_directory(tmp_path / "run", carry=["lock", "other"]) as temporary:
        (temporary / "config").touch()
    assert names(tmp_path / "run") == ["config", "lock"]
    assert (tmp_path / "run" / "lock").read_text() == "mine"


def test_replaced_by_two_at_once_the_later_wins(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    rename, theirs = os.rename, []

    def rename_while_another_does(source, destination):
        rename(source, destination)
        if not theirs:  # we have moved the old one away; the other is quicker with its own
            theirs.append(tmp_path / "model")
            theirs[0].mkdir()
            (theirs[0] / "theirs").touch()

    monkeypatch.setattr(os, "rename", rename_while_another_does)
    with files.atomic_directory(tmp_path / "model", replace=True) as temporary:
        (temporary / "ours").touch()
    assert theirs
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["ours"]


@pytest.mark.parametrize("path", [".", "/", "a/.."])
def test_a_path_without_a_name(path):
    with pytest.raises(UserError, match="itself; name a folder in it"), files.atomic_directory(path):
        pass
