"""Tokens drawn at random, each source with random numbers of its own."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfpipeline.models.decoding.rules import Choices
from tfpipeline.models.row_noise import RowNoise

_KEY, _DRAW = 0, 0
_SORTED = 512  # top-k and top-p look at so many tokens first, and at all of them only if these do not suffice


class Drawn(NamedTuple):
    """Tokens that were drawn.

    Attributes:
        tokens: int32 [B', W].
        near: bool [B', W], whether rounding may change the token.
    """

    tokens: tf.Tensor
    near: tf.Tensor


def noise(seeds: tf.Tensor, step: tf.Tensor, width: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Random numbers in [0, 1) of one step, float32 [B', W, V].

    They are a pure function of the seed, the step, the number of the text and the token (and of V): neither
    the batch nor the machine matters.

    Args:
        seeds: int32 [B'].
        step: int32 [], the number of tokens so far.
        width: W.
        size: V.
    """
    rows = RowNoise(_KEY, step, tf.cast(seeds, tf.int64))
    return tf.reshape(rows.uniform(width * size, _DRAW), [-1, width, size])


def draw(
    logits: tf.Tensor, choices: Choices, step: tf.Tensor, rows: tf.Tensor, tolerance: float | None
) -> Drawn:
    """Draw a token of each text: the one of the largest sum of logit and Gumbel noise.

    The noise makes it a draw from the softmax of the logits (Maddison et al. 2014, arXiv:1411.0030), which
    rounding changes only if two sums are almost equal. First the logits are divided by the temperature, then
    ``top_k`` and ``top_p`` leave out tokens. Of tokens with equal logits those with lower ids stay longer.

    Args:
        logits: [B', W, V], minus infinity for tokens that must not be drawn.
        choices: of the sources.
        step: int32 [], the number of tokens so far.
        rows: int32 [B'], the sources.
        tolerance: the largest difference of log-probabilities that counts as rounding; None to look for none.
    """
    shape = tf.shape(logits)
    uniform = noise(choices.per_row("seed", rows), step, shape[1], shape[2])
    gumbel = tf.cast(-tf.math.log(-tf.math.log(uniform)), logits.dtype)
    temperature = choices.per_row("temperature", rows, logits.dtype)[:, None, None]
    scaled = logits / temperature
    near = None if tolerance is None else tf.cast(tolerance, logits.dtype) / temperature
    best = _best(scaled + gumbel, near)
    if choices.always("top_k", 0) and choices.always("top_p", 1.0):
        return best
    kept = choices.per_row("top_k", rows)[:, None, None]
    share = choices.per_row("top_p", rows, logits.dtype)[:, None, None]
    filters = (kept > 0) | (share < 1)

    def of_likely() -> Drawn:
        likely = _draw_from_likely(scaled, gumbel, kept, share, near)
        return Drawn(*(tf.where(filters[:, :, 0], some, all_) for some, all_ in zip(likely, best)))

    return tf.cond(tf.reduce_any(filters), of_likely, lambda: best)


def _best(sums: tf.Tensor, near: tf.Tensor | None) -> Drawn:
    """The first of the largest sums, [B', W, X]."""
    tokens = tf.argmax(sums, axis=2, output_type=tf.int32)
    if near is None:
        return Drawn(tokens, tf.zeros_like(tokens, tf.bool))
    two = tf.math.top_k(sums, tf.minimum(2, tf.shape(sums)[2])).values
    return Drawn(tokens, two[:, :, 0] - two[:, :, -1] <= near[:, :, 0])


def _draw_from_likely(
    scaled: tf.Tensor, gumbel: tf.Tensor, kept: tf.Tensor, share: tf.Tensor, near: tf.Tensor | None
) -> Drawn:
    """Draw from the tokens that top-k and top-p leave; arguments as in :func:`draw`, [B', 1, 1] each."""
    size = tf.shape(scaled)[2]
    kept = tf.where(kept > 0, tf.minimum(kept, size), size)
    all_of_them = tf.reduce_logsumexp(scaled, axis=2, keepdims=True)
    no_share = share >= 1

    def among(count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Draw from the ``count`` most likely tokens; also whether no others could be drawn."""
        values, ids = tf.math.top_k(scaled, count)
        ranks = tf.range(count)
        infinite = tf.constant(float("-inf"), values.dtype)
        # With top_k the probabilities are those among the tokens that it leaves.
        of_kept = tf.reduce_logsumexp(tf.where(ranks < kept, values, infinite), axis=2, keepdims=True)
        probabilities = tf.exp(values - tf.where(kept <= count, of_kept, all_of_them))
        before = tf.cumsum(probabilities, axis=2, exclusive=True)
        sums = values + tf.gather(gumbel, ids, batch_dims=2)

        def left(by_rank: tf.Tensor, before: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
            fits = (by_rank & (no_share | (before < share))) | tf.equal(ranks, 0)
            return tf.where(fits, sums, infinite)

        best = _best(left(ranks < kept, before, share), near)
        if near is not None:
            # The same draw from all tokens that rounding may leave, and from those that it surely leaves.
            last = tf.gather(values, tf.minimum(kept[:, :, 0], count) - 1, batch_dims=1, axis=2)
            after = tf.gather(values, tf.minimum(kept[:, :, 0], count - 1), batch_dims=1, axis=2)
            higher, as_high = _higher(values, near), _higher(values, -near)
            least = tf.gather(before, tf.minimum(higher, count - 1), batch_dims=2)
            most = tf.gather(before + probabilities, as_high - 1, batch_dims=2) - probabilities
            more = left(values >= last - near, least, share + near)
            less = left((values > after + near) | (kept >= count), most, share - near)
            others = [tf.argmax(some, axis=2, output_type=tf.int32) for some in (more, less)]
            differs = tf.reduce_any([tf.not_equal(other, best.tokens) for other in others], axis=0)
            best = best._replace(near=best.near | differs)
        alone = (kept <= count) | (before[:, :, -1:] >= share) | ((share >= 1) & (kept >= size))
        tokens = tf.gather(ids, best.tokens, batch_dims=2)
        return tokens, best.near, tf.reduce_all(alone)

    tokens, close, alone = among(tf.minimum(_SORTED, size))
    return Drawn(*tf.cond(alone, lambda: (tokens, close), lambda: among(size)[:2]))


def _higher(values: tf.Tensor, margin: tf.Tensor) -> tf.Tensor:
    """How many values are above each value by more than a margin, int32 [B', W, X]; of a negative margin, how
    many are not below it by more than that.

    Args:
        values: [B', W, X], falling.
        margin: [B', 1, 1].
    """
    return tf.searchsorted(-values, -(values + margin), side="left")
