"""Versions, labels and far file systems; the versions themselves are small files, so nothing is exported.

TensorFlow's own ``ram://`` stands in for ``gs://``.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
import tensorflow as tf

from tests import tiny
from tfpipeline.errors import UserError
from tfpipeline.export import labels, upload, versions
from tfpipeline.export.model_directory import open_directory

FILES = {
    "saved_model.pb": b"graph",
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": b"weights",
}


def written(folder, identity="x", **card):
    """A version as an export writes it, as far as publishing looks at it."""
    said = {"assets.extra/model_card.json": json.dumps({"identity": identity, **card}).encode()}
    for name, content in {**FILES, **said}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def publish(model, identity, **card):
    directory = open_directory(model)
    with directory.staging(versions.next_version(directory)) as folder:
        return versions.publish_version(written(folder / "model", identity, **card), directory, identity)


@pytest.fixture(params=["local", "far"])
def model(request, tmp_path, monkeypatch):
    """A model's directory that is not there yet, on this machine and far away."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return str(tmp_path / "m") if request.param == "local" else f"ram://bucket/{uuid.uuid4().hex}/m"


def there(model):
    return {name for name in open_directory(model).names() if not name.startswith(".")}


def pointing(model):
    return dict(labels.read(open_directory(model)).labels)


# --- versions ---


def test_versions_are_counted_up_and_the_same_model_is_one_version(model):
    assert [publish(model, identity) for identity in "aabb"] == [1, 1, 2, 2]
    assert publish(model, "a") == 3  # the newest is another one
    directory = open_directory(model)
    assert directory.files(2) == {
        **{name: len(content) for name, content in FILES.items()},
        "assets.extra/model_card.json": len('{"identity": "b"}'),
    }
    assert str(directory.path(2)) == f"{model}/2"
    assert directory.read("2/saved_model.pb") == b"graph"


def test_what_is_listed(model):
    publish(model, "a", created="2026-01-02T03:04:05+00:00", run="first")
    publish(model, "b", metrics={"metric": "f1", "values": {"f1": 0.5, "loss": 1.0}})
    labels.promote(model, 2)
    labels.promote(model, 2, "canary")
    one, two = versions.list_versions(model)
    assert (one.number, one.run, one.created[:10], one.labels, one.whole) == (
        1,
        "first",
        "2026-01-02",
        (),
        True,
    )
    assert (two.metric, two.metrics, two.labels) == ("f1", {"f1": 0.5, "loss": 1.0}, ("canary", "stable"))
    assert two.size == sum(open_directory(model).files(2).values())


def test_a_number_is_read_as_the_server_reads_it(tmp_path):
    written(tmp_path / "m" / "007")
    (tmp_path / "m" / "٣").mkdir()  # a digit, but none of a version
    (tmp_path / "m" / "9").touch()
    (tmp_path / "m" / f"{2**63}").mkdir()
    assert open_directory(tmp_path / "m").versions() == {7: "007"}
    assert publish(tmp_path / "m", "x") == 7  # the same model
    assert publish(tmp_path / "m", "y") == 8


def test_a_version_without_its_graph_is_not_whole(model):
    publish(model, "a")
    folder = open_directory(model).path(1)
    tf.io.gfile.remove(f"{folder}/saved_model.pb")
    assert not versions.list_versions(model)[0].whole
    with pytest.raises(UserError, match=r"version 1 of .*/m is incomplete \(it has no saved_model\.pb\)"):
        labels.promote(model, 1)
    assert publish(model, "a") == 2


def test_the_newest_are_kept_and_what_labels_need(model):
    for identity in "abcdefg":
        publish(model, identity)
    labels.promote(model, 1)
    labels.promote(model, 2)
    labels.promote(model, 3)  # a rollback goes to 2, and not to 1 at once
    labels.promote(model, 4, "canary")
    directory = open_directory(model)
    assert versions.prune(directory, 2) == [1, 5]
    assert list(directory.versions()) == [2, 3, 4, 6, 7]
    assert versions.prune(directory, 9) == []
    assert versions.prune(directory, 1) == [6]
    assert there(model) >= {"2", "3", "4", "7"}


