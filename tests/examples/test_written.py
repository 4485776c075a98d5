"""The rows of the examples of generation, and the recipes that run.yaml is not."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

import tfpipeline
from examples import packaged
from examples.basic_english import recipe as verses
from examples.dialogue import prepare as dialogue
from examples.interface_texts import prepare as interface_texts
from examples.summaries import prepare as summaries
from tfpipeline import config
from tfpipeline.errors import UserError
from tfpipeline.tasks.generation.rows import references_of
from tfpipeline.text import TokenizerOptions
from tfpipeline.training.planning import plan
from tfpipeline.training.rows import read_rows
from tfpipeline.training.run_config import RunConfig

EXAMPLES = Path(packaged.__file__).parent


def test_the_table_by_training_rows():
    scores = {"bleu": 40.04, "chrf": 50.0, "rouge_l": 0.5}
    reports = {
        2_000: {"scores": {verses.AFTER: {**scores, "perplexity": 9.0}}},
        6_000: {"scores": {"the source, copied": scores, verses.AFTER: {**scores, "perplexity": 0.25}}},
    }
    assert verses.table(reports) == [
        "| | bleu | chrf | rouge_l | perplexity |",
        "|---|---|---|---|---|",
        "| the source, copied | 40.0 | 50.0 | 0.500 |  |",
        "| after fine-tuning, 2,000 rows | 40.0 | 50.0 | 0.500 | 9.0 |",
        "| after fine-tuning, 6,000 rows | 40.0 | 50.0 | 0.500 | 0.250 |",
    ]


def test_trainings_by_rows_take_settings(tmp_path, monkeypatch):
    """The training itself is left out: what it is asked for is kept, and planned."""
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"verse {number},text\n" for number in range(5))
    Path("train.csv").write_text(f"{','.join(verses.COLUMNS)}\n{rows}")
    monkeypatch.setattr(verses, "prepare", lambda folder: (Path("train.csv"), None))
    monkeypatch.setattr(verses, "make_checkpoint", lambda path: None)
    asked = []

    def train(run_file, overrides):
        asked.append(config.load(run_file, RunConfig, overrides))
        raise UserError("enough")

    monkeypatch.setattr(tfpipeline, "train", train)
    with pytest.raises(SystemExit):
        verses.main(["--rows", "3", "5", "--set", "training.steps=9", "--set", "training.batch_size=2"])
    (found,) = asked
    assert (found.training.steps, found.training.batch_size) == (9, 2)
    assert (found.output, Path(found.data.train).name) == ("demo/basic_english/runs/3", "train-3.csv")
    assert Path(found.data.train).read_text().splitlines()[1:] == [f"verse {n},text" for n in range(3)]


def test_translations_of_a_text_are_one_row(tmp_path):
    one = {"": {"language": "zh"}, "Open": ["打开"], "menu\x04Close  all": ["关闭", "plural"], "New": [""]}
    two = {"open ": ["开启"], "Open": ["开启"], "x" * 121: ["长"]}
    (tmp_path / "one.json").write_text(json.dumps(one))
    (tmp_path / "two.json").write_text(json.dumps(two))
    rows = interface_texts.read(tmp_path)
    assert [(row.source, row.target) for row in rows] == [("Open", ["开启", "打开"]), ("Close all", "关闭")]
    options = TokenizerOptions()
    vocabulary = interface_texts.vocabulary([*rows, *rows], options)[len(options.all_special_tokens) :]
    assert set("开启打关闭ope") < {*vocabulary}
    assert {"##o", "open", "close", "all"} < {*vocabulary}
    assert "##开" not in vocabulary


def test_every_translation_is_a_reference(tmp_path):
    train, test = interface_texts.prepare(tmp_path)
    overrides = [f"data.train={train}", f"data.test={test}", f"checkpoint={tmp_path / 'checkpoint'}"]
    split = read_rows(config.load(EXAMPLES / "interface_texts" / "run.yaml", RunConfig, overrides)).splits
    several = [row for rows in split.values() for row in rows if len(references_of(row)) > 1]
    assert len(several) == 38
    (ok,) = (row for row in several if row.text == "Ok")
    assert (ok.text_pair, references_of(ok)) == ("确定", ("确定", "确认"))


def test_conversations_are_split_by_their_beginning():
    train, test = dialogue.rows()
    assert not {turns[0].lower() for turns in train} & {turns[0].lower() for turns in test}
    lengths = Counter(len(turns) for turns in (*train, *test))
    assert min(lengths) == 2
    assert max(lengths) > 4


def test_a_paper_has_three_summaries():
    train, test = summaries.papers()
    assert (len(train), len(test)) == (450, 300)
    aspects = Counter(row.text.rpartition("\n")[2] for row in test)
    assert aspects == {"challenge": 100, "approach": 100, "outcome": 100}
    assert not any(mark in row.text for row in test for mark in (" .", " ,", "( "))


@pytest.mark.parametrize("name", ["papers", "xsum_gpu"])
def test_a_further_run_file_can_be_trained(name, tmp_path):
    """Also that for a GPU and data that is not packaged: it is read, and planned with rows of the same form."""
    path = EXAMPLES / "summaries" / f"{name}.yaml"
    written = config.load(path, RunConfig)
    columns = written.data.text, written.data.label
    files = {}
    for split, rows in zip(("train", "validation", "test"), (*summaries.papers(), summaries.news()[1])):
        files[split] = tmp_path / f"{split}.jsonl"
        lines = (json.dumps(dict(zip(columns, (row.text, row.label)))) for row in rows[:40])
        files[split].write_text("\n".join(lines))
    overrides = [f"data.{split}={file}" for split, file in files.items() if getattr(written.data, split)]
    planned = plan(
        config.load(
            path,
            RunConfig,
            [*overrides, f"checkpoint={packaged.xtremedistil()}", f"output={tmp_path / 'run'}"],
        )
    )
    assert planned.rows["train"] > 0
    if name == "xsum_gpu":
        assert (planned.total_steps, planned.warmup) == (108_000, 500)
        assert written.text.max_length == 512
