"""An export's identity: equal where the served answers are, and only there."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import pytest

from tfpipeline.export.identity import identity as identity_of
from tfpipeline.export.options import ExportOptions
from tfpipeline.tasks.classification import ClassificationOptions
from tfpipeline.tasks.regression import Regression, RegressionOptions
from tfpipeline.text import Truncation


def identity(task, options=None, text="vocabulary", truncation=None):
    head = keras.layers.Dense(1, kernel_initializer="ones", name="head")
    model = keras.Sequential([keras.Input([2]), head], name="model")
    run = SimpleNamespace(
        task=task,
        config=SimpleNamespace(task=options or task.options),
        text_identity=text,
        truncation=truncation or Truncation(max_length=8),
    )
    return identity_of(run, model, ExportOptions())


def regression(mean=0.0, **options):
    return Regression(RegressionOptions(**options), {"mean": mean, "scale": 1.0})


@pytest.mark.parametrize(
    "other",
    [
        {"task": regression(mean=1.0)},  # the same weights and options, but other answers
        {"task": regression(delta=2.0)},
        {"task": regression(), "options": ClassificationOptions()},
        {"task": regression(), "text": "another vocabulary"},
        {"task": regression(), "truncation": Truncation(max_length=9)},
    ],
)
def test_whatever_decides_the_answers_is_part_of_it(other):
    assert identity(regression()) == identity(regression())
    assert identity(**other) != identity(regression())
