"""What the data layer makes of bad rows, format by format: a value that is written here, or the file and the line."""

from __future__ import annotations

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfpipeline.data import load_splits, read_data_file
from tfpipeline.data.options import DataOptions
from tfpipeline.errors import UserError

FORMATS = ["csv", "tsv", "jsonl", "parquet"]
FIRST = {"csv": 2, "tsv": 2, "jsonl": 1, "parquet": 1}  # line of the first row


def write(path, rows):
    """Rows of strings by column name, written by the format's usual writer; TSV has none and escapes nothing."""
    suffix = path.suffix[1:]
    names = list(rows[0])
    if suffix == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
            writer.writerows([names, *(row.values() for row in rows)])
    elif suffix == "tsv":
        lines = ["\t".join(cells) + "\n" for cells in [names, *(row.values() for row in rows)]]
        path.write_bytes("".join(lines).encode("utf-8"))
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def read(path, **options):
    return read_data_file(path, DataOptions(train=str(path), **options))


def sentence(path, **options):
    with pytest.raises(UserError) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).rpartition("/")[2]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        "a\x00b\x00",
        "a\rb",
        "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg",
        "\ufeffa\ufffe\uffff",
        '"',
        "'; \\n \\t \\",
        "\U0001f468\u200d\U0001f469 e\u0301 \u202e",
    ],
    ids=["1 MB", "NUL", "CR", "U+2028", "BOM", "quote", "backslash", "joined"],
)
def test_texts_that_are_read_as_they_are(tmp_path, name, text):
    path = write(tmp_path / f"x.{name}", [{"text": text, "label": "a"}, {"text": "b", "label": text[:5]}])
    first, second = read(path)
    assert (first.text, first.label, first.line) == (text, "a", FIRST[name])
    assert (second.text, second.label, second.line) == ("b", text[:5].strip(), FIRST[name] + 1)


@pytest.mark.parametrize("name", FORMATS)
def test_empty_and_white_texts_are_kept_and_counted(tmp_path, name, capfd):
    texts = ["a", "", "  ", " \u3000 ", "\u2028", "b"]
    path = write(tmp_path / f"x.{name}", [{"text": text, "label": "l"} for text in texts])
    assert [row.text for row in read(path)] == texts
    said = " ".join(capfd.readouterr().err.split())
    assert f"4 rows have no text, the first in line {FIRST[name] + 1}; kept as empty texts" in said


@pytest.mark.parametrize("name", ["csv", "jsonl", "parquet"])
def test_line_breaks_in_texts(tmp_path, name):
    path = write(tmp_path / f"x.{name}", [{"text": "a\r\n\nb\n", "label": "l"}, {"text": "c", "label": "l"}])
    first, second = read(path)
    assert first.text == "a\r\n\nb\n"
    assert second.line == {"csv": 6, "jsonl": 2, "parquet": 2}[name]  # lines of the file, as an editor counts


