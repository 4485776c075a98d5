"""Hugging Face directories: ``config.json``, weights (safetensors, or a PyTorch state dict), tokenizer files.

Source: transformers, ``models/bert/modeling_bert.py``. Its ``gelu`` is the exact one (erf). Kernels are stored as
[out, in]. A bare ``BertModel`` has no prefix, every other class has ``bert.``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfpipeline.checkpoints.checkpoint import Checkpoint, as_float32, check_vocabulary, config_from
from tfpipeline.checkpoints.files import TOKENIZER_CONFIG, VOCABULARY, read_json, require_fields
from tfpipeline.checkpoints.table import Ignored, LazyTensors, Shape, Table, Tensor
from tfpipeline.checkpoints.torch_pickle import StateDict
from tfpipeline.errors import UserError
from tfpipeline.models.config import BertConfig
from tfpipeline.text import TokenizerOptions, infer_lowercase, load_vocabulary

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
FILES = f"{CONFIG}, {VOCABULARY} (or {TOKENIZER}) and {SAFETENSORS} (or {PICKLE})"

_LAYER = "encoder.layer.{i}"
TABLE = Table(
    [
        Tensor("embeddings/word", "embeddings.word_embeddings.weight", "V H"),
        Tensor("embeddings/position", "embeddings.position_embeddings.weight", "P H"),
        Tensor("embeddings/token_type", "embeddings.token_type_embeddings.weight", "Y H"),
        Tensor("embeddings/norm/scale", "embeddings.LayerNorm.weight", "H"),
        Tensor("embeddings/norm/bias", "embeddings.LayerNorm.bias", "H"),
        Tensor("layer_{i}/attention/query/kernel", f"{_LAYER}.attention.self.query.weight", "(N D) H"),
        Tensor("layer_{i}/attention/query/bias", f"{_LAYER}.attention.self.query.bias", "(N D)"),
        Tensor("layer_{i}/attention/key/kernel", f"{_LAYER}.attention.self.key.weight", "(N D) H"),
        Tensor("layer_{i}/attention/key/bias", f"{_LAYER}.attention.self.key.bias", "(N D)"),
        Tensor("layer_{i}/attention/value/kernel", f"{_LAYER}.attention.self.value.weight", "(N D) H"),
        Tensor("layer_{i}/attention/value/bias", f"{_LAYER}.attention.self.value.bias", "(N D)"),
        Tensor("layer_{i}/attention/output/kernel", f"{_LAYER}.attention.output.dense.weight", "H (N D)"),
        Tensor("layer_{i}/attention/output/bias", f"{_LAYER}.attention.output.dense.bias", "H"),
        Tensor("layer_{i}/attention/norm/scale", f"{_LAYER}.attention.output.LayerNorm.weight", "H"),
        Tensor("layer_{i}/attention/norm/bias", f"{_LAYER}.attention.output.LayerNorm.bias", "H"),
        Tensor("layer_{i}/feed_forward/inner/kernel", f"{_LAYER}.intermediate.dense.weight", "I H"),
        Tensor("layer_{i}/feed_forward/inner/bias", f"{_LAYER}.intermediate.dense.bias", "I"),
        Tensor("layer_{i}/feed_forward/outer/kernel", f"{_LAYER}.output.dense.weight", "H I"),
        Tensor("layer_{i}/feed_forward/outer/bias", f"{_LAYER}.output.dense.bias", "H"),
        Tensor("layer_{i}/feed_forward/norm/scale", f"{_LAYER}.output.LayerNorm.weight", "H"),
        Tensor("layer_{i}/feed_forward/norm/bias", f"{_LAYER}.output.LayerNorm.bias", "H"),
        Tensor("pooler/kernel", "pooler.dense.weight", "K H"),
        Tensor("pooler/bias", "pooler.dense.bias", "K"),
    ],
    [
        Ignored("embeddings.position_ids", "the numbers 0, 1, 2, ...: not a weight"),
        Ignored("cls.*", "heads of pre-training"),
        Ignored("classifier.*", "a classifier's head"),
        Ignored("qa_outputs.*", "a question-answering head"),
    ],
)
_PREFIX = "bert."
# Names before 2019.
_OLD = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}

_REQUIRED = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
)
# transformers' BertConfig leaves out what equals its own constants.
_DEFAULTS = {
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}
_ACTIVATIONS = {
    "gelu": "gelu_erf",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python": "gelu_erf",
    "swish": "silu",
}


def recognise(directory: Path) -> bool:
    """Whether a directory holds this format."""
    return (directory / CONFIG).exists() or any((directory / name).exists() for name in (SAFETENSORS, PICKLE))


def read(directory: Path, name: str = "") -> Checkpoint:
    """Read a checkpoint directory.

    Args:
        directory: with the files.
        name: the weights' file, where the directory holds several; safetensors by default.
    Raises:
        UserError: files are missing or broken, do not fit each other, or are not those of a BERT.
    """
    notes: list[str] = []
    values = read_json(directory / CONFIG)
    _refuse_others(values, directory / CONFIG)
    path, shapes, read_tensor = _open(directory, name)
    names = {_rename(theirs): theirs for theirs in shapes}
    if len(names) < len(shapes):
        twice = sorted(theirs for theirs in shapes if names[_rename(theirs)] != theirs)
        raise UserError(f"{path} holds {', '.join(twice)} under another name too; leave one of each")
    found = {ours: tuple(shapes[theirs]) for ours, theirs in names.items()}
    config = _config(values, directory / CONFIG, "pooler.dense.weight" in found, notes)
    placed, left_out = TABLE.match(config, found, f"{path} does not fit {CONFIG}")
    vocabulary, tokenizer = _tokenizer(directory, notes)
    notes += check_vocabulary(vocabulary, tokenizer, config, directory / VOCABULARY)
    tensors = LazyTensors(placed, lambda ours: as_float32(read_tensor(names[ours]), names[ours], path))
    left_out = {names[ours]: why for ours, why in left_out.items()}
    return Checkpoint(directory, "huggingface", config, vocabulary, tokenizer, tensors, left_out, notes)


def _refuse_others(values: dict[str, Any], path: Path) -> None:
    kind = values.get("model_type", "bert")
    classes = values.get("architectures") or []
    others = [
        name
        for name in (classes if isinstance(classes, list) else [classes])
        if not str(name).startswith("Bert")
    ]
    if kind != "bert" or others:
        name = others[0] if others else kind
        raise UserError(f"{path}: the architecture is {name}, not BERT; only BERT checkpoints can be read")
    positions = values.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise UserError(
            f'{path}: position_embedding_type is "{positions}"; only absolute positions can be read'
        )
    for field in ("is_decoder", "add_cross_attention"):
        if values.get(field):
            raise UserError(f"{path}: {field} is true; only encoders can be read")


def _open(directory: Path, name: str) -> tuple[Path, dict[str, Shape], Callable[[str], np.ndarray]]:
    """The weights' file, its shapes, and how to read one tensor."""
    path = directory / SAFETENSORS
    if path.exists() and name != PICKLE:
        from safetensors import SafetensorError, safe_open

        try:
            file = safe_open(path, "numpy")
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is truncated or damaged ({error}); copy it again") from error
        return path, shapes, file.get_tensor
    path = directory / PICKLE
    if path.exists():
        state = StateDict(path)
        return path, state.shapes, state.__getitem__
    raise UserError(f"{directory} has neither {SAFETENSORS} nor {PICKLE}; copy the whole checkpoint")


