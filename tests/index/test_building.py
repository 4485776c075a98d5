"""Building an index from data files, with an embedder that needs no model."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tfpipeline.errors import UserError
from tfpipeline.index import building, unfinished
from tfpipeline.index.building import IndexOptions, build
from tfpipeline.index.corpus import Columns
from tfpipeline.index.stored import open_index

_ROWS = [
    ("b", "the branch is open until six", "Hours"),
    ("a", "a lost card is blocked by phone", "Cards"),
    ("10", "the branch is open until six", "Hours again"),
    ("9", "a card that was swallowed is sent back", "Machines, ATMs"),
]


class Hashes:
    """Each text's vector is made of the hash of the text."""

    dimension = 16

    def __init__(self, identity: str = "hashes", stop_after: int | None = None) -> None:
        self.facts = {"identity": identity, "path": "runs/none"}
        self.embedded: list[str] = []
        self._left = stop_after

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left = None if self._left is None else self._left - 1
        self.embedded += texts
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") for text in texts]
        rows = np.stack([np.random.default_rng(seed).standard_normal(16) for seed in seeds])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _corpus(folder: Path, rows: Sequence[Sequence[str]] = _ROWS, name: str = "answers.jsonl") -> Path:
    path = folder / name
    lines = [json.dumps({"id": row[0], "answer": row[1], "title": row[2]}) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


_COLUMNS = Columns(text="answer", keep=("title",))


def test_rows_are_in_the_order_of_their_ids(tmp_path):
    embedder = Hashes()
    path = build(embedder, [_corpus(tmp_path)], tmp_path / "answers.index", _COLUMNS)
    index = open_index(path)
    assert list(index.ids) == ["10", "9", "a", "b"]
    assert index.texts[1] == "a card that was swallowed is sent back"
    assert list(index.columns["title"]) == ["Hours again", "Machines, ATMs", "Cards", "Hours"]
    np.testing.assert_array_equal(index.vectors.stored, Hashes().embed(list(index.texts)))
    assert embedder.embedded == ["the branch is open until six", _ROWS[1][1], _ROWS[3][1]]  # each text once
    assert not path.with_name("answers.index.partial").exists()


def test_equal_texts_have_equal_scores_and_are_in_the_order_of_their_ids(tmp_path):
    index = open_index(build(Hashes(), [_corpus(tmp_path)], tmp_path / "i", _COLUMNS))
    numbers, scores, counts = index.search(Hashes().embed([_ROWS[0][1]]), 3)
    assert [index.ids[number] for number in numbers[0]][:2] == ["10", "b"]
    assert scores[0, 0] == scores[0, 1] == pytest.approx(1)
    assert counts.tolist() == [3]


def test_facts_say_what_the_index_is(tmp_path):
    data = _corpus(tmp_path)
    facts = open_index(build(Hashes(), [data], tmp_path / "i", _COLUMNS)).facts
    assert (facts["rows"], facts["dimension"], facts["precision"], facts["lists"]) == (4, 16, "float32", 0)
    assert facts["model"] == {"identity": "hashes", "path": "runs/none"}
    assert facts["data"] == {str(data): hashlib.sha256(data.read_bytes()).hexdigest()}
    again = open_index(build(Hashes(), [data], tmp_path / "j", _COLUMNS)).facts
    assert again["content"] == facts["content"]
    for one, other in (("six", "five"), ("Hours", "Tours")):  # the latter changes no vector and no length
        data.write_text(data.read_text("utf-8").replace(one, other), "utf-8")
        changed = open_index(build(Hashes(), [data], tmp_path / "j", _COLUMNS)).facts
        assert changed["content"] != facts["content"]
        facts = changed


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        (IndexOptions(precision="bfloat16"), ("bfloat16", 0, 0)),
        (IndexOptions(precision="int8", lists=8), ("int8", 8, 8)),
        (IndexOptions(lists=8, probes=3), ("float32", 8, 3)),
    ],
    ids=["bfloat16", "int8-lists", "lists-probes"],
)
def test_recall_against_exact_search_is_measured(tmp_path, options, stored):
    rows = [(f"{number:03}", f"text {number}", "") for number in range(300)]
    index = open_index(build(Hashes(), [_corpus(tmp_path, rows)], tmp_path / "i", _COLUMNS, options))
    facts = index.facts
    precision, lists, probes = stored
    assert (facts["precision"], facts["lists"]) == (precision, lists)
    assert facts["probes"] == probes  # of 8 lists of random vectors, all are needed for a recall of 0.97
    assert facts["recall"]["queries"] == 256
    # Measured again, by hand: the ten best of all other rows by float32 vectors, for the same kind of queries.
    vectors = Hashes().embed([row[1] for row in rows])
    products = vectors @ vectors.T
    np.fill_diagonal(products, -2)
    wanted = np.argsort(-products, axis=1)[:, :10]
    numbers, _, _ = index.search(vectors, 11)
    answers = [[number for number in row if number != i][:10] for i, row in enumerate(numbers.tolist())]
    measured = np.mean([len({*want} & {*got}) / 10 for want, got in zip(wanted.tolist(), answers)])
    assert facts["recall"]["value"] == pytest.approx(measured, abs=0.02)
    assert (measured < 0.9) == (probes == 3)


