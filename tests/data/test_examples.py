from __future__ import annotations

import csv
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpipeline.data import Example, load_splits, read_data_file, read_examples, write_examples
from tfpipeline.data import examples as files
from tfpipeline.data.options import DataOptions, SplitOptions
from tfpipeline.errors import UserError


def write(path, rows, header=("text", "label")):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def many(count, start=0):
    return [(f"text {row}", "ab"[row % 2]) for row in range(start, start + count)]


def test_cells_by_role(tmp_path):
    header = ("first", "second", "topic", "importance", "author", "extra")
    path = write(
        tmp_path / "x.csv", [("a", "b", " News ", "0.5", "me", "e"), ("c", "", " ", "2", "you", "")], header
    )
    options = DataOptions(
        train=path, text="first", text_pair="second", label="topic", weight="importance", group="author"
    )
    assert read_data_file(path, options) == [
        Example("a", "b", "News", 0.5, "me", {"extra": "e"}, path, 2),
        Example("c", "", None, 2.0, "you", {"extra": ""}, path, 3),
    ]


def test_columns_that_are_not_named_are_kept_for_the_task(tmp_path):
    path = write(tmp_path / "x.csv", [("a", "pos", "1")], ("text", "label", "sport"))
    (example,) = read_data_file(path, DataOptions(train=path, label=None))
    assert example == Example("a", columns={"label": "pos", "sport": "1"}, file=path, line=2)
    assert example.joined_text == "a"
    assert Example("a", "b").joined_text == "a b"


@pytest.mark.parametrize("cell", ["-1", "heavy", "", "nan", "inf", "-0.1", "1_0", "١"])
def test_weights_that_are_none(tmp_path, cell):
    path = write(tmp_path / "x.csv", [("a", "1"), ("b", cell)], ("text", "w"))
    with pytest.raises(UserError) as caught:
        read_data_file(path, DataOptions(train=path, label=None, weight="w"))
    assert str(caught.value) == f'{path}:3: the column "w" holds "{cell}"; a weight is a number of at least 0'


@pytest.mark.parametrize("cell", ["1e300", "1e-60"])
def test_weights_that_the_loss_cannot_hold(tmp_path, cell):
    path = write(tmp_path / "x.csv", [("a", "0"), ("b", cell)], ("text", "w"))
    with pytest.raises(
        UserError, match=f'x.csv:3: the column "w" holds "{cell}"; a weight is 0, or from 1e-38 to 3e'
    ):
        read_data_file(path, DataOptions(train=path, label=None, weight="w"))


def test_missing_column_group_and_rows(tmp_path):
    path = write(tmp_path / "x.csv", [("a", "b")], ("text", "lable"))
    with pytest.raises(UserError, match=r'x\.csv:1: there is no column "label"; did you mean "lable"\?'):
        read_data_file(path, DataOptions(train=path))
    path = write(tmp_path / "y.csv", [("a", "x"), ("b", " ")], ("text", "author"))
    with pytest.raises(UserError, match=r'y\.csv:3: the column "author" is empty'):
        read_data_file(path, DataOptions(train=path, label=None, group="author"))
    path = write(tmp_path / "z.csv", [])
    with pytest.raises(UserError, match=r"z\.csv: the file has no rows"):
        load_splits(DataOptions(train=path))


def test_empty_texts_are_kept_and_counted(tmp_path, capfd):
    path = write(tmp_path / "x.csv", [("a", "b"), ("", "c"), (" ", "d")])
    assert [example.text for example in read_data_file(path, DataOptions(train=path))] == ["a", "", " "]
    assert "2 rows have no text, the first in line 3" in capfd.readouterr().err


