"""What several test files train alike is trained once, by whichever worker comes to it first."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class Shared:
    """Folders that all workers of a test session share, each made once.

    Args:
        root: the session's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(exist_ok=True)

    def folder(self, name: str, key: Any, make: Callable[[Path], object]) -> Path:
        """The folder of a name and what it was made from; tests read it and leave it as it is.

        Args:
            name: what it is, for people.
            key: all that ``make`` depends on, as JSON can write it.
            make: fills the new folder; called in one process only, while the others wait for it.
        """
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
        folder = self._root / f"{re.sub('[^a-z0-9]+', '-', name.lower())}-{digest}"
        done = folder.with_suffix(".done")
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # freed however the process ends
            if not done.exists():
                folder.mkdir()  # fails where an attempt before did, instead of going on from its remains
                make(folder)
                done.touch()
        return folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Shared:
    """Folders that are made once in the whole session, whichever worker needs them first."""
    base = tmp_path_factory.getbasetemp()
    return Shared((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared")