def test_a_model_without_versions(model):
    with pytest.raises(UserError, match="has no versions; give a model's directory"):
        versions.list_versions(model)
    with pytest.raises(UserError, match="has no version 1; it has none"):
        labels.promote(model, 1)
    with pytest.raises(UserError, match="has no versions"):
        labels.rollback(model)


def test_two_who_publish_at_once_take_a_version_each(model, monkeypatch):
    """Each of four publishes three; none is lost and none overwritten."""
    monkeypatch.setattr(upload, "_LOOK_AGAIN_SECONDS", 0.05)
    found, errors = [], []

    def work(name):
        try:
            for number in range(3):
                found.append((publish(model, f"{name}{number}"), f"{name}{number}"))
        except BaseException as error:  # noqa: BLE001 - a thread's error is the test's
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    directory = open_directory(model)
    assert len(dict(found)) == 12
    assert {
        version: versions.read_card(directory, version)["identity"] for version in directory.versions()
    } == dict(found)
    assert not [name for name in directory.names() if name.startswith(".")]


# --- labels ---


def test_labels_move_forward_and_back(model):
    for identity in "abc":
        publish(model, identity)
    assert labels.promote(model, 1) is None
    assert labels.promote(model, 3) == 1
    assert labels.promote(model, 3) == 3  # nothing changes, the history neither
    assert labels.promote(model, 2) == 3
    assert labels.promote(model, 1, "canary") is None
    assert pointing(model) == {"canary": 1, "stable": 2}
    assert labels.rollback(model) == (2, 3)
    assert labels.rollback(model) == (3, 1)
    with pytest.raises(UserError, match='"stable" points to version 1 and no previous version'):
        labels.rollback(model)
    assert pointing(model) == {"canary": 1, "stable": 1}
    assert json.loads(open_directory(model).read("labels.json")) == {
        "labels": {"canary": 1, "stable": 1},
        "previous": {"canary": [], "stable": []},
    }


def test_a_rollback_passes_over_what_is_gone(model):
    for identity in "abc":
        publish(model, identity)
    for version in (1, 2, 3):
        labels.promote(model, version)
    open_directory(model).remove(2)
    assert labels.rollback(model) == (3, 1)


def test_a_label_of_a_version_that_does_not_exist_is_named(model, capsys):
    """In every command, and with the command that mends it."""
    for identity in "abc":
        publish(model, identity)
    directory = open_directory(model)
    directory.write("labels.json", b'{"labels": {"stable": 9, "canary": 8}, "previous": {"stable": [7, 2]}}')
    capsys.readouterr()
    canary = (
        f'{model}: the label "canary" points to version 8, which does not exist (it has 1, 2, 3); point it to '
        f"another: tfpipeline promote {model} VERSION --label canary\n"
    )
    stable = f'{model}: the label "stable" pointed to version 9, which does not exist\n'
    assert [version.labels for version in versions.list_versions(model)] == [(), (), ()]
    both = canary.replace("canary", "stable").replace("version 8", "version 9") + canary
    assert capsys.readouterr().err == both
    assert labels.rollback(model) == (9, 2)
    assert capsys.readouterr().err == stable + canary
    assert labels.promote(model, 1) == 2
    assert capsys.readouterr().err == canary
    assert labels.promote(model, 1, "canary") == 8
    assert (
        capsys.readouterr().err
        == canary.partition(" points")[0] + " pointed to version 8, which does not exist\n"
    )
    versions.list_versions(model)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("label", ["", "7", "a b", "-x", "é", "x" * 65, "a/b"])
def test_what_cannot_be_a_label(tmp_path, label):
    with pytest.raises(UserError, match="cannot be a label"):
        labels.promote(tmp_path / "m", 1, label)


def test_labels_that_are_not_there(model):
    publish(model, "a")
    with pytest.raises(UserError, match=r'has no label "stable"; it has none$'):
        labels.rollback(model)
    labels.promote(model, 1, "canary")
    with pytest.raises(UserError, match=r'has no label "stable"; it has: canary$'):
        labels.rollback(model)
    with pytest.raises(UserError, match=r"has no version 7; it has 1$"):
        labels.promote(model, 7)


