"""One step of a search with beams: the best continuations, and the texts that are complete.

The search is that of transformers: of 2 W candidates those that end a text are complete if they are among the
first W, and the first W of the others go on. Of equal candidates the earlier beam counts, then the lower
token; of equal texts the one that was complete first. A search with one beam is greedy.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

_BLOCK = 128  # numbers in a block of `largest`
_BLOCKS_PER_NUMBER = 4  # with fewer blocks for each number that is looked for, blocks save nothing


class Candidates(NamedTuple):
    """The best continuations of a source's beams, the best first.

    B' sources, K candidates.

    Attributes:
        scores: [B', K], sums of log-probabilities; minus infinity where there is none.
        beams: int32 [B', K], the beam that each continues.
        tokens: int32 [B', K], the token with which it does.
    """

    scores: tf.Tensor
    beams: tf.Tensor
    tokens: tf.Tensor


class Texts(NamedTuple):
    """Complete texts of sources. W places, L tokens.

    Attributes:
        scores: [B', W], minus infinity in places without a text.
        tokens: int32 [B', W, L].
        lengths: int32 [B', W], the number of tokens, without [SEP].
    """

    scores: tf.Tensor
    tokens: tf.Tensor
    lengths: tf.Tensor


def candidates(
    logits: tf.Tensor, raw: tf.Tensor, total: tf.Tensor, scores: tf.Tensor, end: int
) -> Candidates:
    """The best continuations, one more than two for each beam.

    Args:
        logits: [B', W, V], minus infinity for tokens that may not follow.
        raw: [B', W], the logit of [SEP], which follows if nothing else may.
        total: [B', W], the logarithm of the sum of the exponentials of the model's logits.
        scores: [B', W], of the beams so far.
        end: [SEP].
    """
    shape = tf.shape(logits)
    width = shape[1]
    count = tf.minimum(2 * width + 1, shape[2])
    values, ids = largest(logits, count)
    stuck = tf.math.is_inf(values[:, :, :1]) & tf.equal(tf.range(count), 0)
    values = tf.where(stuck, raw[:, :, None], values)
    ids = tf.where(stuck, end, ids)
    sums = scores[:, :, None] + (values - total[:, :, None])
    best, places = tf.math.top_k(tf.reshape(sums, [-1, width * count]), tf.minimum(count, width * count))
    tokens = tf.gather(tf.reshape(ids, [-1, width * count]), places, batch_dims=1)
    return Candidates(best, places // count, tokens)


def largest(x: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """``tf.math.top_k`` of a few numbers among very many, several times as fast on a CPU.

    The largest numbers are in the blocks with the largest maxima, and a maximum is computed with vector
    instructions.

    Args:
        x: [B', W, V].
        count: how many, int32 [], at most V.
    Returns:
        The numbers and their places (int32), [B', W, count]; of equal numbers the first ones, in order.
    """
    rows, width, size = tf.unstack(tf.shape(x))
    number = size // _BLOCK

    def in_blocks() -> tuple[tf.Tensor, tf.Tensor]:
        blocks = tf.reshape(x[:, :, : number * _BLOCK], [rows, width, number, _BLOCK])
        chosen = tf.math.top_k(tf.reduce_max(blocks, axis=3), count).indices
        chosen = tf.sort(chosen, axis=2)  # in the order of their numbers, so that equal ones stay in order
        flat = [rows, width, count * _BLOCK]
        places = tf.reshape(chosen[:, :, :, None] * _BLOCK + tf.range(_BLOCK), flat)
        rest = tf.broadcast_to(tf.range(number * _BLOCK, size), [rows, width, size - number * _BLOCK])
        places = tf.concat([places, rest], 2)
        numbers = tf.reshape(tf.gather(blocks, chosen, batch_dims=2), flat)
        values, found = tf.math.top_k(tf.concat([numbers, x[:, :, number * _BLOCK :]], 2), count)
        return values, tf.gather(places, found, batch_dims=2)

    def at_once() -> tuple[tf.Tensor, tf.Tensor]:
        values, found = tf.math.top_k(x, count)
        return values, found

    values, places = tf.cond(number >= _BLOCKS_PER_NUMBER * count, in_blocks, at_once)
    return values, places


def divided(scores: tf.Tensor, length: tf.Tensor, penalty: tf.Tensor) -> tf.Tensor:
    """Scores of texts of a length, in tokens, [B', X]; the penalty is [B']."""
    return scores / tf.cast(length, scores.dtype)[..., None] ** penalty[:, None]


def merged(texts: Texts, others: Texts, places: tf.Tensor) -> Texts:
    """The best of two lists of texts; of equal ones the first.

    Args:
        texts: the texts so far, W.
        others: further ones, any number.
        places: int32 [B'], how many are kept of each source, at most W.
    """
    width = tf.shape(texts.scores)[1]
    scores, chosen = tf.math.top_k(tf.concat([texts.scores, others.scores], axis=1), width)
    scores = tf.where(tf.range(width) < places[:, None], scores, float("-inf"))
    tokens = tf.concat([texts.tokens, others.tokens], axis=1)
    lengths = tf.concat([texts.lengths, others.lengths], axis=1)
    return Texts(scores, tf.gather(tokens, chosen, batch_dims=1), tf.gather(lengths, chosen, batch_dims=1))
