"""Work that is not finished: the rows of arrays that are computed so far.

They are kept in ``NAME.partial`` beside the destination. Work that was interrupted or killed continues there,
and ends with the same bits: rows are computed in fixed groups, and a group counts once it is on the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfpipeline import locks
from tfpipeline.console import progress, say
from tfpipeline.errors import UserError
from tfpipeline.files import write_error, write_text
from tfpipeline.index.corpus import Corpus
from tfpipeline.index.vectors import STORED

GROUP = 1024  # rows that are computed together; work that is killed loses at most so many
_STATE = ".state.json"


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
def partial_folder(destination: Path) -> Iterator[Path]:
    """The folder of unfinished work, held by this process; removed when the work is complete."""
    partial = destination.with_name(f"{destination.name}.partial")
    lock = locks.Lock(partial / "lock")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except locks.Locked as locked:
        raise UserError(
            f"{destination} is being made by another process ({locked}); wait until it has ended, or stop it"
        ) from None
    except OSError as error:
        raise write_error(partial, error) from error
    try:
        yield partial
        shutil.rmtree(partial)
    except KeyboardInterrupt:
        if any(partial.glob(f"*{_STATE}")):
            say("interrupted; what was done is kept: run the same command again to continue")
        raise
    except OSError as error:
        raise write_error(destination, error) from error
    finally:
        lock.release()
        # What was computed stays; work that was refused before has left nothing.
        if partial.exists() and not any(partial.glob(f"*{_STATE}")):
            shutil.rmtree(partial, ignore_errors=True)


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def computed(
    path: Path,
    of: Sequence[Any],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    compute: Callable[[slice], np.ndarray],
    *,
    title: str,
    what: str,
    note: str = "",
) -> np.ndarray:
    """An array [N, D] whose rows take long to compute, memory-mapped; continues unfinished work.

    Args:
        path: the file of the array, in a partial folder.
        of: all that determines the rows, as JSON can write it; unfinished work of anything else begins anew.
        shape: N and D.
        dtype: of the array.
        compute: called with some rows, at most ``GROUP``: computes them.
        title: of the progress.
        what: what is done, for messages: "texts are embedded".
        note: what the progress shows until the first rows are computed.
    """
    size = shape[0]
    file = path.with_name(f"{path.name}{_STATE}")
    state: dict[str, Any] = {"of": hashlib.sha256(json.dumps([*of, *shape, GROUP]).encode()).hexdigest()}
    state["done"] = 0
    before = _state(file)
    if before.get("of") == state["of"] and path.exists():
        state["done"] = before["done"]
        say(f"continuing unfinished work: {state['done']} of {size} {what}")
    elif before:
        say("unfinished work was of other texts or of another model; beginning anew")
    if not size:
        return np.zeros(shape, dtype)
    if not state["done"]:
        file.unlink(missing_ok=True)  # it describes the array that is replaced here
        np.memmap(path, dtype, "w+", shape=shape).flush()
    array = np.memmap(path, dtype, "r+", shape=shape)
    with progress(title, size, done=state["done"], note=note) as bar:
        for start in range(state["done"], size, GROUP):
            rows = slice(start, min(start + GROUP, size))
            array[rows] = compute(rows)
            array.flush()
            state["done"] = rows.stop
            write_text(file, json.dumps(state) + "\n")
            bar.advance(rows.stop - start)
    return array


def embedded(embedder: Embedder, corpus: Corpus, partial: Path) -> np.ndarray:
    """The vectors of all different texts, float32 [U, D], memory-mapped; continues unfinished work."""
    dimension = embedder.dimension

    def embed(rows: slice) -> np.ndarray:
        texts = [corpus.texts[int(row)] for row in corpus.unique[rows]]
        group = embedder.embed(texts)
        if group.shape != (len(texts), dimension) or not np.isfinite(group).all():
            raise UserError(
                f"the model gave vectors that are not finite or not of {dimension} dimensions; check the "
                "run: tfpipeline evaluate"
            )
        return group

    return computed(
        partial / "embedded.f32",
        [embedder.facts["identity"], corpus.digest()],
        (len(corpus.unique), dimension),
        STORED["float32"],
        embed,
        title="embedding",
        what="texts are embedded",
        note="compiling the model",
    )


def _state(file: Path) -> dict[str, Any]:
    """What unfinished work has done; empty if there is none or its file is damaged."""
    try:
        state = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return state if isinstance(state, dict) and isinstance(state.get("done"), int) else {}
