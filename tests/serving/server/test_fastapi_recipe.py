"""The recipe of docs/deployment.md: FastAPI in front of a server."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from examples.clients import fastapi_app
from tfpipeline.serving.server import EmbeddedServer, make_options


@pytest.fixture(scope="module")
def address(saved_models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe") / "half"
    folder.mkdir()
    (folder / "1").symlink_to(saved_models / "plus2")
    with EmbeddedServer(make_options(folder, port=0), say=lambda sentence: None) as server:
        yield server.address


def test_the_recipe_answers_and_refuses(address):
    with TestClient(fastapi_app.make_app(address, "half", signature="upper")) as browser:
        answer = browser.post("/predict", json={"texts": ["so good", "é"]})
        assert answer.status_code == 200
        assert answer.json() == {
            "predictions": [{"outputs": {"upper": "SO GOOD"}}, {"outputs": {"upper": "é"}}]
        }
        assert browser.get("/ready").json() == {"versions": {"1": "AVAILABLE"}}
        for body in ({"texts": []}, {"texts": "one"}, {"texts": ["x"] * 65}, {"texts": ["x" * 20_001]}, {}):
            assert browser.post("/predict", json=body).status_code == 422
        lone = browser.post(
            "/predict", content=b'{"texts": ["\\ud800"]}', headers={"Content-Type": "application/json"}
        )
        assert lone.status_code == 422


def test_what_the_server_says_becomes_a_status(address):
    with TestClient(fastapi_app.make_app(address, "absent")) as browser:
        answer = browser.post("/predict", json={"texts": ["x"]})
        assert answer.status_code == 502
        assert 'model "absent"' in answer.json()["detail"]
    with TestClient(fastapi_app.make_app("127.0.0.1:1", "half", retries=0)) as browser:
        answer = browser.post("/predict", json={"texts": ["x"]})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "127.0.0.1:1 cannot be reached" in answer.json()["detail"]
