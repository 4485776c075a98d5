"""Every example's rows and run file: prepared from the real data, planned with the real checkpoint."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from examples import packaged
from examples.brown_pos import prepare as brown_pos
from examples.matching_verses import prepare as verses
from examples.matching_verses import scores
from tfpipeline import config
from tfpipeline.data.readers import read_records
from tfpipeline.training import planning
from tfpipeline.training.planning import plan
from tfpipeline.training.run_config import RunConfig

RUN_FILES = sorted(Path(packaged.__file__).parent.glob("*/run.yaml"))
# Rows to train on and to test on: those of the yardsticks where there is one.
ROWS = {
    "basic_english": (18_867, 1_000),
    "boolq": (2_000, 3_270),
    "brown_pos": (5_000, 5_000),
    "chinese_sentiment": (5_000, 2_000),
    "dialogue": (706, 165),
    "disfl_qa": (757, 177),
    "few_labels": (64, 500),
    "find_the_span": (12_000, 1_000),
    "headlines": (5_000, 5_762),
    "interface_texts": (2_440, 580),
    "made_up_tasks": (20_000, 1_000),
    "matching_answers": (505, 143),
    "matching_verses": (8_000, 2_000),
    "multitask": (3_299 + 8_008, 841 + 2_062),
    "peoples_daily": (8_000, 2_000),
    "peft": (1_500, 841),
    "quac": (270, 200),
    "reuters_r8": (5_485, 2_189),
    "summaries": (788, 211),
    "vader_movie": (8_008, 2_062),
    "vader_rating": (5_000, 2_172),
    "vader_tweets": (3_299, 841),
}
# Rows that the model reads, where a line of a file becomes several.
MADE = {"dialogue": (929, 223)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Example -> its two files; each is made once."""
    made: dict[str, tuple[Path, Path]] = {}

    def prepare(name: str) -> tuple[Path, Path]:
        if name not in made:
            module = importlib.import_module(f"examples.{name}.prepare")
            made[name] = module.prepare(tmp_path_factory.mktemp(name))
        return made[name]

    return prepare


def read(path: Path) -> list[Mapping[str, str]]:
    return [record.columns for record in read_records(path)]


def folded(row: Mapping[str, str], *columns: str) -> str:
    return " ".join(" ".join(row[column] for column in columns).lower().split())


def test_every_example_is_here():
    assert [path.parent.name for path in RUN_FILES] == sorted(ROWS)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_the_rows_are_as_many_as_documented(prepared, name):
    assert tuple(len(read(path)) for path in prepared(name)) == ROWS[name]


@pytest.mark.parametrize("run_file", RUN_FILES, ids=lambda path: path.parent.name)
def test_the_run_file_can_be_trained(prepared, tmp_path, run_file, monkeypatch):
    monkeypatch.setattr(planning, "_SAMPLED", 200)  # rows to tokenize, for the plan's numbers of tokens
    name = run_file.parent.name
    train, test = prepared(name)
    written = config.load(run_file, RunConfig)
    places = (folder / "checkpoint" for folder in (train.parent, train.parent.parent))
    own = next((place for place in places if place.is_dir()), None)  # of the example that makes one
    checkpoint = own or packaged.xtremedistil()
    overrides = [
        f"checkpoint={checkpoint}",
        f"output={tmp_path / 'run'}",
        f"data.train={train}",
        f"data.test={test}",
    ]
    if written.data.validation is not None:
        overrides.append(f"data.validation={train.with_name(Path(written.data.validation).name)}")
    if getattr(written.task, "corpus", None) is not None:
        overrides.append(f"task.corpus.path={train.parent / 'corpus.csv'}")
    planned = plan(config.load(run_file, RunConfig, overrides))
    rows, counts = planned.rows, MADE.get(name, ROWS[name])
    assert rows["test"] == counts[1]
    if written.data.validation is None:
        assert rows["train"] + rows["validation"] == counts[0]
    assert planned.total_steps > planned.warmup > 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("vader_movie", "vader_tweets", "vader_rating", "headlines", "chinese_sentiment"),
        *("brown_pos", "peoples_daily"),
    ],
)
def test_no_text_is_in_both_parts(prepared, name):
    train, test = ([folded(row, "text") for row in read(path)] for path in prepared(name))
    assert len({*train, *test}) == len(train) + len(test)


