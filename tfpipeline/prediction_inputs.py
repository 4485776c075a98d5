"""The rows of ``tfpipeline predict``: arguments, the lines of standard input, or the rows of data files."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Optional

from tfpipeline import paths, terminal
from tfpipeline.errors import UserError, explain_missing_extra
from tfpipeline.paths import AnyPath

if TYPE_CHECKING:
    from tfpipeline.data import Record
    from tfpipeline.data.blank_rows import BlankRows
    from tfpipeline.data.records import FileOptions

STANDARD_INPUT = "standard input"
TURN_SEPARATOR = " [SEP] "  # that of `task.turn_separator` by default


@dataclass(frozen=True)
class Columns:
    """Where a data file has its texts.

    Attributes:
        text: the column of the text.
        text_pair: the column of the second text; None if there is none.
        separator: joins the tokens, or the turns, of cells that are lists of them; None if no run says it:
            a space for tokens, ``TURN_SEPARATOR`` for turns.
        turns: whether the text's column has dialogues, lists of turns, also where lists are JSON in a text.
        adapter: the column of the adapter's name; None if there is none.
    """

    text: str = "text"
    text_pair: Optional[str] = None
    separator: Optional[str] = None
    turns: bool = False
    adapter: Optional[str] = None

    @property
    def names(self) -> list[str]:
        """The columns that every row must have."""
        return [self.text, *([] if self.text_pair is None else [self.text_pair])]

    def given(
        self,
        text: Optional[str] = None,
        text_pair: Optional[str] = None,
        separator: Optional[str] = None,
        adapter: Optional[str] = None,
    ) -> Columns:
        """The same with what a user has given instead; None for what was not given."""
        return replace(
            self,
            text=self.text if text is None else text,
            text_pair=text_pair or self.text_pair,
            separator=self.separator if separator is None else separator,
            adapter=adapter,
        )


@dataclass(frozen=True)
class Row:
    """A text to predict for.

    Attributes:
        texts: ``text``, of a pair ``text_pair``, and perhaps ``adapter``, as they are sent.
        columns: what is written beside the prediction: the cells of a file's row by column name, or
            ``texts``. Values are plain Python, ready for JSON.
    """

    texts: Mapping[str, str]
    columns: Mapping[str, Any]


def own_columns(model: str) -> Columns:
    """The columns that a run, or a model that was exported from one, was trained on; defaults for others.

    Args:
        model: a run directory, a version's directory or a model's directory of versions, on this machine.
    Raises:
        UserError: the run's settings cannot be read.
    """
    if paths.is_far(model):
        return Columns()
    path = paths.local(model)
    if (path / "config.yaml").is_file():
        with explain_missing_extra():
            from tfpipeline import config
            from tfpipeline.training.run_config import RunConfig

        return Columns(**config.load(path / "config.yaml", RunConfig).columns)
    from tfpipeline.export import card
    from tfpipeline.export.model_directory import MARKER, open_directory

    if not (path / MARKER).is_file():
        versions = open_directory(path).versions() if path.is_dir() else {}
        path = path / versions[max(versions)] if versions else path
    data = card.read(path).get("data")
    known = data.get("columns") if isinstance(data, dict) else None  # absent from cards of older versions
    return Columns(**known) if isinstance(known, dict) else Columns()


def of_arguments(texts: Sequence[str], pair: Optional[str]) -> Iterator[Row]:
    """The rows of texts that were typed as arguments.

    Args:
        texts: the arguments.
        pair: the second text of all of them; None if there is none.
    """
    return (_row(terminal.typed(text), pair) for text in texts)


def of_standard_input(pair: Optional[str]) -> Iterator[Row]:
    """The rows of standard input, one text per line; blank lines are skipped and counted.

    Args:
        pair: the second text of all of them; None if there is none.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        # Invalid bytes are refused at the same point as those of arguments, which Python decodes in this way.
        encoding = "utf-8" if terminal.is_ascii(sys.stdin.encoding) else sys.stdin.encoding
        sys.stdin.reconfigure(encoding=encoding, errors="surrogateescape")
    blank = _blank_rows(STANDARD_INPUT)
    for number, line in enumerate(sys.stdin, 1):
        text = line.rstrip("\r\n")
        if not blank.count_if_blank([text], f"line {number}"):
            yield _row(text, pair)
    blank.tell()


