"""JSON: questions about texts in the SQuAD format, versions 1.1 and 2.0, or a list of objects.

In the SQuAD format each question is a row. It has the columns of the ``squad`` data sets on Hugging Face, so
both give the same rows: ``id``, ``title``, ``question``, ``context``, and ``answers`` as the JSON text
``{"text": [...], "answer_start": [...]}``. ``is_impossible``, ``true`` or ``false``, is added. An impossible
question has no answers, even if the file has plausible ones. A question without ``answers`` lacks that
column, as in a file to predict.

In a list, the objects are rows as in JSON lines. The file is parsed as a whole, so a record's line is the
number of its row, from 1. Errors give the path within the document, ``data[3].paragraphs[0].qas[2]``, and the
question's ``id`` if it has one.
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
            if first:  # all other rows would lack it too
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
    """The rows of a list, each with its path."""
    for number, row in enumerate(document):
        if not isinstance(row, dict):
            raise UserError(f'{path}: [{number}] is not an object; write each row as {{"text": "..."}}')
        yield f"[{number}]", {replace_surrogates(key): cell(value) for key, value in row.items()}


def _questions(document: _Object) -> Iterator[tuple[str, dict[str, str]]]:
    """The questions of a document in the SQuAD format, each with its path."""
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
    """An object in a document.

    Attributes:
        fields: its contents.
        file: the document.
        place: its path in the document, such as ``data[3].paragraphs[0]``; empty for the document itself.
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
        """A required text."""
        value = self._required(name)
        if not isinstance(value, str) or isinstance(value, Number):
            raise self._mistyped(name, "a text")
        return replace_surrogates(value)

    def name(self, name: str) -> str:
        """A text or a number; empty if it is null or missing."""
        value = self.fields.get(name, "")
        if value is not None and not isinstance(value, str):
            raise self._mistyped(name, "a text")
        return cell(value)

    def integer(self, name: str) -> Number:
        """A required whole number."""
        value = self._required(name)
        if not isinstance(value, Number) or not value.removeprefix("-").isdigit():
            raise self._mistyped(name, "a whole number")
        return value

    def flag(self, name: str) -> bool:
        """True or false; false if it is null or missing."""
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
