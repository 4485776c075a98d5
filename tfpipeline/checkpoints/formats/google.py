"""Google's BERT checkpoints: ``bert_model.ckpt.*`` (TF1, by name), ``bert_config.json``, ``vocab.txt``.

Source: google-research/bert, ``modeling.py`` and ``run_classifier.py``. Its ``gelu`` is the tanh form, and
its LayerNorm's epsilon is 1e-12. The configuration file stores neither the epsilon nor a classifier's labels.
Files written here have additional keys for these: ``gelu``, ``layer_norm_eps``, ``labels``, ``classifier``
and ``problem_type``. Google's reader accepts extra keys.

If there is only a ``config.json``, its fields mean what they mean in transformers, which reads such folders
too: ``gelu`` is the exact form.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpipeline.checkpoints.activations import activation_of
from tfpipeline.checkpoints.bundles import holds, is_of_kind, open_bundle, read_tensor
from tfpipeline.checkpoints.checkpoint import (
    Checkpoint,
    as_float32,
    check_labels,
    check_vocabulary,
    config_from,
)
from tfpipeline.checkpoints.files import (
    VOCABULARY,
    is_keras_object,
    read_json,
    require_fields,
)
from tfpipeline.checkpoints.formats import _transformers_config as transformers_config
from tfpipeline.checkpoints.formats import huggingface
from tfpipeline.checkpoints.formats._bert_config import (
    CONFIG,
    FIELDS,
    LAYER_NORM_EPS,
    REQUIRED,
    known_fields,
)
from tfpipeline.checkpoints.table import Ignored, Table, Tensor, TensorMapping, labels_of, lazy
from tfpipeline.checkpoints.tokenizer_files import read_tokenizer, write_tokenizer
from tfpipeline.errors import UserError
from tfpipeline.files import write_failure
from tfpipeline.models.architectures.bert.config import BertConfig

PREFIX = "bert_model.ckpt"
FILES = f"{CONFIG}, {VOCABULARY} and {PREFIX}.index"

_LAYER = "bert/encoder/layer_{i}"
TABLE = Table(
    [
        Tensor("embeddings/word", "bert/embeddings/word_embeddings", "V H"),
        Tensor("embeddings/position", "bert/embeddings/position_embeddings", "P H"),
        Tensor("embeddings/token_type", "bert/embeddings/token_type_embeddings", "Y H"),
        Tensor("embeddings/norm/scale", "bert/embeddings/LayerNorm/gamma", "H"),
        Tensor("embeddings/norm/bias", "bert/embeddings/LayerNorm/beta", "H"),
        Tensor("layer_{i}/attention/query/kernel", f"{_LAYER}/attention/self/query/kernel", "H (N D)"),
        Tensor("layer_{i}/attention/query/bias", f"{_LAYER}/attention/self/query/bias", "(N D)"),
        Tensor("layer_{i}/attention/key/kernel", f"{_LAYER}/attention/self/key/kernel", "H (N D)"),
        Tensor("layer_{i}/attention/key/bias", f"{_LAYER}/attention/self/key/bias", "(N D)"),
        Tensor("layer_{i}/attention/value/kernel", f"{_LAYER}/attention/self/value/kernel", "H (N D)"),
        Tensor("layer_{i}/attention/value/bias", f"{_LAYER}/attention/self/value/bias", "(N D)"),
        Tensor("layer_{i}/attention/output/kernel", f"{_LAYER}/attention/output/dense/kernel", "(N D) H"),
        Tensor("layer_{i}/attention/output/bias", f"{_LAYER}/attention/output/dense/bias", "H"),
        Tensor("layer_{i}/attention/norm/scale", f"{_LAYER}/attention/output/LayerNorm/gamma", "H"),
        Tensor("layer_{i}/attention/norm/bias", f"{_LAYER}/attention/output/LayerNorm/beta", "H"),
        Tensor("layer_{i}/feed_forward/inner/kernel", f"{_LAYER}/intermediate/dense/kernel", "H I"),
        Tensor("layer_{i}/feed_forward/inner/bias", f"{_LAYER}/intermediate/dense/bias", "I"),
        Tensor("layer_{i}/feed_forward/outer/kernel", f"{_LAYER}/output/dense/kernel", "I H"),
        Tensor("layer_{i}/feed_forward/outer/bias", f"{_LAYER}/output/dense/bias", "H"),
        Tensor("layer_{i}/feed_forward/norm/scale", f"{_LAYER}/output/LayerNorm/gamma", "H"),
        Tensor("layer_{i}/feed_forward/norm/bias", f"{_LAYER}/output/LayerNorm/beta", "H"),
        Tensor("pooler/kernel", "bert/pooler/dense/kernel", "H K"),
        Tensor("pooler/bias", "bert/pooler/dense/bias", "K"),
        Tensor("mlm/dense/kernel", "cls/predictions/transform/dense/kernel", "H K"),
        Tensor("mlm/dense/bias", "cls/predictions/transform/dense/bias", "K"),
        Tensor("mlm/norm/scale", "cls/predictions/transform/LayerNorm/gamma", "K"),
        Tensor("mlm/norm/bias", "cls/predictions/transform/LayerNorm/beta", "K"),
        Tensor("mlm/bias", "cls/predictions/output_bias", "V"),
        Tensor("nsp/kernel", "cls/seq_relationship/output_weights", "S H"),
        Tensor("nsp/bias", "cls/seq_relationship/output_bias", "S"),
        # run_classifier.py. Google has no tagger; ours uses the same names, and a key in the configuration.
        Tensor("sequence_classifier/kernel", "output_weights", "C H"),
        Tensor("sequence_classifier/bias", "output_bias", "C"),
        Tensor("token_classifier/kernel", "output_weights", "C H"),
        Tensor("token_classifier/bias", "output_bias", "C"),
        Tensor("span/kernel", "cls/squad/output_weights", "S H"),
        Tensor("span/bias", "cls/squad/output_bias", "S"),
    ],
    [
        Ignored("*/adam_[mv]", "optimizer slots of pre-training"),
        Ignored("global_step", "the step counter of pre-training"),
    ],
)

# Activations with another name in this format.
_ACTIVATIONS = {"gelu": "gelu_tanh"}


def recognise(directory: Path) -> bool:
    """Whether a directory holds this format."""
    # TF Model Garden has the same files from TensorFlow 2; PyTorch's first BERT had the same configuration.
    if any(directory.glob("*.index")):
        has_name = (directory / CONFIG).exists() or any(directory.glob("*.ckpt.index"))
        has_name |= _config_path(directory).exists() and not huggingface.recognise(directory)
        return has_name and (holds(directory, object_based=False) or not holds(directory, object_based=True))
    return (directory / CONFIG).exists() and not any(
        file.suffix in (".bin", ".safetensors", ".h5") for file in directory.iterdir()
    )


def _config_path(directory: Path) -> Path:
    """The configuration file: Google's own or else transformers', the only one in some repositories."""
    own, theirs = directory / CONFIG, directory / transformers_config.CONFIG
    return theirs if theirs.exists() and not own.exists() and not is_keras_object(theirs) else own


def owns(directory: Path, name: str) -> bool:
    """Whether a file of the directory is one of this format's weights."""
    return is_of_kind(directory, name, object_based=False)


