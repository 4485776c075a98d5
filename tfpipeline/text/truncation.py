"""How texts that are longer than the model reads are handled; no framework is imported.

The tokenizer and the model (`models/windows.py`) share this arithmetic of windows: the tokenizer truncates a
text to what its windows hold, and the model divides the row into windows. It takes integers and tensors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Optional

from tfpipeline.console import plural
from tfpipeline.text.template import BERT, Template

_FEW_TARGETS = 0.01  # share of rows whose targets may be truncated without a warning

Long = Literal["head", "head_tail", "windows"]
Pool = Literal["mean", "max"]


@dataclasses.dataclass(frozen=True)
class Truncation:
    """How texts that are too long are truncated or divided.

    A row is ``before text after`` or ``before text between text_pair after``, with the special tokens of the
    ``template``. Its prefix is everything before the last text; every window begins with it. The last text is
    divided into windows, and each of them ends with the tokens ``after``.

    Attributes:
        max_length: maximum number of tokens that the model reads at once, special tokens included.
        long: ``head`` keeps the beginning, ``head_tail`` the beginning and the end (Sun et al. 2019,
            arXiv:1905.05583, section 5.3.1), ``windows`` reads a text in several overlapping parts.
        tail: head_tail: share of the kept tokens that is taken from the end.
        overlap: windows: tokens that neighbouring windows share.
        max_windows: windows: maximum number per row; the rest of the text is truncated.
        pool: windows: how their outputs are combined.
        max_first_text: windows: maximum number of tokens of a pair's first text if the row takes more than
            one window; None: half of what fits.
        text_limits: for rows of a source and a target: the most tokens of each, special ones not counted. A
            single text is a source. Sources are truncated as ``long`` says, targets keep their beginning.
            None: texts have no limits of their own.
        template: the special tokens of a row.
    """

    max_length: int = 128
    long: Long = "head"
    tail: float = 0.75
    overlap: int = 32
    max_windows: int = 8
    pool: Pool = "mean"
    max_first_text: Optional[int] = None
    text_limits: Optional[tuple[int, int]] = None
    template: Template = BERT

    def check(self, pair: bool) -> None:
        """Refuse windows that could not advance.

        Args:
            pair: whether rows have two texts, which leaves less room after a longer prefix.
        Raises:
            ValueError: the first text may take more than half of what fits, or the overlap is too large for
                windows to advance.
        """
        if not self.windows:
            return
        if pair and self.first_text > self._half:
            raise ValueError(
                f"max_first_text is {self.max_first_text}, but of windows of {self.max_length} tokens "
                "(max_length) a first "
                f"text may take {self._half} at most, half of what fits; lower max_first_text or raise "
                "max_length"
            )
        step = self.step(self.prefix(pair)[1])
        if step < 1:
            behind, ways = "", "lower overlap"
            if pair:
                behind = f" behind a first text of {self.first_text}"
                ways += ", set max_first_text" if self.max_first_text is None else " or max_first_text,"
            raise ValueError(
                f"overlap is {self.overlap}, but windows of {self.max_length} tokens (max_length) may share "
                f"less than {self.overlap + step}{behind}; {ways} or raise max_length"
            )

    @property
    def windows(self) -> bool:
        """Whether texts are read in windows."""
        return self.long == "windows"

    @property
    def tail_share(self) -> float:
        """Share of a truncated text's tokens that is taken from its end: 0 unless ``head_tail``."""
        return self.tail if self.long == "head_tail" else 0.0

    @property
    def first_text(self) -> int:
        """Maximum number of tokens of a pair's first text if the row takes more than one window."""
        return self._half if self.max_first_text is None else self.max_first_text

    @property
    def _half(self) -> int:
        """Half of what fits into a window of a pair."""
        return (self.max_length - self.template.count(pair=True)) // 2

    def step(self, prefix: Any) -> Any:
        """The distance between the starts of two windows, given the number of tokens of the row's prefix."""
        return step(prefix, self.max_length, self.overlap, len(self.template.after))

    def holds(self, prefix: int, windows: int) -> int:
        """The number of tokens of a row, special tokens included, that a number of windows hold."""
        return int(holds(prefix, self.max_length, self.overlap, len(self.template.after), windows))

    def prefix(self, pair: bool) -> tuple[int, int]:
        """The shortest and the longest prefix of a row that takes more than one window."""
        special = self.template.in_front(pair)
        return (special, special + self.first_text) if pair else (special, special)

    def text_tokens(self, pair: bool) -> int:
        """The most tokens of a row's texts that are read, special ones not counted."""
        return self.longest(pair) - self.template.count(pair)

    def longest(self, pair: bool) -> int:
        """The maximum number of tokens of a row, special tokens included."""
        if self.text_limits is not None:
            limits = self.text_limits if pair else self.text_limits[:1]
            return min(self.max_length, sum(limits) + self.template.count(pair))
        return self.holds(self.prefix(pair)[0], self.max_windows) if self.windows else self.max_length

    def widths(self, pair: bool) -> list[int]:
        """The allowed widths above ``max_length``: the tokens of 2, 4, 8, ... windows, up to the longest
        row.
        """
        if not self.windows:
            return []
        counts = [
            2**power for power in range(1, self.max_windows.bit_length()) if 2**power < self.max_windows
        ]
        most = [self.max_windows] if self.max_windows > 1 else []
        return [self.holds(self.prefix(pair)[0], count) for count in counts + most]

    def get_config(self) -> dict[str, Any]:
        """The fields for Keras's serialisation; :meth:`from_config` is the inverse."""
        fields = dataclasses.fields(self)
        values = {field.name: getattr(self, field.name) for field in fields if field.name != "template"}
        return {**values, "template": self.template.to_dict()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Truncation:
        """The inverse of :meth:`get_config`; models saved earlier have no ``template``: BERT's."""
        values = dict(config)
        if "template" in values:
            values["template"] = Template.from_dict(values["template"])
        if values.get("text_limits") is not None:
            values["text_limits"] = tuple(values["text_limits"])
        return cls(**values)

    def identity(self) -> Any:
        """Everything that affects predictions, as JSON; options that ``long`` does not use are left out.

        The template is left out too: it belongs to the tokenizer, which has an identity of its own.
        """
        if self.long == "head" and self.text_limits is None:
            # The default keeps the identity of older exports.
            return self.max_length
        used = {"head": [], "head_tail": ["tail"], "windows": ["overlap", "max_windows", "pool"]}[self.long]
        if self.windows and self.max_first_text is not None:
            used.append("max_first_text")  # left out if not set, so that older caches stay usable
        if self.text_limits is not None:
            used.append("text_limits")
        return {name: getattr(self, name) for name in ("max_length", "long", *used)}

    def note(
        self,
        cut: int,
        rows: int,
        what: str = "rows",
        *,
        pair: bool = False,
        cut_texts: Optional[tuple[int, int]] = None,
    ) -> Optional[str]:
        """A sentence about rows that are too long; None if all rows fit.

        Args:
            cut: the number of rows that are too long.
            rows: the number of all rows.
            what: what the rows are called.
            pair: whether they have two texts.
            cut_texts: with ``text_limits``, the number of rows whose source is too long, and of those whose
                target is.
        """
        if not cut:
            return None
        if self.text_limits is not None and cut_texts is not None:
            return self._note_on_texts(cut_texts, rows, what)
        size = f"text.max_length ({self.max_length})"
        first = f"; first texts keep at most {self.first_text} tokens" if pair else ""
        limit, how = {
            "head": (size, "text.long: head"),
            "head_tail": (size, f"text.long: head_tail, {self.tail:g} of the tokens from the end"),
            "windows": (
                f"{self.max_windows} windows (text.max_windows) of {size}",
                f"text.long: windows{first}",
            ),
        }[self.long]
        exceed, were = plural(cut, "exceeds", "exceed"), plural(cut, "was", "were")
        return f"{cut} of {rows} {what} {exceed} {limit} and {were} truncated ({how})"

    def _note_on_texts(self, cut: tuple[int, int], rows: int, what: str) -> str:
        """The sentence about sources and targets that are too long, a warning if it is many targets."""
        side = "start" if self.tail_share == 1 else "middle" if self.tail_share else "end"
        limits: Any = self.text_limits
        parts = [
            f"{count} {text} more than {limit} tokens ({option}) and lost "
            f"{plural(count, 'its', 'their')} {end}"
            for count, limit, text, option, end in (
                (cut[0], limits[0], plural(cut[0], "source has", "sources have"), "max_source_length", side),
                (cut[1], limits[1], plural(cut[1], "target has", "targets have"), "max_target_length", "end"),
            )
            if count
        ]
        many = cut[1] > rows * _FEW_TARGETS
        advice = "; raise task.max_target_length, or the model learns to break off" if many else ""
        return f"{'warning: ' if many else ''}of {rows} {what}, {' and '.join(parts)}{advice}"


def step(prefix: Any, max_length: Any, overlap: Any, after: int) -> Any:
    """See :meth:`Truncation.step`; integers or integer tensors. ``after``: special tokens at the end."""
    return max_length - prefix - after - overlap


def holds(prefix: Any, max_length: Any, overlap: Any, after: int, windows: Any) -> Any:
    """See :meth:`Truncation.holds`; for integers and integer tensors. ``after``: as for :func:`step`."""
    return max_length + (windows - 1) * step(prefix, max_length, overlap, after)
