"""AdaLoRA's change of projections, and how a rank is allocated to each of them in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfpipeline.config import steps_of
from tfpipeline.errors import UserError
from tfpipeline.models.peft._low_rank import LowRank, LowRankPart
from tfpipeline.models.peft._options import Adaptation
from tfpipeline.models.peft._seeds import seed_of
from tfpipeline.models.serialization import serializable

if TYPE_CHECKING:
    from tfpipeline.models.peft.adalora import AdaloraOptions

_STDDEV = 0.02  # of the initial singular vectors, as in the authors' code


@serializable
class SingularValues(LowRank):
    """A change ``scale * A @ diag(lambda) @ B``, whose singular values can be set to 0 one by one (Zhang et
    al. 2023, arXiv:2303.10512, equation 3: with kernels as [in, out], A is the paper's Q transposed, and B
    its P transposed).

    ``NAME_a`` [in, r], ``NAME_b`` [r, out], ``NAME_lambda`` [r]; the last is 0 at first. Not trained:
    ``NAME_sensitivity`` and ``NAME_uncertainty``, [in + 1 + out, r], moving means for the rows of A, lambda
    and the columns of B, in this order; and ``NAME_mask`` [r], 1 for the singular values that are kept.
    """

    def add_part(self, name: str, part: LowRankPart, size: int, width: int, seed: int) -> None:
        """See :meth:`LowRank.add_part`."""

        def add(role: str, *shape: int, first: Any = "zeros", **options: Any) -> None:
            weight = self.add_weight(name=f"{name}_{role}", shape=shape, initializer=first, **options)
            setattr(self, f"{name}_{role}", weight)

        down, up = (keras.initializers.RandomNormal(0.0, _STDDEV, seed=seed_of(seed, n)) for n in (0, 1))
        # What every replica assigns to itself is the same on all of them.
        same: dict[str, Any] = {"aggregation": "only_first_replica"}
        add("a", size, part.rank, first=down)
        add("b", part.rank, width, first=up)
        add("lambda", part.rank, **same)
        for role in ("sensitivity", "uncertainty"):
            add(role, size + 1 + width, part.rank, trainable=False, **same)
        add("mask", part.rank, first="ones", trainable=False, **same)

    def up(self, name: str) -> Any:
        """See :meth:`LowRank.up`."""
        values, up = (ops.convert_to_tensor(getattr(self, f"{name}_{role}")) for role in ("lambda", "b"))
        return values[:, None] * up


@dataclass(frozen=True)
class Budget:
    """The number of singular values that are kept, over a training (section 3.3 of the paper, equation 12).

    Attributes:
        initial, target: the number at first and at the end, of all projections together.
        start: no value is removed until this many steps are done.
        end: after this many steps, no other values are chosen.
        interval: values are chosen every so many steps in between, and at the end.
    """

    initial: int
    target: int
    start: int
    end: int
    interval: int

    def size(self, done: tf.Tensor) -> tf.Tensor:
        """The budget, an int64 scalar, rounded down.

        Args:
            done: number of steps done, int64.
        """
        left = tf.clip_by_value(self.end - done, 0, self.end - self.start) / (
            self.end - self.start
        )  # float64
        share = (self.initial - self.target) * left * left * left
        # A whole number may be computed as a little less.
        return self.target + tf.cast(tf.floor(share + 1e-9), tf.int64)

    def chooses(self, done: tf.Tensor) -> tf.Tensor:
        """Whether values are chosen after this many steps, a bool scalar."""
        between = (done > self.start) & (done < self.end) & (done % self.interval == 0)
        return between | (done == self.end)


class _Part(NamedTuple):
    """The variables of one projection; see :class:`SingularValues`."""

    a: Any
    values: Any
    b: Any
    sensitivity: Any
    uncertainty: Any
    mask: Any


class RankAllocation(Adaptation):
    """AdaLoRA, attached.

    After each step, the importance of every singular value is updated; from time to time, all but the most
    important ones of all projections are set to 0. The weight in ``|weight * gradient|`` is that after the
    step, as in the authors' code.
    """

    options: AdaloraOptions
    _budget: Optional[Budget] = None

    def _parts(self) -> Iterator[tuple[str, _Part]]:
        """By the path of the layer and the name of the projection."""
        roles = ("a", "lambda", "b", "sensitivity", "uncertainty", "mask")
        for path, layer in self.layers.items():
            for name in layer.parts:
                yield f"{path}/{name}", _Part(*(getattr(layer, f"{name}_{role}") for role in roles))

    def prepare(self, total_steps: int) -> None:
        """See :meth:`Adaptation.prepare`."""
        options = self.options
        warmup, final = (steps_of(value, total_steps) for value in (options.warmup, options.final))
        if warmup + final >= total_steps:
            raise UserError(
                f"peft.warmup ({warmup} steps) and peft.final ({final} steps) leave none of the training's "
                f"{total_steps} steps in which ranks can change; make them smaller"
            )
        matrices = sum(len(layer.parts) for layer in self.layers.values())
        self._budget = Budget(
            initial=options.initial_rank * matrices,
            target=options.target_rank * matrices,
            start=warmup,
            end=total_steps - final,
            interval=options.interval,
        )

    def penalty(self) -> Optional[tf.Tensor]:
        """How far the singular vectors are from being orthonormal (equation 4): for each projection,
        ``|A.T A - I|^2 + |B B.T - I|^2``; the sum, times ``orthogonality``.
        """
        if not self.options.orthogonality:
            return None
        total = 0.0
        for _, part in self._parts():
            a, b = (tf.convert_to_tensor(value) for value in (part.a, part.b))
            one = tf.eye(a.shape[1], dtype=a.dtype)
            total += tf.reduce_sum(tf.square(tf.matmul(a, a, transpose_a=True) - one))
            total += tf.reduce_sum(tf.square(tf.matmul(b, b, transpose_b=True) - one))
        return self.options.orthogonality * total

    def after_step(self, gradients: Mapping[str, tf.Tensor], step: tf.Tensor) -> None:
        """See :meth:`Adaptation.after_step`. A step whose gradients are not finite leaves the importance as
        it is.
        """
        budget = self._budget
        if budget is None:
            raise ValueError("call prepare with the number of steps before the first step")
        parts = [part for _, part in self._parts()]
        done = tf.cast(step, tf.int64) + 1

        def kept() -> list[tf.Tensor]:
            return [
                tf.convert_to_tensor(each) for part in parts for each in (part.sensitivity, part.uncertainty)
            ]

        # Variables are assigned outside of branches: in a replica, a branch cannot wait for others.
        means = tf.cond(done < budget.end, lambda: self._updated(parts, gradients), kept)
        scores = [
            score(sensitivity, uncertainty, part.a.shape[0])
            for part, sensitivity, uncertainty in zip(parts, means[::2], means[1::2])
        ]
        masks = tf.cond(
            budget.chooses(done),
            lambda: choose(scores, budget.size(done)),
            lambda: [tf.convert_to_tensor(part.mask) for part in parts],
        )
        removes = budget.chooses(done) | (done > budget.end)
        for part, sensitivity, uncertainty, mask in zip(parts, means[::2], means[1::2], masks):
            part.sensitivity.assign(sensitivity)
            part.uncertainty.assign(uncertainty)
            part.mask.assign(mask)
            values = tf.convert_to_tensor(part.values)
            part.values.assign(tf.where(removes, values * mask, values))

    def _updated(self, parts: list[_Part], gradients: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """The new moving means (equations 9 and 10): sensitivity and uncertainty of each part in turn."""
        beta_1, beta_2 = self.options.beta_1, self.options.beta_2
        products = []
        for part in parts:
            weights = joined(*(tf.convert_to_tensor(each) for each in part[:3]))
            products.append(tf.abs(weights * joined(*(gradients[each.path] for each in part[:3]))))
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(product)) for product in products])
        means = []
        for part, product in zip(parts, products):
            sensitivity, uncertainty = (tf.convert_to_tensor(each) for each in part[3:5])
            smooth = beta_1 * sensitivity + (1 - beta_1) * product
            change = beta_2 * uncertainty + (1 - beta_2) * tf.abs(product - smooth)
            means += [tf.where(finite, smooth, sensitivity), tf.where(finite, change, uncertainty)]
        return means

    def ranks(self) -> dict[str, int]:
        """The number of singular values other than 0 of each projection, by name."""
        return {
            name: int(np.count_nonzero(getattr(layer, f"{last}_lambda").numpy()))
            for name, layer, last in self.projections()
        }

    def report(self) -> dict[str, dict[str, int]]:
        """See :meth:`Adaptation.report`."""
        return {"rank": self.ranks()}


def joined(a: tf.Tensor, values: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """[in, r], [r] and [r, out] as [in + 1 + out, r]: a column for each singular value and its vectors."""
    return tf.concat([a, values[None], tf.transpose(b)], 0)


def score(sensitivity: tf.Tensor, uncertainty: tf.Tensor, size: int) -> tf.Tensor:
    """The importance of singular values with their vectors, [r] (equations 7, 11).

    Args:
        sensitivity, uncertainty: [in + 1 + out, r].
        size: in.
    """
    each = sensitivity * uncertainty
    return tf.reduce_mean(each[:size], 0) + each[size] + tf.reduce_mean(each[size + 1 :], 0)


def choose(scores: list[tf.Tensor], budget: tf.Tensor) -> list[tf.Tensor]:
    """Masks of the singular values with the highest scores of all projections: 1 for ``budget`` of them.

    Of equal scores, the first is taken.

    Args:
        scores: [r] of each projection.
    """
    together = tf.concat(scores, 0)
    place = tf.math.invert_permutation(tf.argsort(together, direction="DESCENDING", stable=True))
    chosen = tf.cast(tf.cast(place, tf.int64) < budget, together.dtype)
    return list(tf.split(chosen, [each.shape[0] for each in scores]))