def test_parts_come_from_files_or_from_the_training_file(tmp_path, capfd):
    train = write(tmp_path / "train.csv", many(100))
    test = write(tmp_path / "test.csv", many(7, start=100))
    sizes = {name: len(rows) for name, rows in load_splits(DataOptions(train=train)).items()}
    assert sizes == {"train": 90, "validation": 10, "test": 0}
    split = SplitOptions(validation=0.2, test=0.1)
    sizes = {name: len(rows) for name, rows in load_splits(DataOptions(train=train, split=split)).items()}
    assert sizes == {"train": 70, "validation": 20, "test": 10}
    sizes = {
        name: len(rows)
        for name, rows in load_splits(DataOptions(train=train, test=test, split=split)).items()
    }
    assert sizes == {"train": 80, "validation": 20, "test": 7}
    splits = load_splits(DataOptions(train=train, validation=test, test=test))
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 100, "validation": 7, "test": 7}
    assert [row.line for row in splits["train"]] == list(range(2, 102))
    assert "warning" not in capfd.readouterr().err


def test_split_by_label_group_or_neither(tmp_path):
    rows = [(f"text {row}", "rare" if row < 10 else "common", f"author {row // 10}") for row in range(100)]
    path = write(tmp_path / "x.csv", rows, ("text", "label", "author"))

    def validation(**options):
        split = SplitOptions(validation=0.2, **options)
        return load_splits(DataOptions(train=path, group="author", split=split))["validation"]

    assert sum(row.label == "rare" for row in validation(by="stratified")) == 2
    assert len({row.group for row in validation(by="group")}) == 2
    assert len({row.group for row in validation(by="random")}) > 2
    by_parity = load_splits(
        DataOptions(train=path, split=SplitOptions(validation=0.5)), strata=lambda row: [row.line % 2]
    )
    assert sum(row.line % 2 for row in by_parity["validation"]) == 25


def test_no_label_is_split_off_from_the_training_rows(tmp_path):
    """A rare label beside a common one, several labels a row."""
    rows = [(f"text {row}", "a b") for row in range(100)] + [
        (f"rare {row}", f"a rare{row}") for row in range(20)
    ]
    path = write(tmp_path / "x.csv", rows)
    for by in ("stratified", "random"):
        split = SplitOptions(validation=0.4, test=0.3, by=by)
        splits = load_splits(DataOptions(train=path, split=split), strata=lambda row: row.label.split())
        learnt = {label for row in splits["train"] for label in row.label.split()}
        assert learnt == {label for _, labels in rows for label in labels.split()}
        assert sum(map(len, splits.values())) == len(rows)
        assert len({row.line for part in splits.values() for row in part}) == len(rows)
        assert len(splits["validation"]) >= 40


def test_rows_without_weight(tmp_path):
    rows = [(f"text {row}", "ab"[row % 2], "1") for row in range(20)]
    train = write(tmp_path / "x.csv", rows, ("text", "label", "w"))
    none = write(tmp_path / "y.csv", [("a", "a", "0")], ("text", "label", "w"))
    with pytest.raises(
        UserError, match=r"y\.csv: no validation row has a weight above 0; check the column w"
    ):
        load_splits(DataOptions(train=train, validation=none, weight="w"))


def test_too_few_rows(tmp_path):
    path = write(tmp_path / "x.csv", [("a", "b")])
    with pytest.raises(UserError, match=r"x\.csv: of its 1 row none is left for the validation part"):
        load_splits(DataOptions(train=path))
    path = write(tmp_path / "y.csv", [("a", "g"), ("b", "g")], ("text", "author"))
    for split in (SplitOptions(by="group"), SplitOptions()):  # which is the same where data.group is named
        options = DataOptions(train=path, label=None, group="author", split=split)
        with pytest.raises(UserError, match="of its 1 group none is left for the validation part"):
            load_splits(options)


def test_weights_that_are_all_zero(tmp_path):
    path = write(tmp_path / "x.csv", [("a", "0"), ("b", "0.0"), ("c", "0")], ("text", "w"))
    with pytest.raises(UserError, match="no training row has a weight above 0; check the column w"):
        load_splits(DataOptions(train=path, label=None, weight="w"))


