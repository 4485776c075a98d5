from __future__ import annotations

import csv
import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpipeline.data import read_records, readers
from tfpipeline.data.records import FileOptions
from tfpipeline.errors import UserError


def rows(tmp_path, name, data, required=()):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    return [(dict(record.columns), record.line) for record in read_records(path, required)]


def sentence(tmp_path, name, data, required=()):
    with pytest.raises(UserError) as caught:
        rows(tmp_path, name, data, required)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_csv_cells_and_lines(tmp_path):
    data = '\ufefftext,label\n"two\nlines, ""quoted""",a\r\n\n\x00 \u2028 \x85,\n" b",c'
    assert rows(tmp_path, "x.csv", data) == [
        ({"text": 'two\nlines, "quoted"', "label": "a"}, 2),
        ({"text": "\x00 \u2028 \x85", "label": ""}, 5),
        ({"text": " b", "label": "c"}, 6),
    ]


def test_csv_holds_long_texts_and_leaves_the_process_limit_alone(tmp_path):
    before = csv.field_size_limit()
    assert len(rows(tmp_path, "x.csv", "text\n" + "x" * 1_000_000)[0][0]["text"]) == 1_000_000
    assert csv.field_size_limit() == before


def test_tsv_quotes_are_ordinary(tmp_path):
    assert rows(tmp_path, "x.TSV", 'text\tlabel\r\n"open\ta\r\n\n\tb\n') == [
        ({"text": '"open', "label": "a"}, 2),
        ({"text": "", "label": "b"}, 4),
    ]


def test_jsonl_cells_are_text(tmp_path):
    line = '{"a": "x\\n", "b": 1.0, "c": null, "d": true, "e": [1, "é", 2.50, {"k": null}], "f": 123456789012345678901, "g": NaN, "h": "\\ud83d \\ud83d\\ude00"}'
    found = rows(tmp_path, "x.jsonl", f"\n{line}\n")
    assert found == [
        (
            {
                "a": "x\n", "b": "1.0", "c": "", "d": "true", "e": '[1, "é", 2.50, {"k": null}]',
                "f": "123456789012345678901", "g": "NaN", "h": "\ufffd 😀",
            },
            2,
        )
    ]  # fmt: skip
    assert json.loads(found[0][0]["e"])[3] == {"k": None}


def test_txt_is_a_row_a_line(tmp_path):
    assert rows(tmp_path, "x.txt", "a,b\r\n\nc") == [
        ({"text": "a,b"}, 1),
        ({"text": ""}, 2),
        ({"text": "c"}, 3),
    ]


@pytest.mark.parametrize(
    ("name", "data", "start"),
    [
        ("x.csv", "text,label\na,b\nc\n", "x.csv:3: 1 cell where the header has 2; add what is missing; an empty cell needs its delimiter"),
        ("x.csv", 'text,label\n"a\n\n",b\nc,d,e\n', "x.csv:5: 3 cells where the header has 2; put a cell"),
        ("x.csv", 'text,label\na,b\n"open,c\nd,e\n', "x.csv:3: broken row (unexpected end of data)"),
        ("x.csv", 'text,label\n"a"b,c\n', "x.csv:2: broken row"),
        ("x.csv", "text,text\n", 'x.csv:1: two columns are called "text"'),
        ("x.csv", "", "x.csv:1: the file is empty"),
        ("x.csv", "\n\n", "x.csv:1: the file is empty"),
        ("x.csv", b"text\nok\n\xe9t\xe9\n", "x.csv:3: not UTF-8 (byte 0xe9)"),
        ("x.csv", "text\n".encode("utf-16"), "x.csv:1: the file is UTF-16"),
        ("x.tsv", "text\tlabel\na\tb\tc\n", "x.tsv:2: 3 cells where the header has 2; a TSV cell"),
        ("x.tsv", "", "x.tsv:1: the file is empty"),
        ("x.jsonl", '{"text": "a"}\n[1]\n', 'x.jsonl:2: expected a JSON object such as {"text": "..."}, found [1]'),
        ("x.jsonl", '{"text": "a"}\n{"text": \n', "x.jsonl:2: not a JSON object"),
        ("x.jsonl", "[" * 100_000, "x.jsonl:1: not a JSON object (nested too deeply)"),
        ("x.jsonl", "\n \n", "x.jsonl:1: the file is empty"),
        ("x.ods", "", 'x.ods: cannot tell the format from the suffix ".ods"; known: .conll, .conllu, .csv, .json, .jsonl, '),
        ("x", "", 'x: cannot tell the format from the suffix ""'),
    ],
)  # fmt: skip
def test_broken_files(tmp_path, name, data, start):
    assert sentence(tmp_path, name, data).startswith(start)


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        ("x.csv", "txt,label\n", 'x.csv:1: there is no column "text"; did you mean "txt"? The columns are "txt", "label"'),
        ("x.tsv", "body\tlabel\n", 'x.tsv:1: there is no column "text"; the columns are "body", "label"'),
        ("x.csv", " text,label\n", 'x.csv:1: there is no column "text"; did you mean " text" (with a blank before it)? The columns are " text", "label"'),
        (
            "x.jsonl",
            '{"text": "a"}\n{"Text": "a"}\n',
            'x.jsonl:2: there is no column "text"; did you mean "Text"? The columns are "Text"',
        ),
    ],
)  # fmt: skip
def test_missing_column(tmp_path, name, data, found):
    assert sentence(tmp_path, name, data, ["text"]) == found


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "mac"])
def test_a_paragraph_of_a_txt_file_ends_at_a_blank_line(tmp_path, end):
    path = tmp_path / "x.txt"
    path.write_bytes(end.join(["", "a", " b", "", " \t", "c", "", "d"]).encode())
    options = FileOptions(paragraphs=True)
    found = [(record.columns["text"], record.line) for record in read_records(path, ["text"], options)]
    assert found == [("a\n b", 2), ("c", 6), ("d", 8)]
    path.write_bytes(b"")
    assert not list(read_records(path, ["text"], options))