def read(directory: Path, name: str = "") -> Checkpoint:
    """Read a checkpoint directory.

    Args:
        directory: with the files.
        name: a checkpoint's prefix, or one of its files, if the directory holds several checkpoints.
    Raises:
        UserError: files are missing or malformed, or do not match.
    """
    notes: list[str] = []
    path = _config_path(directory)
    values = read_json(path)
    reader, prefix = open_bundle(directory, name, PREFIX, object_based=False)
    shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
    pooler, classifier = "bert/pooler/dense/kernel" in shapes, "output_weights" in shapes
    where = f"{prefix} does not fit {path.name}"
    if path.name == CONFIG:
        config = _config(values, path, pooler, notes)
        placed, left_out = TABLE.match(config, shapes, where, _heads(values, path))
        labels = _labels(values, path, placed, notes)
    else:
        notes.append(
            f"no {CONFIG}; {path.name} is read as transformers reads it (--gelu tanh if its gelu is Google's)"
        )
        transformers_config.refuse_others(values, path)
        config = transformers_config.encoder_config(values, path, pooler, notes)
        heads = transformers_config.heads_of(values, path, notes, classifier=classifier, pooler=pooler)
        placed, left_out = TABLE.match(config, shapes, where, heads)
        labels = transformers_config.read_labels(values, path, labels_of(placed), notes)
    vocabulary, tokenizer = read_tokenizer(
        directory, notes, rows=config.vocab_size, named=values.get("tokenizer_class")
    )
    notes += check_vocabulary(vocabulary, tokenizer, config, directory / VOCABULARY)

    tensors, of_heads = lazy(placed, lambda name: as_float32(read_tensor(reader, prefix, name), name, prefix))
    return Checkpoint(
        source=directory,
        format="google",
        config=config,
        vocabulary=vocabulary,
        tokenizer=tokenizer,
        own_tokenizer=True,
        tensors=tensors,
        heads=of_heads,
        labels=labels,
        problem_type=values.get("problem_type"),
        left_out=left_out,
        notes=notes,
    )


