"""The run directory: everything that later commands need, and nothing outside it.

config.yaml              the run file as resolved
bert_config.json         the architecture
vocab.txt, tokenizer_config.json
labels.txt, task.json, heads/  what the task learnt; each task has its own
data/                    train.jsonl, validation.jsonl, test.jsonl: the rows of each split
cache/                   their tokens, memory-mapped
checkpoints/             initial, last, best (training.store)
metrics.jsonl            one line an epoch
report.json, report.md   written by evaluation
environment.json         versions that trained it
sources.json             fingerprints of the checkpoint and the data files it was made from
lock                     who trains it, while somebody does (training.lock)
"""

from __future__ import annotations

import dataclasses
import functools
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf  # whose distribution is tensorflow or tensorflow-tpu

from tfpipeline import checkpoints, config, paths, tasks
from tfpipeline.data import Example, Rows, TokenCache, read_examples, write_examples
from tfpipeline.data.cache import See
from tfpipeline.errors import UserError
from tfpipeline.files import atomic_directory
from tfpipeline.models import BertConfig, BertEncoder, TextModel
from tfpipeline.models.inputs import encoder_inputs
from tfpipeline.models.windows import Windows
from tfpipeline.paths import AnyPath
from tfpipeline.text import TokenizerOptions, Truncation, WordPieceTokenizer, load_vocabulary, unknown_note
from tfpipeline.training import sources
from tfpipeline.training.description import as_html, run_facts
from tfpipeline.training.lock import LOCK_FILE
from tfpipeline.training.rows import CONFIG_FILE, learn_task
from tfpipeline.training.run_config import RunConfig
from tfpipeline.training.store import CheckpointStore

Texts = Sequence[str] | Sequence[bytes]
_PACKAGES = ("tfpipeline", "keras", "numpy", "scikit-learn")


def is_run(path: AnyPath) -> bool:
    """Whether ``path`` is a run directory."""
    return (paths.local(path) / CONFIG_FILE).is_file()


