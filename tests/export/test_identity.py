"""An export's identity: equal where the served answers are, and only there."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tfpipeline.export.identity import identity as identity_of
from tfpipeline.export.options import ExportOptions
from tfpipeline.tasks.classification import ClassificationOptions
from tfpipeline.tasks.regression import Regression, RegressionOptions
from tfpipeline.text import Truncation
from tfpipeline.training.confidence import UNFITTED, Confidence


def identity(task, options=None, text="vocabulary", truncation=None, confidence=UNFITTED, **export):
    head = keras.layers.Dense(1, kernel_initializer="ones", name="head")
    model = keras.Sequential([keras.Input([2]), head], name="model")
    run = SimpleNamespace(
        task=task,
        config=SimpleNamespace(task=options or task.options),
        text_identity=text,
        truncation=truncation or Truncation(max_length=8),
    )
    graph = SimpleNamespace(model=model, confidence=confidence)
    return identity_of(run, graph, ExportOptions(**export))


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
        {"task": regression(), "precision": "bfloat16"},
        {"task": regression(), "confidence": Confidence({"temperature": np.float32(1.5)})},
        {"task": regression(), "confidence": Confidence({"temperature": np.float32(1)})},
        {"task": regression(), "confidence": Confidence(thresholds={"abstained": 0.5})},
    ],
)
def test_whatever_decides_the_answers_is_part_of_it(other):
    assert identity(regression()) == identity(regression())
    assert identity(**other) != identity(regression())


def test_what_only_decides_whether_there_is_an_export_is_no_part_of_it():
    asked = identity(regression(), require=["f1 > 0"], max_accuracy_loss=1.0, abstain=0.9, calibrate=True)
    assert asked == identity(regression())
