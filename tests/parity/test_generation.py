"""A prefix language model beside transformers' classes with the same weights: ``make parity``."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is in an environment of its own: make parity")

import tensorflow as tf
import torch
from transformers import BertConfig, BertForMaskedLM, BertLMHeadModel

from tests.parity import pytorch
from tests.parity.cases import TINY_CONFIG, TINY_TOLERANCE
from tfpipeline import checkpoints
from tfpipeline.models import GenerationHead, TextModel
from tfpipeline.models.decoding import Choices, Rules, generate
from tfpipeline.models.inputs import CAUSAL_MASK
from tfpipeline.models.model_call import ModelCall

END, SOURCES, WRITTEN = 2, [5, 1, 4], 6
SIZE = TINY_CONFIG["vocab_size"]


def pair_of_models(kind, tmp_path, **changes):
    """A random model of transformers, and ours with its weights."""
    torch.manual_seed(4)
    config = BertConfig(**TINY_CONFIG, **changes, attn_implementation="eager")
    theirs = kind(config).eval()
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            weight.normal_(0, 0.3)
            if name.endswith("LayerNorm.weight"):
                weight += 1
    theirs.save_pretrained(tmp_path)
    # A decoder's tensors are those of an encoder, which is asked to be causal.
    BertConfig(**TINY_CONFIG).save_pretrained(tmp_path)
    pytorch.write_vocabulary(tmp_path, SIZE)
    loaded = checkpoints.load(tmp_path)
    head = GenerationHead(
        SIZE,
        tokens=SIZE,
        mask_id=None,
        most_tokens=WRITTEN,
        hidden_act=loaded.config.hidden_act,
        layer_norm_eps=loaded.config.layer_norm_eps,
    )
    ours = TextModel(loaded.encoder(), head)
    for name, variable in head_variables(head).items():
        variable.assign(loaded.heads[name])
    return theirs, ours


def head_variables(head):
    return {
        "mlm/dense/kernel": head.dense.kernel,
        "mlm/dense/bias": head.dense.bias,
        "mlm/norm/scale": head.norm.scale,
        "mlm/norm/bias": head.norm.bias,
        "mlm/bias": head.bias,
    }


def batch(rows, sources):
    """Rows of ids as our inputs, padded; sources see each other, what follows sees what is before it."""
    width = max(map(len, rows))
    padded = np.array([[*row, *[0] * (width - len(row))] for row in rows], np.int32)
    places, lengths = np.arange(width), np.array([[len(row)] for row in rows])
    mask = (places < lengths).astype(np.int32)
    causal = ((places >= np.array(sources)[:, None]) & (mask > 0)).astype(np.int32)
    return {
        "input_ids": padded,
        "token_type_ids": causal,
        "attention_mask": mask,
        CAUSAL_MASK: causal,
    }


def their_logits(model, inputs):
    """Of transformers, [B, T, V]: the attention mask says, for each token, which it sees."""
    width = inputs["input_ids"].shape[1]
    places = np.arange(width)
    seen = (inputs[CAUSAL_MASK][:, None] == 0) | (places <= places[:, None])
    seen = (seen & (inputs["attention_mask"][:, None] > 0)).astype(np.int64)
    with torch.no_grad():
        return model(
            input_ids=torch.from_numpy(inputs["input_ids"].astype(np.int64)),
            token_type_ids=torch.from_numpy(inputs["token_type_ids"].astype(np.int64)),
            attention_mask=torch.from_numpy(seen),
        ).logits.numpy()


def random_rows():
    random = np.random.default_rng(1)
    return [random.integers(5, SIZE, source + WRITTEN).tolist() for source in SOURCES]


def test_each_token_sees_the_source_and_what_is_before_it(tmp_path):
    theirs, ours = pair_of_models(BertForMaskedLM, tmp_path)
    inputs = batch(random_rows(), SOURCES)
    want = their_logits(theirs, inputs)
    width = want.shape[1]
    positions = np.tile(np.arange(width, dtype=np.int32), (len(want), 1))
    got = ours({**inputs, "predicted_positions": positions})["logits"].numpy()
    there = inputs["attention_mask"].astype(bool)
    assert np.abs(got - want)[there].max() < 10 * TINY_TOLERANCE
    # Without the mask, everything sees everything.
    blind = ours({**inputs, CAUSAL_MASK: 0 * inputs[CAUSAL_MASK], "predicted_positions": positions})
    assert np.abs(blind["logits"].numpy() - want)[there].max() > 0.1


def test_a_decoder_of_transformers_gives_the_same_logits(tmp_path):
    """One that is causal throughout, as ours is if nothing is a source."""
    theirs, ours = pair_of_models(BertLMHeadModel, tmp_path, is_decoder=True)
    inputs = batch(random_rows(), [0] * len(SOURCES))
    positions = np.tile(np.arange(inputs["input_ids"].shape[1], dtype=np.int32), (len(SOURCES), 1))
    with torch.no_grad():
        want = theirs(
            **{
                name: torch.from_numpy(inputs[name].astype(np.int64))
                for name in ("input_ids", "token_type_ids", "attention_mask")
            }
        ).logits.numpy()
    got = ours({**inputs, "predicted_positions": positions})["logits"].numpy()
    there = inputs["attention_mask"].astype(bool)
    assert np.abs(got - want)[there].max() < 10 * TINY_TOLERANCE


@pytest.mark.parametrize("serving", [False, True])
def test_the_same_tokens_are_written(tmp_path, serving):
    """Greedy, with the cache, beside a loop that calls transformers on all tokens again for each."""
    theirs, ours = pair_of_models(BertForMaskedLM, tmp_path)
    sources = [row[:source] for row, source in zip(random_rows(), SOURCES)]
    rows = [list(source) for source in sources]
    ends = [False] * len(rows)
    for _ in range(WRITTEN):
        logits = their_logits(theirs, batch(rows, SOURCES))
        for place, row in enumerate(rows):
            following = int(logits[place, len(row) - 1].argmax())
            ends[place] |= following == END
            row += [] if ends[place] else [following]
    want = [row[source:] for row, source in zip(rows, SOURCES)]
    assert len({token for row in want for token in row}) > 3
    inputs = batch(sources, SOURCES)
    del inputs[CAUSAL_MASK]
    call = ModelCall(
        ours.for_serving() if serving else ours,
        {name: tf.constant(array) for name, array in inputs.items()},
    )
    rules = Rules(end=END, vocabulary=SIZE, most_tokens=WRITTEN)
    found = generate(call, rules, Choices(max_new_tokens=WRITTEN))
    lengths = found["lengths"].numpy()[:, 0]
    got = [row[:length].tolist() for row, length in zip(found["tokens"].numpy()[:, 0], lengths)]
    assert got == want
