"""A checkpoint format for encoders of every architecture: neutral names in NumPy's ``.npz``."""

from __future__ import annotations

import json

import numpy as np

from tfpipeline.checkpoints.checkpoint import Checkpoint
from tfpipeline.models.architectures import read_config
from tfpipeline.text import TokenizerOptions

FILES = "encoder.npz, encoder.json and tokens.json"


def recognise(directory):
    return (directory / "encoder.npz").exists()


def owns(directory, name):
    return name == "encoder.npz"


def read(directory, name=""):
    with np.load(directory / "encoder.npz") as arrays:
        tensors = dict(arrays)
    return Checkpoint(
        source=directory,
        format="neutral_npz",
        config=read_config(json.loads((directory / "encoder.json").read_text())),
        vocabulary=tuple(json.loads((directory / "tokens.json").read_text())),
        tokenizer=TokenizerOptions(),
        tensors=tensors,
    )


def write(checkpoint, directory):
    np.savez(directory / "encoder.npz", **checkpoint.tensors)
    (directory / "encoder.json").write_text(json.dumps(checkpoint.config.to_dict()))
    (directory / "tokens.json").write_text(json.dumps(checkpoint.vocabulary))
    return ["the options of the tokenizer are left out"]
