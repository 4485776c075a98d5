"""Checkpoints on the Hugging Face hub, ``hf://org/name@revision``, downloaded to huggingface_hub's cache."""

from __future__ import annotations

import contextlib
import glob
import re
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfpipeline.checkpoints.selection import select_files
from tfpipeline.console import Step, progress, say
from tfpipeline.errors import UserError
from tfpipeline.files import write_error

SCHEME = "hf"
_TIMEOUT = 10.0  # seconds, for metadata requests; a download has its own timeout
_BUSY = (408, 429, 500, 502, 503, 504)


def fetch(source: str) -> Path:
    """Download a repository's checkpoint; returns its folder in the cache.

    Only the configuration, the tokenizer's files and one kind of weights are downloaded. Cached files are not
    downloaded again. If the hub cannot be reached, the cached files are used.

    Args:
        source: ``hf://org/name`` or ``hf://name``, optionally with ``@revision`` (a branch, tag or commit).
    Raises:
        UserError: the name is malformed; the repository or revision does not exist or is not accessible to
            the user; it holds no known kind of weights; or the hub cannot be reached and the files are not
            cached.
    """
    with _quiet():
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, XetDownloadError

        repository, revision = _parse(source)
        try:
            info = HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=_TIMEOUT)
        except HFValidationError as error:
            raise UserError(
                f"{source} is not the name of a repository; give hf://organisation/name, or hf://name"
            ) from error
        except HfHubHTTPError as error:
            if error.response.status_code not in _BUSY:
                raise _explain(error, source, revision) from error
            return _cached(source, repository, revision, error)
        except (HTTPError, OSError, ValueError) as error:  # no network, no response, or not JSON
            return _cached(source, repository, revision, error)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        files = select_files(sizes, where=source)
        if not files:
            raise UserError(
                f"{source} holds no weights of a known kind; expected model.safetensors, "
                "pytorch_model.bin, tf_model.h5, bert_model.ckpt.index or model.weights.h5"
            )
        with _progress(source, repository, str(info.sha), {name: sizes[name] for name in files}) as bars:
            try:
                folder = snapshot_download(
                    repository,
                    revision=revision,
                    allow_patterns=[glob.escape(name) for name in files],
                    tqdm_class=bars,
                )
            except (HTTPError, OSError, ValueError, RuntimeError, XetDownloadError) as error:
                raise _explain(error, source, revision) from error
        return Path(folder)


def _parse(source: str) -> tuple[str, str | None]:
    match = re.fullmatch(rf"{SCHEME}://([^@]+?)/?(?:@([^@]+))?", source)
    if not match:
        raise UserError(
            f"{source} is not the name of a repository; give hf://organisation/name, or hf://name"
        )
    return match[1], match[2]


def _cached(source: str, repository: str, revision: str | None, why: Exception) -> Path:
    """The cached files, for when the hub does not respond."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except IncompleteSnapshotError as error:  # a repository is never downloaded completely
        folder = Path(error.snapshot_path)
    except LocalEntryNotFoundError as error:
        raise _unreachable(source, why) from error
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    if not select_files(names, where=source):
        raise _unreachable(source, why)
    if not constants.is_offline_mode():
        say(f"{source}: {_short(why)}; using the copy in the cache, {folder}")
    return folder


def _explain(error: Exception, source: str, revision: str | None) -> UserError:
    """The error message for an exception of huggingface_hub."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.GatedRepoError):
        return UserError(
            f"{source} is gated: ask for access on its page at {constants.ENDPOINT}, then log in with `hf "
            f"auth login` or set HF_TOKEN"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return UserError(
            f"{source}: {constants.ENDPOINT} has no such repository, or it is private; check the name, or "
            f"log in with `hf auth login` or set HF_TOKEN"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(
            f'{source}: the repository has no revision "{revision or constants.DEFAULT_REVISION}"; give a '
            f"branch, a tag or a commit of it"
        )
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return UserError(
                f"{source}: {constants.ENDPOINT} refused access ({status}); log in with `hf auth login` or "
                f"set HF_TOKEN to a token that may read it"
            )
        if status == 404:
            return UserError(f"{source}: {constants.ENDPOINT} has no such repository; check the name")
        if status not in _BUSY:
            return UserError(f"{source}: {_short(error)}; try again later")
    elif isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
        return write_error(constants.HF_HUB_CACHE, error)
    return _unreachable(source, error)


def _unreachable(source: str, why: Exception) -> UserError:
    from huggingface_hub import constants

    return UserError(
        f"{source}: {_short(why)}, and the cache in {constants.HF_HUB_CACHE} has no complete copy; run the "
        f"command again with a network connection, or give a local folder"
    )


def _short(error: Exception) -> str:
    """A short reason why the hub could not be reached."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids requests to the hub"
    if isinstance(error, HfHubHTTPError):
        return f"{constants.ENDPOINT} answered with status {error.response.status_code}"
    reason = " ".join(str(error).split()) or type(error).__name__
    reason = reason if len(reason) <= 160 else f"{reason[:157]}..."
    return f"{constants.ENDPOINT} cannot be reached ({reason})"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the library's own messages: the relevant ones are printed by this module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from huggingface_hub.utils import logging

        level = logging.get_verbosity()
        logging.set_verbosity(logging.CRITICAL)
        try:
            yield
        finally:
            logging.set_verbosity(level)


@contextlib.contextmanager
def _progress(source: str, repository: str, commit: str, sizes: dict[str, int]) -> Iterator[type]:
    """A progress class for huggingface_hub that uses this package's progress bars."""
    from huggingface_hub import try_to_load_from_cache

    missing = [
        name
        for name in sizes
        if not isinstance(try_to_load_from_cache(repository, name, revision=commit), str)
    ]
    if not missing:
        yield _bar_class(None)
        return
    total = sum(sizes[name] for name in missing) / 1e6
    with progress(f"fetching {source} (MB)", total or None) as step:
        yield _bar_class(step)


def _bar_class(step: Step | None) -> Any:
    from huggingface_hub.utils import tqdm

    lock = threading.Lock()
    shown = 0.0

    class Bar(tqdm):
        """Displays nothing itself. Two bars count bytes (received, written); the leading one is shown."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})
            self._bytes = options.get("unit") == "B"
            self._done = 0.0

        def update(self, n: float | None = 1) -> None:
            nonlocal shown
            if step is None or not self._bytes:
                return
            with lock:
                self._done += n or 0
                if self._done > shown:
                    step.advance((self._done - shown) / 1e6)
                    shown = self._done

    return Bar
