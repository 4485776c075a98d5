"""JSON: questions about texts in SQuAD's form, versions 1.1 and 2.0, or a list of objects.

Of SQuAD's form each question is a row with the columns that Hugging Face's ``squad`` data sets have, so that
both give the same rows: ``id``, ``title``, ``question``, ``context``, and ``answers`` as the JSON text
``{"text": [...], "answer_start": [...]}``; ``is_impossible``, ``true`` or ``false``, comes on top. An
impossible question has no answers, whatever plausible ones the file names. A question without ``answers`` has
no such column, as in a file to predict.

The objects of a list are rows as those of JSON lines are. The file is parsed as a whole, so a record's line
is the number of its row, from 1, and messages say where in the document something is:
``data[3].paragraphs[0].qas[2]``, with the question's ``id`` where it has one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfpipeline.data.blank_rows import BlankRows
from tfpipeline.data.lines import read_lines
from tfpipeline.data.readers.jsonl import cell, has_one_column, replace_surrogates
from tfpipeline.data.records import NoValue, Number, Reading, Record, require, shortened
from tfpipeline.errors import UserError

_FORM = (
    'SQuAD\'s form is {"data": [{"paragraphs": [{"context": "...", "qas": [{"question": "...", '
    '"answers": [{"text": "...", "answer_start": 0}]}]}]}]}'
)


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """Yield the rows of a JSON file; see :mod:`tfpipeline.data.readers`."""
    document = _parse(path, reading.file.encoding)
    if isinstance(document, list):
        rows = _objects(document, path)
    elif isinstance(document, dict) and "data" in document:
        rows = _questions(_Object(document, path, ""))
    else:
        raise UserError(f'{path}: neither a list of objects nor an object with "data"; {_FORM}')
    blank, first = BlankRows(path), True
    number = 0
    for number, (place, columns) in enumerate(rows, 1):
        if not has_one_column(columns, reading) and blank.count_if_blank(columns.values(), place):
            continue
        try:
            require(reading.required, columns, f"{path}: {place}")
        except UserError as error:
            if first:  # nor will the others be any better
                raise
            reading.bad_row(error)
        else:
            yield Record(columns, str(path), number, place)
        first = False
    if not number:
        raise UserError(f"{path}: there are no rows; expected a list of objects, or questions: {_FORM}")
    blank.tell()


def _parse(path: Path, encoding: str) -> Any:
    text = "".join(read_lines(path, encoding))
    if not text.strip():
        raise UserError(f"{path}:1: the file is empty; expected a list of objects, or questions: {_FORM}")
    try:
        return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=NoValue)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}:{error.lineno}: not JSON ({error.msg}, column {error.colno}); if it has one object "
            "per line, call it .jsonl"
        ) from error
    except RecursionError as error:
        raise UserError(f"{path}:1: not JSON that can be read (nested too deeply); {_FORM}") from error


def _objects(document: list[Any], path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a list, each with its place."""
    for number, row in enumerate(document):
        if not isinstance(row, dict):
            raise UserError(f'{path}: [{number}] is not an object; write each row as {{"text": "..."}}')
        yield f"[{number}]", {replace_surrogates(key): cell(value) for key, value in row.items()}


def _questions(document: _Object) -> Iterator[tuple[str, dict[str, str]]]:
    """The questions of a document in SQuAD's form, each with its place."""
    for article in document.objects("data"):
        title = article.name("title")
        for paragraph in article.objects("paragraphs"):
            context = paragraph.text("context")
            for question in paragraph.objects("qas"):
                impossible = question.flag("is_impossible")
                columns = {
                    "id": question.name("id"),
                    "title": title,
                    "question": question.text("question"),
                    "context": context,
                    "is_impossible": cell(impossible),
                }
                if impossible or "answers" in question.fields:
                    answers = [] if impossible else list(question.objects("answers"))
                    columns["answers"] = cell(
                        {
                            "text": [answer.text("text") for answer in answers],
                            "answer_start": [answer.integer("answer_start") for answer in answers],
                        }
                    )
                name = f" (id {shortened(columns['id'])})" if columns["id"] else ""
                yield f"{question.place}{name}", columns


@dataclass(frozen=True)
class _Object:
    """An object of a document.

    Attributes:
        fields: what it holds.
        file: the document.
        place: where it stands there, such as ``data[3].paragraphs[0]``; the document itself has an empty one.
    """

    fields: dict[str, Any]
    file: Path
    place: str

    def objects(self, name: str) -> Iterator[_Object]:
        """The objects of a list."""
        items = self._required(name)
        if not isinstance(items, list):
            raise self._mistyped(name, "a list")
        for number, item in enumerate(items):
            if not isinstance(item, dict):
                raise self._mistyped(f"{name}[{number}]", "an object")
            yield _Object(item, self.file, self._path(f"{name}[{number}]"))

    def text(self, name: str) -> str:
        """A text that must be there."""
        value = self._required(name)
        if not isinstance(value, str) or isinstance(value, Number):
            raise self._mistyped(name, "a text")
        return replace_surrogates(value)

    def name(self, name: str) -> str:
        """A text or a number; empty where it is null or not there."""
        value = self.fields.get(name, "")
        if value is not None and not isinstance(value, str):
            raise self._mistyped(name, "a text")
        return cell(value)

    def integer(self, name: str) -> Number:
        """A whole number that must be there."""
        value = self._required(name)
        if not isinstance(value, Number) or not value.removeprefix("-").isdigit():
            raise self._mistyped(name, "a whole number")
        return value

    def flag(self, name: str) -> bool:
        """True or false; false where it is null or not there."""
        value = self.fields.get(name)
        if value is not None and not isinstance(value, bool):
            raise self._mistyped(name, "true or false")
        return bool(value)

    def _required(self, name: str) -> Any:
        if name not in self.fields:
            raise UserError(f'{self.file}: {self.place} has no "{name}"; {_FORM}')
        return self.fields[name]

    def _mistyped(self, name: str, wanted: str) -> UserError:
        return UserError(f"{self.file}: {self._path(name)} is not {wanted}; {_FORM}")

    def _path(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name
