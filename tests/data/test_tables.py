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
    assert "2 row(s) have text in columns without a name, which is not read, the first in line 3" in said


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
        f'; if "{named}" stands between the cells, set data.delimiter to it (or --delimiter)'
    )


def test_many_columns_are_not_all_listed(tmp_path):
    path = write(tmp_path / "x.csv", [f"c{number}" for number in range(50)], [])
    with pytest.raises(UserError, match=r'no column "text"; the columns are "c0", .*"c19" and 30 more$'):
        list(read_records(path, ["text"]))
