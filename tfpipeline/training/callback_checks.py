"""Checks callbacks against the run before the first step."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import keras

from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.training.run import Run
from tfpipeline.training.scoring import ScoreNames, smallest_model

# A run already does what these callbacks do; with it they would fail or show nothing.
_REPLACED = {
    "BackupAndRestore": "a run saves checkpoints itself (training.save_every), and running the same "
    "command again resumes it",
    "SwapEMAWeights": "the optimizers of a run keep no averages of the weights",
    "ProgbarLogger": "a run shows its own progress",
}


def check_callback(callback: Any, name: str, run: Run, names: ScoreNames) -> None:
    """Reject a callback that would fail later, and resolve its ``mode`` "auto".

    Args:
        callback: the callback. Its ``mode`` "auto" becomes "min" or "max", because Keras knows the right one
            only for its own metrics.
        name: the callback's name in messages.
        run: a run whose directory has been laid out.
        names: the names of the run's validation scores.
    Raises:
        UserError: the callback cannot work in this run.
    """
    for replaced, why in _REPLACED.items():
        if isinstance(callback, getattr(keras.callbacks, replaced)):
            raise UserError(f"{name} is not supported, and not needed: {why}; leave it out")
    if isinstance(callback, keras.callbacks.RemoteMonitor) and importlib.util.find_spec("requests") is None:
        raise UserError(f"{name} needs the package requests; install it: pip install requests")
    by_batch = isinstance(getattr(callback, "save_freq", None), int)
    # Some callbacks have a `monitor` attribute with another meaning.
    if isinstance(getattr(callback, "monitor", None), str) and hasattr(callback, "mode"):
        if getattr(callback, "save_best_only", True):
            _check_monitor(callback, name, names, by_batch)
        if callback.mode == "auto":
            callback.mode = "min" if is_lower_better(run, callback.monitor) else "max"
    if isinstance(callback, keras.callbacks.ModelCheckpoint):
        _check_file_name(callback, name, names, by_batch)
        if not callback.save_weights_only:
            _check_saving(callback, name, run)


def is_lower_better(run: Run, metric: str) -> bool:
    """Whether a lower value of a metric is better. Its name may have the prefix ``val_``."""
    metric = metric.removeprefix("val_")
    return metric == "loss" or metric in run.task.scorer.lower_is_better


def _check_monitor(callback: Any, name: str, names: ScoreNames, by_batch: bool) -> None:
    wanted = callback.monitor
    if by_batch:
        if wanted != "loss":
            raise UserError(
                f'{name}: between two validations there is only "loss" to monitor, not "{wanted}"; set '
                f'save_freq to "epoch"'
            )
    elif not _is_known(wanted, names):
        raise UserError(
            f'{name}: there is no metric "{wanted}" to monitor{_meant(wanted, _at_epoch_end(names))}'
        )


def _check_file_name(callback: Any, name: str, names: ScoreNames, by_batch: bool) -> None:
    """Check the fields of a file name such as ``{epoch:02d}-{val_loss:.2f}`` against the values that will
    exist.
    """
    given: dict[str, float | int]
    given = {"epoch": 1, "batch": 1, "loss": 0.5} if by_batch else _Values(names)
    try:
        callback.filepath.format_map(given)
    except KeyError as error:
        (field,) = error.args
        known = list(given) if by_batch else ["epoch", *_at_epoch_end(names)]
        raise UserError(
            f'{name}: the file name {callback.filepath} has the unknown field "{field}"{_meant(field, known)}'
        ) from error
    except (ValueError, IndexError) as error:
        raise UserError(
            f"{name}: the file name {callback.filepath} cannot be filled in ({error}); correct it"
        ) from error


class _Values(dict[str, Any]):
    """A number for each field that will exist at the end of an epoch."""

    def __init__(self, names: ScoreNames) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, field: str) -> float | int:
        if field == "epoch":
            return 1
        if field in ("learning_rate", "step") or _is_known(field, self._names):
            return 0.5
        raise KeyError(field)


def _is_known(metric: str, names: ScoreNames) -> bool:
    return metric == "loss" or (metric.startswith("val_") and metric[len("val_") :] in names)


def _at_epoch_end(names: ScoreNames) -> list[str]:
    return ["loss", *(f"val_{score}" for score in names)]


def _meant(word: str, known: list[str]) -> str:
    """Like :func:`did_you_mean`, but prefers names that begin with ``word``."""
    longer = [name for name in known if name.startswith(word)]
    return f'; did you mean "{longer[0]}"?' if longer else did_you_mean(word, known)


def _check_saving(callback: Any, name: str, run: Run) -> None:
    """Save the smallest model of the run's kind. If Keras cannot save it, it cannot save the full model
    either.
    """
    if Path(callback.filepath).suffix in (".h5", ".hdf5"):
        # Keras writes such a file but cannot load it: the format does not record the package of a class.
        raise UserError(
            f"{name}: a model saved whole as {Path(callback.filepath).suffix} cannot be loaded again; "
            f"choose a file name "
            "that ends in .keras, or save_weights_only: true and one that ends in .weights.h5"
        )
    with tempfile.TemporaryDirectory() as scratch:
        try:
            smallest_model(run).save(Path(scratch) / f"model{Path(callback.filepath).suffix}")
        except Exception as error:
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise UserError(
                f"{name}: Keras cannot save the whole model as {Path(callback.filepath).suffix} "
                f"({reason}); save its weights "
                "instead, with save_weights_only: true and a file name that ends in .weights.h5 (the run "
                "keeps its best "
                "checkpoint anyway)"
            ) from error
