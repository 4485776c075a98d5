"""Texts that a model writes through both servers, with batching and over REST."""

from __future__ import annotations

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.contract.conftest import NAME
from tests.contract.test_search import BATCHING, post
from tests.tasks import kit
from tfpipeline.predictors import open_local
from tfpipeline.serving.client import AsyncPredictClient, Generation, InvalidArgumentError, PredictClient
from tfpipeline.serving.server.batching_parameters import to_text

pytestmark = pytest.mark.contract

SOURCES = ["the food was good", "", "a very bad film", "x " * 90, "😀 the table ; the chair"]
# Each caller chooses differently, so that a batch has rows of all kinds.
CHOICES = [
    {},
    {"num_beams": 1},
    {"do_sample": True, "seed": 3, "temperature": 2.0},
    {"do_sample": True, "seed": 4, "top_k": 3, "max_new_tokens": 2},
    {"length_penalty": 0.0, "min_new_tokens": 3, "no_repeat_ngram_size": 1},
]


def same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert [text.text for text in one.candidates] == [text.text for text in other.candidates]
        np.testing.assert_allclose(
            [text.score for text in one.candidates], [text.score for text in other.candidates], atol=2e-5
        )


def test_both_servers_write_as_the_run_does(start, shared, tmp_path):
    trained = kit.trained(shared, kit.sample(kit.SAMPLES / "generation.yaml"))
    with open_local(trained.run.path, "generate") as predictor:
        wanted = [predictor.generate(SOURCES, **chosen) for chosen in CHOICES]
    shutil.copytree(trained.exported, tmp_path / NAME / "1")
    (tmp_path / "params").write_text(to_text(BATCHING))
    with (
        start(tmp_path / NAME, batching_file=str(tmp_path / "params")) as served,
        PredictClient(served.address, model=NAME, timeout=120) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        plain = client.predict(SOURCES, expect=Generation)
        assert [answer.text for answer in plain] == [answer.text for answer in wanted[0]]
        np.testing.assert_allclose([one.score for one in plain], [one.score for one in wanted[0]], atol=2e-5)
        for chosen, texts in zip(CHOICES, wanted):
            same(client.generate(SOURCES, **chosen, batch_size=2), texts)
        names = {name for chosen in CHOICES for name in chosen}
        mixed = {name: [chosen.get(name) for chosen in CHOICES] for name in names}
        same(client.generate(SOURCES, **mixed), [texts[row] for row, texts in enumerate(wanted)])

        def call(number):
            """A caller of its own: another source and other choices than those that share its batch."""
            row, chosen = number % len(SOURCES), number % len(CHOICES) - number // len(SOURCES)
            same(client.generate([SOURCES[row]], **CHOICES[chosen]), [wanted[chosen][row]])
            return True

        assert all(pool.map(call, range(25)))

        async def ask():
            async with AsyncPredictClient(served.address, model=NAME, timeout=120) as other:
                return await other.generate([["the food was good"], [""]], **CHOICES[2])

        same(asyncio.run(ask()), wanted[2][:2])
        with pytest.raises(InvalidArgumentError, match="num_beams must be at most 2"):
            client.generate(["a"], num_beams=3)
        with pytest.raises(InvalidArgumentError, match=r"temperature must be at least 0\.001"):
            client.generate(["a"], temperature=0)
        every = client.metadata().signatures["generate"].inputs
        rows = [{name: -1 for name in every if name != "text"} | {"text": text} for text in SOURCES]
        status, answer = post(served.rest_address, "generate", {"instances": rows})
        assert status == 200, answer
        assert [one["texts"][0] for one in answer["predictions"]] == [one.text for one in wanted[0]]
        rows[1]["max_new_tokens"] = 0
        status, answer = post(served.rest_address, "generate", {"instances": rows})
        assert status == 400
        assert "max_new_tokens must be at least 1 (or -1 for the default), got 0" in answer["error"]
