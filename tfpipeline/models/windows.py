"""Rows that are too long for the encoder, read in overlapping windows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from keras import ops

from tfpipeline.models import kernels
from tfpipeline.models.kernels import Noise
from tfpipeline.models.layers import at_least_float32


class Cut(Protocol):
    """The arithmetic of windows: `tfpipeline.text.Truncation`, which models do not import."""

    @property
    def max_length(self) -> int:
        """Most tokens of a window."""

    @property
    def max_windows(self) -> int:
        """Most windows of a row."""

    @property
    def pool(self) -> str:
        """How their outputs become one: "mean" or "max"."""

    def step(self, prefix: Any) -> Any:
        """How far each window begins behind the one before."""

    def prefix(self, pair: bool) -> tuple[int, int]:
        """The shortest and the longest prefix of a row that takes more than one window."""


@dataclasses.dataclass(frozen=True)
class Windows:
    """Cuts rows into windows, and makes the windows' outputs one.

    A window is the row's prefix ([CLS]; of a pair also the first text and its [SEP]), a part of what follows, and the
    row's last token, its [SEP]. Neighbouring windows share ``cut.overlap`` tokens; the last one ends where the row
    does, so it may share more. A row that fits is its own only window. (Overlapping segments of a document: Pappagari
    et al. 2019, arXiv:1910.10781; a second text in windows behind the first one: google-research/bert,
    ``run_squad.py``, doc_stride.)

    How many windows a row gets room for depends on the width of the batch alone, not on what is in it: every replica
    and every part of a batch then has the same number, which is what the index of a window's dropout mask is made of.

    Attributes:
        cut: sizes.
        pair: whether rows hold two texts.
    """

    cut: Cut
    pair: bool = False

    def count(self, width: Any) -> Any:
        """Windows that a row of ``width`` tokens takes at most, an int or an integer tensor as ``width`` is."""
        step = self.cut.step(self.cut.prefix(self.pair)[1])
        return _least(1 + _ceil(width - _least(width, self.cut.max_length), step), self.cut.max_windows)

    def width(self, width: Any) -> Any:
        """How wide the windows of a batch of that width are."""
        return _least(width, self.cut.max_length)

    def split(
        self, inputs: Mapping[str, Any], noise: Noise | None
    ) -> tuple[dict[str, Any], Any, Noise | None]:
        """Cut a batch.

        B rows of up to L tokens, W windows a row, T the smaller one of L and ``cut.max_length``.

        Args:
            inputs: ``input_ids``, ``token_type_ids``, ``attention_mask``, integer [B, L], padded on the right.
            noise: of a training step.
        Returns:
            The same of [B * W, T], window w of row b being b * W + w; bool [B, W], which of them there are; the noise
            of these windows.
        """
        ids, types, mask = (inputs[name] for name in ("input_ids", "token_type_ids", "attention_mask"))
        rows, width = ops.shape(ids)[:2]
        lengths = ops.sum(ops.cast(mask, "int32"), axis=1)  # [B]
        least, most = self.cut.prefix(self.pair)
        prefix = ops.full_like(lengths, least)
        if self.pair:
            first = ops.sum(ops.cast((types == 0) & (mask > 0), "int32"), axis=1)
            # More only has a row that fits, which is not cut, or one that our tokenizer did not make.
            prefix = ops.clip(first, least, most)
        step = self.cut.step(prefix)
        over = ops.maximum(lengths - self.cut.max_length, 0)
        found = ops.minimum(1 + _ceil(over, step), self.cut.max_windows)  # [B], at least 1
        count = self.count(width)
        if noise is None and not isinstance(width, int):
            # Without masks to keep, and without XLA, nothing is computed for windows that no row has.
            count = ops.minimum(count, ops.maximum(ops.max(found), 1))
        size = self.width(width)
        number = ops.arange(count, dtype="int32")[None]  # [1, W]
        start = ops.minimum(number * step[:, None], over[:, None])[:, :, None]  # [B, W, 1]
        column = ops.arange(size, dtype="int32")[None, None]  # [1, 1, T]
        end = ops.minimum(lengths, self.cut.max_length)[:, None, None]  # of the window's tokens
        place = ops.where(column < prefix[:, None, None], column, column + start)
        place = ops.where(column == end - 1, lengths[:, None, None] - 1, place)  # [B, W, T]
        real = number < found[:, None]  # [B, W]
        place = place + width * ops.arange(rows, dtype="int32")[:, None, None]

        def pick(array: Any) -> Any:
            return ops.reshape(kernels.gather(ops.reshape(array, (-1,)), place), (rows * count, size))

        windows = {
            "input_ids": pick(ids),
            "token_type_ids": pick(types),
            "attention_mask": ops.reshape(
                ops.cast((column < end) & real[:, :, None], "int32"), (rows * count, size)
            ),
        }
        if noise is not None:
            first_window = ops.cast(noise.first_example, "int64") * ops.cast(count, "int64")
            noise = dataclasses.replace(noise, first_example=first_window)
        return windows, real, noise

    def pool(self, outputs: Mapping[str, Any], real: Any) -> dict[str, Any]:
        """Outputs of windows, float [B * W, ...], as those of their rows, [B, ...]; float32 at least.

        Args:
            outputs: of a head.
            real: bool [B, W], which windows there are; each row has the first one.
        """
        return {name: self._pool(at_least_float32(output), real) for name, output in outputs.items()}

    def _pool(self, output: Any, real: Any) -> Any:
        output = ops.reshape(output, (*ops.shape(real), *ops.shape(output)[1:]))  # [B, W, ...]
        real = ops.reshape(real, (*ops.shape(real), *[1] * (len(output.shape) - 2)))
        if self.cut.pool == "max":
            return ops.max(ops.where(real, output, float("-inf")), axis=1)
        # From the first window on: the mean of equal numbers is that number then, to the bit.
        first = output[:, :1]
        weight = ops.cast(real, output.dtype)
        return first[:, 0] + ops.sum((output - first) * weight, axis=1) / ops.sum(weight, axis=1)


def _ceil(number: Any, by: Any) -> Any:
    """``number / by``, rounded up."""
    return -(-number // by)


def _least(number: Any, most: int) -> Any:
    """The smaller one, an int if both are: shapes that are known stay known."""
    return min(number, most) if isinstance(number, int) else ops.minimum(number, most)
