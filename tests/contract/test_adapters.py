"""A model of several adapters, through a server and the client."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import tfpipeline
from tests import tiny
from tests.adapted_runs import adapted_run
from tests.contract.conftest import NAME
from tfpipeline.serving.client import InvalidArgumentError, PredictClient

pytestmark = pytest.mark.contract

TEXTS = [text for text, _ in tiny.texts(40, seed=5)]


@pytest.fixture(scope="session")
def desk(tmp_path_factory):
    """Two runs with LoRA, one with two labels and one with three, and their model."""
    folder = tmp_path_factory.mktemp("desk")
    tasks = {"mood": "classifier", "parity": "two labels"}
    runs = {name: adapted_run(folder / name, "lora", task) for name, task in tasks.items()}
    model = folder / "models" / NAME
    tfpipeline.export_adapters({name: run.path for name, run in runs.items()}, model, warmup=2)
    return runs, model


def test_a_mixed_batch_is_answered_row_by_row(desk, start, tmp_path):
    runs, model = desk
    shutil.copytree(model, tmp_path / NAME)
    names = ["mood", "parity", "parity"] * 13 + ["mood"]
    own = {name: run.predict(run.model(precision="float32").merge(), TEXTS) for name, run in runs.items()}
    with start(tmp_path / NAME) as served, PredictClient(served.address, model=NAME, timeout=60) as client:
        answers = client.classify(TEXTS, adapter=names)
        streamed = list(client.predict_stream(iter(TEXTS[:5]), adapter="parity"))
        with pytest.raises(InvalidArgumentError) as unknown:
            client.classify(TEXTS[:2], adapter=["mood", "desk"])
        with pytest.raises(InvalidArgumentError) as missing:
            client.classify(TEXTS[:2])
    for row, (name, answer) in enumerate(zip(names, answers)):
        want = dict(zip(own[name]["classes"][row], own[name]["probabilities"][row]))
        assert answer.label == own[name]["label"][row].decode()
        assert answer.probabilities.keys() == {label.decode() for label in want}
        for label, probability in want.items():
            np.testing.assert_allclose(answer.probabilities[label.decode()], probability, atol=1e-5)
    assert [row.prediction.label for row in streamed] == [
        label.decode() for label in own["parity"]["label"][:5]
    ]
    told = 'adapter of row 1 is "desk", which this model does not have; it has mood, parity'
    assert told in str(unknown.value)
    assert "has a model of several adapters" in str(missing.value)
    assert str(missing.value).endswith("name the adapter of each text: adapter=...")
