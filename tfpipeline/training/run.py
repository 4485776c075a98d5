"""The run directory: everything that later commands need, and nothing outside it.

config.yaml              the run file as resolved
model_config.json        the encoder's architecture
vocab.txt, tokenizer_config.json
labels.txt, task.json, heads/  the fitted task; files depend on the task
fingerprints.json        hashes of the files above: an edited one is noticed
data/                    train.jsonl, validation.jsonl, test.jsonl: the rows of each split
cache/                   their tokens, memory-mapped
checkpoints/             initial, last, best, and what is never trained once (training.store)
metrics.jsonl            one line per epoch
report.json, report.md   written by evaluation
environment.json         versions that trained it
sources.json             fingerprints of the checkpoint and the data files it was made from
lock                     the process that trains it, during training (training.lock)
"""

from __future__ import annotations

import functools
import json
import platform
import uuid
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf  # its distribution is tensorflow or tensorflow-tpu

from tfpipeline import checkpoints, config, paths, tasks
from tfpipeline.data import Example, Rows, TokenCache, read_examples, write_examples
from tfpipeline.data.cache import See
from tfpipeline.errors import UserError
from tfpipeline.files import atomic_directory
from tfpipeline.mistaken import no_such_run
from tfpipeline.models import EncoderConfig, TextModel
from tfpipeline.models.architectures import read_config
from tfpipeline.paths import AnyPath
from tfpipeline.text import TokenizerOptions, build_tokenizer, load_vocabulary
from tfpipeline.training import fingerprints, sources
from tfpipeline.training.description import run_facts
from tfpipeline.training.division import TEXTS_OF, divide
from tfpipeline.training.lock import LOCK_FILE
from tfpipeline.training.mirror import ID_FILE
from tfpipeline.training.model_settings import encoder_config, tokenizer_options, truncation_of
from tfpipeline.training.rows import CONFIG_FILE, learn_task
from tfpipeline.training.run_config import RunConfig
from tfpipeline.training.state import NO_SCORES
from tfpipeline.training.store import CheckpointStore
from tfpipeline.training.trained_model import TrainedModel

MODEL_FILE = "model_config.json"
_PACKAGES = ("tfpipeline", "keras", "numpy", "scikit-learn")


def is_run(path: AnyPath) -> bool:
    """Whether ``path`` is a run directory."""
    return not paths.is_far(path) and (paths.local(path) / CONFIG_FILE).is_file()


class Run(TrainedModel):
    """A run directory, opened.

    Args:
        path: the directory.
        overrides: settings for this use of the run, such as ``task.decoding.num_beams=4``: those that
            training does not depend on (``TaskOptions.changeable``). Reports about it are then not the run's
            own, so it has no folder for them.

    Attributes:
        path: the directory.
        store: its checkpoints.
    Raises:
        UserError: ``path`` is not a run directory, or a setting cannot be changed.
    """

    stages = (("initial", "before fine-tuning"), ("best", "after fine-tuning"))

    def __init__(self, path: AnyPath, overrides: Sequence[str] = ()) -> None:
        self.path = paths.local(path)
        if not self.path.is_dir():
            raise no_such_run(path)
        if not is_run(self.path) and (self.path / LOCK_FILE).exists():
            raise UserError(f"{path} is being laid out by another process; wait until its training has begun")
        if not is_run(self.path):
            raise UserError(
                f"{path} is not a run directory (it has no {CONFIG_FILE}), nor a checkpoint; "
                "make one with: tfpipeline train RUN_FILE"
            )
        if not (self.path / MODEL_FILE).exists() and (self.path / "bert_config.json").exists():
            raise UserError(
                f"{path} was made by tfpipeline 0.1.0, whose runs this version cannot read (it has "
                f"bert_config.json "
                f"in place of {MODEL_FILE}); train it again in another folder, or use version 0.1.0"
            )
        self.name = self.path.name
        self._overrides = tuple(overrides)
        self.reports = None if overrides else self.path
        self.store = CheckpointStore(self.path / "checkpoints")
        self._checked = False
        if overrides:
            self._check_overrides()

    def _check_overrides(self) -> None:
        task = config.load(self.path / CONFIG_FILE, RunConfig).task
        fields = [f"task.{field}" for field in task.changeable]
        for override in self._overrides:
            name = override.partition("=")[0].strip()
            if not any(name == field or name.startswith(f"{field}.") for field in fields):
                others = f"; of a run, it can change {', '.join(fields)}" if fields else ""
                raise UserError(
                    f"{self.path} is a run, whose settings are its own; --set is for checkpoints{others}"
                )

    @functools.cached_property
    def config(self) -> RunConfig:
        """The run file as resolved."""
        return config.load(self.path / CONFIG_FILE, RunConfig, self._overrides)

    @functools.cached_property
    def task(self) -> tasks.Task:
        """The task, fitted to the training rows."""
        self._check_files()
        task = self.config.task.load(self.path)
        return task.with_tokenizer(self.vocabulary, self.tokenizer_options)

    @functools.cached_property
    def model_config(self) -> EncoderConfig:
        """The encoder's configuration, with the dropout rates of the run file."""
        self._check_files()
        path = self.path / MODEL_FILE
        return read_config(_read_json(path), path)

    @functools.cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens, ordered by ID."""
        self._check_files()
        return load_vocabulary(self.path / "vocab.txt")

    @functools.cached_property
    def tokenizer_options(self) -> TokenizerOptions:
        """How texts become tokens."""
        self._check_files()
        return TokenizerOptions.from_dict(_read_json(self.path / "tokenizer_config.json"))

    @property
    def text_identity(self) -> str:
        """Everything that determines the tokens of a text besides the text and the truncation."""
        return (self.path / "vocab.txt").read_text("utf-8") + (self.path / "tokenizer_config.json").read_text(
            "utf-8"
        )

    def has_weights(self, weights: str) -> bool:
        """Whether the run already has these weights ("initial", "last", "best")."""
        return weights in self.store.index()

    def weights_id(self, weights: str) -> str | None:
        """The checkpoint's folder, which is named after its step."""
        return self.store.index().get(weights)

    def validation_scores(self, weights: str) -> Mapping[str, float]:
        """Those of the checkpoint's step; none of one that was saved between two validations."""
        state = self.store.state(weights)
        for entry in reversed(state["history"]):
            if entry["step"] == state["step"]:
                return {name: value for name, value in entry.items() if name not in NO_SCORES}
        return {}

    def set_weights(self, weights: str, model: TextModel) -> None:
        """Set a model's weights to these."""
        self.store.restore_model(weights, model)

    def has_split(self, split: str) -> bool:
        """Whether the run has rows for that split."""
        return self._rows(split).exists()

    def examples(self, split: str) -> Rows:
        """The rows of a split, in their order."""
        return read_examples(self._rows(split))

    def token_cache(self, split: str, examples: Sequence[Example], see: See | None = None) -> TokenCache:
        """The tokens of a split, created if needed. For ``see``, see :meth:`TokenCache.build`."""
        return self.tokens(examples, self.path / "cache" / split, see)

    def facts(self) -> dict[str, str]:
        """Its settings, progress, best score and paths."""
        return run_facts(self)

    def _check_files(self) -> None:
        """Refuse files that were edited after training, once."""
        if not self._checked:
            fingerprints.check(self.path)
            self._checked = True

    def _rows(self, split: str) -> Path:
        return self.path / "data" / f"{split}.jsonl"


