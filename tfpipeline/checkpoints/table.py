"""A checkpoint format as ONE table of names and axes, from which reading and writing are both derived."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from tfpipeline.models import neutral
from tfpipeline.models.config import BertConfig

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One row of a format's table.

    Attributes:
        ours: the neutral name, ``{i}`` for the layer.
        theirs: the format's name, ``{i}`` for the layer.
        axes: the format's axes in the letters of ``models.neutral``; axes in brackets are merged into one:
            ``"(N D) H"`` is a matrix whose rows are heads times head size.
    """

    ours: str
    theirs: str
    axes: str


@dataclasses.dataclass(frozen=True)
class Ignored:
    """Tensors of a format that are left out.

    Attributes:
        pattern: of the format's names, as in ``fnmatch``.
        why: said in the report of a conversion.
    """

    pattern: str
    why: str


@dataclasses.dataclass(frozen=True)
class Placed:
    """A tensor of one model: both names, both shapes, and the way to and fro."""

    ours: str
    theirs: str
    our_axes: str
    their_axes: str
    sizes: Mapping[str, int]

    @property
    def our_shape(self) -> Shape:
        return shape_of(self.our_axes, self.sizes)

    @property
    def their_shape(self) -> Shape:
        return shape_of(self.their_axes, self.sizes)

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        return rearrange(array, self.their_axes, self.our_axes, self.sizes)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        return rearrange(array, self.our_axes, self.their_axes, self.sizes)


@dataclasses.dataclass(frozen=True)
class Table:
    """A format's names.

    Attributes:
        tensors: the table.
        ignored: what may be left out, and why; everything else that is unknown is an error.
    """

    tensors: Sequence[Tensor]
    ignored: Sequence[Ignored]

    def place(self, config: BertConfig) -> list[Placed]:
        """The tensors a model of this configuration has."""
        sizes = neutral.sizes(config)
        placed = []
        for row in self.tensors:
            theirs = neutral.expand(row.theirs, config)
            for ours, name in zip(neutral.expand(row.ours, config), theirs):
                placed.append(Placed(ours, name, neutral.AXES[row.ours], row.axes, sizes))
        return placed

    def why_ignored(self, name: str) -> str | None:
        """Why a tensor of the format is left out; None when it is not."""
        return next((row.why for row in self.ignored if fnmatch.fnmatchcase(name, row.pattern)), None)

    def match(
        self, config: BertConfig, found: Mapping[str, Shape], where: str
    ) -> tuple[list[Placed], dict[str, str]]:
        """Pair a file's tensors with a model's.

        Args:
            config: the model.
            found: the file's names and shapes.
            where: the file and its configuration, for the error.
        Returns:
            The tensors, and what is left out with the reason.
        Raises:
            UserError: tensors are missing, unknown or of another shape; all are listed.
        """
        placed = self.place(config)
        wanted = {tensor.theirs: tensor for tensor in placed}
        left_out = {name: why for name in found if name not in wanted and (why := self.why_ignored(name))}
        neutral.check(
            {name: tensor.their_shape for name, tensor in wanted.items()},
            {name: shape for name, shape in found.items() if name not in left_out},
            where,
        )
        return placed, left_out


class LazyTensors(Mapping[str, np.ndarray]):
    """Tensors by neutral name, each read from the file when it is asked for.

    Attributes:
        shapes: of all of them, known without reading any.
    """

    def __init__(self, placed: Sequence[Placed], read: Callable[[str], np.ndarray]) -> None:
        self._placed = {tensor.ours: tensor for tensor in placed}
        self._read = read
        self.shapes = {tensor.ours: tensor.our_shape for tensor in placed}

    def __getitem__(self, name: str) -> np.ndarray:
        tensor = self._placed[name]
        return tensor.to_ours(self._read(tensor.theirs))

    def __iter__(self) -> Iterator[str]:
        return iter(self._placed)

    def __len__(self) -> int:
        return len(self._placed)


def shape_of(axes: str, sizes: Mapping[str, int]) -> Shape:
    """The shape of axes such as ``"(N D) H"``."""
    return tuple(int(np.prod([sizes[axis] for axis in group])) for group in _groups(axes))


def rearrange(array: np.ndarray, source: str, target: str, sizes: Mapping[str, int]) -> np.ndarray:
    """Split, transpose and merge axes; its own inverse with ``source`` and ``target`` exchanged."""
    single = [axis for group in _groups(source) for axis in group]
    wanted = [axis for group in _groups(target) for axis in group]
    split = array.reshape([sizes[axis] for axis in single])
    return split.transpose([single.index(axis) for axis in wanted]).reshape(shape_of(target, sizes))


def _groups(axes: str) -> list[list[str]]:
    return [group.strip("()").split() for group in re.findall(r"\([^)]*\)|\S+", axes)]
