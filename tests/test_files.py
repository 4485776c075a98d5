from __future__ import annotations

import errno
import os

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