def test_shared_texts_are_warned_about(tmp_path, capfd):
    train = write(tmp_path / "train.csv", many(50))
    test = write(tmp_path / "test.csv", [("TEXT  3 ", "a"), ("other", "b"), ("text 4", "b")])
    load_splits(DataOptions(train=train, validation=test, test=test))
    assert (
        "2 of 3 test rows have a text that is also in the training rows, so test scores will be optimistic"
        in " ".join(capfd.readouterr().err.split())
    )


def test_groups_stay_together_by_default(tmp_path, capfd):
    """What the run file calls a group; else what the task says, where there are enough of them."""
    rows = [(f"text {row}", "ab"[row % 2], f"page {row // 10}") for row in range(200)]
    path = write(tmp_path / "x.csv", rows, ("text", "label", "page"))
    named = load_splits(DataOptions(train=path, group="page"))
    asked = load_splits(DataOptions(train=path, text_pair="page"), together="text_pair")
    for splits, group in ((named, lambda row: row.group), (asked, lambda row: row.text_pair)):
        parts = [{group(row) for row in rows} for rows in splits.values()]
        assert sum(map(len, parts)) == 20
        assert len(splits["validation"]) == 20
    assert "warning" not in capfd.readouterr().err
    one = write(
        tmp_path / "y.csv", [(text, label, "page") for text, label, _ in rows], ("text", "label", "page")
    )
    splits = load_splits(DataOptions(train=one, text_pair="page"), together="text_pair")
    assert [row.label for row in splits["validation"]].count("a") == 10  # stratified
    assert (
        "warning: 20 of 20 validation rows have the page of a training row, so validation scores will be "
        "optimistic; add rows "
        "with another page"
    ) in " ".join(capfd.readouterr().err.split())


def test_shared_groups_are_warned_about(tmp_path, capfd):
    rows = [(f"text {row}", "ab"[row % 2], f"Page {row // 10}") for row in range(100)]
    train = write(tmp_path / "train.csv", rows, ("text", "label", "page"))
    test = [("new 1", "a", "page  3"), ("new 2", "a", "page 3"), ("new 3", "b", "page 99")]
    test = write(tmp_path / "test.csv", test, ("text", "label", "page"))
    options = {"train": train, "validation": test, "test": test, "group": "page"}
    load_splits(DataOptions(**options))
    said = " ".join(capfd.readouterr().err.split())
    for split in ("validation", "test"):
        assert (
            f"warning: 2 of 3 {split} rows have the page of a training row, so {split} scores will be "
            f"optimistic; put all rows of one "
            "into the same file"
        ) in said
    by = SplitOptions(by="random", validation=0.3)
    load_splits(DataOptions(train=train, group="page", text_pair="page", split=by), together="text_pair")
    said = " ".join(capfd.readouterr().err.split())
    assert said.count("warning: ") == said.count("leave data.split.by out to keep them together") == 1


def test_rows_that_cannot_be_used_are_named_at_once(tmp_path):
    """The first ten of all files, whatever is wrong with them."""
    rows = [("a", "l", "1"), ("b", "l", "-1"), ("c", "l", "x"), ("d", "", "1")]
    train = write(tmp_path / "train.csv", rows, ("text", "label", "w"))
    with (tmp_path / "train.csv").open("a") as file:
        file.write("e,l\n")
    test = write(tmp_path / "test.csv", [("a", "", "1")] * 9, ("text", "label", "w"))

    def prepare(example):
        if example.label is None:
            raise UserError(f"{example.source}: no label")
        return example

    options = DataOptions(train=train, test=test, validation=train, weight="w")
    with pytest.raises(UserError) as caught:
        load_splits(options.model_copy(update={"validation": None}), prepare=prepare)
    first, *lines = str(caught.value).replace(f"{tmp_path}/", "").splitlines()
    assert first == "13 rows cannot be used, the first ten:"
    assert [line.split(": ")[0].strip() for line in lines] == [
        *(f"train.csv:{line}" for line in (3, 4, 5, 6)),
        *(f"test.csv:{line}" for line in range(2, 8)),
    ]
    with pytest.raises(UserError, match=r"^4 rows cannot be used:\n"):
        read_data_file(train, options, prepare=prepare)
    write(tmp_path / "train.csv", rows[:2], ("text", "label", "w"))
    with pytest.raises(
        UserError, match=r"^[^\n]*train\.csv:3: the column \"w\" holds \"-1\"; a weight[^\n]*$"
    ):
        read_data_file(train, options, prepare=prepare)


