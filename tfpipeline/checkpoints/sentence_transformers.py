"""The files of sentence-transformers beside a model's own: how a text becomes one vector.

    modules.json                        the steps: the encoder, pooling, perhaps normalisation
    1_Pooling/config.json               the pooling
    sentence_bert_config.json           the maximum number of tokens
    config_sentence_transformers.json   the prompts

Source: sentence-transformers 6.2, ``base/model.py`` and ``sentence_transformer/modules``. The pooling is
written in the form of its first versions, which all versions read.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfpipeline.checkpoints.files import read_json, read_json_objects
from tfpipeline.errors import UserError
from tfpipeline.models.pooling import Pooling

MODULES, CONFIG, LENGTH = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
POOLING = "1_Pooling"
FILES = (MODULES, CONFIG, LENGTH, f"{POOLING}/config.json")
_NORMALIZE = "2_Normalize"

_MODES: dict[str, Pooling] = {"cls": "cls", "mean": "mean", "lasttoken": "last"}
# The earlier form: one flag for each mode.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# The names of a document's prompt, in the order in which sentence-transformers looks for them.
_DOCUMENT = ("document", "passage", "corpus")


@dataclasses.dataclass(frozen=True)
class SentenceSettings:
    """How a checkpoint makes one vector of a text.

    Attributes:
        pooling: how the states of the tokens become one vector.
        normalize: whether vectors have length 1.
        prompts: what is put before texts: ``query`` and ``document``.
        max_length: the maximum number of tokens.
        size: how many of the vector's numbers are used, from the first; None for all. No file holds it.
    """

    pooling: Pooling
    normalize: bool
    prompts: Mapping[str, str]
    max_length: int
    size: int | None = dataclasses.field(default=None, compare=False)


def read(directory: Path, positions: int, notes: list[str]) -> SentenceSettings | None:
    """Read the settings of a checkpoint's directory.

    Args:
        directory: the directory.
        positions: of the encoder.
        notes: why settings that are there are not used is appended here.
    Returns:
        The settings; None if there are none, or if they cannot be used.
    Raises:
        UserError: a file is malformed.
    """
    path = directory / MODULES
    if not path.exists():
        return None
    modules = read_json_objects(path)
    kinds = [
        (str(module.get("type", "")).rpartition(".")[2], str(module.get("path", ""))) for module in modules
    ]
    names = [kind for kind, _ in kinds]
    reason = (
        f"{MODULES} has the steps {', '.join(names)}; only Transformer, Pooling and Normalize can be used"
    )
    if names not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        notes.append(f"{reason}, so texts have no vectors of their own here")
        return None
    pooling = _pooling(directory / kinds[1][1] / "config.json", notes)
    if pooling is None:
        return None
    length = _optional(directory / LENGTH)
    prompts = _prompts(directory / CONFIG)
    most = length.get("max_seq_length")
    most = min(most, positions) if isinstance(most, int) and most > 2 else positions
    return SentenceSettings(pooling, "Normalize" in names, prompts, most)


def write(settings: SentenceSettings, hidden_size: int, directory: Path) -> list[str]:
    """Write the files beside a checkpoint in transformers' form; returns notes.

    Args:
        settings: to write.
        hidden_size: of the encoder.
        directory: the checkpoint's.
    """
    mode = next((mode for mode, ours in _MODES.items() if ours == settings.pooling), None)
    if mode is None:
        return [
            f"sentence-transformers has no pooling {settings.pooling}, so its files are omitted; train with "
            "task.pooling: mean, cls or last for a model that it can read"
        ]
    steps = [("Transformer", ""), ("Pooling", POOLING)]
    steps += [("Normalize", _NORMALIZE)] if settings.normalize else []
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": path,
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, (kind, path) in enumerate(steps)
    ]
    flags = {flag: of == mode for flag, of in _FLAGS.items()}
    prompts = {name: settings.prompts.get(name, "") for name in ("query", "document")}
    # A text whose kind is not said is a query, as in all of this package.
    files: dict[str, Any] = {
        MODULES: modules,
        f"{POOLING}/config.json": {"word_embedding_dimension": hidden_size, **flags, "include_prompt": True},
        LENGTH: {"max_seq_length": settings.max_length, "do_lower_case": False},
        CONFIG: {
            "model_type": "SentenceTransformer",
            "prompts": prompts,
            "default_prompt_name": "query" if prompts["query"] else None,
            "similarity_fn_name": "cosine",
        },
    }
    for name, content in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if settings.size is None or settings.size == hidden_size:
        return []
    return [
        f"sentence-transformers keeps no size of vectors: load the model with truncate_dim={settings.size}, "
        "and normalise what encode returns"
    ]


def _pooling(path: Path, notes: list[str]) -> Pooling | None:
    if not path.exists():
        notes.append(
            f"{MODULES} names {path.parent.name}, which is missing, so texts have no vectors of their own "
            "here; copy the whole checkpoint"
        )
        return None
    values = read_json(path)
    named = (
        values.get("pooling_mode") or [mode for flag, mode in _FLAGS.items() if values.get(flag)] or "mean"
    )
    modes = [named] if isinstance(named, str) else list(named)
    if len(modes) != 1 or modes[0] not in _MODES:
        notes.append(
            f"the pooling {' and '.join(map(str, modes))} ({path.parent.name}) is none of mean, cls and "
            "last, so texts have no vectors of their own here"
        )
        return None
    if values.get("include_prompt") is False:
        notes.append(
            f"prompts are left out of the pooling ({path.parent.name}: include_prompt), which cannot be "
            "done, so texts have no vectors of their own here"
        )
        return None
    return _MODES[modes[0]]


def _prompts(path: Path) -> dict[str, str]:
    """The prompts of queries and documents."""
    values = _optional(path)
    prompts = values.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise UserError(f"{path}: the prompts are {prompts!r}; expected a name and a text for each")
    default = prompts.get(str(values.get("default_prompt_name")), "")
    document = next((prompts[name] for name in _DOCUMENT if name in prompts), default)
    return {"query": prompts.get("query", default), "document": document}


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}
