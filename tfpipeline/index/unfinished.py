"""A build that is not finished: the vectors of the texts that are embedded so far.

They are kept in ``NAME.partial`` beside the destination. A build that was interrupted or killed continues
there, and ends with the same bits: texts are embedded in fixed groups, and a group counts once its vectors
are on the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfpipeline import locks
from tfpipeline.console import progress, say
from tfpipeline.errors import UserError
from tfpipeline.files import write_error, write_text
from tfpipeline.index.corpus import Corpus
from tfpipeline.index.vectors import STORED

GROUP = 1024  # texts that are embedded together; a build that is killed loses at most so many
_STATE, _VECTORS = "state.json", "embedded.f32"


class Embedder(Protocol):
    """Embeds documents; see :class:`tfpipeline.index.embedder.ModelEmbedder`."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the index says of its model: ``identity``, a hash of everything that determines a vector, and
        how the model is opened again.
        """

    @property
    def dimension(self) -> int:
        """D, the numbers of a vector."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors of documents, float32 [N, D]."""


@contextlib.contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """The folder of an unfinished build, held by this process; removed when the build is complete."""
    partial = folder.with_name(f"{folder.name}.partial")
    lock = locks.Lock(partial / "lock")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except locks.Locked as locked:
        raise UserError(
            f"{folder} is being built by another process ({locked}); wait until it has ended, or stop it"
        ) from None
    except OSError as error:
        raise write_error(partial, error) from error
    try:
        yield partial
        shutil.rmtree(partial)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        lock.release()
        # What was embedded stays; a build that was refused before has left nothing.
        if partial.exists() and not (partial / _STATE).exists():
            shutil.rmtree(partial, ignore_errors=True)


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def embedded(embedder: Embedder, corpus: Corpus, partial: Path) -> np.ndarray:
    """The vectors of all different texts, float32 [U, D], memory-mapped; continues an unfinished build."""
    size, dimension = len(corpus.unique), embedder.dimension
    decisive = [embedder.facts["identity"], corpus.digest(), size, dimension, GROUP]
    state: dict[str, Any] = {"of": hashlib.sha256(json.dumps(decisive).encode()).hexdigest(), "done": 0}
    before = _state(partial)
    if before.get("of") == state["of"] and (partial / _VECTORS).exists():
        state["done"] = before["done"]
        say(f"continuing an unfinished build: {state['done']} of {size} texts are embedded")
    elif before:
        say("an unfinished build was of other texts or of another model; beginning anew")
    if not size:
        return np.zeros((0, dimension), np.float32)
    if not state["done"]:
        np.memmap(partial / _VECTORS, STORED["float32"], "w+", shape=(size, dimension)).flush()
    vectors = np.memmap(partial / _VECTORS, STORED["float32"], "r+", shape=(size, dimension))
    with progress("embedding", size, done=state["done"], note="compiling the model") as bar:
        for start in range(state["done"], size, GROUP):
            chosen = corpus.unique[start : start + GROUP]
            group = embedder.embed([corpus.texts[int(row)] for row in chosen])
            if group.shape != (len(chosen), dimension) or not np.isfinite(group).all():
                raise UserError(
                    f"the model gave vectors that are not finite or not of {dimension} dimensions; check the "
                    "run: tfpipeline evaluate"
                )
            vectors[start : start + len(chosen)] = group
            vectors.flush()
            state["done"] = start + len(chosen)
            write_text(partial / _STATE, json.dumps(state) + "\n")
            bar.advance(len(chosen))
    return vectors


def _state(partial: Path) -> dict[str, Any]:
    """What an unfinished build has done; empty if there is none or its file is damaged."""
    try:
        state = json.loads((partial / _STATE).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return state if isinstance(state, dict) and isinstance(state.get("done"), int) else {}
