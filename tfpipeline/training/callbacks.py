"""The Keras callbacks of a run: those of its run file and those of the caller."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Sequence
from typing import Any

import keras

from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.training.callback_checks import check_callback
from tfpipeline.training.options import CallbackOptions
from tfpipeline.training.run import Run
from tfpipeline.training.scoring import ScoreNames, check_best_metric

_PATHS = ("filepath", "filename", "log_dir", "directory")  # the module of Keras's own callbacks


class Callbacks:
    """The callbacks of a run, checked as early as possible.

    Keras's own callbacks are made at once; the caller's already exist. Callbacks of other packages may start
    something when they are made (a run of Weights & Biases), so before the training they are only looked up.

    Args:
        options: ``training.callbacks``.
        given: the caller's callbacks, or a single one.
        run_name: the name of the run for trackers.
    Raises:
        UserError: there is no such class, it does not take these options, or what the caller gave is no
            callback.
    """

    def __init__(
        self,
        options: Sequence[CallbackOptions] = (),
        given: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback = (),
        run_name: str = "",
    ) -> None:
        self._run_name = run_name
        self._named: list[
            tuple[str, Any]
        ] = []  # what messages call it -> the callback, or the run file's entry
        for index, callback in enumerate(_listed(given)):
            self._named.append((f"callbacks[{index}]: {type(callback).__name__}", callback))
        for index, entry in enumerate(options):
            where = f"training.callbacks[{index}]"
            kind = _find(entry.name, where)
            _check_options(kind, entry, where)
            name = f"{where}: {entry.name}"
            if _is_keras(kind):
                self._named.append((name, Guarded(_make(kind, entry, where), name)))
            else:
                self._named.append((name, entry))

    def __len__(self) -> int:
        return len(self._named)

    def check(self, run: Run) -> None:
        """Refuse metrics that validation cannot compute, and callbacks that the model does not support; also
        checks ``training.best_metric``.

        Args:
            run: laid out, with its validation rows; it needs no weights.
        Raises:
            UserError: as it says.
        """
        names = ScoreNames(run)
        check_best_metric(run, names)
        for name, callback in self._named:
            if not isinstance(callback, CallbackOptions):
                check_callback(unwrapped(callback), name, run, names)

    def made(self, run: Run) -> list[keras.callbacks.Callback]:
        """All callbacks, the caller's first; those of other packages are made and checked now.

        Raises:
            UserError: as the constructor and :meth:`check`.
        """
        made: list[keras.callbacks.Callback] = []
        names = ScoreNames(run)
        for name, callback in self._named:
            if isinstance(callback, CallbackOptions):
                where = name.partition(":")[0]
                if callback.name.startswith("wandb."):
                    _begin_wandb(self._run_name)
                callback = Guarded(_make(_find(callback.name, where), callback, where), name)
            check_callback(unwrapped(callback), name, run, names)
            made.append(callback)
        return made


class Guarded(keras.callbacks.Callback):
    """A callback of a run file; its exceptions are reported as errors in the run file.

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
        except UserError as error:
            raise UserError(f"{self._name}: {error}") from error
        except Exception as error:
            raise UserError(
                f"{self._name} failed in {moment}: {_first_line(error)}; correct its options, or leave it out"
            ) from error


def _forward(moment: str) -> Any:
    def method(self: Guarded, *arguments: Any, **keywords: Any) -> None:
        self.call(moment, *arguments, **keywords)

    return method


for _moment in [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]:
    setattr(Guarded, _moment, _forward(_moment))


def unwrapped(callback: Any) -> Any:
    """The callback itself, without a guard."""
    return callback.inner if isinstance(callback, Guarded) else callback


def _listed(given: Any) -> list[keras.callbacks.Callback]:
    """The caller's callbacks.

    Raises:
        UserError: one of them is not a callback.
    """
    if isinstance(given, keras.callbacks.CallbackList):
        given = given.callbacks
    given = [given] if isinstance(given, keras.callbacks.Callback) else given or []
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise UserError(f"callbacks: {given!r} is not a list of Keras callbacks")
    for index, callback in enumerate(given):
        if not isinstance(callback, keras.callbacks.Callback):
            raise UserError(
                f"callbacks[{index}]: {callback!r} is not a callback of Keras 3; give an object of a class "
                f"that is derived from "
                "keras.callbacks.Callback"
            )
    return list(given)


def _is_keras(kind: type) -> bool:
    # Orbax creates its folder, and imports a package, in its constructor.
    return kind.__module__.startswith("keras.") and kind.__name__ != "OrbaxCheckpoint"


def _check_options(kind: Any, entry: CallbackOptions, where: str) -> None:
    try:
        inspect.signature(kind).bind(**entry.options)
    except TypeError as error:
        raise _cannot_be_made(entry, where, error) from error
    except ValueError:  # it has no signature that Python can read
        pass


def _make(kind: Any, entry: CallbackOptions, where: str) -> keras.callbacks.Callback:
    options = dict(entry.options)
    if kind is keras.callbacks.LearningRateScheduler and "schedule" in options:
        options["schedule"] = _function(options["schedule"], f"{where}: {entry.name}: schedule")
    if kind is keras.callbacks.LambdaCallback:
        options = {
            name: _function(value, f"{where}: {entry.name}: {name}") for name, value in options.items()
        }
    if _is_keras(kind):
        for name in _PATHS:
            if isinstance(options.get(name), str):
                options[name] = os.path.expanduser(options[name])
    try:
        made: keras.callbacks.Callback = kind(**options)
    except Exception as error:
        raise _cannot_be_made(entry, where, error) from error
    return made


def _cannot_be_made(entry: CallbackOptions, where: str, error: Exception) -> UserError:
    given = ", ".join(f"{name}={value!r}" for name, value in entry.options.items()) or "no options"
    return UserError(
        f"{where}: {entry.name} cannot be made with {given}: {_first_line(error)}; correct its options"
    )


def _find(name: str, where: str) -> Any:
    """The class of a callback, by its name.

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
    kind = _attribute(name, f"{where}: {name}")
    if not (inspect.isclass(kind) and issubclass(kind, keras.callbacks.Callback)):
        raise UserError(f"{where}: {name} is not a callback of Keras 3; give the path of a class")
    return kind


def _function(path: Any, what: str) -> Any:
    """A function by its path, as a run file can name one.

    Raises:
        UserError: there is none.
    """
    is_path = isinstance(path, str) and "." in path and all(map(str.isidentifier, path.split(".")))
    function = _attribute(path, what) if is_path else None
    if not callable(function):
        raise UserError(
            f"{what} is {path!r}, but must be a function: give its path (my_module.my_function), or pass "
            f"the callback from "
            "Python: tfpipeline.train(..., callbacks=[...])"
        )
    return function


def _attribute(path: str, what: str) -> Any:
    """The object that a dotted path names; None if the module does not have it."""
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(
            f"{what} cannot be imported ({_first_line(error)}); install its package, or correct its path"
        ) from error
    return getattr(module, name, None)


def _begin_wandb(run_name: str) -> None:
    """Start a Weights & Biases run, which its callback logs into, unless one has been started."""
    import wandb  # type: ignore[import-not-found, unused-ignore]

    if wandb.run is None:
        wandb.init(name=run_name or None)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
