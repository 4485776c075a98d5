"""What a run makes of its rows: texts in one sequence or in two, between the special tokens of its
tokenizer.
"""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest

from tests import tiny
from tfpipeline import checkpoints, config
from tfpipeline.tasks.classification import ClassificationOptions
from tfpipeline.text import Template
from tfpipeline.training.batching import Batching, Split
from tfpipeline.training.rows import read_rows
from tfpipeline.training.run import lay_out
from tfpipeline.training.run_config import RunConfig

ROBERTA = Template(between=("sep_token", "sep_token"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Rows of a short first text and a second one that is longer by its number."""
    folder = tmp_path_factory.mktemp("pairs")
    path = tiny.write_run_file(folder, train=2)
    with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [("good", "bad film " * number, "ab"[number % 2]) for number in range(16)]
        csv.writer(file).writerows([("text", "second", "label"), *rows])
    overrides = [
        "data.text_pair=second",
        "text.max_length=14",
        "data.test=null",
        "data.split.validation=0.25",
    ]
    return config.load(path, RunConfig, overrides)


def laid_out(settings, folder, template=None):
    checkpoint = checkpoints.load(settings.checkpoint)
    if template is not None:
        tokenizer = dataclasses.replace(checkpoint.tokenizer, template=template)
        checkpoint = dataclasses.replace(checkpoint, tokenizer=tokenizer)
    rows = read_rows(settings)
    folder.mkdir(exist_ok=True)
    return lay_out(settings, checkpoint, rows.task, rows.splits, folder)


def test_a_task_has_its_texts_encoded_separately(settings, tmp_path, monkeypatch):
    joint = Split.of(laid_out(settings, tmp_path / "joint"), "train")
    assert list(joint.cache.sequences) == ["text"]
    monkeypatch.setattr(ClassificationOptions, "encoding", "separate")
    run = laid_out(settings, tmp_path / "separate")
    split = Split.of(run, "train")
    words = [len(example.text_pair.split()) for example in split.examples]
    assert split.cache.sequences["text"].lengths.tolist() == [3] * len(words)
    assert split.cache.sequences["text_pair"].lengths.tolist() == [min(count + 2, 14) for count in words]
    assert split.cache.cut == sum(count > 12 for count in words)
    assert split.cache.text_tokens == len(words) + sum(min(count, 12) for count in words)
    # A group of batches has one shape; each sequence its own.
    options = settings.training.model_copy(update={"steps_per_call": 2})
    batching = Batching(split, options, 4, [4, 9, 14], static=False)
    for group in batching.groups(0, 0, 0, []):
        longest = max(int(split.cache.lengths[rows].max()) for rows in group.rows)
        for batch in group.batches:
            assert batch["input_ids"].shape == (4, 4)
            width = next(width for width in (4, 9, 14) if width >= longest)
            assert batch["text_pair/input_ids"].shape == (4, width)
            assert set(np.unique(batch["text_pair/token_type_ids"])) == {0}
        rows = np.concatenate(group.rows)
        assert group.tokens == 3 * len(rows) + sum(min(words[row] + 2, 14) for row in rows)


def test_a_run_keeps_the_template_of_its_tokenizer(settings, tmp_path):
    run = laid_out(settings, tmp_path / "run", ROBERTA)
    assert run.tokenizer.template == run.truncation.template == ROBERTA
    encoded = run.encode(["good"], ["bad film"])
    tokens = [tiny.VOCABULARY[token] for token in encoded["input_ids"][0]]
    assert tokens == ["[CLS]", "good", "[SEP]", "[SEP]", "bad", "film", "[SEP]"]
    cache = Split.of(run, "train").cache
    assert cache.text_tokens == cache.lengths.sum() - 4 * len(cache)
