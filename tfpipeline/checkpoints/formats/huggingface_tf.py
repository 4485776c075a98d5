"""Hugging Face directories with TensorFlow weights: ``config.json``, ``tf_model.h5``, tokenizer files.

Source: transformers 4, ``models/bert/modeling_tf_bert.py`` and ``modeling_tf_utils.py`` (version 5 does not
support TensorFlow). Computation and configuration are those of ``formats.huggingface``; kernels are stored as
[in, out]. The file is HDF5 as written by Keras 2. It has a group for each layer of the model, which holds the
variables by their names: ``bert/tf_bert_for_masked_lm/bert/pooler/dense/kernel:0``. The class name in them is
irrelevant and may be numbered (``tf_bert_model_1``). Names in shards have no layer and no class.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path

from tfpipeline.checkpoints.added_tokens import TOKENIZER
from tfpipeline.checkpoints.checkpoint import Checkpoint
from tfpipeline.checkpoints.files import VOCABULARY, is_keras_object, read_json
from tfpipeline.checkpoints.formats import huggingface
from tfpipeline.checkpoints.formats._transformers_config import CONFIG, assemble, config_path, refuse_others
from tfpipeline.checkpoints.table import Ignored, Table, Tensor
from tfpipeline.checkpoints.weights import Weights, open_h5, open_h5_shards

MODEL = "tf_model.h5"
INDEX = f"{MODEL}.index.json"
FILES = f"{CONFIG}, {VOCABULARY} (or {TOKENIZER}) and {MODEL}"
_WEIGHTS = (MODEL, INDEX, "tf_model-*.h5")

_LAYER = "bert/encoder/layer_._{i}"
TABLE = Table(
    [
        Tensor("embeddings/word", "bert/embeddings/word_embeddings/weight:0", "V H"),
        Tensor("embeddings/position", "bert/embeddings/position_embeddings/embeddings:0", "P H"),
        Tensor("embeddings/token_type", "bert/embeddings/token_type_embeddings/embeddings:0", "Y H"),
        Tensor("embeddings/norm/scale", "bert/embeddings/LayerNorm/gamma:0", "H"),
        Tensor("embeddings/norm/bias", "bert/embeddings/LayerNorm/beta:0", "H"),
        Tensor("layer_{i}/attention/query/kernel", f"{_LAYER}/attention/self/query/kernel:0", "H (N D)"),
        Tensor("layer_{i}/attention/query/bias", f"{_LAYER}/attention/self/query/bias:0", "(N D)"),
        Tensor("layer_{i}/attention/key/kernel", f"{_LAYER}/attention/self/key/kernel:0", "H (N D)"),
        Tensor("layer_{i}/attention/key/bias", f"{_LAYER}/attention/self/key/bias:0", "(N D)"),
        Tensor("layer_{i}/attention/value/kernel", f"{_LAYER}/attention/self/value/kernel:0", "H (N D)"),
        Tensor("layer_{i}/attention/value/bias", f"{_LAYER}/attention/self/value/bias:0", "(N D)"),
        Tensor("layer_{i}/attention/output/kernel", f"{_LAYER}/attention/output/dense/kernel:0", "(N D) H"),
        Tensor("layer_{i}/attention/output/bias", f"{_LAYER}/attention/output/dense/bias:0", "H"),
        Tensor("layer_{i}/attention/norm/scale", f"{_LAYER}/attention/output/LayerNorm/gamma:0", "H"),
        Tensor("layer_{i}/attention/norm/bias", f"{_LAYER}/attention/output/LayerNorm/beta:0", "H"),
        Tensor("layer_{i}/feed_forward/inner/kernel", f"{_LAYER}/intermediate/dense/kernel:0", "H I"),
        Tensor("layer_{i}/feed_forward/inner/bias", f"{_LAYER}/intermediate/dense/bias:0", "I"),
        Tensor("layer_{i}/feed_forward/outer/kernel", f"{_LAYER}/output/dense/kernel:0", "I H"),
        Tensor("layer_{i}/feed_forward/outer/bias", f"{_LAYER}/output/dense/bias:0", "H"),
        Tensor("layer_{i}/feed_forward/norm/scale", f"{_LAYER}/output/LayerNorm/gamma:0", "H"),
        Tensor("layer_{i}/feed_forward/norm/bias", f"{_LAYER}/output/LayerNorm/beta:0", "H"),
        Tensor("pooler/kernel", "bert/pooler/dense/kernel:0", "H K"),
        Tensor("pooler/bias", "bert/pooler/dense/bias:0", "K"),
        Tensor("mlm/dense/kernel", "mlm___cls/predictions/transform/dense/kernel:0", "H K"),
        Tensor("mlm/dense/bias", "mlm___cls/predictions/transform/dense/bias:0", "K"),
        Tensor("mlm/norm/scale", "mlm___cls/predictions/transform/LayerNorm/gamma:0", "K"),
        Tensor("mlm/norm/bias", "mlm___cls/predictions/transform/LayerNorm/beta:0", "K"),
        Tensor("mlm/bias", "mlm___cls/predictions/bias:0", "V"),
        Tensor("nsp/kernel", "nsp___cls/seq_relationship/kernel:0", "H S"),
        Tensor("nsp/bias", "nsp___cls/seq_relationship/bias:0", "S"),
        # Both have the same names; the class in the configuration distinguishes them.
        Tensor("sequence_classifier/kernel", "classifier/kernel:0", "H C"),
        Tensor("sequence_classifier/bias", "classifier/bias:0", "C"),
        Tensor("token_classifier/kernel", "classifier/kernel:0", "H C"),
        Tensor("token_classifier/bias", "classifier/bias:0", "C"),
        Tensor("span/kernel", "qa_outputs/kernel:0", "H S"),
        Tensor("span/bias", "qa_outputs/bias:0", "S"),
    ],
    # The masked-LM layer shares the embeddings, and Keras writes them with every layer that uses them.
    [Ignored("*/bert/embeddings/*", "a copy of the embeddings in another layer's group")],
)
# After the layer's group and the class, a variable's name starts with one of these.
_FIRST = tuple({row.theirs.partition("/")[0] for row in TABLE.tensors})
_BEFORE = 2


def recognise(directory: Path) -> bool:
    """Whether a directory holds this format, and neither safetensors nor PyTorch weights."""
    there = any((directory / name).exists() for name in (MODEL, INDEX))
    return there and not huggingface.holds_weights(directory) and not is_keras_object(directory / CONFIG)


def owns(directory: Path, name: str) -> bool:
    """Whether a file of the directory is one of this format's weights."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _WEIGHTS)


