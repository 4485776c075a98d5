"""What the exports of tasks answer through a server.

`multitask` has parts of every kind, `pair` takes two texts, the others answer with places in a text.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.contract.conftest import NAME
from tests.tasks import kit
from tfpipeline.serving.client import (
    Classification,
    MultiLabel,
    Multitask,
    PredictClient,
    QuestionAnswering,
    Regression,
    Tagging,
)

pytestmark = pytest.mark.contract

COUNT = 100
COVERED = {("embedded", "multitask"), ("embedded", "question_answering")}


@pytest.fixture(scope="module", params=["multitask", "pair", "tagging", "question_answering"])
def trained(request, shared):
    return kit.trained(shared, kit.sample(kit.SAMPLES / f"{request.param}.yaml"))


def test_served_answers_are_the_trained_models(trained, start, tmp_path, request):
    if tuple(request.node.callspec.params[name] for name in ("start", "trained")) in COVERED:
        pytest.skip("tests/tasks asks the embedded server")
    shutil.copytree(trained.exported, tmp_path / NAME / "1")
    texts = trained.texts[:COUNT]
    pairs = None if trained.text_pair is None else trained.text_pair[:COUNT]
    want = trained.run.predict(trained.run.model(), texts, pairs)
    inputs = {name: array[:COUNT] for name, array in trained.asked.items()}
    asked = {"serving_default": inputs}
    if trained.run.task.offsets:
        asked |= {"utf8": inputs, "utf16": inputs}
    else:
        tokens = trained.run.encode(texts, pairs)
        lengths = tokens["attention_mask"].sum(-1).astype(np.int32)
        asked["input_ids"] = {"input_ids": tokens["input_ids"], "lengths": lengths}
        if pairs is not None:
            asked["input_ids"]["token_type_ids"] = tokens["token_type_ids"]
    with start(tmp_path / NAME) as served, PredictClient(served.address, model=NAME, timeout=60) as client:
        for signature, given in asked.items():
            with PredictClient(served.address, model=NAME, timeout=60, signature=signature) as other:
                found = other.predict_raw(given).outputs
            kit.same(found, kit.in_other_units(trained, want, signature))
        some = sorted(want)[:2]
        assert sorted(client.predict_raw(inputs, outputs=some).outputs) == some
        answers = client.predict(texts, pairs)
        found = client.metadata().signatures["serving_default"]
    assert len(answers) == COUNT
    if isinstance(answers[0], Multitask):
        kinds = {part: type(answer) for part, answer in answers[0].answers.items()}
        assert kinds == {"mood": Classification, "stars": Regression, "topics": MultiLabel}
    else:
        options = trained.run.config.task
        kind = {"tagging": Tagging, "question_answering": QuestionAnswering}.get(options.name, Classification)
        assert {type(answer) for answer in answers} == {kind}
    assert set(found.outputs) == set(want)
    dtypes = {name: tf.as_dtype(spec.dtype) for name, spec in found.outputs.items()}
    assert set(dtypes.values()) <= {tf.string, tf.float32, tf.int32}
