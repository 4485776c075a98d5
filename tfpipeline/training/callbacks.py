"""The Keras callbacks that a run file names."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import Any

import keras

from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.training.options import CallbackOptions

# What these do is the run file's own matter; beside it they would fail, or be undone at the next step.
_REPLACED = {
    "LearningRateScheduler": "training.schedule",
    "ReduceLROnPlateau": "training.schedule",
    "BackupAndRestore": "training.save_every",
    "SwapEMAWeights": "training.optimizer, which keeps no averages",
}


def build_callbacks(options: Sequence[CallbackOptions], run_name: str = "") -> list[keras.callbacks.Callback]:
    """The callbacks, made.

    Args:
        options: ``training.callbacks``.
        run_name: what trackers call the run.
    Raises:
        UserError: there is no such class, or it does not take these options.
    """
    return [_build(entry, f"training.callbacks[{index}]", run_name) for index, entry in enumerate(options)]


class _Guarded(keras.callbacks.Callback):
    """A callback of a run file: what it raises is told as the run file's fault.

    Args:
        inner: the callback.
        name: as messages call it.
    """

    def __init__(self, inner: keras.callbacks.Callback, name: str) -> None:
        super().__init__()
        self.inner, self._name = inner, name

    def set_params(self, params: Any) -> None:
        self.inner.set_params(params)

    def set_model(self, model: Any) -> None:
        self.inner.set_model(model)

    def call(self, moment: str, *arguments: Any, **keywords: Any) -> None:
        try:
            getattr(self.inner, moment)(*arguments, **keywords)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{self._name} failed in {moment}: {_first_line(error)}; correct its options, or leave it out"
            ) from error


def _forward(moment: str) -> Any:
    def method(self: _Guarded, *arguments: Any, **keywords: Any) -> None:
        self.call(moment, *arguments, **keywords)

    return method


for _moment in [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]:
    setattr(_Guarded, _moment, _forward(_moment))


def _build(entry: CallbackOptions, where: str, run_name: str) -> keras.callbacks.Callback:
    kind = _find(entry.name, where)
    if entry.name in _REPLACED:
        raise UserError(f"{where}: {entry.name} has no place here; use {_REPLACED[entry.name]}")
    if entry.name.startswith("wandb."):
        _begin_wandb(run_name)
    try:
        return _Guarded(kind(**entry.options), f"{where}: {entry.name}")
    except Exception as error:
        given = ", ".join(f"{name}={value!r}" for name, value in entry.options.items()) or "no options"
        raise UserError(
            f"{where}: {entry.name} cannot be made with {given}: {_first_line(error)}; correct its options"
        ) from error


def _find(name: str, where: str) -> Any:
    """The class of that name.

    Raises:
        UserError: there is none.
    """
    if "." not in name:
        known = [
            name
            for name, value in vars(keras.callbacks).items()
            if inspect.isclass(value) and issubclass(value, keras.callbacks.Callback)
        ]
        if name not in known:
            raise UserError(f'{where}: keras.callbacks has no "{name}"{did_you_mean(name, known)}')
        return getattr(keras.callbacks, name)
    module_name, _, class_name = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(
            f"{where}: {name} cannot be imported ({_first_line(error)}); install its package, or correct its path"
        ) from error
    kind = getattr(module, class_name, None)
    if not (inspect.isclass(kind) and issubclass(kind, keras.callbacks.Callback)):
        raise UserError(f"{where}: {name} is no Keras callback; give the path of a class")
    return kind


def _begin_wandb(run_name: str) -> None:
    """Weights & Biases logs into a run that somebody has begun; from a run file nobody else can."""
    import wandb  # type: ignore[import-not-found, unused-ignore]

    if wandb.run is None:
        wandb.init(name=run_name or None)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