def read(directory: Path, name: str = "") -> Checkpoint:
    """Read a checkpoint directory.

    Args:
        directory: with the files.
        name: ``tf_model.h5`` or the index of its shards, if the directory holds both; ``tf_model.h5`` by
            default.
    Raises:
        UserError: files are missing or malformed, do not match, or do not belong to a BERT model.
    """
    path = config_path(directory)
    values = read_json(path)
    refuse_others(values, path)
    weights = _open(directory, name)
    names: dict[str, str] = {}
    # Names in the group of their own layer come first: the others are copies.
    for theirs in sorted(weights.shapes, key=_is_copy):
        ours = _rename(theirs)
        names[ours if ours not in names else theirs] = theirs
    return assemble("huggingface_tf", TABLE, directory, values, weights, names)


def _open(directory: Path, name: str) -> Weights:
    if name == INDEX or not (directory / MODEL).exists():
        return open_h5_shards(directory / INDEX)
    return open_h5(directory / MODEL)


def _is_copy(name: str) -> bool:
    """Whether a variable is stored in the group of a layer that does not own it."""
    return name.partition("/")[0] != _rename(name).partition("/")[0]


def _rename(name: str) -> str:
    """The name in the table: without the layer's group and the class."""
    parts = name.split("/")
    for start in range(_BEFORE, -1, -1):
        if parts[start : start + 1] and parts[start] in _FIRST:
            return "/".join(parts[start:])
    return name
