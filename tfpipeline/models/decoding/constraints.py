"""Logits before a token is chosen: which tokens a text may have next, and how likely they are made."""

from __future__ import annotations

import tensorflow as tf

from tfpipeline.models.decoding.rules import Choices, Rules

# Marks of places without a token in comparisons; no token has a negative id.
_ANY, _NONE = -1, -2


class Constraints:
    """Applies the rules and the choices to logits.

    B' sources at work, W beams, L places for tokens, V logits.

    Args:
        rules: of the model.
        choices: of the sources.
        size: V, an int or an int32 scalar tensor.
        dtype: of the logits.
    """

    def __init__(self, rules: Rules, choices: Choices, size: tf.Tensor, dtype: tf.DType) -> None:
        self._rules, self._choices = rules, choices
        ids = tf.range(size)
        allowed = ids < rules.vocabulary
        if rules.never:
            places = tf.constant([[token] for token in rules.never], tf.int32)
            allowed = tf.tensor_scatter_nd_update(allowed, places, tf.zeros([len(rules.never)], tf.bool))
        infinite = tf.constant(float("-inf"), dtype)
        self._infinite = infinite
        self._allowed = tf.where(allowed, tf.zeros([], dtype), infinite)  # [V], to be added
        if rules.exempt:
            places = tf.constant([[token] for token in rules.exempt], tf.int32)
            self._exempt = tf.scatter_nd(places, tf.ones([len(rules.exempt)], tf.int32), [size]) > 0

    def __call__(
        self, logits: tf.Tensor, total: tf.Tensor, tokens: tf.Tensor, step: tf.Tensor, rows: tf.Tensor
    ) -> tf.Tensor:
        """The logits from which a token is chosen; minus infinity for tokens that a text may not have next.

        The logarithm of a token's probability is its logit minus ``total``, before and after.

        Args:
            logits: [B', W, V], of the model.
            total: [B', W], the logarithm of the sum of their exponentials.
            tokens: int32 [B', W, L], the tokens so far.
            step: int32 [], how many tokens there are.
            rows: int32 [B'], the sources.
        """
        logits = self._penalized(logits, total, tokens, step, rows)
        logits = self._allowed_only(logits, step, rows)
        logits = self._without_repeated(logits, tokens, step, rows)
        logits = self._without_banned(logits, tokens, step)
        return self._forced(logits, total, step)

    def _penalized(
        self, logits: tf.Tensor, total: tf.Tensor, tokens: tf.Tensor, step: tf.Tensor, rows: tf.Tensor
    ) -> tf.Tensor:
        """Multiply the log-probabilities of tokens that a text already has (Keskar et al. 2019,
        arXiv:1909.05858; of log-probabilities, because logits have no natural zero).
        """
        if self._choices.always("repetition_penalty", 1.0):
            return logits
        penalty = self._choices.per_row("repetition_penalty", rows, logits.dtype)

        def penalized() -> tf.Tensor:
            own = tf.gather(logits, tokens, batch_dims=2)  # [B', W, L]
            there = (tf.range(tf.shape(tokens)[2]) < step) & tf.not_equal(penalty, 1)[:, None, None]
            there = tf.broadcast_to(there, tf.shape(tokens))
            worse = total[:, :, None] + penalty[:, None, None] * (own - total[:, :, None])
            return tf.tensor_scatter_nd_update(logits, _places(there, tokens), tf.boolean_mask(worse, there))

        return tf.cond(tf.reduce_any(tf.not_equal(penalty, 1)), penalized, lambda: logits)

    def _allowed_only(self, logits: tf.Tensor, step: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Forbid tokens that may never follow, and the end of a text that is too short."""
        allowed = logits + self._allowed
        if self._choices.always("min_new_tokens", 0):
            return allowed
        early = step < self._choices.per_row("min_new_tokens", rows)
        # One column is written where it is: a mask for all tokens would be read and written as a whole.
        of_end = tf.where(early[:, None], self._infinite, logits[:, :, self._rules.end])
        places = tf.cast(tf.where(tf.ones_like(of_end, tf.bool)), tf.int32)
        ends = tf.fill([tf.shape(places)[0], 1], self._rules.end)
        return tf.tensor_scatter_nd_update(allowed, tf.concat([places, ends], 1), tf.reshape(of_end, [-1]))

    def _without_repeated(
        self, logits: tf.Tensor, tokens: tf.Tensor, step: tf.Tensor, rows: tf.Tensor
    ) -> tf.Tensor:
        """Forbid tokens that would repeat an n-gram without exempt tokens (Paulus et al. 2017,
        arXiv:1705.04304; exempt tokens as in UniLM).
        """
        if self._choices.always("no_repeat_ngram_size", 0):
            return logits
        sizes = self._choices.per_row("no_repeat_ngram_size", rows)[:, None, None]
        places = tf.range(tf.shape(tokens)[2])

        def countable(some: tf.Tensor) -> tf.Tensor:
            return tf.logical_not(tf.gather(self._exempt, some)) if self._rules.exempt else tf.constant(True)

        def compare(back: tf.Tensor, repeats: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            earlier = tf.roll(tokens, back, axis=2)  # at each place the token so far before it
            last = tokens[:, :, tf.maximum(step - back, 0)][:, :, None]
            same = tf.equal(earlier, last) & (places >= back) & (step >= back) & countable(earlier)
            return back + 1, repeats & (same | (back >= sizes))

        def without() -> tf.Tensor:
            # Whether the token at a place ends an n-gram that begins like the last tokens.
            ends = tf.broadcast_to((places < step) & (sizes > 0) & countable(tokens), tf.shape(tokens))
            longest = tf.reduce_max(sizes)
            _, repeats = tf.while_loop(
                lambda back, _: (back < longest) & (back <= step), compare, (tf.constant(1), ends)
            )
            repeats &= step >= sizes - 1
            return self._forbidden(logits, repeats, tokens)

        return tf.cond(tf.reduce_any(sizes > 0), without, lambda: logits)

    def _without_banned(self, logits: tf.Tensor, tokens: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Forbid the last token of each banned sequence where the tokens before it were just written."""
        banned = self._rules.banned
        if not banned:
            return logits
        longest = max(map(len, banned)) - 1
        before = tf.constant([[_ANY] * (longest + 1 - len(word)) + list(word[:-1]) for word in banned])
        last = tf.constant([word[-1] for word in banned])
        places = tf.range(step - longest, step)
        written = tf.where(places >= 0, tf.gather(tokens, tf.maximum(places, 0), axis=2), _NONE)
        fits = tf.equal(before, _ANY) | tf.equal(written[:, :, None, :], before)
        forbidden = tf.reduce_all(fits, axis=3)  # [B', W, number of sequences]
        return tf.cond(
            tf.reduce_any(forbidden),
            lambda: self._forbidden(logits, forbidden, tf.broadcast_to(last, tf.shape(forbidden))),
            lambda: logits,
        )

    def _forbidden(self, logits: tf.Tensor, where: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        places = _places(where, tokens)
        return tf.tensor_scatter_nd_update(logits, places, tf.fill([tf.shape(places)[0]], self._infinite))

    def _forced(self, logits: tf.Tensor, total: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Leave only the forced token, whose log-probability becomes 0."""
        forced = self._rules.forced
        if not forced:
            return logits

        def only() -> tf.Tensor:
            token = tf.gather(tf.constant(forced), step)
            is_forced = tf.equal(tf.range(tf.shape(logits)[2]), token)
            return tf.where(is_forced, total[:, :, None], self._infinite)

        return tf.cond(step < len(forced), only, lambda: logits)


def _places(where: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """The indices in [B', W, V] of tokens, int32 [M, 3].

    Args:
        where: bool [B', W, X], which tokens are meant.
        tokens: int32 [B', W, X].
    """
    beams = tf.cast(tf.where(where)[:, :2], tf.int32)
    return tf.concat([beams, tf.boolean_mask(tokens, where)[:, None]], axis=1)
