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
from typer.testing import CliRunner

import tfpipeline
from tests.contract.conftest import NAME
from tests.index.searchable import MOST, searchable
from tfpipeline.cli import app
from tfpipeline.index.embedder import ModelEmbedder
from tfpipeline.serving.client import AsyncPredictClient, InvalidArgumentError, PredictClient
from tfpipeline.serving.server import BatchingOptions
from tfpipeline.serving.server.batching_parameters import to_text

pytestmark = pytest.mark.contract

ROUNDING = 2e-6
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
    """The same hits in the same order; scores may differ by rounding, as vectors do in another batch."""
    assert [[hit.id for hit in hits] for hits in found] == [[hit.id for hit in hits] for hits in wanted]
    for some, others in zip(found, wanted):
        assert [(hit.text, hit.columns) for hit in some] == [(hit.text, hit.columns) for hit in others]
        np.testing.assert_allclose([hit.score for hit in some], [hit.score for hit in others], atol=ROUNDING)


def gaps_of(index, queries):
    """The differences between the scores of successive hits, [queries, MOST]."""
    return -np.diff([[hit.score for hit in hits] for hits in index.search(queries, MOST + 1)])


def tied_query(index):
    """A query of which two hits have the same score."""
    texts = list(index.index.texts)
    return texts[int((gaps_of(index, texts) == 0).any(axis=1).argmax())]


def test_both_servers_search_as_numpy_does(start, shared, tmp_path):
    made = searchable(shared)
    index = tfpipeline.load_index(made.index)
    asked = [*QUERIES, tied_query(index)]
    wanted = index.search(asked, MOST)
    # Away from ties, rounding moves no hit: every difference of scores is 0 (equal texts) or far above it.
    gaps = gaps_of(index, asked)
    assert ((gaps == 0) | (gaps > 5 * ROUNDING)).all(), sorted(gaps.flat)[:9]
    assert (gaps[-1] == 0).any()
    queries = ModelEmbedder(made.run.path, prompt="query").embed(asked)
    documents = ModelEmbedder(made.run.path).embed(asked)
    shutil.copytree(made.version, tmp_path / NAME / "1")
    (tmp_path / "params").write_text(to_text(BATCHING))
    with (
        start(tmp_path / NAME, batching_file=str(tmp_path / "params")) as served,
        PredictClient(served.address, model=NAME, timeout=120) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        near(client.search(asked, MOST), wanted)
        near(client.search(asked, 2, batch_size=2), [hits[:2] for hits in wanted])
        np.testing.assert_allclose(client.embed(asked), queries, atol=ROUNDING)
        np.testing.assert_allclose(client.embed(asked, prompt="document"), documents, atol=ROUNDING)
        scores = client.similarity(asked, asked)
        np.testing.assert_allclose(scores, (queries * documents).sum(1), atol=ROUNDING)

        def call(number):
            """A caller of its own: another query and another k than those that share its batch."""
            row, k = number % len(asked), number % MOST + 1
            near(client.search([asked[row]], k), [wanted[row][:k]])
            return True

        assert all(pool.map(call, range(40)))
        command = ["search", "--target", served.address, "--model", NAME, "-k", "2", "--json"]
        printed = CliRunner().invoke(app, [*command, "--timeout", "120", *filter(None, asked)])
        lines = [json.loads(line) for line in printed.stdout.splitlines()]
        assert [(line["query"], [hit["id"] for hit in line["hits"]]) for line in lines] == [
            (query, [hit.id for hit in hits[:2]]) for query, hits in zip(asked, wanted) if query
        ]

        for k in (0, MOST + 1):
            with pytest.raises(InvalidArgumentError, match="k must be at"):
                _ask_for(served, k)

        async def ask():
            async with AsyncPredictClient(served.address, model=NAME, timeout=120) as other:
                return await other.search(asked, 3)

        near(asyncio.run(ask()), [hits[:3] for hits in wanted])
        rows = {"instances": [{"text": text, "k": 2} for text in asked]}
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