def test_options_that_contradict():
    with pytest.raises(ValueError, match="keep their sum below 1"):
        SplitOptions(validation=0.6, test=0.4)
    with pytest.raises(ValueError, match=r"no column is named by data\.group"):
        DataOptions(train="x.csv", split=SplitOptions(by="group"))


def test_every_option_is_described():
    for schema in (DataOptions, SplitOptions):
        assert [
            name for name, field in schema.model_fields.items() if name != "split" and not field.description
        ] == []


texts = st.text(max_size=10)  # lone surrogates too
examples = st.builds(
    Example,
    text=texts,
    text_pair=st.none() | texts,
    label=st.none() | texts,
    weight=st.floats(0, 1e300),
    group=st.none() | texts,
    columns=st.dictionaries(texts, texts, max_size=2),
    file=texts,
    line=st.integers(0, 10**9),
)


@given(rows=st.lists(examples, max_size=5))
def test_written_rows_read_back_equal(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "data" / "rows.jsonl"
    write_examples(path, rows)
    assert read_examples(path) == rows


def test_changed_rows_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"txt": "a"}\n')
    with pytest.raises(UserError, match=r"rows\.jsonl:2: not a row of a run"):
        list(read_examples(path))


@pytest.mark.parametrize("kept", [1, 1 << 20])
def test_rows_are_a_sequence_wherever_they_lie(tmp_path, monkeypatch, kept):
    """Few rows lie in memory, many in a file: nobody sees the difference."""
    monkeypatch.setattr(files, "KEPT_BYTES", kept)
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"t{n} \u00e9,{n % 3}\n" for n in range(50)), "utf-8")
    rows = read_data_file(path, DataOptions(train=str(path)))
    expected = [Example(text=f"t{n} \u00e9", label=str(n % 3), file=str(path), line=n + 2) for n in range(50)]
    assert rows == expected
    assert expected == list(rows)
    assert rows != expected[:-1]
    assert rows[7] == expected[7]
    assert rows[-1] == expected[-1]
    assert rows[10:40:7] == expected[10:40:7]
    assert rows.take(np.array([4, 2])) == [expected[4], expected[2]]
    with pytest.raises(IndexError):
        rows[50]
    write_examples(tmp_path / "copy.jsonl", rows[20:])
    assert read_examples(tmp_path / "copy.jsonl") == expected[20:]


@pytest.mark.large
def test_rows_of_a_large_file_are_not_in_memory(tmp_path, monkeypatch):
    """Reading, splitting and looking at 40 MB of rows takes less than a fifth of that."""
    monkeypatch.setattr(files, "KEPT_BYTES", 1)
    path = tmp_path / "rows.csv"
    with path.open("w") as file:
        file.write("text,label\n")
        for number in range(20_000):
            file.write(f"{number} {'word ' * 400},{number % 3}\n")
    assert path.stat().st_size > 40_000_000
    tracemalloc.start()
    try:
        splits = load_splits(DataOptions(train=str(path)), folder=tmp_path)
        write_examples(tmp_path / "train.jsonl", splits["train"])
        train = read_examples(tmp_path / "train.jsonl")
        labels = [example.label for example in train]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(labels) == 18_000
    assert most < 8_000_000
