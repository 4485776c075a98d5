from __future__ import annotations

import datetime
import zipfile

import openpyxl
import pytest

from tfpipeline.data import load_splits, read_data_file, read_records
from tfpipeline.data.options import DataOptions
from tfpipeline.data.records import FileOptions
from tfpipeline.errors import UserError


def write(path, **sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def sentence(path, **options):
    with pytest.raises(UserError) as caught:
        list(read_records(path, **options))
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{path.parent}/", "")


def test_cells_are_what_a_csv_file_has(tmp_path):
    values = {
        "a": "a", " 5": " 5", "5": 5, "-7": -7.0, "12345678901": 12345678901, "1.5": 1.5, "0.3": 0.1 + 0.2,
        "1e+20": 1e20, "TRUE": True, "FALSE": False, "": None, "2024-02-29": datetime.date(2024, 2, 29),
        "2024-02-29 13:05:00": datetime.datetime(2024, 2, 29, 13, 5), "13:05:00": datetime.time(13, 5),
        "26:00:05": datetime.timedelta(hours=26, seconds=5), "two\nlines": "two\nlines", "x": "x",
    }  # fmt: skip
    path = write(tmp_path / "x.xlsx", one=[[f"c{n}" for n in range(len(values))], list(values.values())])
    (record,) = read_records(path)
    assert list(record.columns.values()) == list(values)
    assert record.source == f"{path}:2"


def test_it_trains_as_a_csv_file_does(tmp_path):
    rows = [(f"text {number}", number % 2) for number in range(20)]
    book = write(tmp_path / "x.xlsx", data=[("text", "label"), *rows])
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    ours, theirs = (load_splits(DataOptions(train=str(tmp_path / name))) for name in ("x.xlsx", "x.csv"))
    for split in ("train", "validation"):
        assert [(row.text, row.label, row.line) for row in ours[split]] == [
            (row.text, row.label, row.line) for row in theirs[split]
        ]
    assert read_data_file(book, DataOptions(train="x.csv"))[3].source == f"{book}:5"


def test_which_sheet_is_read(tmp_path, capfd):
    path = write(tmp_path / "x.xlsx", One=[["text"], ["a"]], two=[["text"], ["b"]])
    assert [record.columns["text"] for record in read_records(path)] == ["a"]
    said = " ".join(capfd.readouterr().err.split())
    assert said.endswith(
        'reading the first sheet, "One"; name another one ("two") with --sheet (in a run file: "sheet", '
        "beside the path of the file)"
    )
    assert [row.columns["text"] for row in read_records(path, file=FileOptions(sheet="two"))] == ["b"]
    assert capfd.readouterr().err == ""
    found = 'x.xlsx: there is no sheet "one"; did you mean "One"?'
    assert sentence(path, file=FileOptions(sheet="one")) == found


def test_blank_rows_and_dimensions_that_are_wrong(tmp_path):
    path = write(tmp_path / "x.xlsx", data=[[], ["text", "label", " "], ["a", 1], [None, None], ["b", 2]])
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    name = "xl/worksheets/sheet1.xml"
    assert b'<dimension ref="A1:C5"' in parts[name] or b"<dimension" in parts[name]
    start = parts[name].index(b"<dimension ref=")
    end = parts[name].index(b"/>", start)
    parts[name] = parts[name][:start] + b'<dimension ref="A1"' + parts[name][end:]
    with zipfile.ZipFile(path, "w") as new:
        for part, data in parts.items():
            new.writestr(part, data)
    found = [(dict(record.columns), record.line) for record in read_records(path, ["text", "label"])]
    assert found == [({"text": "a", "label": "1"}, 3), ({"text": "b", "label": "2"}, 5)]


def test_an_error_in_a_cell_is_no_value(tmp_path):
    path = write(tmp_path / "x.xlsx", data=[["text", "label"], ["a", "l"], ["b", "#N/A"], ["#DIV/0!", "l"]])
    with pytest.raises(UserError) as caught:
        read_data_file(path, DataOptions(train=str(path)))
    first, second = str(caught.value).splitlines()[1:]
    assert f'{path}:3: the column "label" holds #N/A, which is not a value' in first
    assert f'{path}:4: the column "text" holds #DIV/0!, which is not a value' in second


@pytest.mark.parametrize("data", [b"", b"text,label\na,b\n", b"PK\x03\x04broken", b"\xd0\xcf\x11\xe0old"])
def test_what_is_no_workbook(tmp_path, data):
    path = tmp_path / "x.xlsx"
    path.write_bytes(data)
    assert sentence(path).startswith("x.xlsx: not an Excel workbook, or a damaged or protected one (")
    assert "Is a directory" in sentence_of_a_folder(tmp_path / "y.xlsx")


def sentence_of_a_folder(path):
    path.mkdir()
    return sentence(path)


def test_a_sheet_without_cells_and_rows_wider_than_the_header(tmp_path):
    assert sentence(write(tmp_path / "x.xlsx", data=[])) == (
        "x.xlsx:1: the file is empty; expected a header and rows"
    )
    path = write(tmp_path / "y.xlsx", data=[["text"], ["a", "b"]])
    assert sentence(path) == (
        "y.xlsx:2: 2 cells where the header has 1; give each column a name in the header"
    )
