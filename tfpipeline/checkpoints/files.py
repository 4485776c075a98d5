"""Reads and writes the small files of a checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfpipeline.errors import UserError

TOKENIZER_CONFIG = "tokenizer_config.json"
VOCABULARY = "vocab.txt"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, with or without a byte-order mark, which editors on Windows write.

    Raises:
        UserError: the file is missing, unreadable, not JSON, or not an object.
    """
    value = _parsed(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a JSON object; copy it again from where the checkpoint came from")
    return value


def read_json_objects(path: Path) -> list[dict[str, Any]]:
    """Read a JSON list of objects; as :func:`read_json`."""
    value = _parsed(path)
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise UserError(
            f"{path} is not a JSON list of objects; copy it again from where the checkpoint came from"
        )
    return value


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; copy it from where the checkpoint came from") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8; copy it again from where the checkpoint came from") from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}:{error.lineno}: not JSON ({error.msg}); copy it again from where it came from"
        ) from error


def is_keras_object(path: Path) -> bool:
    """Whether a JSON file describes a Keras object, such as KerasHub's ``config.json``; False if it is
    malformed.
    """
    try:
        values = read_json(path)
    except UserError:
        return False
    return "class_name" in values and ("registered_name" in values or "config" in values)


def write_vocabulary(path: Path, vocabulary: Sequence[str]) -> None:
    """Write a ``vocab.txt``, one token per line.

    Raises:
        UserError: a token cannot be written as a line, which would shift the ids.
    """
    for number, token in enumerate(vocabulary):
        if re.search("[\\r\\n\ud800-\udfff]", token):
            raise UserError(
                f"token {number} of the vocabulary is {token!r}, which cannot be a line of {path.name}; take "
                f"it out of the checkpoint's vocabulary"
            )
    path.write_text("".join(f"{token}\n" for token in vocabulary), "utf-8")


def require_fields(values: Mapping[str, Any], fields: Iterable[str], path: Path) -> None:
    """Raise an error for fields that a configuration file lacks."""
    missing = [field for field in fields if field not in values]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; is it the configuration of a BERT model?")