def create_run(
    run_config: RunConfig,
    checkpoint: checkpoints.Checkpoint,
    splits: Mapping[str, Sequence[Example]],
    path: Path | None = None,
    check: Callable[[Run], None] = lambda run: None,
    task: tasks.Task | None = None,
) -> Run:
    """Create a new run directory with everything but its weights, completely or not at all.

    Args:
        run_config: the resolved run file.
        checkpoint: the checkpoint that training starts from.
        splits: the rows.
        path: the directory; by default the run file's ``output``.
        check: checks the run before it exists; if it raises, nothing is created.
        task: learnt from the rows; by default it is learnt now.

    Raises:
        UserError: a row is invalid, or the directory cannot be written.
    """
    task = task or learn_task(run_config, splits)
    path = path or Path(run_config.output)
    with atomic_directory(path, carry=[LOCK_FILE]) as temporary:
        check(lay_out(run_config, checkpoint, task, splits, temporary))
    return Run(path)


def lay_out(
    run_config: RunConfig,
    checkpoint: checkpoints.Checkpoint,
    task: tasks.Task,
    splits: Mapping[str, Sequence[Example]],
    path: Path,
) -> Run:
    """Write a run's files, except its weights, into an existing directory; as :func:`create_run`."""
    model_config = encoder_config(run_config, checkpoint)
    task.check_encoder(model_config)
    tokenizer = tokenizer_options(run_config, checkpoint)
    truncation = truncation_of(run_config, tokenizer)
    task = task.limit_length(truncation.text_tokens(run_config.has_joint_pairs))
    task = task.with_tokenizer(checkpoint.vocabulary, tokenizer)
    (path / MODEL_FILE).write_text(json.dumps(model_config.to_dict(), indent=1), "utf-8")
    (path / "tokenizer_config.json").write_text(
        json.dumps(tokenizer.to_dict(checkpoint.vocabulary), indent=1), "utf-8"
    )
    (path / "vocab.txt").write_text("".join(f"{token}\n" for token in checkpoint.vocabulary), "utf-8")
    (path / ID_FILE).write_text(uuid.uuid4().hex, "utf-8")
    (path / "environment.json").write_text(json.dumps(environment(), indent=1), "utf-8")
    for split, examples in splits.items():
        if examples and task.divides:
            own = build_tokenizer(checkpoint.vocabulary, tokenizer)
            examples = divide(task, examples, own, truncation, f"{TEXTS_OF.get(split, split)} texts", path)
        if examples:
            write_examples(path / "data" / f"{split}.jsonl", examples)
    task.save(path)
    fingerprints.save(path)
    sources.save(path, run_config)
    (path / CONFIG_FILE).write_text(config.dump(run_config), "utf-8")
    return Run(path)


def environment() -> dict[str, str]:
    """The versions of the software that trains the model."""
    versions = {"python": platform.python_version(), "tensorflow": tf.__version__}
    for name in _PACKAGES:
        versions[name] = metadata.version(name)
    return versions


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; train the run again in another folder") from error
    return value