def test_line_breaks_and_tabs_in_a_tsv_are_refused(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_bytes(b"text\tlabel\na\tb\nc\nd\tb\n")
    assert sentence(path).startswith(
        "x.tsv:3: 1 cell where the header has 2; add what is missing; an empty cell needs its tab, and texts with line breaks"
    )
    path.write_bytes(b"text\tlabel\na\tb\nc\td\tb\n")
    assert sentence(path).startswith("x.tsv:3: 3 cells where the header has 2; a TSV cell can hold no tab")


def test_a_bare_cr_in_a_csv_needs_quotes(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"text,label\na\rb,l\n")
    assert sentence(path).startswith("x.csv:2: broken row (new-line character seen in unquoted field")
    path.write_bytes(b'text,label\ra,l\r"b\nc",l\r')  # line ends of old, and one of now within a cell
    assert "a carriage return alone does not end a row" in sentence(path)


def test_the_line_end_of_a_tsv_is_no_text(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_bytes(b"label\ttext\r\nl\ta\r\nl\tb \r\r\nl\t\r\n")
    assert [row.text for row in read(path)] == ["a", "b ", ""]


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("broken", [b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf0\x9f\x98"])
def test_bytes_that_are_not_utf_8(tmp_path, name, broken):
    """Half of a surrogate pair (0xED 0xA0 0x80), an overlong form and a cut-off character among them."""
    path = write(tmp_path / f"x.{name}", [{"text": "a", "label": "l"}, {"text": "HERE", "label": "l"}])
    data = (tmp_path / f"x.{name}").read_bytes()
    (tmp_path / f"x.{name}").write_bytes(data.replace(b"HERE", broken))
    assert sentence(path).startswith(f"x.{name}:{FIRST[name] + 1}: not UTF-8 (byte 0x")


def test_bytes_that_are_not_utf_8_in_parquet(tmp_path):
    pq.write_table(pa.table({"text": [b"a", b"\xed\xa0\x80"], "label": ["l", "l"]}), tmp_path / "x.parquet")
    assert sentence(tmp_path / "x.parquet").startswith(
        'x.parquet:2: not UTF-8 (byte 0xed) in the column "text"'
    )


def test_lone_surrogates_of_json_become_a_replacement_character(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(rb'{"text": "a\ud800", "label": "\udc00\ud83d\ude00"}' + b"\n")
    (row,) = read(path)
    assert (row.text, row.label) == ("a\ufffd", "\ufffd\U0001f600")
    row.text.encode("utf-8")


def test_control_characters_in_json_must_be_escaped(tmp_path):
    path = tmp_path / "x.jsonl"
    for character in (b"\x00", b"\r", b"\x1f"):
        path.write_bytes(b'{"text": "a"}\n{"text": "a' + character + b'"}\n')
        assert sentence(path, label=None).startswith(
            "x.jsonl:2: not a JSON object (Invalid control character"
        )


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "weight", ["-1", "-0.001", "-inf", "inf", "Infinity", "nan", "NaN", "1e999", "", " ", "heavy", "1,5", "0x10", "true"]
)  # fmt: skip
def test_weights_that_are_none(tmp_path, name, weight):
    rows = [{"text": "a", "label": "l", "w": "1"}, {"text": "b", "label": "l", "w": weight}]
    path = write(tmp_path / f"x.{name}", rows)
    assert sentence(path, weight="w") == (
        f'x.{name}:{FIRST[name] + 1}: the column "w" holds "{weight}"; a weight is a number of at least 0'
    )


@pytest.mark.parametrize("weight", [-1, -0.5, float("nan"), float("inf"), -float("inf"), True, None, [1.0]])
@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_weights_with_a_type_that_are_none(tmp_path, name, weight):
    path = write(tmp_path / f"x.{name}", [{"text": "a", "w": weight}])
    assert sentence(path, label=None, weight="w").startswith(f'x.{name}:1: the column "w" holds "')


@pytest.mark.parametrize("name", FORMATS)
def test_weights_that_are_some(tmp_path, name):
    weights = {"0": 0.0, "-0.0": 0.0, " 2 ": 2.0, "1e-3": 0.001, "+.5": 0.5, "10": 10.0}
    path = write(tmp_path / f"x.{name}", [{"text": "a", "w": cell} for cell in weights])
    assert [row.weight for row in read(path, label=None, weight="w")] == list(weights.values())


@pytest.mark.parametrize("name", FORMATS)
def test_shared_rows_are_counted_once_each(tmp_path, name, capfd):
    """By row of the part that is scored: how often a text stands in the training part does not matter."""
    train = [{"text": f"t {number}", "label": "ab"[number % 2]} for number in range(20)]
    train += [{"text": "t 3", "label": "b"}] * 5  # six times now
    test = ["t 3", "T  3", "t\u00a03 ", "t 4", "new", "new", "t3", "t 33", ""]
    options = {
        "train": write(tmp_path / f"train.{name}", train),
        "validation": write(tmp_path / f"validation.{name}", [{"text": "other", "label": "a"}]),
        "test": write(tmp_path / f"test.{name}", [{"text": text, "label": "a"} for text in test]),
    }
    splits = load_splits(DataOptions(**options))
    assert {part: len(rows) for part, rows in splits.items()} == {"train": 25, "validation": 1, "test": 9}
    said = " ".join(capfd.readouterr().err.split())
    assert said.count("have a text that is also in the training rows") == 1
    assert "warning: 4 of 9 test rows have a text that is also in the training rows" in said


@pytest.mark.parametrize("name", FORMATS)
def test_every_row_shared(tmp_path, name, capfd):
    path = write(
        tmp_path / f"x.{name}", [{"text": f"t {number}", "label": "ab"[number % 2]} for number in range(10)]
    )
    load_splits(DataOptions(train=path, validation=path, test=path))
    said = " ".join(capfd.readouterr().err.split())
    assert "10 of 10 validation rows have a text" in said
    assert "10 of 10 test rows have a text" in said


@pytest.mark.parametrize("name", ["csv", "tsv"])
def test_a_text_where_the_header_should_be(tmp_path, name):
    """The sentence shows the beginning of a name that is no name."""
    path = write(tmp_path / f"x.{name}", [{"x" * 100_000: "a", "second": "b"}])
    assert (
        sentence(path) == f'x.{name}:1: there is no column "text"; the columns are "{"x" * 40}...", "second"'
    )
    path = write(tmp_path / "y.csv", [{"a text\nof two lines": "a", "second": "b"}])
    assert (
        sentence(path)
        == 'y.csv:1: there is no column "text"; the columns are "a text\\nof two lines", "second"'
    )
    (tmp_path / "z.csv").write_text('"a\nb","a\nb"\n', "utf-8")
    assert sentence(tmp_path / "z.csv") == 'z.csv:1: two columns are called "a\\nb"; rename one'


@pytest.mark.parametrize("name", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize("column", ["text", "label", "pair", "author", "sport"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_is_no_value(tmp_path, name, column, value):
    """Whatever the column is for; of one that is not read it does not matter, and null stays a gap."""
    rows = [dict.fromkeys(("text", "label", "pair", "author", "sport", "unread"), "1") for _ in range(3)]
    rows[0]["unread"] = rows[1][column] = value
    rows[2]["text"] = rows[2]["label"] = None
    path = tmp_path / f"x.{name}"
    if name == "parquet":
        # A column of numbers, as those that hold NaN are.
        rows = [{key: None if cell is None else float(cell) for key, cell in row.items()} for row in rows]
        write(path, rows)
    else:
        lines = [json.dumps(row) for row in rows]
        path.write_text(f"[{', '.join(lines)}]" if name == "json" else "\n".join(lines))
    options = DataOptions(train=str(path), text_pair="pair", group="author")
    if column == "sport":
        options = options.model_copy(update={"label": None})
    with pytest.raises(UserError) as caught:
        read_data_file(path, options, ["sport"] if column == "sport" else None)
    word = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    where = " [1]" if name == "json" else "2"
    assert str(caught.value) == (
        f'{path}:{where}: the column "{column}" holds {word}, which is not a value; write one, leave it empty (null) if there is none, '
        "or remove the row"
    )


@pytest.mark.parametrize("name", ["csv", "tsv"])
def test_a_text_that_is_nan_is_a_text(tmp_path, name):
    """Of files without types nobody knows: nan is also a language."""
    path = write(tmp_path / f"x.{name}", [{"text": "NaN", "label": "nan"}])
    assert [(row.text, row.label) for row in read(path)] == [("NaN", "nan")]