@pytest.mark.parametrize("content", ["{", "[]", '{"labels": {"a": "1"}}', '{"labels": {"a": true}}', "{}"])
def test_a_file_of_labels_that_is_none(tmp_path, content):
    publish(tmp_path / "m", "a")
    (tmp_path / "m" / "labels.json").write_text(content)
    with pytest.raises(UserError, match=r"labels\.json is not a file of labels .* correct it"):
        versions.list_versions(tmp_path / "m")


def test_promoting_at_once_loses_no_label(tmp_path):
    model = tmp_path / "m"
    publish(model, "a")
    names = [f"label-{number}" for number in range(12)]
    threads = [threading.Thread(target=labels.promote, args=(model, 1, name)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pointing(model) == dict.fromkeys(names, 1)


# --- far away ---


def test_whoever_looks_never_sees_half_a_version(tmp_path, monkeypatch):
    """A server polls: after each thing that is done, a directory with a graph is whole."""
    model = f"ram://bucket/{uuid.uuid4().hex}/m"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    seen = []

    def watched(name):
        real = getattr(tf.io.gfile, name)

        def call(*arguments, **options):
            found = real(*arguments, **options)
            with monkeypatch.context() as quiet:
                quiet.undo()
                for version in (1, 2):
                    folder = f"{model}/{version}"
                    if tf.io.gfile.exists(f"{folder}/saved_model.pb"):
                        assert len(upload._files(folder)) == 4, (name, arguments)
                seen.append(name)
            return found

        monkeypatch.setattr(tf.io.gfile, name, call)

    for name in ("copy", "rename", "makedirs", "remove"):
        watched(name)
    for identity in "ab":
        publish(model, identity)
    open_directory(model).remove(1)
    assert seen.count("rename") == 8
    assert list(open_directory(model).versions()) == [2]
    assert not list(tmp_path.rglob("saved_model.pb"))  # what was staged here is gone


@pytest.mark.parametrize("call", ["copy", "rename"])
@pytest.mark.parametrize("at", [1, 3])
def test_an_upload_that_fails_leaves_no_version(tmp_path, monkeypatch, call, at):
    model = f"ram://bucket/{uuid.uuid4().hex}/m"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    real, calls = getattr(tf.io.gfile, call), []

    def broken(*arguments, **options):
        calls.append(arguments)
        if len(calls) == at:
            raise tf.errors.PermissionDeniedError(None, None, "403 Forbidden\nmore")
        return real(*arguments, **options)

    monkeypatch.setattr(tf.io.gfile, call, broken)
    with pytest.raises(
        UserError, match=r"^cannot write ram://.*/m: 403 Forbidden; check the address and your"
    ):
        publish(model, "a")
    assert open_directory(model).names() == []
    assert publish(model, "a") == 1


def test_an_upload_that_arrives_in_part_is_noticed(tmp_path, monkeypatch):
    model = f"ram://bucket/{uuid.uuid4().hex}/m"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def short(source, target, overwrite=False):
        with tf.io.gfile.GFile(target, "wb") as file:
            file.write(b"x")

    monkeypatch.setattr(tf.io.gfile, "copy", short)
    with pytest.raises(UserError, match=r"1 of \d+ bytes of .* have arrived; run the command again"):
        publish(model, "a")
    assert open_directory(model).names() == []


def test_what_a_killed_upload_left_is_passed_over_and_goes_after_a_day(tmp_path, monkeypatch):
    model = f"ram://bucket/{uuid.uuid4().hex}/m"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    publish(model, "a")
    for name in (".tmp-dead/saved_model.pb", ".tmp-claim-2-dead"):
        tf.io.gfile.makedirs(f"{model}/{name}".rpartition("/")[0])
        with tf.io.gfile.GFile(f"{model}/{name}", "wb") as file:
            file.write(b"x")
    assert publish(model, "b") == 3  # 2 was claimed, perhaps by somebody who is at it
    directory = open_directory(model)
    real, age = tf.io.gfile.stat, 24 * 3600 - 60
    monkeypatch.setattr(
        tf.io.gfile,
        "stat",
        lambda path: SimpleNamespace(mtime_nsec=(time.time() - age) * 1e9, length=real(path).length),
    )
    directory.require_writable()
    assert len([name for name in directory.names() if name.startswith(".tmp-")]) == 2
    age += 120
    directory.require_writable()
    assert sorted(directory.names()) == ["1", "3"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "s9://bucket/m",
            "^s9://bucket/m: s9:// cannot be used here; .* or an address that starts with gs://$",
        ),
        ("ram://bucket", "names no folder in a bucket; write ram://BUCKET/models/NAME"),
        ("ram://", "ram:// cannot be used here; .* or an address that starts with gs://$"),
    ],
)
def test_addresses_that_cannot_be_used(address, message):
    with pytest.raises(UserError, match=message):
        open_directory(address)


