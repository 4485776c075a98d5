from __future__ import annotations

import contextlib
import datetime
import decimal
import json
import math
import random
import subprocess
import sys
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpipeline.data import read_data_file, read_records
from tfpipeline.data.options import DataOptions
from tfpipeline.errors import UserError


def write(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


def rows(path, required=()):
    return [(dict(record.columns), record.line) for record in read_records(path, required)]


def cells(tmp_path, array):
    return [columns["x"] for columns, _ in rows(write(tmp_path / "x.parquet", {"x": array}))]


def sentence(path, required=()):
    with pytest.raises(UserError) as caught:
        rows(path, required)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{path.parent}/", "")


ROWS = [
    {"text": "a \"quote\", é\r\n\u2028\x00 😀", "label": True, "n": 2**63 - 1, "w": 1.0, "many": [1, 2.5, None], "of": {"k": "é", "l": ["\n"]}},
    {"text": "", "label": False, "n": -1, "w": 0.1 + 0.2, "many": [], "of": {"k": None, "l": []}},
    {"text": " \t", "label": False, "n": None, "w": None, "many": None, "of": None},
    {"text": "null", "label": True, "n": 0, "w": 1e-300, "many": [-0.0, 1e22], "of": {"k": "\\", "l": None}},
    {"text": "x" * 1_000_000, "label": True, "n": 1, "w": math.nan, "many": [math.inf], "of": {"k": "", "l": ["", None]}},
]  # fmt: skip


def parity(rows_, folder, **options):
    """The same rows through both readers; integers in a list of floats are floats in Parquet."""
    table = pa.Table.from_pylist(rows_)
    pq.write_table(table, folder / "x.parquet", **options)
    lines = [json.dumps(row) + "\n" for row in table.to_pylist()]
    (folder / "x.jsonl").write_text("".join(lines), "utf-8")
    found = rows(folder / "x.parquet", list(rows_[0]))
    assert found == rows(folder / "x.jsonl", list(rows_[0]))
    return found


@pytest.mark.parametrize("dictionary", [False, True])
def test_reads_what_the_jsonl_reader_reads(tmp_path, dictionary):
    found = parity(ROWS, tmp_path, use_dictionary=dictionary, row_group_size=2)
    assert found[0] == (
        {
            "text": ROWS[0]["text"], "label": "true", "n": "9223372036854775807", "w": "1.0",
            "many": "[1.0, 2.5, null]", "of": '{"k": "é", "l": ["\\n"]}',
        },
        1,
    )  # fmt: skip
    assert found[1][0]["w"] == "0.30000000000000004"
    assert found[2] == ({"text": " \t", "label": "false", "n": "", "w": "", "many": "", "of": ""}, 3)
    assert (found[4][0]["w"], found[4][0]["many"]) == ("NaN", "[Infinity]")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@given(
    found=st.lists(
        st.fixed_dictionaries(
            {
                "text": st.none() | texts,
                "n": st.none() | st.integers(-(2**63), 2**63 - 1),
                "w": st.none() | st.floats(),
                "flag": st.none() | st.booleans(),
                "many": st.none() | st.lists(st.none() | texts, max_size=2),
            }
        ),
        min_size=1,
        max_size=5,
    )
)
def test_parity_with_jsonl(tmp_path_factory, found):
    parity(found, tmp_path_factory.getbasetemp())


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (pa.array(["a", None, "b", "a"]).dictionary_encode(), ["a", "", "b", "a"]),
        (pa.array([7, 8, 7]).dictionary_encode(), ["7", "8", "7"]),
        (pa.array(["a", None], pa.large_string()), ["a", ""]),
        (pa.array(["a", None], pa.string_view()), ["a", ""]),
        (pa.array(["é".encode(), b"", None]), ["é", "", ""]),
        (pa.array([b"ab"], pa.binary(2)), ["ab"]),
        (pa.array([[b"a"]], pa.list_(pa.large_binary())), ['["a"]']),
        (pa.array([None, None]), ["", ""]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([0.5, 0.1], pa.float32()), ["0.5", "0.10000000149011612"]),
        (pa.array([decimal.Decimal("1.50"), decimal.Decimal(0)], pa.decimal128(30, 10)), ["1.5000000000", "0.0000000000"]),
        (pa.array([[decimal.Decimal("1.50")]], pa.list_(pa.decimal128(9, 2))), ["[1.50]"]),
        (pa.array([datetime.date(2024, 2, 29)]), ["2024-02-29"]),
        (pa.array([datetime.datetime(2024, 2, 29, 1, 2, 3)]), ["2024-02-29T01:02:03"]),
        (pa.array([datetime.datetime(2024, 2, 29, 1, 2, 3, 4)], pa.timestamp("us", "+01:00")), ["2024-02-29T02:02:03.000004+01:00"]),
        (pa.array([10**18 + 1_234], pa.timestamp("ns")), ["2001-09-09T01:46:40.000001"]),
        (pa.array([[datetime.date(2024, 2, 29)]]), ['["2024-02-29"]']),
        (pa.array([datetime.time(1, 2, 3)]), ["01:02:03"]),
        (pa.array([datetime.timedelta(seconds=61)]), ["0:01:01"]),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), ['[["k", 1]]']),
    ],
)  # fmt: skip
def test_cells_are_text(tmp_path, array, found):
    assert cells(tmp_path, array) == found


