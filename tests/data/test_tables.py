"""What spreadsheets leave in files with a header: columns without a name, other delimiters."""

from __future__ import annotations

import openpyxl
import pytest

from tfpipeline.data import read_records
from tfpipeline.errors import UserError


def write(path, header, rows):
    if path.suffix == ".xlsx":
        book = openpyxl.Workbook()
        for row in [header, *rows]:
            book.active.append([cell or None for cell in row])
        book.save(path)
    else:
        delimiter = {".csv": ",", ".tsv": "\t"}[path.suffix]
        path.write_text("".join(delimiter.join(row) + "\n" for row in [header, *rows]))
    return path


FORMATS = ["csv", "tsv", "xlsx"]


@pytest.mark.parametrize("name", FORMATS)
def test_columns_without_a_name_are_not_read(tmp_path, name, capfd):
    rows = [["ham", "a", "", ""], ["spam", "b", " spilt", ""], ["ham", "c", "", "over"]]
    path = write(tmp_path / f"x.{name}", ["v1", "v2", "", ""], rows[:1])
    assert [dict(record.columns) for record in read_records(path, ["v1", "v2"])] == [{"v1": "ham", "v2": "a"}]
    assert capfd.readouterr().err == ""
    if name == "xlsx":  # there, what is beyond the header belongs to nothing
        return
    write(path, ["v1", "v2", "", " "], rows)
    assert [record.columns["v2"] for record in read_records(path)] == ["a", "b", "c"]
    said = " ".join(capfd.readouterr().err.split())
    assert "2 rows have text in columns without a name, which is not read, the first in line 3" in said


@pytest.mark.parametrize("name", FORMATS)
def test_an_index_is_not_read(tmp_path, name, capfd):
    """As pandas's to_csv and to_excel write it; of rows that were picked, its numbers have gaps."""
    rows = [["0", "a", "1"], ["1", "b", "2"], ["5", "", ""], ["12", "d", "2"]]
    path = write(tmp_path / f"x.{name}", ["", "text", "label"], rows)
    a, b, d = ({"text": text, "label": label} for text, label in ["a1", "b2", "d2"])
    assert [dict(record.columns) for record in read_records(path, ["text", "label"])] == [a, b, d]
    said = " ".join(capfd.readouterr().err.split())
    assert said == (
        f"{path}: 1 blank row was left out, in line 4 {path}: the first column has no name and holds whole "
        f"numbers: an "
        "index, which is not read"
    )


def test_an_empty_text_of_the_only_column_beside_an_index_is_a_row(tmp_path):
    (tmp_path / "x.csv").write_text(",text\n0,a\n1,\n")
    assert [record.columns["text"] for record in read_records(tmp_path / "x.csv")] == ["a", ""]


def test_a_first_column_of_texts_is_no_index(tmp_path, capfd):
    path = write(tmp_path / "x.csv", ["", "text", ""], [["0", "a", ""], ["one", "b", "x"], ["2", "c", ""]])
    assert len(list(read_records(path))) == 3
    said = " ".join(capfd.readouterr().err.split())
    assert said.startswith(
        f"warning: {path}: 3 rows have text in columns without a name, which is not read, the first in line 2"
    )
    write(path, ["", "text", ""], [["0", "a", ""], ["1", "b", "spilt"], ["2", "c", ""]])
    assert len(list(read_records(path))) == 3
    said = " ".join(capfd.readouterr().err.split())
    assert "an index, which is not read" in said
    assert "1 row has text in columns without a name, which is not read, in line 3;" in said


@pytest.mark.parametrize(("name", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_empty_cells_behind_the_header_are_left_out(tmp_path, name, delimiter, capfd):
    path = tmp_path / f"x.{name}"
    path.write_text("text,label\nfoo,1,\nbar,2, ,,\nbaz,3\n".replace(",", delimiter))
    found = [dict(record.columns) for record in read_records(path)]
    assert found == [
        {"text": "foo", "label": "1"},
        {"text": "bar", "label": "2"},
        {"text": "baz", "label": "3"},
    ]
    assert capfd.readouterr().err == ""
    path.write_text(
        "text,label,\nfoo,1\nbar,2,\n".replace(",", delimiter)
    )  # there, the header has the one too many
    assert [record.columns["label"] for record in read_records(path)] == ["1", "2"]
    path.write_text("text,label\nfoo,1,,x\n".replace(",", delimiter))
    with pytest.raises(
        UserError, match=r"4 cells where the header has 2; (put a cell|a TSV cell can hold no tab)"
    ):
        list(read_records(path))
    path.write_text("text,label,more\nfoo,1\n".replace(",", delimiter))
    with pytest.raises(
        UserError, match="2 cells where the header has 3; add what is missing; an empty cell needs its"
    ):
        list(read_records(path))


@pytest.mark.parametrize("name", FORMATS)
def test_columns_with_the_same_name_are_refused(tmp_path, name):
    path = write(tmp_path / f"x.{name}", ["text", "", "text", ""], [["a", "", "b", ""]])
    with pytest.raises(UserError, match='two columns are called "text"'):
        list(read_records(path))


@pytest.mark.parametrize(("delimiter", "named"), [(";", ";"), ("\t", "tab"), ("|", "|")])
def test_another_delimiter_is_guessed(tmp_path, delimiter, named):
    (tmp_path / "x.csv").write_text(f"text{delimiter}label\na{delimiter}b\n")
    with pytest.raises(UserError) as caught:
        list(read_records(tmp_path / "x.csv", ["text"]))
    assert str(caught.value).endswith(
        f'; if "{named}" stands between the cells, name it with --delimiter (in a run file: "delimiter", '
        "beside the path of the file)"
    )


def test_many_columns_are_not_all_listed(tmp_path):
    path = write(tmp_path / "x.csv", [f"c{number}" for number in range(50)], [])
    with pytest.raises(UserError, match=r'no column "text"; the columns are "c0", .*"c19" and 30 more$'):
        list(read_records(path, ["text"]))