class Run:
    """A run directory, opened.

    Attributes:
        path: the directory.
        name: what it is called in messages.
        stages: the weights that an evaluation compares, with their titles.
        reports: where an evaluation's report is written; None for nowhere.
    Raises:
        UserError: ``path`` is not a run directory.
    """

    stages: Sequence[tuple[str, str]] = (("initial", "before fine-tuning"), ("best", "after fine-tuning"))
    reports: Path | None

    def __init__(self, path: AnyPath) -> None:
        self.path = paths.local(path)
        if not self.path.is_dir():
            raise UserError(f"{path}: no such run directory; make one with: tfpipeline train RUN_FILE")
        if not is_run(self.path) and (self.path / LOCK_FILE).exists():
            raise UserError(f"{path} is being laid out by another process; wait until its training has begun")
        if not is_run(self.path):
            raise UserError(
                f"{path} is not a run directory (it has no {CONFIG_FILE}), nor a checkpoint; make one with: tfpipeline train RUN_FILE"
            )
        self.name = self.path.name
        self.reports = self.path
        self.store = CheckpointStore(self.path / "checkpoints")

    @functools.cached_property
    def config(self) -> RunConfig:
        """The run file as resolved."""
        return config.load(self.path / CONFIG_FILE, RunConfig)

    @functools.cached_property
    def task(self) -> tasks.Task:
        """The task, with what it learnt from the training rows."""
        return self.config.task.load(self.path)

    @functools.cached_property
    def bert_config(self) -> BertConfig:
        """The encoder's architecture, dropout rates as the run file has them."""
        return BertConfig.from_dict(_read_json(self.path / "bert_config.json"))

    @functools.cached_property
    def tokenizer(self) -> WordPieceTokenizer:
        """The tokenizer of training, evaluation and export."""
        options = TokenizerOptions.from_dict(_read_json(self.path / "tokenizer_config.json"))
        return WordPieceTokenizer(self.vocabulary, options)

    @functools.cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens in the order of their ids."""
        return load_vocabulary(self.path / "vocab.txt")

    def notes_on(self, cache: TokenCache, what: str = "rows") -> list[str]:
        """Sentences about tokens: rows that do not fit, and texts that the vocabulary hardly knows."""
        vocabulary, options = self.vocabulary, self.tokenizer.options
        notes = (
            self.truncation.note(cache.cut, len(cache), what, pair=self.has_pairs),
            unknown_note(cache.unknown, cache.text_tokens, vocabulary, options, what),
        )
        return [note for note in notes if note is not None]

    def note_on_texts(self, texts: Texts, text_pair: Texts | None = None) -> str | None:
        """A sentence about texts that the vocabulary hardly knows; None when it does."""
        encoded = self._tokenize(texts, text_pair, self.truncation, count=True)
        special = len(texts) * (2 if text_pair is None else 3)
        tokens = int(encoded["attention_mask"].sum()) - special
        return unknown_note(
            int(encoded["unknown"].sum()), tokens, self.vocabulary, self.tokenizer.options, "texts"
        )

    @property
    def truncation(self) -> Truncation:
        """How long texts are handled in training, evaluation and export."""
        return self.config.text.truncation

    @property
    def has_pairs(self) -> bool:
        """Whether its rows hold two texts."""
        return self.config.data.text_pair is not None

    def __repr__(self) -> str:
        facts = self._facts()
        told = ", ".join(facts[name] for name in ("task", "state", "best") if name in facts)
        return f"<{type(self).__name__} {self.path}: {told}>"

    def _repr_html_(self) -> str:
        return as_html(self.name, self._facts())

    def _facts(self) -> dict[str, str]:
        return run_facts(self)

    def has_weights(self, weights: str) -> bool:
        """Whether the run has come so far as to have these ("initial", "last", "best")."""
        return weights in self.store.index()

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
        """The tokens of a split; made now if they are not there yet. ``see`` as of :meth:`TokenCache.build`."""
        return self.tokens(examples, self.path / "cache" / split, see)

    def tokens(self, examples: Sequence[Example], directory: Path, see: See | None = None) -> TokenCache:
        """The tokens of any rows, kept in ``directory``. ``see`` as of :meth:`TokenCache.build`."""
        return TokenCache.build(
            directory,
            examples,
            encode=lambda texts, text_pair, _: self._tokenize(texts, text_pair, self.truncation, count=True),
            max_length=self.truncation.longest(self.has_pairs),
            fingerprint=f"{self.text_identity}{json.dumps(self.truncation.identity())}{self._targets_identity}",
            align=self.task.token_targets if self.task.has_token_targets else None,
            see=see,
        )

    @property
    def _targets_identity(self) -> str:
        """What targets of single tokens depend on besides the rows."""
        if not self.task.has_token_targets:
            return ""
        return json.dumps([self.config.task.model_dump(mode="json"), self.task.fitted])

    def encode(
        self, texts: Texts, text_pair: Texts | None = None, max_length: int | None = None
    ) -> dict[str, np.ndarray]:
        """Token ids of a batch of texts as NumPy arrays, int32 [B, T], with offsets if the task reads them.

        ``max_length`` takes the place of ``text.max_length``; longer texts are handled as the run does.
        """
        truncation = self.truncation
        if max_length is not None:
            truncation = dataclasses.replace(truncation, max_length=max_length)
        return self._tokenize(texts, text_pair, truncation)

    def _tokenize(
        self,
        texts: Texts,
        text_pair: Texts | None,
        truncation: Truncation,
        *,
        count: bool = False,
    ) -> dict[str, np.ndarray]:
        second = None if text_pair is None else list(text_pair)
        offsets = bool(self.task.offsets)
        encoded = self.tokenizer(list(texts), second, truncation=truncation, count=count, offsets=offsets)
        return {name: tensor.numpy() for name, tensor in encoded.items()}

    def answer(self, model: TextModel, texts: Texts, text_pair: Texts | None = None) -> dict[str, np.ndarray]:
        """A model's finished answers to texts, as a server would give them; strings are bytes.

        Args:
            model: of this run.
            texts: B of them.
            text_pair: as many, for tasks about two.
        Returns:
            Name -> [B, ...].
        """
        tokens = {name: tf.constant(array) for name, array in self.encode(texts, text_pair).items()}
        outputs = model(encoder_inputs(tokens), training=False)
        asked = {"text": texts, **({} if text_pair is None else {"text_pair": text_pair})}
        strings = {name: tf.constant(list(some), tf.string, [len(some)]) for name, some in asked.items()}
        answers = self.task.predictions(outputs, {**tokens, **strings})
        return {name: tensor.numpy() for name, tensor in answers.items()}

    @property
    def text_identity(self) -> str:
        """What the tokens of a text depend on besides the text."""
        return (self.path / "vocab.txt").read_text("utf-8") + (self.path / "tokenizer_config.json").read_text(
            "utf-8"
        )

    def build_model(self, encoder: BertEncoder | None = None) -> TextModel:
        """A model of this run's shape; its weights are those of ``encoder``, and new ones for the head."""
        encoder = encoder or BertEncoder(self.bert_config)
        head = self.task.head(self.bert_config, seed=self.config.training.seed)
        return TextModel(encoder, head, windows(self.config))

    def model(self, weights: str = "best", *, precision: str | None = None) -> TextModel:
        """The trained model ("best" or "last"), or the one that training started from ("initial").

        ``precision`` is a Keras dtype policy; by default the one it was trained in.
        """
        with policy(precision or self.config.training.precision):
            model = self.build_model()
        self.set_weights(weights, model)
        return model

    def _rows(self, split: str) -> Path:
        return self.path / "data" / f"{split}.jsonl"


