"""A run that another run starts from: checks that it can be used, and lists its relevant files. Imports no
TensorFlow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from tfpipeline import locks, paths
from tfpipeline.errors import UserError, nearest
from tfpipeline.mistaken import is_run
from tfpipeline.training.lock import LOCK_FILE

WEIGHTS = ("best", "last", "initial")
_CHECKPOINTS = "checkpoints"
_INDEX, _MODEL, _BASE = "index.json", "model.safetensors", "base.safetensors"
# The files that determine the encoder and its tokens; reports, metrics and plots of a run may change.
_DECISIVE = ("vocab.txt", "tokenizer_config.json", "model_config.json")


def check_output(checkpoint: str, output: str) -> None:
    """Refuse a run that would start from itself.

    Raises:
        UserError: checkpoint and output are the same folder.
    """
    if _resolved(checkpoint) == _resolved(output):
        raise UserError(
            f"checkpoint and output are both {output}: a run cannot start from itself; choose another "
            f"output folder "
            "(to resume a run, repeat the command that started it)"
        )


def check(checkpoint: str) -> None:
    """Refuse a run on this machine that cannot be started from now; other checkpoints pass.

    Raises:
        UserError: it is being trained, or has no best weights yet.
    """
    if paths.is_far(checkpoint):
        return
    path = paths.local(checkpoint)
    if not is_run(path):
        return
    held, owner = locks.is_held(path / LOCK_FILE)
    if held:
        raise UserError(
            f"checkpoint: {checkpoint} is being trained by another process "
            f"({owner or 'it has just begun'}); wait until it has "
            f"ended, or start from a copy of what it has now: tfpipeline convert {checkpoint} DEST --to "
            f"huggingface"
        )
    check_weights("best", _index(path), checkpoint)


def check_weights(weights: str, index: Mapping[str, str], run: str) -> None:
    """Refuse weights that a run does not have.

    Args:
        weights: the requested weights.
        index: the index of the run's checkpoints.
        run: the run, for the message.
    Raises:
        UserError: the run has no such weights, or no weights yet.
    """
    if weights not in WEIGHTS:
        close = nearest(weights, WEIGHTS)
        hint = f'; did you mean "{close}"?' if close else ""
        raise UserError(f'a run has no "{weights}" weights; choose {", ".join(WEIGHTS)}{hint}')
    if weights not in index:
        known = [role for role in WEIGHTS if role in index]
        has = f"only {' and '.join(known)}" if known else "none"
        raise UserError(
            f'{run} has no "{weights}" weights yet ({has}); train it first: tfpipeline train '
            f"{run}/config.yaml"
        )


def files(run: Path) -> Iterator[tuple[str, Path]]:
    """What a run that starts from this one depends on: names within the run, and the files."""
    best = _index(run).get("best")
    weights = [] if best is None else [f"{_CHECKPOINTS}/{_BASE}", f"{_CHECKPOINTS}/{best}/{_MODEL}"]
    for name in (*_DECISIVE, *weights):
        if (run / name).is_file():
            yield name, run / name


def _index(run: Path) -> dict[str, str]:
    path = run / _CHECKPOINTS / _INDEX
    try:
        index: dict[str, str] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; train the run again in another folder") from error
    return index


def _resolved(path: str) -> str:
    return path.rstrip("/") if paths.is_far(path) else str(paths.local(path).resolve())