def test_spark_times(tmp_path):
    path = tmp_path / "x.parquet"
    moment = pa.array([datetime.datetime(1600, 1, 1)], pa.timestamp("us"))  # beyond 64 bits of nanoseconds
    write(path, {"x": moment}, use_deprecated_int96_timestamps=True)
    assert rows(path) == [({"x": "1600-01-01T00:00:00"}, 1)]


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (pa.array([b"ok"] * 300 + [b"o\xff"]), 'x.parquet:301: not UTF-8 (byte 0xff) in the column "x"; save it as text'),
        (pa.array([None, ["ok", None]]).cast(pa.list_(pa.binary())), None),
        (pa.array([[b"ok"], [b"\xe9"]]), 'x.parquet:2: not UTF-8 (byte 0xe9) in the column "x"'),
        (pa.array([0, 2**62], pa.timestamp("ms")), 'x.parquet:2: the column "x" holds a value that cannot be read as text ('),
        (pa.array([0, 2**31 - 1], pa.date32()), 'x.parquet:2: the column "x" holds a value that cannot be read as text ('),
    ],
)  # fmt: skip
def test_cells_that_are_not_text(tmp_path, array, found):
    path = write(tmp_path / "x.parquet", {"x": array})
    if found is None:
        assert rows(path)[1][0] == {"x": '["ok", null]'}
    else:
        assert sentence(path).startswith(found)


def test_a_string_column_that_is_not_utf_8(tmp_path):
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"\xff"]).buffers())
    assert sentence(write(tmp_path / "x.parquet", {"text": broken})).startswith("x.parquet:2: not UTF-8")


def test_missing_and_repeated_columns(tmp_path):
    path = write(tmp_path / "x.parquet", {"txt": ["a"], "label": ["b"]})
    assert (
        sentence(path, ["text"])
        == 'x.parquet: there is no column "text"; did you mean "txt"? The columns are "txt", "label"'
    )
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), path)
    assert sentence(path) == 'x.parquet: two columns are called "text"; rename one'


def test_a_file_without_rows(tmp_path):
    path = write(tmp_path / "x.parquet", {"text": pa.array([], pa.string())})
    assert rows(path, ["text"]) == []
    with pytest.raises(UserError, match=r"x\.parquet: the file has no rows"):
        read_data_file(path, DataOptions(train=str(path), label=None))
    pq.write_table(pa.table({}), path)
    assert sentence(path, ["text"]) == "x.parquet: the file is empty; expected a header and rows"


@pytest.mark.parametrize("data", [b"", b"text,label\na,b\n", b"PAR1", b"PAR1" + b"\x00" * 100 + b"PAR1"])
def test_files_that_are_not_parquet(tmp_path, data):
    path = tmp_path / "x.parquet"
    path.write_bytes(data)
    found = sentence(path)
    assert found.startswith("x.parquet: not a Parquet file, or a damaged one (")
    assert found.endswith("); write or copy it again")


def test_unreadable_files(tmp_path):
    (tmp_path / "folder.parquet").mkdir()
    assert sentence(tmp_path / "folder.parquet").startswith("cannot read folder.parquet: Is a directory")
    assert sentence(tmp_path / "none.parquet").startswith("cannot read none.parquet: No such file")


def test_damaged_files_are_read_or_refused(tmp_path):
    """Never another kind of error; a page's checksum, where there is one, finds what still looks like text."""
    path = write(
        tmp_path / "x.parquet",
        {"text": [f"text {row}" for row in range(2000)], "n": list(range(2000))},
        compression="none",
        use_dictionary=False,
        row_group_size=700,
        write_page_checksum=True,
    )
    good, want = path.read_bytes(), rows(path)
    rng = random.Random(0)
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.choice([1, 20])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data if rng.random() < 0.8 else data[: rng.randrange(len(data))])
        with contextlib.suppress(UserError):
            rows(path)
    place = good.index(b"text 1900")  # the least and the greatest of a page stand in its header too
    path.write_bytes(good[:place] + b"test" + good[place + 4 :])
    assert "after row 1280: not a Parquet file, or a damaged one" in sentence(path)
    path.write_bytes(good)
    assert rows(path) == want


def test_memory_is_that_of_a_few_rows(tmp_path):
    text = "x" * 10_000
    columns = {"text": [f"{row} {text}" for row in range(5000)]}
    # Incompressible or not, one row group; a page is the least that can be read.
    path = write(tmp_path / "x.parquet", columns, compression="none", write_batch_size=64)
    del columns
    tracemalloc.start()
    pa_before, highest = pa.total_allocated_bytes(), 0
    for record in read_records(path, ["text"]):
        if record.line % 500 == 0:
            highest = max(highest, pa.total_allocated_bytes() - pa_before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert record.line == 5000
    assert peak < 12e6  # the file's texts are 50 MB
    assert highest < 12e6


def test_without_pyarrow_the_extra_is_named(tmp_path):
    path = write(tmp_path / "x.parquet", {"text": ["a"]})
    code = (
        "import sys\n"
        "import tfpipeline.data as data\n"
        "from tfpipeline.errors import MissingExtraError\n"
        "assert 'pyarrow' not in sys.modules\n"
        "sys.modules['pyarrow'] = None\n"
        "try:\n"
        f"    list(data.read_records({str(path)!r}))\n"
        "except MissingExtraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("pyarrow is not installed; install the `train` extra")
    assert done.stdout.rstrip().endswith("[train]'")
