"""The configuration of TF Model Garden's checkpoints: ``bert_config.json``, or an experiment's
``params.yaml``.

Source: tensorflow/models, ``official/nlp/configs/encoders.py``. In all releases ``gelu`` is the tanh form
(``official/modeling/activations/gelu.py``) and LayerNorm's epsilon is 1e-12. No file stores the epsilon.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Optional

import yaml

from tfpipeline.checkpoints.activations import activation_of
from tfpipeline.checkpoints.checkpoint import config_from
from tfpipeline.checkpoints.files import read_json, require_fields
from tfpipeline.checkpoints.formats._bert_config import (
    CONFIG,
    FIELDS,
    LAYER_NORM_EPS,
    REQUIRED,
    known_fields,
)
from tfpipeline.errors import UserError
from tfpipeline.models.architectures.bert.config import BertConfig

PARAMS = "params.yaml"
# Field of bert_config.json -> its name in params.yaml (official/nlp/configs/encoders.py, BertEncoderConfig).
_PARAMS = {
    "num_hidden_layers": "num_layers",
    "hidden_act": "hidden_activation",
    "hidden_dropout_prob": "dropout_rate",
    "attention_probs_dropout_prob": "attention_dropout_rate",
}
_ACTIVATIONS = {"gelu": "gelu_tanh", "simple_swish": "silu"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """A configuration file, with the field names of bert_config.json."""

    path: Path
    values: dict[str, Any]
    mlm_activation: Optional[str] = None


def read_settings(directory: Path, notes: list[str]) -> Settings:
    """Read the configuration of a checkpoint directory; decisions are appended to the notes.

    Raises:
        UserError: there is none, or it does not describe a BERT encoder.
    """
    path = directory / CONFIG
    if path.exists():
        values = read_json(path)
        require_fields(values, REQUIRED, path)
        model: dict[str, Any] = {}
    elif (directory / PARAMS).exists():
        path = directory / PARAMS
        model, encoder = _encoder_params(path)
        words = {field: _PARAMS.get(field, field) for field in FIELDS}
        require_fields(encoder, [words[field] for field in REQUIRED], path)
        values = {field: encoder[word] for field, word in words.items() if word in encoder}
        values["embedding_size"] = encoder.get("embedding_size")
        if encoder.get("norm_first"):
            raise UserError(f"{path}: norm_first is true; only BERT's own order, LayerNorm last, can be read")
        notes.append(f"the configuration is {PARAMS}'s; there is no {CONFIG}")
    else:
        raise UserError(
            f"{directory} has neither {CONFIG} nor {PARAMS}, one of which says what the model is; copy it "
            f"from where the checkpoint came from"
        )
    width = values.get("embedding_size")
    if width is not None and width != values["hidden_size"]:
        raise UserError(
            f"{path}: embedding_size is {width} and hidden_size {values['hidden_size']}: the architecture is "
            f"ALBERT's or MobileBERT's, not BERT; only BERT checkpoints can be read"
        )
    return Settings(path, values, model.get("mlm_activation"))


def _encoder_params(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's and the encoder's section of a params.yaml, which is an experiment or a part of one."""
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not YAML; copy it again from where it came from") from error
    for part in ("task", "model"):
        values = values[part] if isinstance(values, dict) and part in values else values
    encoder = values.get("encoder") if isinstance(values, dict) else None
    encoder = encoder if isinstance(encoder, dict) else {}
    kind = encoder.get("type")
    if kind is None:
        raise UserError(f"{path} has no task.model.encoder; is it the configuration of a BERT model?")
    if kind not in ("bert", "bert_v2"):
        raise UserError(f"{path}: the encoder is {kind}, not BERT; only BERT checkpoints can be read")
    if not isinstance(encoder.get(kind), dict):
        raise UserError(f"{path} has no task.model.encoder.{kind}; copy it again from where it came from")
    return values, encoder[kind]


def encoder_config(settings: Settings, pooler: bool, notes: list[str]) -> BertConfig:
    """The architecture that a configuration describes; decisions are appended to the notes."""
    values = settings.values
    fields = known_fields(values)
    fields["hidden_act"] = activation_of(str(fields["hidden_act"]).lower(), _ACTIVATIONS, settings.path)
    if fields["hidden_act"] != values["hidden_act"]:
        notes.append(
            f'hidden_act "{values["hidden_act"]}" is {fields["hidden_act"]}: what TF Model Garden computes'
        )
    notes.append(f"layer_norm_eps is {LAYER_NORM_EPS:g}: TF Model Garden's constant")
    if not pooler:
        notes.append("the checkpoint has no pooler")
    return config_from(
        BertConfig, {**fields, "layer_norm_eps": LAYER_NORM_EPS, "pooler": pooler}, settings.path
    )


def mlm_activation_fits(settings: Settings, notes: list[str]) -> bool:
    """Whether the masked-LM head uses the encoder's activation, as BERT's does."""
    word = settings.mlm_activation
    both = [str(one).lower() for one in (word, settings.values["hidden_act"])]
    if word is None or len({_ACTIVATIONS.get(one, one) for one in both}) == 1:
        return True
    notes.append(f'the masked-LM head is left out: its activation is "{word}", not the encoder\'s')
    return False