def write(checkpoint: Checkpoint, directory: Path) -> list[str]:
    """Write a checkpoint into an empty directory; returns notes.

    Raises:
        UserError: the model uses something that Google's code does not support, or the disk is full.
    """
    notes = []
    config = checkpoint.config
    values = {field: getattr(config, field) for field in FIELDS}
    if config.hidden_act.startswith("gelu_"):
        values |= {"hidden_act": "gelu", "gelu": config.hidden_act.removeprefix("gelu_")}
    elif config.hidden_act not in ("relu", "tanh"):
        raise UserError(
            f'Google\'s BERT code has no activation "{config.hidden_act}"; it cannot be written in its format'
        )
    values["layer_norm_eps"] = config.layer_norm_eps
    if config.hidden_act == "gelu_erf":
        notes.append(
            "the model's gelu is the exact one (erf); Google's own code computes tanh for \"gelu\" and will "
            "differ "
            f'slightly. {CONFIG} says "gelu": "erf", which is read back here'
        )
    if config.layer_norm_eps != LAYER_NORM_EPS:
        notes.append(
            f"layer_norm_eps is {config.layer_norm_eps:g}; Google's own code computes with {LAYER_NORM_EPS:g}"
        )
    if "token_classifier" in checkpoint.head_names:
        values["classifier"] = "token"
    if checkpoint.labels:
        values["labels"] = list(checkpoint.labels)
    if checkpoint.problem_type is not None:
        values["problem_type"] = checkpoint.problem_type
    (directory / CONFIG).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
    notes += write_tokenizer(directory, checkpoint.vocabulary, checkpoint.tokenizer)
    placed = TABLE.place(config, checkpoint.head_names, len(checkpoint.labels))
    placed.sort(key=lambda tensor: tensor.theirs)
    try:
        tf.raw_ops.SaveV2(
            prefix=str(directory / PREFIX),
            tensor_names=[tensor.theirs for tensor in placed],
            shape_and_slices=[""] * len(placed),
            tensors=[tf.constant(tensor.to_theirs(checkpoint.tensor(tensor.ours))) for tensor in placed],
        )
    except tf.errors.OpError as error:
        reason = str(error.message).partition(" [Op:")[0]
        raise write_failure(directory / PREFIX, reason) from error
    return notes


def _config(values: dict[str, Any], path: Path, pooler: bool, notes: list[str]) -> BertConfig:
    require_fields(values, REQUIRED, path)
    fields = known_fields(values)
    word = fields["hidden_act"]
    if word == "gelu" and "gelu" in values:
        if values["gelu"] not in ("erf", "tanh"):
            raise UserError(f'{path}: gelu is {json.dumps(values["gelu"])}; it must be "erf" or "tanh"')
        fields["hidden_act"] = f"gelu_{values['gelu']}"
        notes.append(f'hidden_act is {fields["hidden_act"]}, as the key "gelu" says')
    else:
        fields["hidden_act"] = activation_of(word, _ACTIVATIONS, path)
        if word != fields["hidden_act"]:
            whose = "google-research/bert" if word in _ACTIVATIONS else "transformers"
            notes.append(f'hidden_act "{word}" is {fields["hidden_act"]}: what {whose} computes')
    fields["layer_norm_eps"] = values.get("layer_norm_eps", LAYER_NORM_EPS)
    if "layer_norm_eps" not in values:
        notes.append(f"layer_norm_eps is {LAYER_NORM_EPS:g}: google-research/bert's constant")
    if not pooler:
        notes.append("the checkpoint has no pooler")
    return config_from(BertConfig, {**fields, "pooler": pooler}, path)


def _heads(values: dict[str, Any], path: Path) -> list[str]:
    """The heads to look for: only one kind of classifier, because both kinds use the same names."""
    kind = values.get("classifier", "sequence")
    if kind not in ("sequence", "token"):
        raise UserError(f'{path}: classifier is {kind!r}; it must be "sequence" or "token"')
    other = {"sequence": "token_classifier", "token": "sequence_classifier"}[kind]
    return [head for head in TABLE.heads() if head != other]


def _labels(
    values: dict[str, Any], path: Path, placed: Sequence[TensorMapping], notes: list[str]
) -> tuple[str, ...]:
    count = labels_of(placed)
    if count and "labels" not in values:
        notes.append(f"{CONFIG} names no labels; the classifier's {count} are called LABEL_0, LABEL_1 ...")
    return check_labels(values.get("labels"), count, path)