def test_a_bucket_that_cannot_be_written_is_refused_before_the_work(monkeypatch):
    def refuse(*arguments):
        raise tf.errors.PermissionDeniedError(None, None, "403 Forbidden")

    monkeypatch.setattr(tf.io.gfile, "makedirs", refuse)
    with pytest.raises(UserError, match="cannot write ram://bucket/no: 403 Forbidden"):
        open_directory("ram://bucket/no").require_writable()


# --- killed ---


def kill_at_random(model, times, seed):
    chance = random.Random(seed)
    script = str(Path(__file__).with_name("publishing.py"))
    for _ in range(times):
        command = [sys.executable, script, str(model)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        time.sleep(chance.random() * 0.2)
        process.kill()
        process.communicate(timeout=30)
        directory = open_directory(model)
        for version in directory.versions():
            files = directory.files(version)
            assert len(files) == 40, f"seed {seed}: version {version} has {len(files)} files"
            assert set(files.values()) == {5000}
        labels.read(directory)
    publish(model, "last")
    left = [path for path in model.glob(".tmp-*") if not _has_just_been_made(path)]
    assert not left, f"seed {seed}"


def _has_just_been_made(folder):
    """A process was killed while it wrote its lock, so the folder stays until its time is over."""
    files = [*folder.iterdir()]
    return all(path.name == "owner" and path.stat().st_size == 0 for path in files)


def test_killed_three_times_no_version_is_half_there(tmp_path):
    kill_at_random(tmp_path / "m", 3, time.time_ns())


@pytest.mark.soak
def test_killed_twenty_times_no_version_is_half_there(tmp_path):
    kill_at_random(tmp_path / "m", 20, time.time_ns())


@pytest.mark.soak
def test_exports_that_are_killed_and_a_full_disk(tmp_path):
    """The command itself, killed at twenty moments of its life; then on a disk that is too small."""
    source = tiny.write_checkpoint(tmp_path / "model", **tiny.CLASSIFIER)
    model, chance = tmp_path / "m", random.Random(seed := time.time_ns())
    command = [sys.executable, "-m", "tfpipeline", "export", str(source), "--to"]
    start = time.monotonic()
    subprocess.run([*command, str(tmp_path / "first")], check=True, capture_output=True)
    seconds = time.monotonic() - start
    whole = {path.relative_to(tmp_path / "first" / "1") for path in (tmp_path / "first" / "1").rglob("*")}
    for _ in range(20):
        process = subprocess.Popen(
            [*command, str(model)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.3, 1.1) * seconds)
        process.kill()
        process.wait()
        for version in model.glob("[0-9]*"):
            assert {path.relative_to(version) for path in version.rglob("*")} == whole, f"seed {seed}"
    subprocess.run([*command, str(model)], check=True, capture_output=True)
    assert [path.name for path in model.iterdir()] == ["1"]
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        f"mount -t tmpfs -o size=600k tmpfs {disk}; {' '.join(command)} {disk}/m; echo $?; ls -a {disk}/m"
    )
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", ".", ".."]
    assert "No space left on device" in done.stderr.splitlines()[-1]
    assert "free some space and run the command again" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_version_that_vanishes_while_it_is_promoted(tmp_path, monkeypatch):
    """`--keep` of another export may be faster than whoever promotes an old version."""
    model = tmp_path / "m"
    for identity in "ab":
        publish(model, identity)
    directory = type(open_directory(model))
    real = directory.lock

    @contextlib.contextmanager
    def slow(self):
        with real(self):
            if 1 in self.versions():
                self.remove(1)
            yield

    monkeypatch.setattr(directory, "lock", slow)
    with pytest.raises(UserError, match="has no version 1; it has 2"):
        labels.promote(model, 1)
    assert labels.read(open_directory(model)).labels == {}
