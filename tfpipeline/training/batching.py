"""The training batches of a run, from any position in any epoch, grouped into device calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfpipeline.console import say
from tfpipeline.data import Example, TokenCache, batch_width, epoch_batches
from tfpipeline.data.batches import UNGROUPED
from tfpipeline.errors import UserError
from tfpipeline.tasks import Arrays, Task
from tfpipeline.training.global_batch import WEIGHTS, numeric_targets
from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.rows import TargetReader
from tfpipeline.training.run import Run

_COUNTED_ROWS = 512  # checked at a time
_WIDTHS = 4  # for compiled steps: each width is compiled; steps of a quarter waste little padding


@dataclass(frozen=True)
class Split:
    """One split in the form that the training loop needs."""

    examples: Sequence[Example]
    cache: TokenCache
    targets: Arrays
    weights: np.ndarray

    @classmethod
    def of(cls, run: Run, name: str) -> Split:
        """Read a split of a run. Its texts are tokenized now unless the token cache already exists.

        For training rows, this reports how many are truncated, how many targets are lost with them, and the
        share of unknown tokens.

        Raises:
            UserError: truncation left no target in any training row.
        """
        examples = run.examples(name)
        reader = TargetReader(run.task, training=name == "train")
        cache = run.token_cache(name, examples, reader.add)
        targets, weights = reader.finish()
        for note in run.notes_on(cache, "training rows") if name == "train" else ():
            say(note)
        split = cls(examples, cache, targets, weights)
        if name == "train" and run.task.has_token_targets:
            split._count_targets(run)
        return split

    def batch(self, rows: np.ndarray, width: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
        """The given rows as the arrays that the training step takes."""
        return {
            **self.cache.batch(rows, width=width),
            **{name: array[rows] for name, array in numeric_targets(self.targets).items()},
            WEIGHTS: self.weights[rows],
        }

    def _count_targets(self, run: Run) -> None:
        """Warn about targets that are missing from the tokens of their rows; rows of weight 0 are skipped.

        Raises:
            UserError: no target is left.
        """
        given = lost = 0
        first = ""
        rows = np.flatnonzero(self.weights > 0)
        for start in range(0, len(rows), _COUNTED_ROWS):
            some = rows[start : start + _COUNTED_ROWS]
            own = {name: array[some] for name, array in self.targets.items()}
            counts = run.task.count_kept_targets(own, self.cache.batch(some))
            if counts is None:
                return
            missing = counts[:, 0] - counts[:, 1]
            given, lost = given + int(counts[:, 0].sum()), lost + int(missing.sum())
            if lost and not first:
                first = self.examples[int(some[np.argmax(missing > 0)])].source
        if not lost:
            return
        long = "raise text.max_windows" if run.truncation.windows else "set text.long to windows"
        why = (
            f"the first in {first}: they were truncated, or the tokenizer drops their characters; {long} to "
            "read more of "
            "each text"
        )
        if lost == given:
            raise UserError(f"none of the {given} targets in the training rows is left in the tokens, {why}")
        say(f"warning: {lost} of {given} targets in the training rows are missing from the tokens, {why}")


@dataclass(frozen=True)
class Group:
    """The batches of one device call.

    Attributes:
        rows: the row numbers of each batch.
        batches: the batches, all of the same shape.
        tokens: number of tokens in all batches, without padding.
    """

    rows: Sequence[np.ndarray]
    batches: Sequence[dict[str, np.ndarray]]
    tokens: int


class Batching:
    """Divides a split into batches.

    Args:
        split: the training rows.
        options: the ``training`` section.
        batch_size: examples in a global batch.
        widths: the widths to which batches are padded; None: the next multiple of 8.
        static: whether all batches have the same size; the last one is padded with examples of weight 0.
        window: the result of :func:`window_of`; by default ``options.bucket_window``.
        partners: the result of :meth:`Task.partners`.
    """

    def __init__(
        self,
        split: Split,
        options: TrainingOptions,
        batch_size: int,
        widths: Sequence[int] | None,
        *,
        static: bool,
        window: int | None = None,
        partners: np.ndarray | None = None,
    ) -> None:
        self.split, self.options, self.batch_size = split, options, batch_size
        self._window, self._partners = window or options.bucket_window, partners
        self.widths, self.static = widths, static
        self._epoch: tuple[int, Sequence[np.ndarray]] | None = None

    def __len__(self) -> int:
        """The number of batches per epoch, which is the same for all epochs."""
        return -(-len(self.split.weights) // self.batch_size)

    def order(self, epoch: int) -> Sequence[np.ndarray]:
        """The rows of each batch of an epoch."""
        if self._epoch is None or self._epoch[0] != epoch:
            options = self.options
            order = epoch_batches(
                self.split.cache.lengths,
                self.batch_size,
                bucket_window=self._window,
                seed=options.seed,
                epoch=epoch,
                partners=self._partners,
            )
            self._epoch = (epoch, order)
        return self._epoch[1]

    def groups(self, epoch: int, position: int, step: int, stops: Sequence[int | None]) -> Iterator[Group]:
        """The remaining batches of an epoch, in groups.

        A group ends at each multiple of ``steps_per_call``, counted over the whole run, so that a resumed run
        forms the same groups. It also ends at each multiple of a number in ``stops``, where other work is due
        between two steps.

        Args:
            epoch: from 0.
            position: batches of the epoch that are done.
            step: steps of the whole run that are done.
            stops: intervals in steps, such as ``save_every``; None entries are ignored.
        """
        order = self.order(epoch)
        multiples = [self.options.steps_per_call, *(stop for stop in stops if stop)]
        while position < len(order):
            count = min(len(order) - position, *(multiple - step % multiple for multiple in multiples))
            rows = [order[position + index] for index in range(count)]
            sizes = {len(batch) for batch in rows}
            if count < self.options.steps_per_call or (len(sizes) > 1 and not self.static):
                # Each number of batches needs its own graph, so only two are used: a full group and a single
                # batch.
                for one in rows:
                    yield self._group([one])
            else:
                yield self._group(rows)
            position += count
            step += count

    def _group(self, rows: Sequence[np.ndarray]) -> Group:
        cache, width = self.split.cache, None
        if self.widths or len(rows) > 1:
            width = cache.widths(np.concatenate(rows), self.width)
        batches = [self.split.batch(batch, width) for batch in rows]
        return Group(rows, batches, sum(map(cache.count, rows)))

    def width(self, longest: int) -> int:
        """The width to which a batch is padded if its longest row has ``longest`` tokens."""
        return batch_width(longest, self.split.cache.max_length, self.widths)


def window_of(task: Task, options: TrainingOptions) -> int:
    """The number of rows that are sorted by length together.

    If a row's loss depends on the other rows of its batch, rows are sorted within their batch only: as
    negatives, rows of like lengths would differ from those that the model meets later.
    """
    return UNGROUPED if task.batch_loss else options.bucket_window


def check_batch_size(task: Task, batch_size: int) -> None:
    """Refuse batches of one row for a task whose rows are compared with the others of their batch.

    Raises:
        UserError: ``training.batch_size`` is 1.
    """
    if task.batch_loss and batch_size < 2:
        raise UserError(
            f"training.batch_size is 1, but the loss of the task {task.options.name} compares each row with "
            "the other rows of its batch; set it to 2 or more (16 or more is usual)"
        )


def choose_widths(
    options: TrainingOptions, max_length: int, *, static: bool, beyond: Sequence[int] = ()
) -> list[int] | None:
    """The widths to which batches are padded; None: any multiple of 8.

    Args:
        max_length: maximum number of tokens that the model reads at once.
        static: whether there must be few widths, because each is compiled.
        beyond: for texts that are read in windows, the result of :meth:`tfpipeline.text.Truncation.widths`.
    Raises:
        UserError: the longest texts exceed ``training.widths``.
    """
    longest = beyond[-1] if beyond else max_length
    if options.widths is not None:
        if options.widths[-1] < longest:
            why = f"text.max_windows windows of {max_length}" if beyond else "text.max_length"
            raise UserError(
                f"training.widths ends with {options.widths[-1]}, but texts have up to {longest} tokens "
                f"({why}); add {longest} to it"
            )
        return [width for width in options.widths if width < longest] + [longest]
    if not static:
        return None
    parts = {min(max_length, -(-max_length * part // _WIDTHS // 8) * 8) for part in range(1, _WIDTHS + 1)}
    return [*sorted(parts), *beyond]


def global_batch_size(options: TrainingOptions, replicas: int) -> int:
    """Number of examples in a global batch, which is shared by all replicas.

    Raises:
        UserError: the batch size is not divisible as the options require.
    """
    parts = options.accumulation
    if options.batch_size_per == "replica":
        if options.batch_size % parts:
            raise UserError(
                f"training.batch_size is {options.batch_size} per replica, which training.accumulation "
                f"({parts}) does not "
                f"divide; set it to {_nearest(options.batch_size, parts)}"
            )
        return options.batch_size * replicas
    if options.batch_size % (replicas * parts):
        into = f"{replicas} replicas" + (f" times training.accumulation ({parts})" if parts > 1 else "")
        raise UserError(
            f"training.batch_size is {options.batch_size}, which does not divide among {into}; "
            f"set it to {_nearest(options.batch_size, replicas * parts)}"
        )
    return options.batch_size


def _nearest(size: int, multiple: int) -> str:
    above = -(-size // multiple) * multiple
    below = above - multiple
    return f"{below} or {above}" if below else str(above)