def test_txt_has_one_column(tmp_path):
    assert "there is no column" in sentence(tmp_path, "x.txt", "a\n", ["label"])


def test_unreadable_files(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none\.csv: No such file"):
        list(read_records(tmp_path / "none.csv"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=r"cannot read .*folder\.csv: Is a directory"):
        list(read_records(tmp_path / "folder.csv"))


@pytest.mark.large
@pytest.mark.parametrize("name", sorted({*readers.names()} - {"json", "xlsx"}))  # parsed as a whole; no text
def test_every_reader_streams(tmp_path, name):
    """The contract of a reader: rows come while the file is read, and errors name where."""
    good = {
        "csv": "text\na\nb\n",
        "tsv": "text\na\nb\n",
        "jsonl": '{"text": "a"}\n{"text": "b"}\n',
        "txt": "a\nb\n",
        "conll": "a\n\nb\n\n",
        "conllu": "".join("1\t" + word + "\t_" * 8 + "\n\n" for word in "ab"),
    }
    lines = 2 if name in ("conll", "conllu") else 1  # of a row
    path = tmp_path / f"x.{name}"
    # The broken byte lies beyond what a file's buffer reads ahead.
    if name == "parquet":
        pq.write_table(pa.table({"text": [b"a", *[b"b"] * 100_000, b"\xff"]}), path)
    else:
        line = "".join(good[name].splitlines(keepends=True)[-lines:]).encode()
        path.write_bytes(good[name].encode() + line * 100_000 + b"\xff\n")
    records = read_records(path, ["text"])
    first, second = next(records), next(records)
    assert (first.columns["text"], second.columns["text"]) == ("a", "b")
    assert second.line == first.line + lines
    assert second.source == f"{path}:{second.line}"
    with pytest.raises(UserError, match=r":\d+: not UTF-8"):
        list(records)


@given(cells=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=6))
def test_csv_reads_what_python_writes(tmp_path_factory, cells):
    path = tmp_path_factory.getbasetemp() / "round.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["text", "label"])
        writer.writerows([cell, cell] for cell in cells)
    assert [dict(record.columns) for record in read_records(path)] == [
        {"text": cell, "label": cell} for cell in cells if cell.strip()
    ]


def test_the_data_layer_needs_numpy_only():
    code = (
        "import sys, tfpipeline.data; "
        "sys.exit(bool({'tensorflow', 'keras', 'sklearn', 'pydantic', 'yaml', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "data", "lines"),
    [
        ("x.csv", "text,label\na,b\nc\nd,e\nf,g,h\n", [3, 5]),
        ("x.tsv", "text\tlabel\na\tb\nc\nd\te\nf\tg\th\n", [3, 5]),
        ("x.jsonl", '{"text": "a", "label": "b"}\n[]\n{"text": "d", "label": "e"}\n{"text": "f"}\n', [2, 4]),
        ("x.conll", "a O\n\nb\nc O\n\nd O\n\ne O X\n", [3, 8]),
    ],
)  # fmt: skip
def test_rows_behind_a_broken_one_are_read(tmp_path, name, data, lines):
    (tmp_path / name).write_text(data)
    errors = []
    texts = [
        record.columns["text"]
        for record in read_records(
            tmp_path / name, ["text", "-1" if name == "x.conll" else "label"], bad_row=errors.append
        )
    ]
    assert texts == ["a", "d"]
    assert [str(error).split(":")[1] for error in errors] == [str(line) for line in lines]


def test_a_column_that_is_missing_in_the_first_row_is_said_once(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n' * 20)
    with pytest.raises(UserError, match=r'x\.jsonl:1: there is no column "label"'):
        list(read_records(tmp_path / "x.jsonl", ["label"], bad_row=lambda error: None))