def test_verses_are_split_by_book_and_found_in_the_corpus(prepared):
    train, test = prepared("matching_verses")
    parts = [read(path) for path in (train, train.parent / "validation.csv", test)]
    assert [len(rows) for rows in parts] == [8_000, 500, 2_000]
    books = [{row["id"][:-6] for row in rows} for rows in parts]
    assert not books[0] & books[1] | books[0] & books[2] | books[1] & books[2]
    for column in ("old", "basic"):
        texts = [{folded(row, column) for row in rows} for rows in parts]
        assert not texts[2] & (texts[0] | texts[1])
    corpus = read(train.parent / "corpus.csv")
    assert len(corpus) == 31_004
    by_id = {row["id"]: row["text"] for row in corpus}
    assert all(by_id[row["id"]] == row["basic"] for rows in parts for row in rows)
    assert by_id["1001001"] == "At the first God made the heaven and the earth."
    assert by_id["66022021"] == "The grace of the Lord Jesus be with the saints. So be it."


def test_verses_that_are_numbered_otherwise_are_no_queries():
    old = {1_001_001: "1. In the beginning", 1_001_002: " 2. And the earth", 1_001_003: "3. And God"}
    basic = {
        1_001_001: "1.\\\\1:2\\\\And the earth was waste. ",  # the text of another verse, as its number says
        1_001_002: " 2. And God said",
        1_001_003: "3. Let there be light",
        1_001_004: "4. So it was",
    }
    matching, every = verses.pairs(old, basic)
    assert [(verse.id, verse.basic) for verse in matching] == [("1001003", "Let there be light")]
    assert [verse.basic for verse in every] == [
        "And the earth was waste.",
        "And God said",
        "Let there be light",
    ]


def test_verses_with_scores_are_scored_by_correlation(prepared):
    """No packaged set has similarities that people have judged, so these are made of verses."""
    train, test = prepared("matching_verses")
    paths = scores.prepare_scores(train.parent)
    assert [path.name for path in paths] == ["scores_train.csv", "scores_test.csv"]
    written = config.load(RUN_FILES[0].parent.parent / "matching_verses" / "scores.yaml", RunConfig)
    rows = written.task.read(written.data, paths[1])
    task = written.task.fit(rows)
    assert (task.loss_name, task.has_scores) == ("cosent", True)
    kinds = Counter(row.label for row in rows)
    assert kinds[scores.SAME] == kinds[scores.NEAR] == kinds[scores.FAR] > 1_900
    by_id = {row["old"]: row["id"] for row in read(test)}
    by_text = {row["basic"]: row["id"] for row in read(test)}
    for row in rows[:300]:
        old, basic = by_id[row.text], by_text[row.text_pair]
        kind = scores.SAME if old == basic else scores.NEAR if old[:-3] == basic[:-3] else scores.FAR
        assert (row.label, old[:-6] == basic[:-6]) == (kind, kind != scores.FAR)
    targets, weights = task.targets(rows), np.ones(len(rows))
    found = {
        name: task.scorer.metrics(predictions, targets, weights)["spearman"]
        for name, predictions in task.scorer.baselines(None, rows)
    }
    assert list(found) == ["TF-IDF", "BM25"]
    assert min(found.values()) > 0.6  # even words tell much


def test_answers_are_all_in_the_corpus(prepared):
    train, test = prepared("matching_answers")
    answers = {row["text"] for row in read(train.parent / "corpus.csv")}
    assert {
        row["answer"] for path in (train, test, train.parent / "all.csv") for row in read(path)
    } == answers
    assert len(answers) == len(read(train.parent / "all.csv")) == 648