def _interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[tuple[str, str, str]]]:
    monkeypatch.setattr(unfinished, "GROUP", 7)
    rows = [(f"{number:03}", f"text {number}", "") for number in range(40)]
    data = _corpus(tmp_path, rows)
    with pytest.raises(KeyboardInterrupt):
        build(Hashes(stop_after=3), [data], tmp_path / "i", _COLUMNS)
    assert not (tmp_path / "i").exists()
    return data, rows


def test_an_interrupted_build_continues_with_the_same_bits(tmp_path, monkeypatch, capsys):
    data, rows = _interrupted(tmp_path, monkeypatch)
    assert "interrupted; what was done is kept: run the same command again" in capsys.readouterr().err
    embedder = Hashes()
    index = open_index(build(embedder, [data], tmp_path / "i", _COLUMNS))
    assert embedder.embedded == [row[1] for row in rows[21:]]
    assert "continuing unfinished work: 21 of 40 texts are embedded" in capsys.readouterr().err
    whole = open_index(build(Hashes(), [data], tmp_path / "j", _COLUMNS))
    assert index.facts["content"] == whole.facts["content"]


@pytest.mark.parametrize("other", ["model", "texts"])
def test_an_unfinished_build_of_something_else_begins_anew(tmp_path, monkeypatch, capsys, other):
    data, rows = _interrupted(tmp_path, monkeypatch)
    if other == "texts":
        rows[0] = ("000", "another text", "")
        _corpus(tmp_path, rows)
    embedder = Hashes("others" if other == "model" else "hashes")
    build(embedder, [data], tmp_path / "i", _COLUMNS)
    assert len(embedder.embedded) == 40
    assert "beginning anew" in capsys.readouterr().err


def test_a_killed_build_continues(tmp_path):
    """Killed while it embeds the fourth group, in a process of its own."""
    rows = [(f"{number:03}", f"text {number}", "") for number in range(40)]
    data = _corpus(tmp_path, rows)
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_building import Hashes, _COLUMNS
from tfpipeline.index import unfinished
from tfpipeline.index.building import build
unfinished.GROUP = 7
class Killed(Hashes):
    def embed(self, texts):
        if len(self.embedded) == 21:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(texts)
