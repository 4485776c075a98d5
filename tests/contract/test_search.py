"""Vectors, similarities and searches through both servers, with batching and over REST."""

from __future__ import annotations

import asyncio
import json
import shutil
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tfpipeline
from tests.contract.conftest import NAME
from tests.index.searchable import MOST, searchable
from tfpipeline.index.embedder import ModelEmbedder
from tfpipeline.serving.client import AsyncPredictClient, InvalidArgumentError, PredictClient
from tfpipeline.serving.server import BatchingOptions
from tfpipeline.serving.server.batching_parameters import to_text

pytestmark = pytest.mark.contract

QUERIES = ["the food is good", "", "was the film awful ?", "x " * 90, "😀 door"]
# One batch at a time and a long wait: callers cannot help sharing batches.
BATCHING = BatchingOptions(max_rows=16, timeout_seconds=0.05, parallel=1)


def post(address, signature, body):
    """The status and the answer of a prediction over REST."""
    request = urllib.request.Request(
        f"http://{address}/v1/models/{NAME}:predict",
        json.dumps({"signature_name": signature, **body}).encode(),
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def near(found, wanted):
    assert [[hit.id for hit in hits] for hits in found] == [[hit.id for hit in hits] for hits in wanted]
    for some, others in zip(found, wanted):
        assert [(hit.text, hit.columns) for hit in some] == [(hit.text, hit.columns) for hit in others]
        np.testing.assert_allclose([hit.score for hit in some], [hit.score for hit in others], atol=2e-6)


def test_both_servers_search_as_numpy_does(start, shared, tmp_path):
    made = searchable(shared)
    index = tfpipeline.load_index(made.index)
    wanted = index.search(QUERIES, MOST)
    queries = ModelEmbedder(made.run.path, prompt="query").embed(QUERIES)
    documents = ModelEmbedder(made.run.path).embed(QUERIES)
    shutil.copytree(made.version, tmp_path / NAME / "1")
    (tmp_path / "params").write_text(to_text(BATCHING))
    with (
        start(tmp_path / NAME, batching_file=str(tmp_path / "params")) as served,
        PredictClient(served.address, model=NAME, timeout=120) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        near(client.search(QUERIES, MOST), wanted)
        near(client.search(QUERIES, 2, batch_size=2), [hits[:2] for hits in wanted])
        np.testing.assert_allclose(client.embed(QUERIES), queries, atol=2e-6)
        np.testing.assert_allclose(client.embed(QUERIES, prompt="document"), documents, atol=2e-6)
        scores = client.similarity(QUERIES, QUERIES)
        np.testing.assert_allclose(scores, (queries * documents).sum(1), atol=2e-6)

        def call(number):
            """A caller of its own: another query and another k than those that share its batch."""
            row, k = number % len(QUERIES), number % MOST + 1
            near(client.search([QUERIES[row]], k), [wanted[row][:k]])
            return True

        assert all(pool.map(call, range(40)))
        for k in (0, MOST + 1):
            with pytest.raises(InvalidArgumentError, match="k must be at"):
                _ask_for(served, k)

        async def ask():
            async with AsyncPredictClient(served.address, model=NAME, timeout=120) as other:
                return await other.search(QUERIES, 3)

        near(asyncio.run(ask()), [hits[:3] for hits in wanted])
        rows = {"instances": [{"text": text, "k": 2} for text in QUERIES]}
        status, answer = post(served.rest_address, "search", rows)
        assert status == 200, answer
        for one, hits in zip(answer["predictions"], wanted):
            assert one["count"] == 2
            assert one["ids"][:2] == [hit.id for hit in hits[:2]]
            assert one["texts"][2:] == [""] * (MOST - 2)
        status, answer = post(served.rest_address, "search", {"inputs": {"text": ["a"], "k": [0]}})
        assert status == 400
        assert "k must be at least 1, got 0" in answer["error"]


def _ask_for(served, k):
    with PredictClient(served.address, model=NAME, signature="search", timeout=120) as client:
        client.predict_raw({"text": ["a"], "k": np.array([k], np.int32)})
