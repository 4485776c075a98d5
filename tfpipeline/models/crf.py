"""A linear-chain conditional random field: a sequence's tags, scored together.

The score of a tag sequence is the sum of its emissions (how well each tag fits its position; from the
network) and its transitions (how well neighbouring tags fit each other; learned). Source: Lafferty et al.
2001, ICML; with a network's emissions: Collobert et al. 2011, arXiv:1103.0398, section 3.2.2.

B rows, T positions, C tags. A mask selects the positions of each row's sequence; they need not be adjacent.
Positions outside it (special tokens, padding, all parts of a word but one) have no effect: the selected
positions on both sides of them are neighbours. Everything is computed in the dtype of the emissions, float32
at least. A large negative number or -inf forbids a tag or a transition. -inf is replaced by -1e30, so that
sums and differences are not NaN. A row without an allowed sequence has a score that low.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable

from keras import ops

from tfpipeline.models import kernels
from tfpipeline.models.layers import at_least_float32

_FORBIDDEN = -1e30


@dataclasses.dataclass(frozen=True)
class Transitions:
    """Scores of neighbouring tags, and of the first and last tag; tensors or variables of any float dtype.

    Attributes:
        between: [C, C], from the row's tag to the column's.
        start: [C], for the first tag of a sequence.
        end: [C], for the last tag.
    """

    between: Any
    start: Any
    end: Any


def sequence_score(emissions: Any, tags: Any, mask: Any, transitions: Transitions) -> Any:
    """The scores of given tag sequences.

    Args:
        emissions: [B, T, C], any float dtype.
        tags: integer [B, T], below C where ``mask`` is True (otherwise an error, on a CPU); ignored
            elsewhere.
        mask: bool [B, T].
        transitions: of C tags.
    Returns:
        [B], float32 at least; 0 for a row without positions.
    """
    rows = _Rows(mask)
    emissions, between, start, end = _prepare(rows, emissions, transitions)
    tags = ops.where(rows.real, rows.pack(ops.cast(tags, "int32")), 0)  # [S, B]
    fits = kernels.gather(emissions, tags, batch_dims=2)
    pairs = kernels.gather(ops.reshape(between, (-1,)), tags[:-1] * between.shape[0] + tags[1:])
    scores = fits + ops.concatenate([kernels.gather(start, tags[:1]), pairs], axis=0)
    # Summed from the left for every S, as in `log_partition`, so that padding does not change a bit.
    total = rows.last(ops.cumsum(scores, axis=0)) + kernels.gather(end, rows.last(tags))
    return rows.zero_if_empty(total)


def log_partition(emissions: Any, mask: Any, transitions: Transitions) -> Any:
    """The logarithm of the sum, over all sequences, of the exponential of their scores.

    Minus the score of the correct sequence, this is that sequence's negative log-likelihood. The gradient
    (the probabilities of tags and of pairs of tags) is computed with the forward-backward algorithm, as
    automatic differentiation would keep [B, C, C] numbers for every step. There are no second derivatives.

    Args:
        emissions: [B, T, C], any float dtype.
        mask: bool [B, T].
        transitions: of C tags.
    Returns:
        [B], float32 at least; 0 for a row without positions.
    """
    rows = _Rows(mask)

    @ops.custom_gradient
    def compute(emissions: Any, between: Any, start: Any, end: Any) -> Any:
        forward = _forward(emissions, between, start, _log_sum_exp)
        last = rows.last(forward.scores) + end
        total = rows.last(forward.offsets) + _log_sum_exp(last, axis=1)

        def gradient(dy: Any) -> Any:
            tags, pairs = _backward(rows, forward, between, last, with_pairs=True)
            dy = dy[None]  # [1, B]
            size = between.shape[0]
            return (
                tags * dy[:, :, None],
                ops.reshape(ops.matmul(dy, ops.reshape(pairs, (-1, size * size))), (size, size)),
                ops.matmul(dy, tags[0])[0],
                ops.matmul(dy, rows.last(tags))[0],
            )

        return rows.zero_if_empty(total), gradient

    return compute(*_prepare(rows, emissions, transitions))


def marginals(emissions: Any, mask: Any, transitions: Transitions) -> Any:
    """The marginal probability of each tag at each position (forward-backward algorithm).

    Args:
        emissions: [B, T, C], any float dtype.
        mask: bool [B, T].
        transitions: of C tags.
    Returns:
        [B, T, C], float32 at least; 0 where ``mask`` is False.
    Source: Rabiner 1989, doi 10.1109/5.18626, section III.
    """
    rows = _Rows(mask)
    emissions, between, start, end = _prepare(rows, emissions, transitions)
    forward = _forward(emissions, between, start, _log_sum_exp)
    tags, _ = _backward(rows, forward, between, rows.last(forward.scores) + end, with_pairs=False)
    tags = rows.unpack(tags)
    # Over many steps the sums drift from 1; a probability of 1.00001 would be surprising.
    return tags / ops.maximum(ops.sum(tags, axis=2, keepdims=True), 0.5)


def viterbi(emissions: Any, mask: Any, transitions: Transitions) -> tuple[Any, Any, Any]:
    """The sequences with the highest scores.

    Ties: the lowest last tag wins, then the lowest tag before it, and so on.

    Args:
        emissions: [B, T, C], any float dtype.
        mask: bool [B, T].
        transitions: of C tags.
    Returns:
        Three tensors:
        tags, int32 [B, T], 0 where ``mask`` is False;
        scores, [B], float32 at least, 0 for a row without positions;
        margins, [B, T] of the same dtype, 0 where ``mask`` is False: by how much the score exceeds that of
        the best sequence with another tag at the position. A row's lowest margin is the margin over its
        second-best sequence.
    Source: Viterbi 1967, doi 10.1109/TIT.1967.1054010; Rabiner 1989, doi 10.1109/5.18626, section III.
    """
    rows = _Rows(mask)
    emissions, between, start, end = _prepare(rows, emissions, transitions)
    forward = _forward(emissions, between, start, kernels.largest)
    total = rows.last(forward.offsets) + kernels.largest(rows.last(forward.scores) + end, axis=1)
    size = between.shape[0]
    # The end of a sequence counts as one more tag, C. Scores of the tags before each tag: [C + 1, C].
    before = ops.concatenate([ops.transpose(between), end[None]], axis=0)
    number = ops.arange(size, dtype="int32")

    def step(tag: Any, scores: Any, real: Any) -> tuple[Any]:
        scores = scores + kernels.gather(before, tag)
        best = kernels.largest(scores, axis=1, keepdims=True)
        # Not argmax, which does not define how ties are broken.
        first = -kernels.largest(ops.where(scores == best, -number, 1 - size), axis=1)
        return (ops.where(real, first, size),)

    behind = ops.full_like(rows.lengths, size)
    tags, *_ = kernels.scan(step, [behind], [forward.scores, rows.real], reverse=True)
    tags = tags[:-1]
    whole = forward.scores + _best_behind(rows, emissions, between, end)
    others = ops.where(number == tags[:, :, None], 2 * _FORBIDDEN, whole)
    lead = kernels.largest(whole, axis=2) - kernels.largest(others, axis=2)
    return rows.unpack(tags), rows.zero_if_empty(total), rows.unpack(lead)


class _Rows:
    """The selected positions of each row, moved to the front, with time as the first axis.

    There are S steps; a row uses the first ones.

    Attributes:
        lengths: int32 [B], number of selected positions per row.
        real: bool [S, B], the steps that a row uses.
        ends: bool [S, B, 1], the last step of each row.
    """

    def __init__(self, mask: Any) -> None:
        self.mask = ops.cast(mask, "bool")
        count, width = ops.shape(self.mask)
        inside = ops.cast(self.mask, "int32")
        self.lengths = ops.sum(inside, axis=1)
        steps = width + 1  # one more than there are positions, so that every batch has a step
        order = ops.argsort(
            ops.arange(steps, dtype="int32") - ops.pad(inside, [[0, 0], [0, 1]]) * steps, axis=1
        )
        row = ops.arange(count, dtype="int32")
        begins = row * steps  # in [B, T + 1], flat
        self._last = ops.maximum(self.lengths - 1, 0) * count + row  # [B]
        self._place = ops.maximum(ops.cumsum(inside, axis=1) - 1, 0) * count + row[:, None]  # [B, T]
        if not isinstance(width, int):
            # Without XLA, leave out steps that no row uses.
            steps = ops.maximum(kernels.largest(self.lengths), 1)
        step = ops.arange(steps, dtype="int32")[:, None]
        self._order = kernels.gather(ops.reshape(order, (-1,)), begins + step) + begins  # [S, B]
        self.real = step < self.lengths
        self.ends = (step == self.lengths - 1)[:, :, None]

    def pack(self, x: Any) -> Any:
        """[B, T, ...] to [S, B, ...]; the values at unused steps are arbitrary."""
        x = ops.pad(x, [[0, 0], [0, 1], *[[0, 0]] * (len(x.shape) - 2)])
        return kernels.gather(ops.reshape(x, (-1, *x.shape[2:])), self._order)

    def unpack(self, x: Any) -> Any:
        """[S, B, ...] to [B, T, ...], 0 at positions that are not selected."""
        x = kernels.gather(ops.reshape(x, (-1, *x.shape[2:])), self._place)
        return ops.where(ops.reshape(self.mask, (*ops.shape(self.mask), *[1] * (len(x.shape) - 2))), x, 0)

    def last(self, x: Any) -> Any:
        """The last step of each row: [S, B, ...] to [B, ...]; the first step for a row without positions."""
        return kernels.gather(ops.reshape(x, (-1, *x.shape[2:])), self._last)

    def zero_if_empty(self, x: Any) -> Any:
        """Set [B] to 0 for rows without positions."""
        return ops.where(self.lengths > 0, x, 0)


def _prepare(rows: _Rows, emissions: Any, transitions: Transitions) -> tuple[Any, Any, Any, Any]:
    """Emissions [S, B, C] and the three parts of the transitions, in one dtype, all finite."""
    emissions = at_least_float32(emissions)
    parts = [
        ops.cast(part, emissions.dtype) for part in (transitions.between, transitions.start, transitions.end)
    ]
    between, start, end = (ops.maximum(part, _FORBIDDEN) for part in parts)
    emissions = ops.where(rows.real[:, :, None], ops.maximum(rows.pack(emissions), _FORBIDDEN), 0)
    return emissions, between, start, end


@dataclasses.dataclass(frozen=True)
class _Forward:
    """Scores of the starts of sequences, by their last tag.

    Attributes:
        arriving: [S, B, C], including the transition to the tag of each step.
        scores: [S, B, C], also including its emission, minus ``offsets``: the best score is 0.
        offsets: [S, B].
    """

    arriving: Any
    scores: Any
    offsets: Any


def _forward(emissions: Any, between: Any, start: Any, reduce: Callable[..., Any]) -> _Forward:
    """The forward pass; ``reduce`` combines the scores of all previous tags along an axis."""

    # Over hundreds of steps scores grow and lose digits, so the best score of each step is set to 0.
    def level(arriving: Any, emissions: Any) -> tuple[Any, Any]:
        scores = arriving + emissions
        best = kernels.largest(scores, axis=-1, keepdims=True)
        return scores - best, best

    def step(arriving: Any, emissions: Any) -> tuple[Any]:
        scores, _ = level(arriving, emissions)
        return (reduce(scores[:, :, None] + between, axis=1),)

    first = ops.broadcast_to(start, ops.shape(emissions)[1:])
    arriving, *_ = kernels.scan(step, [first], [emissions[:-1]])
    scores, best = level(arriving, emissions)
    return _Forward(arriving, scores, ops.cumsum(best[:, :, 0], axis=0))


def _best_behind(rows: _Rows, emissions: Any, between: Any, end: Any) -> Any:
    """Best scores of the ends of sequences, by the tag of the previous step, up to a constant: [S, B, C]."""

    def step(behind: Any, emissions: Any, ends: Any) -> tuple[Any]:
        scores = behind + emissions
        scores = scores - kernels.largest(scores, axis=1, keepdims=True)
        return (ops.where(ends, end, kernels.largest(scores[:, None] + between, axis=2)),)

    first = ops.broadcast_to(end, ops.shape(emissions)[1:])
    behind, *_ = kernels.scan(step, [first], [emissions[1:], rows.ends[:-1]], reverse=True)
    return behind


def _backward(
    rows: _Rows, forward: _Forward, between: Any, last: Any, *, with_pairs: bool
) -> tuple[Any, Any]:
    """The backward pass.

    Args:
        last: [B, C], scores of sequences by their last tag, up to a constant.
        with_pairs: whether to count pairs.
    Returns:
        [S, B, C], the probability of each tag, 0 in unused steps; [B, C, C], the expected number of
        occurrences of each pair of neighbouring tags.
    """
    final = ops.exp(last - _log_sum_exp(last, axis=1)[:, None])

    def step(tags: Any, *others: Any) -> tuple[Any, ...]:
        *pairs, scores, arriving, ends = others
        # The share of each previous tag in the sum that arrives at a tag. If a tag has probability 0, its
        # whole sum may have arrived along forbidden transitions; the exponent is then -inf, whatever the
        # other terms.
        shares = ops.exp((scores[:, :, None] + between) + (ops.log(tags) - arriving)[:, None])
        before = ops.where(ends, final, ops.sum(shares, axis=2))
        return (before, *(count + shares for count in pairs))

    first = ops.where(rows.ends[-1], final, 0)
    pairs = [ops.zeros_like(final[:, :, None] + between)] if with_pairs else []
    tags, *pairs = kernels.scan(
        step, [first, *pairs], [forward.scores[:-1], forward.arriving[1:], rows.ends[:-1]], reverse=True
    )
    return tags, pairs[0] if pairs else None


def _log_sum_exp(x: Any, axis: int) -> Any:
    """Over one axis, without the checks of ``ops.logsumexp`` for infinite values, which do not occur here."""
    best = kernels.largest(x, axis=axis, keepdims=True)
    return ops.squeeze(best, axis) + ops.log(ops.sum(ops.exp(x - best), axis=axis))