class policy:  # noqa: N801 - reads as `with policy("mixed_bfloat16"):`
    """Keras's dtype policy, set while models are built and put back afterwards."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._saved = keras.config.dtype_policy()
        # TensorFloat-32 is how a GPU multiplies float32, no dtype: the strategy switches it on.
        keras.config.set_dtype_policy("float32" if self._name == "tensorfloat32" else self._name)

    def __exit__(self, *_: object) -> None:
        keras.config.set_dtype_policy(self._saved)


def create_run(
    run_config: RunConfig,
    checkpoint: checkpoints.Checkpoint,
    splits: Mapping[str, Sequence[Example]],
    path: Path | None = None,
    check: Callable[[Run], None] = lambda run: None,
    task: tasks.Task | None = None,
) -> Run:
    """Lay out a new run directory, everything but its weights; whole or not at all.

    Args:
        run_config: the run file as resolved.
        checkpoint: what training starts from.
        splits: the rows.
        path: the directory; by default the run file's ``output``.
        check: looks at the run before it is there; where it raises, nothing stays.
        task: learnt from the rows; by default it is learnt now.

    Raises:
        UserError: a row can't be used, or the directory can't be written.
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
    """Write a run's files into a directory that is there, everything but its weights; as :func:`create_run`."""
    bert_config = encoder_config(run_config, checkpoint)
    tokenizer = tokenizer_options(run_config, checkpoint)
    (path / "bert_config.json").write_text(json.dumps(bert_config.to_dict(), indent=1), "utf-8")
    (path / "tokenizer_config.json").write_text(
        json.dumps(tokenizer.to_dict(checkpoint.vocabulary), indent=1), "utf-8"
    )
    (path / "vocab.txt").write_text("".join(f"{token}\n" for token in checkpoint.vocabulary), "utf-8")
    (path / "environment.json").write_text(json.dumps(environment(), indent=1), "utf-8")
    for split, examples in splits.items():
        if examples:
            write_examples(path / "data" / f"{split}.jsonl", examples)
    task.save(path)
    sources.save(path, run_config)
    (path / CONFIG_FILE).write_text(config.dump(run_config), "utf-8")
    return Run(path)


def encoder_config(run_config: RunConfig, checkpoint: checkpoints.Checkpoint) -> BertConfig:
    """The architecture that is trained: the checkpoint's, with what the run file says otherwise.

    Raises:
        UserError: texts may be longer than the model.
    """
    config = checkpoint.config
    rate = run_config.training.dropout
    if rate is not None:
        config = dataclasses.replace(config, hidden_dropout_prob=rate, attention_probs_dropout_prob=rate)
    check_positions(run_config, config)
    return config


def check_positions(run_config: RunConfig, config: BertConfig) -> None:
    """Refuse texts, or windows of them, that are longer than the model.

    Raises:
        UserError: ``text.max_length`` is more than the model's positions.
    """
    if run_config.text.max_length > config.max_position_embeddings:
        raise UserError(
            f"text.max_length is {run_config.text.max_length}, but {run_config.checkpoint} has only "
            f"{config.max_position_embeddings} positions; set text.max_length to that or less"
        )


def windows(run_config: RunConfig) -> Windows | None:
    """How the model cuts long rows; None for one that reads them whole."""
    truncation = run_config.text.truncation
    return Windows(truncation, run_config.data.text_pair is not None) if truncation.windows else None


def tokenizer_options(run_config: RunConfig, checkpoint: checkpoints.Checkpoint) -> TokenizerOptions:
    """How texts become tokens: the checkpoint's way, with what the run file says otherwise."""
    if run_config.text.lowercase is None:
        return checkpoint.tokenizer
    return dataclasses.replace(checkpoint.tokenizer, lowercase=run_config.text.lowercase)


def environment() -> dict[str, str]:
    """Versions of what trains a model here."""
    found = {"python": platform.python_version(), "tensorflow": tf.__version__}
    for name in _PACKAGES:
        found[name] = metadata.version(name)
    return found


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; train the run again in another folder") from error
    return value
