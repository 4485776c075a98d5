"""Tasks of a few lines whose loss hangs on the whole batch, or whose inputs are changed at each step."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfpipeline.tasks import Scorer, Task, TaskOptions

SCALE = 20.0  # of cosines


class Options(TaskOptions):
    name: str = "tests.training.batch_tasks"


class TwoVectors(keras.layers.Layer):
    """Two vectors of unit length for each text: ``query`` and ``key``, [B, 8]."""

    def __init__(self, seed):
        super().__init__(name="head")
        self.query, self.key = (
            keras.layers.Dense(
                8, kernel_initializer=keras.initializers.RandomNormal(0, 0.3, seed + index), name=name
            )
            for index, name in enumerate(("query", "key"))
        )

    def build(self, shapes):
        for layer in (self.query, self.key):
            layer.build(shapes["sequence_output"])
        self.built = True

    def call(self, outputs, attention_mask):
        mask = keras.ops.cast(attention_mask, outputs["sequence_output"].dtype)[..., None]
        mean = keras.ops.sum(outputs["sequence_output"] * mask, 1) / keras.ops.sum(mask, 1)
        unit = {"query": self.query(mean), "key": self.key(mean)}
        return {name: keras.ops.normalize(value, axis=-1) for name, value in unit.items()}


class SizeScorer(Scorer):
    best_metric = "size"

    def metrics(self, predictions, targets, weights):
        return {"size": float(np.abs(predictions["key"]).mean())}


class InBatchNegatives(Task):
    """A row's key is to be told from the keys of the other rows (van den Oord et al. 2018,
    arXiv:1807.03748).
    """

    scorer_class = SizeScorer
    batch_loss = True

    def targets(self, examples, *, training=False):
        return {"label": np.zeros(len(examples), np.int32)}

    def head(self, config, seed):
        return TwoVectors(seed)

    def loss(self, outputs, targets):
        logits = SCALE * tf.matmul(outputs["query"], outputs["key"], transpose_b=True)
        logits = tf.where(targets["example_mask"][None], logits, -1e9)  # [B, B]
        return tf.reduce_logsumexp(logits, axis=1) - tf.linalg.diag_part(logits)

    def predictions(self, outputs, inputs):
        return {"key": tf.cast(outputs["key"], tf.float32)}


def in_batch_losses(query, key, mask):
    """The same in NumPy, row by row; NaN for rows that do not count."""
    losses = np.full(len(query), np.nan)
    for row in np.flatnonzero(mask):
        scores = SCALE * key[mask] @ query[row]
        losses[row] = (
            np.log(np.exp(scores - scores.max()).sum()) + scores.max() - SCALE * key[row] @ query[row]
        )
    return losses


class TokenLogits(keras.layers.Layer):
    """``logits`` [B, T, V] of what each token was."""

    def __init__(self, size, seed):
        super().__init__(name="head")
        initializer = keras.initializers.RandomNormal(0, 0.3, seed)
        self.dense = keras.layers.Dense(size, kernel_initializer=initializer, name="dense")

    def build(self, shapes):
        self.dense.build(shapes["sequence_output"])
        self.built = True

    def call(self, outputs, attention_mask):
        return {"logits": self.dense(outputs["sequence_output"])}


class CountScorer(Scorer):
    best_metric = "accuracy"

    def metrics(self, predictions, targets, weights):
        right, chosen = predictions["counts"].sum(0)
        return {"accuracy": float(right / chosen)}


class MaskedTokens(Task):
    """Which tokens were masked (Devlin et al. 2018, arXiv:1810.04805, section 3.1), 40 % instead of 15."""

    scorer_class = CountScorer
    augments = True

    def targets(self, examples, *, training=False):
        return {"label": np.zeros(len(examples), np.int32)}

    def augment(self, inputs, targets, noise, tokenizer):
        ids = inputs["input_ids"]
        width, vocabulary = tf.shape(ids)[1], tokenizer.vocabulary
        chosen = (noise.uniform(width, 0) < 0.4) & ~inputs["special_tokens_mask"]
        kind = noise.uniform(width, 1)
        changed = tf.where(kind < 0.8, vocabulary.index(tokenizer.options.mask_token), ids)
        changed = tf.where(kind >= 0.9, noise.integers(width, len(vocabulary), 2), changed)
        truth = {"truth": ids, "chosen": tf.cast(chosen, tf.int32)}
        return {**inputs, "input_ids": tf.where(chosen, changed, ids), **truth}, {**targets, **truth}

    def head(self, config, seed):
        return TokenLogits(config.vocab_size, seed)

    def loss(self, outputs, targets):
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets["truth"], outputs["logits"])
        chosen = tf.cast(targets["chosen"], losses.dtype)
        return tf.math.divide_no_nan(tf.reduce_sum(losses * chosen, 1), tf.reduce_sum(chosen, 1))

    def predictions(self, outputs, inputs):
        return {"token": tf.argmax(outputs["logits"], -1, tf.int32)}

    def scored_predictions(self, outputs, inputs):
        right = tf.argmax(outputs["logits"], -1, tf.int32) == inputs["truth"]
        chosen = inputs["chosen"] > 0
        counts = [tf.math.count_nonzero(which, 1, dtype=tf.int32) for which in (right & chosen, chosen)]
        return {"counts": tf.stack(counts, 1)}