build(Killed(), [{str(data)!r}], {str(tmp_path / "i")!r}, _COLUMNS)
"""
    done = subprocess.run([sys.executable, "-c", script], env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    embedder = Hashes()
    pytest.MonkeyPatch().setattr(unfinished, "GROUP", 7)
    try:
        index = open_index(build(embedder, [data], tmp_path / "i", _COLUMNS))
    finally:
        unfinished.GROUP = 1024
    assert len(embedder.embedded) == 19
    np.testing.assert_array_equal(index.vectors.stored, Hashes().embed([row[1] for row in rows]))


def test_an_index_is_replaced_when_the_new_one_is_complete(tmp_path):
    path = build(Hashes(), [_corpus(tmp_path)], tmp_path / "i", _COLUMNS)
    before = open_index(path)
    with pytest.raises(UserError, match="no text"):
        build(Hashes(), [_corpus(tmp_path, [("1", " ", "")])], path, _COLUMNS)
    assert len(open_index(path)) == 4
    build(Hashes(), [_corpus(tmp_path, _ROWS[:2])], path, _COLUMNS)
    assert len(open_index(path)) == 2
    assert before.ids[0] == "10"  # who has the old one open still reads it


def test_no_rows_make_an_empty_index(tmp_path):
    data = tmp_path / "none.csv"
    data.write_text("id,answer,title\n", "utf-8")
    index = open_index(build(Hashes(), [data], tmp_path / "i", _COLUMNS))
    numbers, scores, counts = index.search(np.ones((2, 16), np.float32), 5)
    assert numbers.shape == scores.shape == (2, 0)
    assert counts.tolist() == [0, 0]


def test_bad_rows_are_named_with_file_and_line(tmp_path):
    rows = [("1", "one", ""), ("2", "  ", ""), ("", "three", ""), ("1", "four", "")]
    data = _corpus(tmp_path, rows)
    with pytest.raises(UserError) as caught:
        build(Hashes(), [data], tmp_path / "i", _COLUMNS)
    lines = str(caught.value).replace(str(data), "answers.jsonl").splitlines()
    assert lines == [
        "3 rows cannot be used:",
        '  answers.jsonl:2: the row has no text (the column "answer" is empty); write one, or remove the row',
        '  answers.jsonl:3: the row has no id (the column "id" is empty); write one, or remove the row',
        '  answers.jsonl:4: the id "1" is also that of answers.jsonl:1; give each row an id of its own',
    ]
    assert not list(tmp_path.glob("i*"))


def test_ids_are_unique_across_files(tmp_path):
    files = [_corpus(tmp_path, _ROWS[:2], "one.jsonl"), _corpus(tmp_path, _ROWS[1:], "two.jsonl")]
    with pytest.raises(UserError, match=r'two\.jsonl:1: the id "a" is also that of .*one\.jsonl:2;'):
        build(Hashes(), files, tmp_path / "i", _COLUMNS)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"keep": ("ids",)}, 'the column "ids" cannot be kept: a search has an output of this name already'),
        ({"keep": ("title", "title")}, "named twice: title, title"),
        ({"keep": ("title", "")}, '"" is not the name of a column'),
    ],
    ids=["reserved", "twice", "empty"],
)
def test_bad_columns_are_refused(given, sentence):
    with pytest.raises(UserError, match=sentence):
        Columns(**given)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"precision": "float16"}, 'precision is "float16"; it must be one of float32, bfloat16, int8'),
        ({"lists": -1}, "lists is -1; it must be a whole number of at least 0"),
        ({"lists": 4, "probes": 0}, "probes is 0; it must be a whole number of at least 1"),
        ({"lists": 0, "probes": 2}, "probes are for an index with inverted lists"),
        ({"lists": 5}, "lists is 5, but there are only 4 rows"),
        ({"probes": 5}, "one of 4 rows has only with --lists"),
    ],
    ids=["precision", "lists", "probes", "exact-probes", "more-lists-than-rows", "probes-alone"],
)
def test_bad_options_are_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        IndexOptions(**options).lists_for(4)


def test_large_indexes_have_lists():
    assert IndexOptions().lists_for(building.EXACT_ROWS) == 0
    assert IndexOptions().lists_for(1_000_000) == 4096


def test_a_folder_that_is_not_an_index_is_not_replaced(tmp_path):
    (tmp_path / "i").mkdir()
    (tmp_path / "i" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is not an index"):
        build(Hashes(), [_corpus(tmp_path)], tmp_path / "i", _COLUMNS)
    assert (tmp_path / "i" / "notes.txt").exists()


def test_what_is_not_an_index_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is not an index \(it has no index\.json\)"):
        open_index(tmp_path)
    path = build(Hashes(), [_corpus(tmp_path)], tmp_path / "i", _COLUMNS)
    facts = json.loads((path / "index.json").read_text("utf-8"))
    (path / "index.json").write_text(json.dumps({**facts, "rows": 5}), "utf-8")
    with pytest.raises(UserError, match=r"cannot read the index .*: its files have 4 to 4 rows, not 5"):
        open_index(path)
    (path / "index.json").write_text(json.dumps({**facts, "format": 2}), "utf-8")
    with pytest.raises(UserError, match="not an index that this version of tfpipeline can read"):
        open_index(path)
    (path / "index.json").write_text(json.dumps(facts), "utf-8")
    (path / "texts.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"texts\.bin does not have the length that texts\.npy says"):
        open_index(path)


@pytest.mark.parametrize(
    ("queries", "k", "sentence"),
    [
        (np.ones((1, 16)), 0, "k is 0; ask for 1 row or more"),
        (np.ones((1, 16)), 1.5, "k is 1.5; ask"),
        (np.ones((1, 15)), 3, "the queries have 15 dimensions, but the vectors of .* have 16"),
        (np.ones(16), 3, r"the queries are float64 \[16\]; give vectors, \[queries, 16\]"),
        (np.full((1, 16), np.nan), 3, "a query has a number that is not finite"),
    ],
    ids=["k", "fraction", "dimension", "rank", "nan"],
)
def test_bad_queries_are_refused(tmp_path, queries, k, sentence):
    index = open_index(build(Hashes(), [_corpus(tmp_path)], tmp_path / "i", _COLUMNS))
    with pytest.raises(UserError, match=sentence):
        index.search(queries, k)
