"""An HTTP API of your own in front of TensorFlow Serving, with FastAPI.

    pip install tfpipeline fastapi uvicorn
    TARGET=localhost:8500 MODEL=tweets uvicorn examples.clients.fastapi_app:app

    curl localhost:8000/predict -H 'Content-Type: application/json' -d '{"texts": ["what a good day"]}'

One asyncio client per process, made when the process starts: after uvicorn's `--workers` have forked. Calls
that the server has no room for wait here, so that a burst becomes a short queue instead of errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, StringConstraints
from pydantic.types import conlist

from tfpipeline.serving.client import (
    AsyncPredictClient,
    ClientError,
    DeadlineExceededError,
    InputError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)

Text = Annotated[str, StringConstraints(max_length=20_000)]
STATUSES: dict[type[ClientError], int] = {
    InputError: 422,
    InvalidArgumentError: 422,
    ResourceExhaustedError: 503,
    UnavailableError: 503,
    DeadlineExceededError: 504,
}


class Question(BaseModel):
    """The body of a request. Limits belong here: whatever passes is sent to the model."""

    texts: conlist(Text, min_length=1, max_length=64)  # type: ignore[valid-type]


def make_app(target: str, model: str, *, calls_at_once: int = 32, **options: Any) -> FastAPI:
    """The application.

    Args:
        target: HOST:PORT of the server.
        model: its model.
        calls_at_once: fewer than the server answers at once (`--threads`, 64), divided by the processes.
        options: of `AsyncPredictClient`.
    """
    room = asyncio.Semaphore(calls_at_once)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncPredictClient(target, model=model, **{"timeout": 5.0, **options}) as client:
            app.state.client = client
            yield

    app = FastAPI(title=model, lifespan=lifespan)

    @app.post("/predict")
    async def predict(question: Question, request: Request) -> dict[str, Any]:
        async with room:
            answers = await request.app.state.client.predict(question.texts)
        return {"predictions": [answer.to_dict() for answer in answers]}

    @app.get("/ready")
    async def ready(request: Request) -> dict[str, Any]:
        statuses = await request.app.state.client.model_status(timeout=2.0)
        return {"versions": {status.version: status.state.value for status in statuses}}

    @app.exception_handler(ClientError)
    async def failed(_: Request, error: ClientError) -> JSONResponse:
        status = STATUSES.get(type(error), 502)
        headers = {"Retry-After": "1"} if status == 503 else {}
        return JSONResponse({"detail": str(error)}, status, headers)

    @app.exception_handler(RequestValidationError)
    async def unreadable(_: Request, error: RequestValidationError) -> JSONResponse:
        # Without the input, which FastAPI would repeat: it may be private, and half a character ("\\ud800")
        # in it would end in status 500.
        found = [{"loc": one["loc"], "msg": one["msg"]} for one in error.errors()]
        return JSONResponse({"detail": found}, 422)

    return app


app = make_app(os.environ.get("TARGET", "localhost:8500"), os.environ.get("MODEL", "model"))