def test_boolq_trains_on_nothing_of_its_test(prepared):
    # The packaged file of all rows holds the test rows too.
    train, test = map(read, prepared("boolq"))
    for column in ("question", "passage"):
        assert not {folded(row, column) for row in train} & {folded(row, column) for row in test}
    assert len({folded(row, "question", "passage") for row in train}) == len(train)
    assert all(" -- " in row["passage"] for row in (*train, *test))
    labels = [row["label"] for row in test]
    assert labels.count("yes") / len(labels) == pytest.approx(0.622, abs=5e-4)


def test_a_tag_of_each_word_and_no_more_than_twelve(prepared):
    rows = [row for path in prepared("brown_pos") for row in read(path)]
    assert {tag for row in rows for tag in json.loads(row["1"])} == set(brown_pos.UNIVERSAL)
    assert all(len(json.loads(row["0"])) == len(row["text"].split(" ")) <= 100 for row in rows)


def test_names_are_where_they_are_said_to_be(prepared):
    train, test = map(read, prepared("peoples_daily"))
    found = [
        (row["text"][one["start"] : one["end"]], one["type"])
        for row in (*train, *test)
        for one in json.loads(row["entities"])
    ]
    assert {kind for _, kind in found} == {"PER", "LOC", "ORG"}
    assert {
        ("江泽民", "PER"),
        ("陈方安生", "PER"),
        ("欧阳中石", "PER"),
        ("新华社", "ORG"),
        ("北京", "LOC"),
    } <= {*found}
    # Nobody is called twice over: a list of people without commas is cut into people.
    assert (
        max(
            len(name) for name, kind in found if kind == "PER" and "·" not in name and "一" <= name[0] <= "龥"
        )
        < 9
    )


@pytest.mark.parametrize("name", ["disfl_qa", "find_the_span", "quac"])
def test_no_passage_is_in_both_parts(prepared, name):
    train, test = map(read, prepared(name))
    assert not {folded(row, "context") for row in train} & {folded(row, "context") for row in test}
    assert len({row["id"] for row in (*train, *test)}) == len(train) + len(test)
    for row in (*train, *test):
        answers = json.loads(row["answers"])
        assert (row["is_impossible"] == "true") == (answers["text"] == [])
        for text, start in zip(answers["text"], answers["answer_start"], strict=True):
            assert row["context"][int(start) :].startswith(text)


def test_each_row_of_the_multitask_file_has_one_label(prepared):
    for part, tweets, movie in zip(
        prepared("multitask"), prepared("vader_tweets"), prepared("vader_movie"), strict=True
    ):
        rows = read(part)
        assert all(bool(row["tweet"]) != bool(row["movie"]) for row in rows)
        for column, source in (("tweet", tweets), ("movie", movie)):
            kept = [(row["text"], row[column]) for row in rows if row[column]]
            assert kept == [(row["text"], row["label"]) for row in read(source)]


@pytest.mark.parametrize("name", ["chinese_sentiment", "peoples_daily"])
def test_the_chinese_vocabulary_fits_its_texts(prepared, name):
    from tfpipeline import checkpoints
    from tfpipeline.text import WordPieceTokenizer

    train, test = prepared(name)
    loaded = checkpoints.load(train.parent / "checkpoint")
    assert loaded.format == "google"
    assert loaded.tokenizer.lowercase
    tokenizer = WordPieceTokenizer(loaded.vocabulary, loaded.tokenizer)
    unknown = loaded.vocabulary.index("[UNK]")
    texts = [row["text"] for row in read(test)[:200]]
    ids = tokenizer(texts, max_length=128)["input_ids"].numpy()
    assert 0 < (ids == unknown).sum() < 0.01 * (ids != 0).sum()
