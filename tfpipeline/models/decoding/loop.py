"""The loop over tokens: chooses the next token of each text, and takes sources that are finished out."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

import tensorflow as tf

from tfpipeline.models.decoding import sampling, search
from tfpipeline.models.decoding.constraints import Constraints
from tfpipeline.models.decoding.rules import Choices, Rules
from tfpipeline.models.decoding.search import Texts
from tfpipeline.models.model_call import NEAR_TIES


class _Work(NamedTuple):
    """The sources at work. B' of them, W beams or drawn texts, L tokens.

    Attributes:
        rows: int32 [B'], their numbers in the batch, rising.
        scores: [B', W], sums of log-probabilities; minus infinity for beams that do not exist (any more).
        tokens: int32 [B', W, L], the tokens so far.
        texts: the complete texts.
        near: bool [B'], whether rounding may have changed a choice.
    """

    rows: tf.Tensor
    scores: tf.Tensor
    tokens: tf.Tensor
    texts: Texts
    near: tf.Tensor

    def some(self, rows: tf.Tensor) -> _Work:
        """Some of the sources, by their place here."""
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), self)


class _Step(NamedTuple):
    """What one step chooses.

    Attributes:
        scores: [B', W], of the beams that go on, as in :class:`_Work`.
        beams: int32 [B', W], the beam that each of them continues.
        tokens: int32 [B', W], the token with which it does.
        texts: the complete texts.
        near: bool [B'], whether rounding may change the choice.
        finished: bool [B'], whether nothing goes on.
    """

    scores: tf.Tensor
    beams: tf.Tensor
    tokens: tf.Tensor
    texts: Texts
    near: tf.Tensor
    finished: tf.Tensor


def generate(
    call: Any, rules: Rules, choices: Choices, tolerance: Optional[float] = None
) -> dict[str, tf.Tensor]:
    """Write texts, token by token, in the graph.

    Letters: B sources, N = ``rules.returned``, L = ``rules.most_tokens``.

    A text ends with [SEP] or after its most tokens. Its score is the sum of the log-probabilities of its
    tokens, [SEP] included, divided by their number to the power of the length penalty. The log-probabilities
    are those after penalties and constraints, but before temperature, ``top_k`` and ``top_p``. Forced tokens
    have the log-probability 0. If no token may follow, the text ends.

    Sources that are finished leave the work: the model computes the next token of the others only.

    Args:
        call: the model and the batch (:class:`tfpipeline.models.model_call.ModelCall`).
        rules: what is the same for all sources.
        choices: what each source chooses.
        tolerance: the largest difference of log-probabilities that counts as rounding; None to look for none.
    Returns:
        ``tokens``, int32 [B, N, L], padded with 0; ``lengths``, int32 [B, N], the number of tokens of each
        text without [SEP]; ``scores``, float32 [B, N]; ``count``, int32 [B], how many texts there are: the
        best first, or in the order in which they were drawn. With a tolerance also ``near_ties``, bool [B]:
        rounding may change these texts.
    """
    width = _width(rules, choices)
    first, state = call.start(width)
    return _Loop(call, rules, choices, tolerance, first, width).run(first, state)


def _width(rules: Rules, choices: Choices) -> Any:
    """The number of beams or texts at a time: W, or what the sources of this batch need; at least 1."""
    beams, drawn = choices.num_beams, choices.do_sample
    if not tf.is_tensor(beams) and not tf.is_tensor(drawn):
        return rules.returned if drawn else int(beams)
    if rules.width == 1:
        return 1
    most = tf.reduce_max(tf.where(tf.cast(drawn, tf.bool), rules.returned, beams))
    return tf.clip_by_value(most, 1, rules.width)


class _Loop:
    """The loop for one batch.

    Args:
        call, rules, choices, tolerance: as of :func:`generate`.
        first: [B, V], the logits of the first token.
        width: W, an int or an int32 scalar tensor.
    """

    def __init__(
        self,
        call: Any,
        rules: Rules,
        choices: Choices,
        tolerance: Optional[float],
        first: tf.Tensor,
        width: Any,
    ) -> None:
        self._call, self._rules, self._choices = call, rules, choices
        self._tolerance, self._width = tolerance, width
        self._batch, self._size = tf.shape(first)[0], tf.shape(first)[1]
        self._constraints = Constraints(rules, choices, self._size, first.dtype)
        self._infinite = tf.constant(float("-inf"), first.dtype)

    def run(self, first: tf.Tensor, state: Any) -> dict[str, tf.Tensor]:
        """The result of :func:`generate`, from the model's outputs for the first token."""
        work = self._start(first.dtype)
        logits = tf.broadcast_to(first[:, None, :], [self._batch, self._width, self._size])
        variables = (tf.constant(0), logits, state, work, work)
        relaxed = tf.nest.map_structure(lambda tensor: tf.TensorShape([None] * len(tensor.shape)), variables)
        *_, done = tf.while_loop(
            lambda step, logits, state, work, done: tf.size(work.rows) > 0,
            self._advance,
            variables,
            shape_invariants=relaxed,
            maximum_iterations=self._rules.most_tokens,
        )
        return self._result(done)

    def _start(self, dtype: tf.DType) -> _Work:
        """All sources, without any token. A search begins with one beam, because all would be equal."""
        rows, slots = tf.range(self._batch), tf.range(self._width)
        drawn = self._drawn(rows)[:, None]
        begins = tf.where(drawn, slots < self._rules.returned, tf.equal(slots, 0))
        shape = [self._batch, self._width]
        tokens = tf.zeros([*shape, self._rules.most_tokens], tf.int32)
        texts = Texts(tf.fill(shape, self._infinite), tokens, tf.zeros(shape, tf.int32))
        scores = tf.where(begins, tf.zeros([], dtype), self._infinite)
        return _Work(rows, scores, tokens, texts, tf.zeros([self._batch], tf.bool))

    def _drawn(self, rows: tf.Tensor) -> tf.Tensor:
        return self._choices.per_row("do_sample", rows, tf.bool)

    def _is_last(self, step: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Whether the token chosen now is the last one that a text has room for, bool [B']."""
        most = tf.minimum(self._choices.per_row("max_new_tokens", rows), self._rules.most_tokens)
        return step + 1 >= most

    def _advance(
        self, step: tf.Tensor, logits: tf.Tensor, state: Any, work: _Work, done: _Work
    ) -> tuple[Any, ...]:
        """Choose a token, take out what is finished, and ask the model for the logits of the next token."""
        chosen = self._choose(step, logits, work)
        work = _Work(work.rows, chosen.scores, work.tokens, chosen.texts, work.near | chosen.near)
        beams, tokens = chosen.beams, chosen.tokens

        def leave() -> Any:
            ended = tf.where(chosen.finished)[:, 0]
            places = tf.gather(work.rows, ended)[:, None]
            left = tf.nest.map_structure(
                lambda all_, own: tf.tensor_scatter_nd_update(all_, places, tf.gather(own, ended)), done, work
            )
            stay = tf.cast(tf.where(tf.logical_not(chosen.finished))[:, 0], tf.int32)
            kept = [tf.gather(tensor, stay) for tensor in (logits, beams, tokens)]
            return left, work.some(stay), self._call.keep(state, stay), *kept

        done, work, state, logits, beams, tokens = tf.cond(
            tf.reduce_any(chosen.finished),
            leave,
            lambda: (done, work, state, logits, beams, tokens),
        )
        moved = tf.reduce_any(tf.not_equal(beams, tf.range(self._width)))
        state, before = tf.cond(
            moved,
            lambda: (self._call.reorder(state, beams), tf.gather(work.tokens, beams, batch_dims=1)),
            lambda: (state, work.tokens),
        )
        here = tf.equal(tf.range(self._rules.most_tokens), step)
        work = work._replace(tokens=tf.where(here, tokens[:, :, None], before))
        logits, state = tf.cond(
            tf.size(work.rows) > 0,
            # A width that is known saves the transposes of a single token's query, key and value.
            lambda: self._call.step(state, tf.ensure_shape(tokens, [None, tf.get_static_value(self._width)])),
            lambda: (logits, state),
        )
        return step + 1, logits, state, work, done

    def _choose(self, step: tf.Tensor, logits: tf.Tensor, work: _Work) -> _Step:
        """The next tokens of the sources at work."""
        total = tf.reduce_logsumexp(logits, axis=2)
        allowed = self._constraints(logits, total, work.tokens, step, work.rows)
        raw = logits[:, :, self._rules.end]

        def searched() -> _Step:
            return self._search(step, allowed, raw, total, work)

        def drawn() -> _Step:
            return self._sample(step, allowed, raw, total, work)

        if not tf.is_tensor(self._choices.do_sample):
            return drawn() if self._choices.do_sample else searched()
        draws = self._drawn(work.rows)
        # Each only if a source asks for it; traced once each.
        by_search = tf.cond(tf.reduce_all(draws), lambda: self._nothing(work), searched)
        by_draw = tf.cond(tf.reduce_any(draws), drawn, lambda: by_search)

        def choose(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
            return tf.where(tf.reshape(draws, [-1, *[1] * (len(one.shape) - 1)]), one, other)

        return tf.nest.map_structure(choose, by_draw, by_search)

    def _nothing(self, work: _Work) -> _Step:
        """A step that chooses nothing."""
        tokens = tf.zeros(tf.shape(work.scores), tf.int32)
        no = tf.zeros_like(work.near)
        return _Step(work.scores, tokens, tokens, work.texts, no, no)

    def _search(
        self, step: tf.Tensor, allowed: tf.Tensor, raw: tf.Tensor, total: tf.Tensor, work: _Work
    ) -> _Step:
        """One step of a search with beams. Sources that draw have a step, too, which is not used; they may
        have chosen more beams than there are here.
        """
        beams = tf.minimum(self._choices.per_row("num_beams", work.rows), self._width)
        penalty = self._choices.per_row("length_penalty", work.rows, work.scores.dtype)
        last = self._is_last(step, work.rows)
        best = search.candidates(allowed, raw, total, work.scores, self._rules.end)
        ranks = tf.range(tf.shape(best.scores)[1])
        is_end = tf.equal(best.tokens, self._rules.end)
        ends = is_end | last[:, None]
        scores = search.divided(best.scores, step + 1, penalty)
        here = tf.equal(tf.range(self._rules.most_tokens), step) & ~is_end[:, :, None]
        tokens = tf.gather(work.tokens, best.beams, batch_dims=1)
        complete = Texts(
            tf.where(ends & (ranks < beams[:, None]), scores, self._infinite),
            tf.where(here, best.tokens[:, :, None], tokens),
            tf.where(is_end, step, step + 1),
        )
        texts = search.merged(work.texts, complete, beams)
        onward, places = tf.math.top_k(tf.where(ends, self._infinite, best.scores), self._width)
        onward = tf.where(tf.range(self._width) < beams[:, None], onward, self._infinite)
        worst = tf.gather(texts.scores, beams - 1, batch_dims=1)  # the texts are in order
        full = worst > self._infinite
        hopeless = search.divided(onward, step + 1, penalty)[:, 0] <= worst
        stops = tf.equal(beams, 1) | self._rules.early_stopping
        finished = (full & (stops | hopeless)) | tf.math.is_inf(onward[:, 0])
        near = self._near(best, ends, complete, work.texts, beams)
        if self._tolerance is not None:
            heuristic = tf.abs(search.divided(onward, step + 1, penalty)[:, 0] - worst) <= self._tolerance
            near |= full & ~stops & heuristic
        return _Step(
            onward,
            tf.gather(best.beams, places, batch_dims=1),
            tf.gather(best.tokens, places, batch_dims=1),
            texts,
            near,
            finished,
        )

    def _near(
        self, best: search.Candidates, ends: tf.Tensor, complete: Texts, before: Texts, beams: tf.Tensor
    ) -> tf.Tensor:
        """Whether rounding may change which candidates go on or are complete, or the order of the texts."""
        if self._tolerance is None:
            return tf.zeros_like(beams, tf.bool)
        ranks = tf.range(tf.shape(best.scores)[1] - 1)
        gaps = best.scores[:, :-1] - best.scores[:, 1:]  # NaN where there are no candidates any more
        going = tf.cumsum(tf.cast(~ends, tf.int32), axis=1)
        # The last candidate that goes on, and the last one whose end counts.
        last_going = tf.equal(going, beams[:, None]) & ~ends
        counts = last_going[:, :-1] & (beams > 1)[:, None] | tf.equal(ranks, beams[:, None] - 1)
        near = tf.reduce_any(counts & (gaps <= self._tolerance), axis=1)
        scores = tf.sort(tf.concat([before.scores, complete.scores], axis=1), direction="DESCENDING")
        ordered = tf.reduce_any(scores[:, :-1] - scores[:, 1:] <= self._tolerance, axis=1)
        return near | ordered

    def _sample(
        self, step: tf.Tensor, allowed: tf.Tensor, raw: tf.Tensor, total: tf.Tensor, work: _Work
    ) -> _Step:
        """Draw the next token of each text that has not ended."""
        penalty = self._choices.per_row("length_penalty", work.rows, work.scores.dtype)
        last = self._is_last(step, work.rows)
        stuck = tf.math.is_inf(tf.reduce_max(allowed, axis=2))
        tokens, near = sampling.draw(allowed, self._choices, step, work.rows, self._tolerance)
        tokens = tf.where(stuck, self._rules.end, tokens)
        own = tf.where(stuck, raw, tf.gather(allowed, tokens, batch_dims=2)) - total
        scores = work.scores + own
        writes = work.scores > self._infinite
        is_end = tf.equal(tokens, self._rules.end)
        ends = writes & (is_end | last[:, None])
        here = tf.equal(tf.range(self._rules.most_tokens), step) & ~is_end[:, :, None]
        texts = Texts(
            tf.where(ends, search.divided(scores, step + 1, penalty), work.texts.scores),
            tf.where(ends[:, :, None], tf.where(here, tokens[:, :, None], work.tokens), work.texts.tokens),
            tf.where(ends, tf.where(is_end, step, step + 1), work.texts.lengths),
        )
        onward = tf.where(ends, self._infinite, scores)
        return _Step(
            onward,
            tf.broadcast_to(tf.range(self._width), tf.shape(tokens)),
            tokens,
            texts,
            tf.reduce_any(near & writes, axis=1),
            tf.reduce_all(tf.math.is_inf(onward), axis=1),
        )

    def _result(self, done: _Work) -> dict[str, tf.Tensor]:
        returned, most = self._rules.returned, self._rules.most_tokens
        more = [[0, 0], [0, tf.maximum(returned - self._width, 0)]]
        scores = tf.pad(done.texts.scores, more, constant_values=self._infinite)[:, :returned]
        lengths = tf.pad(done.texts.lengths, more)[:, :returned]
        tokens = tf.pad(done.texts.tokens, [*more, [0, 0]])[:, :returned]
        there = scores > self._infinite
        lengths = tf.where(there, lengths, 0)
        tokens = tf.where(tf.sequence_mask(lengths, most), tokens, 0)
        result = {
            "tokens": tf.ensure_shape(tokens, [None, returned, most]),
            "lengths": tf.ensure_shape(lengths, [None, returned]),
            "scores": tf.ensure_shape(tf.cast(tf.where(there, scores, 0.0), tf.float32), [None, returned]),
            "count": tf.reduce_sum(tf.cast(there, tf.int32), axis=1),
        }
        return result if self._tolerance is None else {**result, NEAR_TIES: done.near}