def of_file(file: AnyPath, columns: Columns, reading: FileOptions) -> Iterator[Row]:
    """The rows of a data file; rows without any text are skipped and counted.

    Raises:
        UserError: the file cannot be read, a column is missing, or a cell is not a text.
    """
    from tfpipeline.data import read_records

    blank = _blank_rows(str(file))
    needed = [*columns.names, *([] if columns.adapter is None else [columns.adapter])]
    for record in read_records(file, needed, reading):
        texts = [_text_of(record, column, columns) for column in columns.names]
        if blank.count_if_blank(texts, record.place or f"line {record.line}"):
            continue
        # Offsets in predictions are those of the joined text, so this is the one to show.
        cells = {name: _value(cell) for name, cell in record.columns.items()}
        cells.update(zip(columns.names, texts))
        named = dict(zip(("text", "text_pair"), texts))
        if columns.adapter is not None:
            named["adapter"] = _text_of(record, columns.adapter, columns)
            if not named["adapter"]:
                raise UserError(
                    f'{record.source}: the column "{columns.adapter}" names no adapter; name one in each '
                    "row, or one for all with --adapter"
                )
        yield Row(named, cells)
    blank.tell()


@dataclass
class Stored:
    """The rows of files that were read to their end, in a temporary file.

    Attributes:
        columns: the names of all columns, in the order in which they were found.
    """

    columns: list[str] = field(default_factory=list)
    _file: Any = None

    def __iter__(self) -> Iterator[Row]:
        self._file.seek(0)
        for line in self._file:
            yield Row(*json.loads(line))


@contextlib.contextmanager
def stored(files: Iterable[AnyPath], columns: Columns, reading: FileOptions) -> Iterator[Stored]:
    """Read files to their end and keep the rows on disk, so that an unusable row is reported at once.

    Raises:
        UserError: as of :func:`of_file`.
    """
    names: dict[str, None] = {}
    with tempfile.TemporaryFile("w+", encoding="ascii") as file:
        for path in files:
            for row in of_file(path, columns, reading):
                names.update(dict.fromkeys(row.columns))
                file.write(json.dumps([row.texts, row.columns]) + "\n")
        yield Stored(list(names), file)


def batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """The rows, ``size`` at a time."""
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _blank_rows(source: str) -> BlankRows:
    from tfpipeline.data.blank_rows import BlankRows

    return BlankRows(source, "row has no text and was skipped", "rows have no text and were skipped")


def _row(text: str, pair: Optional[str]) -> Row:
    texts = {"text": text} if pair is None else {"text": text, "text_pair": pair}
    return Row(texts, texts)


def _text_of(record: Record, column: str, columns: Columns) -> str:
    """The text of a cell; tokens and turns are joined as in training."""
    from tfpipeline.data.records import Structure, require_value, shortened
    from tfpipeline.data.turns import is_list, is_list_of_turns, read_turns

    cell = record.columns[column]
    require_value(record, column)
    if is_list_of_turns(cell) or (columns.turns and is_list(cell)):
        between = TURN_SEPARATOR if columns.separator is None else columns.separator
        return between.join(turn.text for turn in read_turns(cell, record.source, column))
    if not isinstance(cell, Structure):
        return str(cell)
    tokens = json.loads(cell)
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise UserError(
            f'{record.source}: the column "{shortened(column)}" holds {shortened(cell)}; expected a text, '
            f"or a list of tokens"
        )
    return (" " if columns.separator is None else columns.separator).join(tokens)


def _value(cell: str) -> Any:
    """A cell as JSON has it: what its file has as a number, null, true, a list or an object stays one."""
    from tfpipeline.data.records import Constant, NoValue, Number, Structure

    if isinstance(cell, NoValue):
        return None
    if isinstance(cell, Constant):
        return cell.value
    if isinstance(cell, Structure):
        return json.loads(cell)
    if isinstance(cell, Number):
        number = json.loads(cell)
        # 1.10 or an identifier of 30 digits with a point: a number in another spelling would lose something.
        return number if json.dumps(number) == cell else str(cell)
    return str(cell)
