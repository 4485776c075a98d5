"""``adapter.safetensors``: what a run has learnt by parameter-efficient fine-tuning, in one small file.

It holds the tensors of the adaptation and of the head by the paths of their variables, and in its metadata
everything else that is needed to use them on the base: the method with its options and version, the identity
of the base, the fitted task, and the settings of texts and tokenizer. Each entry of the metadata is JSON:

    format, format_version   "tfpipeline.adapter", 1
    method_version           of what the method computes (``PeftOptions.version``)
    settings                 the sections data (without paths), text, task and peft of the run file, and of
                             training the seed and the precision
    base                     see :class:`tfpipeline.training.base_identity.BaseIdentity`
    task                     the fitted task: file name -> text, as the task saves itself in a run
    tokenizer                the keys of a ``tokenizer_config.json``
    weights, step, scores    which weights of the run these are, and their scores on validation
    program                  the version of tfpipeline that wrote it
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from tfpipeline import config, paths, tasks
from tfpipeline.errors import UserError
from tfpipeline.files import atomic_file, write_failure
from tfpipeline.models import peft
from tfpipeline.paths import AnyPath
from tfpipeline.text import TokenizerOptions
from tfpipeline.training.base_identity import BaseIdentity
from tfpipeline.training.run_config import RunConfig

FORMAT, FORMAT_VERSION = "tfpipeline.adapter", 1
_DATA_PATHS = ("train", "validation", "test", "split")
_OF_TRAINING = ("seed", "precision")
# Kinds of the metadata's values, and the sections of the settings.
_KINDS: Mapping[str, type] = {
    "settings": dict,
    "method_version": int,
    "base": dict,
    "task": dict,
    "tokenizer": dict,
    "weights": str,
    "step": int,
    "scores": dict,
    "program": str,
}
_SECTIONS = ("data", "text", "task", "peft", "training")


@dataclasses.dataclass(frozen=True)
class AdapterFile:
    """An adapter in memory.

    Attributes:
        name: the file or the run it comes from, for messages.
        settings: the sections of the run file; see the module.
        method_version: of what the method computes.
        base: the encoder that it was trained on.
        task_files: the fitted task, file name -> text.
        tokenizer: the keys of a ``tokenizer_config.json``.
        tensors: path of the variable -> weights, of the adaptation and of the head.
        weights, step, scores: which weights of the run these are, and their scores on validation.
        program: the version of tfpipeline that wrote it.
    """

    name: str
    settings: Mapping[str, Any]
    method_version: int
    base: BaseIdentity
    task_files: Mapping[str, str]
    tokenizer: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray]
    weights: str
    step: int
    scores: Mapping[str, float]
    program: str = metadata.version("tfpipeline")

    @property
    def config(self) -> RunConfig:
        """The settings as a run file that trains on the base; the paths of data are the adapter's own.

        Raises:
            UserError: this installation does not know the task, the method or one of their options.
        """
        settings = {
            **self.settings,
            "checkpoint": self.base.name,
            "output": self.name,
            "data": {"train": self.name, **self.settings["data"]},
        }
        return config.resolve(settings, RunConfig, source=self.name)

    @property
    def method(self) -> str:
        """The name of the method."""
        return str(self.settings["peft"]["method"])

    def task(self, options: tasks.TaskOptions | None = None) -> tasks.Task:
        """The fitted task, not yet for a tokenizer.

        Args:
            options: its options; by default those of the file.
        Raises:
            UserError: they are of another task, or differ in what the head depends on.
        """
        options = self.config.task if options is None else options
        self.check_task(options.name)
        with tempfile.TemporaryDirectory() as folder:
            try:
                for name, text in self.task_files.items():
                    path = Path(folder, name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text, "utf-8")
                return options.load(Path(folder))
            except (UserError, OSError, ValueError) as error:  # which names the temporary folder
                raise UserError(
                    f"{self.name}: its metadata holds no task {options.name} that can be read; extract it "
                    "again"
                ) from error

    def check_task(self, name: str) -> None:
        """Refuse another task than that of its head.

        Raises:
            UserError: it is another.
        """
        own = self.settings["task"]["name"]
        if name != own:
            raise UserError(
                f"{self.name} is an adapter of the task {own}, not of {name}; train one for that task"
            )

    @property
    def tokenizer_options(self) -> TokenizerOptions:
        """How texts become tokens."""
        return TokenizerOptions.from_dict(self.tokenizer, source=self.name)

    def metadata(self) -> dict[str, str]:
        """The metadata of the file."""
        values = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "method_version": self.method_version,
            "settings": self.settings,
            "base": self.base.to_dict(),
            "task": self.task_files,
            "tokenizer": self.tokenizer,
            "weights": self.weights,
            "step": self.step,
            "scores": self.scores,
            "program": self.program,
        }
        return {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}


def task_files(task: tasks.Task) -> dict[str, str]:
    """A fitted task: file name -> text, as it saves itself in a run directory."""
    with tempfile.TemporaryDirectory() as folder:
        task.save(Path(folder))
        return {
            path.relative_to(folder).as_posix(): path.read_text("utf-8")
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }


def kept_settings(run_config: RunConfig) -> dict[str, Any]:
    """The settings of a run that its adapter keeps; see the module."""
    settings = config.settings(run_config)
    kept = {name: settings[name] for name in ("text", "task", "peft")}
    kept["data"] = {name: value for name, value in settings["data"].items() if name not in _DATA_PATHS}
    kept["training"] = {name: settings["training"][name] for name in _OF_TRAINING}
    return kept


def write(adapter: AdapterFile, dest: AnyPath) -> Path:
    """Write an adapter; the file appears whole or not at all.

    Raises:
        UserError: ``dest`` exists, or cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path = paths.local(dest)
    if path.exists():
        raise UserError(f"{dest} is there already; choose another file")
    tensors = {name: np.asarray(array, order="C") for name, array in adapter.tensors.items()}
    with atomic_file(path) as temporary:
        try:
            save_file(tensors, temporary, adapter.metadata())
        except SafetensorError as error:
            raise write_failure(path, str(error)) from error
    return path


