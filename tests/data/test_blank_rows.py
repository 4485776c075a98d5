"""Rows with nothing in them are left out and counted, in every format."""

from __future__ import annotations

import json

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfpipeline.data import read_data_file, read_records
from tfpipeline.data.options import DataOptions
from tfpipeline.errors import UserError


def write(path, rows):
    """Rows of the same columns; None is a gap."""
    names, kind = list(rows[0]), path.suffix[1:]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "xlsx":
        book = openpyxl.Workbook()
        for row in [names, *(list(row.values()) for row in rows)]:
            book.active.append(row)
        book.save(path)
    elif kind in ("json", "jsonl"):
        lines = [json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) if kind == "jsonl" else f"[{', '.join(lines)}]")
    else:
        cells = [names, *([cell or "" for cell in row.values()] for row in rows)]
        path.write_text("".join({"csv": ",", "tsv": "\t"}[kind].join(row) + "\n" for row in cells))
    return path


def said(capfd):
    return " ".join(capfd.readouterr().err.split())


# Of each format where the second row is, as messages say it.
FIRST = {
    "csv": "line 3",
    "tsv": "line 3",
    "xlsx": "line 3",
    "json": "[1]",
    "jsonl": "line 2",
    "parquet": "row 2",
}
A = {"text": "a", "label": "1", "more": "x"}
B = {"text": "b", "label": "2", "more": None}
GAPS = dict.fromkeys(A)
BLANKS = {"text": " ", "label": None, "more": "\u00a0"}


@pytest.mark.parametrize("name", FIRST)
def test_blank_rows_are_left_out_and_counted(tmp_path, name, capfd):
    path = write(tmp_path / f"x.{name}", [A, GAPS, B, BLANKS, GAPS])
    lines = [2, 4] if FIRST[name] == "line 3" else [1, 3]
    found = [(dict(record.columns), record.line) for record in read_records(path, ["text", "label"])]
    assert found == list(zip([A, {**B, "more": ""}], lines))
    assert said(capfd) == f"{path}: 3 blank rows were left out, the first in {FIRST[name]}"
    write(path, [A, GAPS])
    assert len(list(read_records(path))) == 1
    assert said(capfd) == f"{path}: 1 blank row was left out, in {FIRST[name]}"


@pytest.mark.parametrize("name", FIRST)
def test_a_file_of_blank_rows_has_no_rows(tmp_path, name):
    path = write(tmp_path / f"x.{name}", [BLANKS, BLANKS])
    with pytest.raises(UserError, match="the file has no rows"):
        read_data_file(path, DataOptions(train=str(path)))


@pytest.mark.parametrize("name", ["csv", "json", "jsonl", "parquet"])
def test_a_blank_cell_of_the_only_column_is_a_row(tmp_path, name, capfd):
    path = tmp_path / f"x.{name}"
    if name == "csv":
        path.write_text('text\na\n""\n')
    else:
        write(path, [{"text": "a"}, {"text": None}])
    assert [record.columns["text"] for record in read_records(path, ["text"])] == ["a", ""]
    assert said(capfd) == ""


@pytest.mark.parametrize("name", ["json", "jsonl"])
def test_objects_without_the_columns_of_the_others(tmp_path, name, capfd):
    path = write(tmp_path / f"x.{name}", [{}, {"text": None}, A, {"label": " "}])
    assert [dict(record.columns) for record in read_records(path, ["text", "label"])] == [A]
    assert "3 blank rows were left out" in said(capfd)


@pytest.mark.parametrize("name", ["json", "jsonl"])
def test_a_first_row_without_a_column_behind_a_blank_one_stops_the_reading(tmp_path, name):
    path, bad = write(tmp_path / f"x.{name}", [{}, {"txt": "a"}, {"txt": "b"}]), []
    with pytest.raises(UserError, match='there is no column "text"; did you mean "txt"'):
        list(read_records(path, ["text"], bad_row=bad.append))
    assert bad == []


def test_empty_lists_are_not_blank(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"text": [], "label": []}])
    assert len(list(read_records(path))) == 1


def test_a_line_of_blanks_in_a_table(tmp_path, capfd):
    (tmp_path / "x.csv").write_text('text,label\na,b\n""\n ,\n,,,\n')
    assert len(list(read_records(tmp_path / "x.csv"))) == 1
    assert "3 blank rows were left out, the first in line 3" in said(capfd)
