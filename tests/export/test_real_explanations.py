"""Explanations of real tweets by a real model, too long for every day: ``make soak``."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import tfpipeline
from examples import packaged
from examples.vader_tweets import prepare

COUNT = 200


@pytest.mark.soak
def test_scores_of_two_hundred_tweets_add_up_within_a_percent(tmp_path):
    """MiniLM, fine-tuned for an epoch; 32 steps."""
    train, test = prepare.prepare(tmp_path / "data")
    run = tfpipeline.train(
        "examples/vader_tweets/run.yaml",
        overrides=[
            f"checkpoint={packaged.minilm()}",
            f"output={tmp_path / 'run'}",
            f"data.train={train}",
            f"data.test={test}",
            "training.epochs=1",
        ],
    )
    with test.open(encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:COUNT]
    found = tfpipeline.explain(run, sorted(texts, key=len))
    gaps = np.array([abs(one.gap) for one in found])
    differences = np.array([abs(one.value - one.baseline) for one in found])
    print(
        f"largest relative gap {(gaps / differences).max():.1e}, median {np.median(gaps / differences):.1e}"
    )
    assert len(found) == COUNT
    # A text whose words cancel out has no difference that a percent could be taken of.
    assert (gaps < 0.01 * np.maximum(differences, 0.1)).all()
    assert (gaps < 0.01 * differences).sum() >= COUNT - 2
