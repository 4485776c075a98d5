"""Tiny models with a method of parameter-efficient fine-tuning, for tests of all methods."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tests import tiny
from tfpipeline import _keras_internals
from tfpipeline.models import TextModel, peft
from tfpipeline.tasks.classification import Classification, ClassificationOptions
from tfpipeline.training.precision import policy

# Options under which a method does all that it can; a method that is not named has its defaults.
OPTIONS = {
    "adalora": [{"projections": ["all"], "initial_rank": 3, "target_rank": 2, "dropout": 0.2}],
    "adapters": [
        {"size": 5, "dropout": 0.2},
        {"size": 5, "placement": "pfeiffer", "activation": "relu"},
        {"size": 5, "placement": "parallel", "scale": 1.5, "dropout": 0.2},
    ],
    "lora": [
        {"rank": 3, "dropout": 0.2},
        {
            "projections": ["all"],
            "rank": 2,
            "ranks": {"layer_0/attention/query": 4, "re:.*outer": 1},
            "alphas": {"inner": -3.0},
            "rank_stabilized": True,
        },
    ],
    "prefix": [{"length": 3}],
}
CASES = [{"method": name, **options} for name in peft.names() for options in OPTIONS.get(name, [{}])]
FIRST = [{"method": name, **OPTIONS.get(name, [{}])[0]} for name in peft.names()]


def called(case):
    """A name for a case."""
    return "-".join([case["method"], *[str(case[key]) for key in ("placement",) if key in case]])


def task(dropout):
    """Of three labels."""
    return Classification(ClassificationOptions(dropout=dropout), ["a", "b", "c"])


def model(checkpoint, options=None, precision="float64", dropout=0.1, seed=3, **changes):
    """A classifier with the checkpoint's encoder, and perhaps a method."""
    config = dataclasses.replace(
        checkpoint.config, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, **changes
    )
    with policy(precision):
        made = TextModel(checkpoint.encoder(config), task(dropout).head(config, seed=0))
        if options is not None:
            peft.attach(made.encoder, options, seed)
    return made


def disturb(made, seed=0, std=0.3):
    """Set what the method trains to random values, as if it was trained; biases that it trains are moved."""
    random = np.random.default_rng(seed)
    for variable in made.adaptation.trained:
        variable.assign(variable.numpy() + random.normal(0, std, variable.shape))
    return made


def inputs(rows=3, width=7, seed=0):
    """Token ids with padding."""
    random = np.random.default_rng(seed)
    lengths = np.append(random.integers(3, width + 1, rows - 1), width)
    mask = (np.arange(width) < lengths[:, None]).astype(np.int32)
    ids = random.integers(5, len(tiny.VOCABULARY), (rows, width)).astype(np.int32) * mask
    return {"input_ids": ids, "token_type_ids": np.zeros_like(ids), "attention_mask": mask}


def logits(made, noise=None, **options):
    """A model's logits, with dropout if there is noise."""
    given = {name: tf.constant(value) for name, value in inputs(**options).items()}
    return np.asarray(made(given, training=noise is not None, noise=noise)["logits"])


def all_layers(layer):
    """A layer and all layers in it."""
    found: list[keras.layers.Layer] = [layer]
    for one in found:
        found += [sub for sub in _keras_internals.sublayers(one) if not any(sub is old for old in found)]
    return found
