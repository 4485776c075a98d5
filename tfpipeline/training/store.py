"""The checkpoints of a training run: everything that exact resuming needs.

    checkpoints/
      index.json          {"initial": "step-00000000", "last": "step-00000206", "best": "step-00000103"}
      base.safetensors    the variables that are never trained, if there are any
      step-00000206/      model.safetensors, optimizer.safetensors, state.json, perhaps callbacks.safetensors

A checkpoint with several roles is stored once. Variables that the trainer calls frozen are stored once for
all checkpoints, in ``base.safetensors``, before the first checkpoint. One of them that has changed all the
same (a callback set it) is stored in the checkpoints like any other, so a checkpoint is always complete.

The optimizer's state is kept as long as training may be resumed from it: with the last checkpoints, until the
run has ended (or longer, with ``training.keep_optimizer``).

Variables are stored by their Keras path. A step's directory appears whole or not at all (temporary name,
fsync, rename). The index is replaced afterwards, so it never names an incomplete checkpoint. Directories that
the index no longer names are removed last.

``tf.train.Checkpoint`` is not used: it does not restore Keras's seeds although its own check passes, and its
files cannot be read without the objects that wrote them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np

from tfpipeline.errors import UserError
from tfpipeline.files import atomic_directory, atomic_file, write_failure, write_text

MODEL_FILE = "model.safetensors"
BASE_FILE = "base.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
CALLBACKS_FILE = "callbacks.safetensors"
STATE_FILE = "state.json"
INDEX_FILE = "index.json"

Read = TypeVar("Read")


class CheckpointStore:
    """The ``checkpoints/`` folder of a run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def index(self) -> dict[str, str]:
        """Role ("initial", "last", "best") -> directory name; empty before the first checkpoint."""
        path = self.directory / INDEX_FILE
        if not path.exists():
            return {}
        index: dict[str, str] = json.loads(path.read_text("utf-8"))
        return index

    def save(
        self,
        roles: Iterable[str],
        step: int,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer | None,
        state: dict[str, Any],
        *,
        keep: int = 1,
        callback_arrays: Mapping[str, np.ndarray] | None = None,
        frozen: Iterable[keras.Variable] = (),
    ) -> None:
        """Save a checkpoint with its roles ("last", and "best" if it is the best).

        The values of ``frozen``, variables of the model that no step changes, are written once for all
        checkpoints.

        With ``keep`` above 1, earlier checkpoints are kept as "last-1" and so on. To resume from one of them,
        give it the role "last" in the index. Without an optimizer the run has ended: it can no longer be
        resumed, and the optimizer states of earlier checkpoints are removed.

        Raises:
            UserError: the checkpoint could not be written; earlier checkpoints and their roles are unchanged.
        """
        index = self.index()
        self._save_base(list(frozen), renew=not index)
        name = self._free_name(step)
        with atomic_directory(self.directory / name) as temporary:
            _save_arrays(temporary / MODEL_FILE, self._not_in_base(model.variables))
            if optimizer is not None:
                _save_variables(temporary / OPTIMIZER_FILE, optimizer.variables)
            if callback_arrays:
                _save_arrays(temporary / CALLBACKS_FILE, callback_arrays)
            (temporary / STATE_FILE).write_text(json.dumps(state, indent=1), "utf-8")
        if "last" in roles and "last" in index:
            lasts = _lasts(index)
            index = {role: kept for role, kept in index.items() if not role.startswith("last")}
            index.update({f"last-{n}": kept for n, kept in enumerate(lasts[: keep - 1], 1)})
        index.update(dict.fromkeys(roles, name))
        write_text(self.directory / INDEX_FILE, json.dumps(index, indent=1))
        self._prune(index, set(_lasts(index)) if optimizer is not None else set())

    def restore_model(self, role: str, model: keras.Model) -> None:
        """Set the model's variables to those of a checkpoint, bit for bit, even if the run is being
        trained.
        """
        base = self.directory / BASE_FILE
        self._newest(
            role,
            lambda step: _load_variables(step / MODEL_FILE, model.variables, [base] if base.exists() else []),
        )

    def has_optimizer(self) -> bool:
        """Whether the last checkpoint has the optimizer's state, which resuming needs."""
        index = self.index()
        return "last" in index and (self.directory / index["last"] / OPTIMIZER_FILE).is_file()

    def restore_optimizer(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Set the optimizer's variables to those of the last checkpoint, bit for bit."""
        _load_variables(self._step("last") / OPTIMIZER_FILE, optimizer.variables)

    def callback_arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the callbacks' states in the last checkpoint."""
        from safetensors.numpy import load_file

        path = self._step("last") / CALLBACKS_FILE
        return dict(load_file(path)) if path.exists() else {}

    def state(self, role: str) -> dict[str, Any]:
        """The state saved with a checkpoint."""

        def read(step: Path) -> dict[str, Any]:
            path = step / STATE_FILE
            try:
                state: dict[str, Any] = json.loads(path.read_text("utf-8"))
            except (OSError, ValueError) as error:
                raise UserError(
                    f"cannot read {path}: {error}; train the run again in another folder"
                ) from error
            return state

        return self._newest(role, read)

    def _save_base(self, frozen: list[keras.Variable], *, renew: bool) -> None:
        """Write the frozen variables, unless they are there. Checkpoints depend on the file, so it is
        replaced (``renew``) only while there are none: it is then the remains of a killed process.
        """
        path = self.directory / BASE_FILE
        if frozen and (renew or not path.exists()):
            with atomic_file(path) as temporary:
                _save_variables(temporary, frozen)

    def _not_in_base(self, variables: list[Any]) -> dict[str, np.ndarray]:
        """The values of the variables that ``base.safetensors`` does not have, bit for bit."""
        values = {name: v.numpy() for name, v in _by_path(variables).items()}
        path = self.directory / BASE_FILE
        if not path.exists():
            return values
        with _opened(path) as file:
            same = [
                name
                for name in file.keys()  # noqa: SIM118 - it is no dict
                if name in values and _equal(file.get_tensor(name), values[name])
            ]
        return {name: value for name, value in values.items() if name not in same}

    def _newest(self, role: str, read: Callable[[Path], Read]) -> Read:
        """Read a checkpoint. If it is replaced in the meantime, as in a run that is being trained, read the
        next one.
        """
        while True:
            step = self._step(role)
            try:
                return read(step)
            except UserError:
                if self._step(role) == step:
                    raise

    def _step(self, role: str) -> Path:
        index = self.index()
        if role not in index:
            known = ", ".join(index) or "none"
            raise UserError(
                f'{self.directory} has no "{role}" checkpoint (it has: {known}); train the run first'
            )
        return self.directory / index[role]

    def _free_name(self, step: int) -> str:
        """Choose a new name if the step was saved before (or left by a crash before the index named it)."""
        candidates = itertools.chain(
            [f"step-{step:08d}"], (f"step-{step:08d}-{n}" for n in itertools.count(1))
        )
        return next(name for name in candidates if not (self.directory / name).exists())

    def _steps(self) -> list[str]:
        return sorted(path.name for path in self.directory.glob("step-*"))

    def _prune(self, index: dict[str, str], resumable: set[str]) -> None:
        for name in self._steps():
            if name not in index.values():
                shutil.rmtree(self.directory / name)
            elif name not in resumable:
                for file in (OPTIMIZER_FILE, CALLBACKS_FILE):
                    (self.directory / name / file).unlink(missing_ok=True)


def _lasts(index: dict[str, str]) -> list[str]:
    """The last checkpoint and those kept before it, newest first."""
    roles = itertools.chain(["last"], (f"last-{n}" for n in range(1, len(index))))
    return [index[role] for role in roles if role in index]


def _by_path(variables: list[Any]) -> dict[str, Any]:
    named = {variable.path: variable for variable in variables}
    if len(named) != len(variables):
        raise ValueError("two variables have one path: " + ", ".join(sorted(v.path for v in variables)))
    return named


def _save_variables(path: Path, variables: list[Any]) -> None:
    _save_arrays(path, {name: v.numpy() for name, v in _by_path(variables).items()})


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, path)
    except SafetensorError as error:  # it reports a full disk with its own message
        raise write_failure(path.parent.parent, str(error)) from error


def _load_variables(path: Path, variables: list[Any], below: Sequence[Path] = ()) -> None:
    """Set the variables to the values in a file, and in those of ``below`` where it has none."""
    named = _by_path(variables)
    with contextlib.ExitStack() as opened:
        places: dict[str, Any] = {}
        for one in (*below, path):
            file = opened.enter_context(_opened(one))
            places.update(dict.fromkeys(file.keys(), file))
        missing, extra = sorted(named.keys() - places.keys()), sorted(places.keys() - named.keys())
        if missing or extra:
            raise UserError(
                f"{path} does not fit the model (missing: {missing or 'none'}; unknown: "
                f"{extra or 'none'}); "
                "it was written by another version, train the run again in another folder"
            )
        for name, variable in named.items():
            variable.assign(places[name].get_tensor(name))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file of tensors, opened.

    Raises:
        UserError: it cannot be read, now or in the block.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read {path}: {error}; train the run again in another folder") from error


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are equal bit for bit; a NaN equals itself."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    left, right = (np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in (one, other))
    return bool(np.array_equal(left, right))
