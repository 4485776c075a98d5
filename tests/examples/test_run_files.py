"""Every example's rows and run file: prepared from the real data, planned with the real checkpoint."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path

import pytest

from examples import packaged
from tfpipeline import config
from tfpipeline.training.planning import plan
from tfpipeline.training.run_config import RunConfig

RUN_FILES = sorted(Path(packaged.__file__).parent.glob("*/run.yaml"))
# Rows to train on and to test on: those of the yardsticks where there is one.
ROWS = {
    "boolq": (2_000, 3_270),
    "chinese_sentiment": (5_000, 2_000),
    "few_labels": (64, 500),
    "headlines": (5_000, 5_762),
    "multitask": (3_299 + 8_008, 841 + 2_062),
    "reuters_r8": (5_485, 2_189),
    "vader_movie": (8_008, 2_062),
    "vader_rating": (5_000, 2_172),
    "vader_tweets": (3_299, 841),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Example -> its train.csv and test.csv; each is made once."""
    made: dict[str, tuple[Path, Path]] = {}

    def prepare(name: str) -> tuple[Path, Path]:
        if name not in made:
            module = importlib.import_module(f"examples.{name}.prepare")
            made[name] = module.prepare(tmp_path_factory.mktemp(name))
        return made[name]

    return prepare


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def folded(row: dict[str, str], *columns: str) -> str:
    return " ".join(" ".join(row[column] for column in columns).lower().split())


def test_every_example_is_here():
    assert [path.parent.name for path in RUN_FILES] == sorted(ROWS)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_the_rows_are_as_many_as_documented(prepared, name):
    assert tuple(len(read(path)) for path in prepared(name)) == ROWS[name]


@pytest.mark.parametrize("run_file", RUN_FILES, ids=lambda path: path.parent.name)
def test_the_run_file_can_be_trained(prepared, tmp_path, run_file):
    name = run_file.parent.name
    train, test = prepared(name)
    written = config.load(run_file, RunConfig)
    own = train.parent / "checkpoint"  # of the example that makes one
    checkpoint = own if own.is_dir() else packaged.xtremedistil()
    overrides = [
        f"checkpoint={checkpoint}",
        f"output={tmp_path / 'run'}",
        f"data.train={train}",
        f"data.test={test}",
    ]
    if written.data.validation is not None:
        overrides.append(f"data.validation={train}")
    planned = plan(config.load(run_file, RunConfig, overrides))
    rows = planned.rows
    assert rows["test"] == ROWS[name][1]
    if written.data.validation is None:
        assert rows["train"] + rows["validation"] == ROWS[name][0]
    assert planned.total_steps > planned.warmup > 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name", ["vader_movie", "vader_tweets", "vader_rating", "headlines", "chinese_sentiment"]
)
def test_no_text_is_in_both_parts(prepared, name):
    train, test = ([folded(row, "text") for row in read(path)] for path in prepared(name))
    assert len({*train, *test}) == len(train) + len(test)


def test_boolq_trains_on_nothing_of_its_test(prepared):
    # The packaged file of all rows holds the test rows too.
    train, test = map(read, prepared("boolq"))
    for column in ("question", "passage"):
        assert not {folded(row, column) for row in train} & {folded(row, column) for row in test}
    assert len({folded(row, "question", "passage") for row in train}) == len(train)
    assert all(" -- " in row["passage"] for row in (*train, *test))
    labels = [row["label"] for row in test]
    assert labels.count("yes") / len(labels) == pytest.approx(0.622, abs=5e-4)


def test_each_row_of_the_multitask_file_has_one_label(prepared):
    for part, tweets, movie in zip(
        prepared("multitask"), prepared("vader_tweets"), prepared("vader_movie"), strict=True
    ):
        rows = read(part)
        assert all(bool(row["tweet"]) != bool(row["movie"]) for row in rows)
        for column, source in (("tweet", tweets), ("movie", movie)):
            kept = [(row["text"], row[column]) for row in rows if row[column]]
            assert kept == [(row["text"], row["label"]) for row in read(source)]


def test_the_chinese_vocabulary_fits_its_texts(prepared):
    from tfpipeline import checkpoints
    from tfpipeline.text import WordPieceTokenizer

    train, test = prepared("chinese_sentiment")
    loaded = checkpoints.load(train.parent / "checkpoint")
    assert loaded.format == "google"
    assert loaded.tokenizer.lowercase
    tokenizer = WordPieceTokenizer(loaded.vocabulary, loaded.tokenizer)
    unknown = loaded.vocabulary.index("[UNK]")
    texts = [row["text"] for row in read(test)[:200]]
    ids = tokenizer(texts, max_length=128)["input_ids"].numpy()
    assert 0 < (ids == unknown).sum() < 0.01 * (ids != 0).sum()