def is_adapter(path: AnyPath) -> bool:
    """Whether a path is a file of this format, readable or not."""
    return not paths.is_far(path) and paths.local(path).is_file()


def read(source: AnyPath) -> AdapterFile:
    """Read an adapter.

    Raises:
        UserError: it is no such file, it is damaged, or another version of the format or of the method wrote
            it.
    """
    from safetensors import SafetensorError, safe_open

    path = paths.local(source)
    if path.is_dir():
        raise UserError(
            f"{path} is a directory without adapter_config.json; give an adapter.safetensors, or a directory "
            "of the PEFT library"
        )
    if not path.exists():
        raise UserError(f"{source}: no such file; write one with: tfpipeline adapter extract RUN --to FILE")
    try:
        with safe_open(path, "numpy") as file:
            written = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (SafetensorError, OSError) as error:
        raise UserError(f"{source} is not an adapter, or is damaged ({error}); copy it again") from error
    if written.get("format") != json.dumps(FORMAT):
        raise UserError(
            f"{source} was not written by tfpipeline adapter extract; give an adapter.safetensors, or the "
            "directory that holds the files of the PEFT library"
        )
    try:
        values = {name: json.loads(text) for name, text in written.items()}
    except ValueError as error:
        raise UserError(f"{source}: its metadata is damaged ({error}); extract it again") from error
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(
            f"{source} has the version {version} of the format, this installation reads {FORMAT_VERSION}; "
            "use the version of tfpipeline that wrote it "
            f"({values.get('program', 'unknown')})"
        )
    _check_kinds(values, str(source))
    try:
        adapter = AdapterFile(
            name=str(source),
            settings=values["settings"],
            method_version=values["method_version"],
            base=BaseIdentity.from_dict(values["base"], str(source)),
            task_files=values["task"],
            tokenizer=values["tokenizer"],
            tensors=tensors,
            weights=values["weights"],
            step=values["step"],
            scores=values["scores"],
            program=values["program"],
        )
        method = adapter.method
    except (KeyError, TypeError) as error:
        raise UserError(f"{source}: its metadata is incomplete ({error}); extract it again") from error
    _check_method(adapter, method)
    return adapter


def _check_kinds(values: Mapping[str, Any], source: str) -> None:
    """Refuse metadata of other kinds than those that :meth:`AdapterFile.metadata` writes, and files of a task
    outside its folder: the file may come from anywhere.
    """
    wrong = [name for name, kind in _KINDS.items() if not isinstance(values.get(name), kind)]
    if not wrong:
        settings, files, scores = values["settings"], values["task"], values["scores"]
        wrong += [name for name in _SECTIONS if not isinstance(settings.get(name), dict)]
        wrong += ["task.name"] * (not wrong and not isinstance(settings["task"].get("name"), str))
        wrong += ["task"] * any(not isinstance(text, str) for text in files.values())
        wrong += ["scores"] * any(not isinstance(score, (int, float)) for score in scores.values())
    if wrong:
        raise UserError(f"{source}: its metadata is incomplete ('{wrong[0]}'); extract it again")
    for name in files:
        for path in (PurePosixPath(name), PureWindowsPath(name)):
            if path.anchor or ".." in path.parts:
                raise UserError(
                    f'{source}: its metadata names "{name}", a file outside the folder of the task; do not '
                    "use it"
                )


def _check_method(adapter: AdapterFile, method: str) -> None:
    try:
        own = peft.find(method).version
    except UserError as error:
        raise UserError(
            f"{adapter.name}: {error}; use the version of tfpipeline that wrote it ({adapter.program})"
        ) from error
    if own != adapter.method_version:
        raise UserError(
            f"{adapter.name} needs the version {adapter.method_version} of the method {method}, this "
            f"installation has {own}; use the version of tfpipeline that wrote it ({adapter.program})"
        )
