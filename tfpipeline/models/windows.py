"""Rows that are too long for the encoder, read in overlapping windows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from keras import ops

from tfpipeline.models import kernels
from tfpipeline.models.inputs import ADAPTERS, INPUTS, WORD_WEIGHTS
from tfpipeline.models.kernels import Noise
from tfpipeline.models.layers import at_least_float32
from tfpipeline.text.truncation import Truncation

# How the outputs of windows are combined into those of their row. "tokens": each token is taken from the
# window with the most context around it. "pool": the pooling of the options. "least": all numbers come from
# the window in which their sum is lowest.
Merge = Literal["tokens", "pool", "least"]


@dataclasses.dataclass(frozen=True)
class WindowLayout:
    """The windows of a batch of B rows, W each.

    Attributes:
        real: bool [B, W], which windows exist; each row has the first one.
        start: int32 [B, W], the offset of each window along its row.
        prefix: int32 [B], number of tokens that all windows of a row begin with.
        end: int32 [B], number of tokens of a window.
        lengths: int32 [B], number of tokens of a row.
    """

    real: Any
    start: Any
    prefix: Any
    end: Any
    lengths: Any


@dataclasses.dataclass(frozen=True)
class Windows:
    """Divides rows into windows, and combines the windows' outputs.

    A window is the row's prefix (everything before its last text: [CLS], and for a pair also the first text
    and the separator), a part of the last text, and the special tokens that end the row. Neighbouring windows
    share ``cut.overlap`` tokens; the last one ends where the row ends, so it may share more. A row that fits
    is a single window. (Overlapping segments of a document: Pappagari et al. 2019, arXiv:1910.10781; a second
    text in windows behind the first one: google-research/bert, ``run_squad.py``, doc_stride.)

    The number of windows per row depends only on the width of the batch. Every replica and every part of a
    batch therefore has the same number, from which the index of a window's dropout mask is computed.

    Attributes:
        cut: sizes.
        pair: whether rows hold two texts.
    Raises:
        ValueError: the windows could not advance.
    """

    cut: Truncation
    pair: bool = False

    def __post_init__(self) -> None:
        self.cut.check(self.pair)

    def get_config(self) -> dict[str, Any]:
        """For Keras's own serialisation."""
        return {"cut": self.cut.get_config(), "pair": self.pair}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Windows:
        """The inverse of :meth:`get_config`."""
        return cls(Truncation.from_config(config["cut"]), config["pair"])

    @property
    def _after(self) -> int:
        """The number of special tokens that end a row and each of its windows."""
        return len(self.cut.template.after)

    def count(self, width: Any) -> Any:
        """The maximum number of windows for ``width`` tokens; an int or a tensor, as ``width`` is."""
        step = self.cut.step(self.cut.prefix(self.pair)[1])
        return _least(1 + _ceil(width - _least(width, self.cut.max_length), step), self.cut.max_windows)

    def width(self, width: Any) -> Any:
        """The width of the windows of a batch with the given width."""
        return _least(width, self.cut.max_length)

    def split(
        self, inputs: Mapping[str, Any], noise: Noise | None
    ) -> tuple[dict[str, Any], WindowLayout, Noise | None]:
        """Split a batch into windows.

        B rows of up to L tokens, W windows per row, T the smaller of L and ``cut.max_length``.

        Args:
            inputs: ``input_ids``, ``token_type_ids``, ``attention_mask``, integer [B, L], padded on the
                right; perhaps ``word_weights``, float [B, L], and ``adapters``, int32 [B].
            noise: of a training step.
        Returns:
            The inputs as [B * W, T], where window w of row b is b * W + w; the layout of the windows; the
            noise for these windows.
        """
        ids, types, mask = (inputs[name] for name in INPUTS)
        rows, width = ops.shape(ids)[:2]
        lengths = ops.sum(ops.cast(mask, "int32"), axis=1)  # [B]
        least, most = self.cut.prefix(self.pair)
        prefix = ops.full_like(lengths, least)
        if self.pair:
            first = ops.sum(ops.cast((types == 0) & (mask > 0), "int32"), axis=1)
            # Only a row that fits, and so is not split, or that another tokenizer made, can have more.
            prefix = ops.clip(first, least, most)
        step = self.cut.step(prefix)
        over = ops.maximum(lengths - self.cut.max_length, 0)
        needed = ops.minimum(1 + _ceil(over, step), self.cut.max_windows)  # [B], at least 1
        count = self.count(width)
        if noise is None and not isinstance(width, int):
            # If there are no masks to keep and no XLA, nothing is computed for windows that no row has.
            count = ops.minimum(count, ops.maximum(ops.max(needed), 1))
        size = self.width(width)
        number = ops.arange(count, dtype="int32")[None]  # [1, W]
        start = ops.minimum(number * step[:, None], over[:, None])[:, :, None]  # [B, W, 1]
        column = ops.arange(size, dtype="int32")[None, None]  # [1, 1, T]
        end = ops.minimum(lengths, self.cut.max_length)[:, None, None]  # of the window's tokens
        place = ops.where(column < prefix[:, None, None], column, column + start)
        if self._after:
            place = ops.where(column >= end - self._after, column + over[:, None, None], place)  # [B, W, T]
        real = number < needed[:, None]  # [B, W]
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
        if WORD_WEIGHTS in inputs:
            windows[WORD_WEIGHTS] = pick(inputs[WORD_WEIGHTS])
        if ADAPTERS in inputs:
            of_windows = ops.broadcast_to(inputs[ADAPTERS][:, None], (rows, count))
            windows[ADAPTERS] = ops.reshape(of_windows, (-1,))
        if noise is not None:
            first_window = ops.cast(noise.first_example, "int64") * ops.cast(count, "int64")
            noise = dataclasses.replace(noise, first_example=first_window)
        return windows, WindowLayout(real, start[:, :, 0], prefix, end[:, 0, 0], lengths), noise

    def merge(
        self,
        outputs: Mapping[str, Any],
        layout: WindowLayout,
        width: Any,
        merges: Mapping[str, Merge] | None = None,
    ) -> dict[str, Any]:
        """Combine outputs of windows, float [B * W, ...], into those of their rows, [B, ...]; float32 at
        least.

        Args:
            outputs: of a head; outputs per token are [B * W, T, ...] and become [B, L, ...].
            layout: the windows.
            width: L, of the batch that was split.
            merges: how to combine each output; "pool" for outputs that it does not name.
        """
        ways = merges or {}
        wide = {name: at_least_float32(output) for name, output in outputs.items()}
        place = self._places(layout, width) if "tokens" in ways.values() else None
        merged = {}
        for name, output in wide.items():
            way = ways.get(name, "pool")
            if way == "tokens":
                flat = ops.reshape(output, (-1, *ops.shape(output)[2:]))
                merged[name] = kernels.gather(flat, place)
            elif way == "least":
                merged[name] = self._of_the_least(output, layout.real)
            else:
                merged[name] = self._pool(output, layout.real, self.cut.pool)
        return merged

    def _places(self, layout: WindowLayout, width: Any) -> Any:
        """The index of each token of a row among the concatenated tokens of its windows: int32 [B, L].

        A token comes from the window with the most context on its poorer side, or from the first of equals
        ("max context": google-research/bert, ``run_squad.py``). Tokens that every window begins and ends with
        come from the first one.
        """
        rows, count = ops.shape(layout.real)[:2]
        column = ops.arange(width, dtype="int32")[None, None]  # [1, 1, L]
        prefix, end = layout.prefix[:, None, None], layout.end[:, None, None]
        within = column - layout.start[:, :, None]  # [B, W, L]
        behind = end - self._after  # what every window ends with
        around = ops.minimum(within - prefix, behind - 1 - within)
        there = (within >= prefix) & (within < behind) & layout.real[:, :, None]
        window = ops.cast(ops.argmax(ops.where(there, around, -1), axis=1), "int32")  # [B, L]
        start = kernels.gather(layout.start, window, batch_dims=1)
        column = column[0]
        place = ops.where(column < layout.prefix[:, None], column, column - start)
        if self._after:
            over = (layout.lengths - layout.end)[:, None]
            place = ops.where(column >= layout.lengths[:, None] - self._after, column - over, place)
        size = self.width(width)
        # Padding is in no window: any index will do.
        place = ops.clip(place, 0, size - 1)
        return (ops.arange(rows, dtype="int32")[:, None] * count + window) * size + place

    def _of_the_least(self, output: Any, real: Any) -> Any:
        """All numbers of one window, because start and end belong together: [B, ...], the first of equals."""
        output = ops.reshape(output, (*ops.shape(real), *ops.shape(output)[1:]))  # [B, W, ...]
        total = ops.sum(output, axis=list(range(2, len(output.shape)))) if len(output.shape) > 2 else output
        window = ops.argmin(ops.where(real, total, float("inf")), axis=1)  # [B]
        return kernels.gather(output, window, batch_dims=1)

    def _pool(self, output: Any, real: Any, pool: str) -> Any:
        output = ops.reshape(output, (*ops.shape(real), *ops.shape(output)[1:]))  # [B, W, ...]
        real = ops.reshape(real, (*ops.shape(real), *[1] * (len(output.shape) - 2)))
        if pool == "max":
            return ops.max(ops.where(real, output, float("-inf")), axis=1)
        # Starting from the first window, the mean of equal numbers is exactly that number.
        first = output[:, :1]
        weight = ops.cast(real, output.dtype)
        return first[:, 0] + ops.sum((output - first) * weight, axis=1) / ops.sum(weight, axis=1)


def _ceil(number: Any, by: Any) -> Any:
    """``number / by``, rounded up."""
    return -(-number // by)


def _least(number: Any, most: int) -> Any:
    """The smaller of both, an int if both are, so that known shapes stay known."""
    return min(number, most) if isinstance(number, int) else ops.minimum(number, most)