def _rename(name: str) -> str:
    name = name.removeprefix(_PREFIX)
    for old, new in _OLD.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _config(values: dict[str, Any], path: Path, pooler: bool, notes: list[str]) -> BertConfig:
    require_fields(values, _REQUIRED, path)
    fields = {field: values[field] for field in _REQUIRED}
    for field, default in _DEFAULTS.items():
        fields[field] = values.get(field, default)
        if field not in values:
            notes.append(f"{field} is {default}: {CONFIG} leaves it out, this is transformers' constant")
    word = str(fields["hidden_act"])
    fields["hidden_act"] = _ACTIVATIONS.get(word, word)
    if word in _ACTIVATIONS:
        notes.append(f'hidden_act "{word}" is {fields["hidden_act"]}: what transformers computes')
    if not pooler:
        notes.append("the checkpoint has no pooler")
    return config_from({**fields, "pooler": pooler}, path)


def _tokenizer(directory: Path, notes: list[str]) -> tuple[tuple[str, ...], TokenizerOptions]:
    fast = read_json(directory / TOKENIZER) if (directory / TOKENIZER).exists() else {}
    if (directory / VOCABULARY).exists() or not fast:
        vocabulary = load_vocabulary(directory / VOCABULARY)
    else:
        vocabulary = _vocabulary(fast.get("model"), directory / TOKENIZER)
    path = directory / TOKENIZER_CONFIG
    if path.exists():
        return vocabulary, TokenizerOptions.from_dict(read_json(path), source=str(path))
    normalizer = fast.get("normalizer")
    if isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer":
        notes.append(f"no {TOKENIZER_CONFIG}; the tokenizer's options are those of {TOKENIZER}")
        return vocabulary, TokenizerOptions(
            lowercase=normalizer.get("lowercase", True),
            strip_accents=normalizer.get("strip_accents"),
            tokenize_chinese_chars=normalizer.get("handle_chinese_chars", True),
        )
    lowercase = infer_lowercase(vocabulary)
    case = "uncased: it has no" if lowercase else "cased: it has"
    notes.append(f"no {TOKENIZER_CONFIG}; the vocabulary is {case} upper-case words")
    return vocabulary, TokenizerOptions(lowercase=lowercase)


def _vocabulary(model: Any, path: Path) -> tuple[str, ...]:
    """The tokens of a ``tokenizer.json`` by id."""
    ids = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(ids, dict) or model.get("type", "WordPiece") != "WordPiece":
        raise UserError(f"{path} is not a WordPiece tokenizer; BERT's vocabulary is one")
    tokens = {number: token for token, number in ids.items() if isinstance(number, int)}
    if sorted(tokens) != list(range(len(ids))):
        raise UserError(
            f"{path}: the ids of its vocabulary are not 0 to {len(ids) - 1}, each once; copy it again"
        )
    return tuple(tokens[number] for number in range(len(tokens)))
