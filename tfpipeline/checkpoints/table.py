"""A checkpoint format as ONE table of names and axes; reading and writing are both derived from it."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from tfpipeline.errors import UserError
from tfpipeline.models import neutral
from tfpipeline.models.config import EncoderConfig

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
        pattern: matches the format's names, as in ``fnmatch``.
        why: the reason, printed in the report of a conversion.
    """

    pattern: str
    why: str


@dataclasses.dataclass(frozen=True)
class TensorMapping:
    """A tensor of one model: both names, both shapes, and the conversion in both directions."""

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
        ignored: tensors that may be left out, and why; any other unknown tensor is an error.
    """

    tensors: Sequence[Tensor]
    ignored: Sequence[Ignored]

    def place(
        self, config: EncoderConfig, heads: Collection[str] = (), labels: int = 0
    ) -> list[TensorMapping]:
        """The tensors of an encoder with this configuration and these heads.

        ``labels`` is the number of a classifier's labels.

        Raises:
            UserError: the encoder has tensors that the format has no names for.
        """
        sizes = neutral.sizes(config, labels)
        axes = neutral.templates(config, heads)
        absent = sorted(config.tensors().keys() - {row.ours for row in self.tensors})
        if absent:
            raise UserError(
                f"this format has no names for {', '.join(absent)} of an encoder of the architecture "
                f"{config.architecture}; choose another format"
            )
        placed = []
        for row in self.tensors:
            if row.ours not in axes:  # a tensor of a head or pooler that the model does not have
                continue
            theirs = neutral.expand(row.theirs, config)
            for ours, name in zip(neutral.expand(row.ours, config), theirs, strict=True):
                placed.append(TensorMapping(ours, name, axes[row.ours], row.axes, sizes))
        return placed

    def heads(self) -> list[str]:
        """The heads that the format has names for."""
        return [
            head for head in neutral.HEADS if any(neutral.head_of(row.ours) == head for row in self.tensors)
        ]

    def labels(self, shapes: Mapping[str, Shape], heads: Collection[str]) -> int:
        """The number of labels of a file's classifier; 0 if it has none, or if its kernel is not a matrix."""
        for row in self.tensors:
            axes = row.axes.split()
            if neutral.head_of(row.ours) in heads and row.theirs in shapes and "C" in axes:
                shape = shapes[row.theirs]
                return shape[axes.index("C")] if len(shape) == len(axes) else 0
        return 0

    def why_ignored(self, name: str) -> str | None:
        """Why a tensor that the model does not have may be left out; None if it may not."""
        if any(row.theirs == name and neutral.head_of(row.ours) for row in self.tensors):
            return "a head that the configuration's class does not have"
        return next((row.why for row in self.ignored if fnmatch.fnmatchcase(name, row.pattern)), None)

    def match(
        self, config: EncoderConfig, shapes: Mapping[str, Shape], where: str, heads: Collection[str] = ()
    ) -> tuple[list[TensorMapping], dict[str, str]]:
        """Pair a file's tensors with a model's.

        Args:
            config: the encoder.
            shapes: the shape of each tensor in the file, by name.
            where: the file and its configuration, for the error.
            heads: the heads to look for; an incomplete head is left out.
        Returns:
            The tensors, and the tensors that are left out with the reasons.
        Raises:
            UserError: tensors are missing or unknown, or have a different shape; all are listed.
        """
        of_head = {
            head: [row.theirs for row in self.tensors if neutral.head_of(row.ours) == head] for head in heads
        }
        present = [head for head, names in of_head.items() if all(name in shapes for name in names)]
        placed = self.place(config, present, self.labels(shapes, present))
        wanted = {tensor.theirs: tensor for tensor in placed}
        left_out = {name: why for name in shapes if name not in wanted and (why := self.why_ignored(name))}
        for head in heads:
            if head not in present:
                left_out |= {
                    name: f"the {head} head is incomplete"
                    for name in of_head[head]
                    if name in shapes and name not in wanted
                }
        neutral.check(
            {name: tensor.their_shape for name, tensor in wanted.items()},
            {name: shape for name, shape in shapes.items() if name not in left_out},
            where,
        )
        return placed, left_out


class LazyTensors(Mapping[str, np.ndarray]):
    """Tensors by neutral name, each read from the file on access.

    Attributes:
        shapes: of all tensors, known without reading them.
        theirs: neutral name -> name in the file.
    """

    def __init__(self, placed: Sequence[TensorMapping], read: Callable[[str], np.ndarray]) -> None:
        self._placed = {tensor.ours: tensor for tensor in placed}
        self._read = read
        self.shapes = {tensor.ours: tensor.our_shape for tensor in placed}
        self.theirs = {tensor.ours: tensor.theirs for tensor in placed}

    def __getitem__(self, name: str) -> np.ndarray:
        tensor = self._placed[name]
        return tensor.to_ours(self._read(tensor.theirs))

    def __iter__(self) -> Iterator[str]:
        return iter(self._placed)

    def __len__(self) -> int:
        return len(self._placed)


class Replaced(Mapping[str, np.ndarray]):
    """A mapping of tensors in which some are replaced.

    Attributes:
        shapes: of all tensors, known without reading them.
        theirs: neutral name -> name in the file, for tensors that come from a file.
    """

    def __init__(self, base: Mapping[str, np.ndarray], changes: Mapping[str, np.ndarray]) -> None:
        self._base, self._changes = base, changes
        self.shapes = {**shapes_of(base), **{name: array.shape for name, array in changes.items()}}
        self.theirs = {
            name: theirs for name, theirs in getattr(base, "theirs", {}).items() if name not in changes
        }

    def __getitem__(self, name: str) -> np.ndarray:
        return self._changes[name] if name in self._changes else self._base[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def lazy(
    placed: Sequence[TensorMapping], read: Callable[[str], np.ndarray]
) -> tuple[LazyTensors, LazyTensors]:
    """The encoder's tensors, and the heads' tensors."""
    encoder = [tensor for tensor in placed if neutral.head_of(tensor.ours) is None]
    heads = [tensor for tensor in placed if neutral.head_of(tensor.ours) is not None]
    return LazyTensors(encoder, read), LazyTensors(heads, read)


def labels_of(placed: Sequence[TensorMapping]) -> int:
    """The number of labels of the classifier among these tensors; 0 without one."""
    return next(
        (tensor.sizes["C"] for tensor in placed if neutral.head_of(tensor.ours) in neutral.CLASSIFIERS), 0
    )


def shapes_of(tensors: Mapping[str, np.ndarray]) -> dict[str, Shape]:
    """Shapes by name; lazy tensors are not read."""
    known: dict[str, Shape] | None = getattr(tensors, "shapes", None)
    return dict(known) if known is not None else {name: array.shape for name, array in tensors.items()}


def shape_of(axes: str, sizes: Mapping[str, int]) -> Shape:
    """The shape of axes such as ``"(N D) H"``."""
    return tuple(int(np.prod([sizes[axis] for axis in group])) for group in _groups(axes))


def rearrange(array: np.ndarray, source: str, target: str, sizes: Mapping[str, int]) -> np.ndarray:
    """Split, transpose and merge axes. Exchanging ``source`` and ``target`` gives the inverse."""
    single = [axis for group in _groups(source) for axis in group]
    wanted = [axis for group in _groups(target) for axis in group]
    split = array.reshape([sizes[axis] for axis in single])
    return split.transpose([single.index(axis) for axis in wanted]).reshape(shape_of(target, sizes))


def _groups(axes: str) -> list[list[str]]:
    return [group.strip("()").split() for group in re.findall(r"\([^)]*\)|\S+", axes)]
