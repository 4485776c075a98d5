"""Several requests at a time, batches of similar lengths, and requests that are sent twice."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tfpipeline.serving.client import (
    AsyncPredictClient,
    Classification,
    InputError,
    InternalError,
    PredictClient,
    UnavailableError,
    calls,
    concurrency,
    steps,
)


@pytest.fixture
def key(request):
    """Part of a model's name, so that its calls are counted for this test alone."""
    return request.node.name


def peak(connect, model):
    return int(connect(f"peak:{model}").predict_raw({}).outputs["peak"])


@pytest.mark.parametrize("limit", [1, 3])
def test_the_batches_of_one_call_are_sent_so_many_at_a_time(connect, key, limit):
    texts = [f"{'good ' * (i % 3)}{i}" for i in range(24)]
    want = connect("sentiment").predict(texts)
    model = f"busy:{key}"
    assert connect(model, max_concurrency=limit, timeout=60).predict(texts, batch_size=2) == want
    assert peak(connect, model) == limit


def test_without_a_limit_batches_go_one_after_the_other(connect, key):
    connect(f"busy:{key}", timeout=60).predict(["a"] * 6, batch_size=1)
    assert peak(connect, f"busy:{key}") == 1


def test_threads_and_tasks_wait_for_their_turn(server, connect, key):
    """The limit is the client's, not the call's; how long a call waits is not part of its time."""
    model = f"busy:{key}"
    with (
        PredictClient(server.target, model=model, max_concurrency=2, timeout=20) as client,
        ThreadPoolExecutor(12) as pool,
    ):
        waiting = [pool.submit(client.predict, ["good", "a"], batch_size=1) for _ in range(12)]
        assert all(len(call.result(30)) == 2 for call in waiting)
        assert client.model_status(timeout=5)  # which needs no turn
    assert peak(connect, model) == 2

    async def main():
        async with AsyncPredictClient(
            server.target, model=model + "2", max_concurrency=3, timeout=20
        ) as client:
            await asyncio.gather(*(client.predict([str(i)]) for i in range(12)))

    asyncio.run(main())
    assert peak(connect, model + "2") == 3


def test_a_turn_is_given_back_after_an_error(connect):
    client = connect("status:INTERNAL", max_concurrency=1)
    for _ in range(3):
        with pytest.raises(InternalError):
            client.predict(["a", "b"], batch_size=1)


def test_one_failed_batch_fails_the_call_and_cancels_the_others(connect):
    client = connect("picky", max_concurrency=4, timeout=30)
    with pytest.raises(Exception, match="text must not be bad"):
        client.predict([f"{i}" for i in range(40)] + ["bad"], batch_size=2)
    assert client.predict(["good"])[0].label == "positiv ✓"


def test_batches_hold_texts_of_similar_lengths(connect, key):
    texts = ["x" * length for length in (3, 90, 1, 41, 2, 88, 40, 89, 42)]
    answers = connect(f"batches:{key}").predict(texts, batch_size=3)
    assert [answer.outputs["text"] for answer in answers] == texts  # in the caller's order
    lengths = {answer.outputs["request"]: answer.outputs["lengths"] for answer in answers}
    assert list(lengths.items()) != sorted(lengths.items())
    assert [lengths[number] for number in sorted(lengths)] == ["90 89 88", "42 41 40", "3 2 1"]
    (answer,) = connect(f"batches:{key}2").predict(["ab"], batch_size=3)
    assert answer.outputs["lengths"] == "2"
    one = connect(f"batches:{key}3").predict(["a", "bbb", "cc"])
    assert one[0].outputs["lengths"] == "1 3 2"  # one request keeps the order


def test_a_request_without_an_answer_is_sent_again(connect, key):
    started = time.monotonic()
    (answer,) = connect(f"hedge:{key}", hedge_after=0.1, timeout=20).predict(["good"])
    assert answer.label == "positiv ✓"
    assert time.monotonic() - started < 2.5  # the first copy takes 3 s
    assert int(connect(f"counts:hedge:{key}").predict_raw({}).outputs["calls"]) == 2


def test_a_quick_answer_is_not_asked_for_twice(connect, key):
    model = f"sentiment:{key}"
    client = connect(model, hedge_after=5.0, max_concurrency=2)
    assert len(client.predict(["a", "b", "c"], batch_size=1)) == 3
    assert len(client.predict_raw({"text": ["a"]}).outputs) == 3
    assert int(connect(f"counts:{model}").predict_raw({}).outputs["calls"]) == 4
    with pytest.raises(InternalError):
        connect("status:INTERNAL", hedge_after=5.0).predict(["a"])


CALL = steps.Call(calls.PREDICT, None)
DOWN = UnavailableError("down")


class Script:
    """Plays a client: a clock that only ``Finish`` moves, and calls that finish at given times."""

    def __init__(self, outcomes):
        self._outcomes = list(outcomes)  # of each copy in the order of sending: (seconds it takes, outcome)
        self._ends = {}
        self.now = 0.0
        self.sent = []
        self.cancelled = []

    def run(self, conversation):
        step = steps.advance(conversation)
        while not isinstance(step, steps.Done):
            step = steps.advance(conversation, self.carry_out(step))
        return step.result

    def carry_out(self, step):
        if isinstance(step, steps.Start):
            takes, outcome = self._outcomes.pop(0)
            self._ends[step.key] = (self.now + takes, outcome)
            self.sent.append((self.now, step.optional))
            return True
        if isinstance(step, steps.Cancel):
            del self._ends[step.key]
            return self.cancelled.append(step.key)
        key = min(self._ends, key=lambda key: self._ends[key][0])
        end, outcome = self._ends[key]
        if step.seconds is not None and self.now + step.seconds < end:
            self.now += step.seconds
            return None
        del self._ends[key]
        self.now = max(self.now, end)
        return steps.Finished(key, outcome)


@pytest.mark.parametrize(
    ("outcomes", "answer", "at", "sent", "cancelled"),
    [
        ([(0.5, "a")], "a", 0.5, 1, []),
        ([(9, "a"), (2, "b")], "b", 3.0, 2, [0]),
        ([(2, "a"), (9, "b")], "a", 2.0, 2, [1]),
        ([(2, DOWN), (9, "b")], "b", 10.0, 2, []),  # the other copy decides
        ([(9, DOWN), (2, DOWN)], DOWN, 9.0, 2, []),
        ([(2, ValueError), (9, "b")], ValueError, 2.0, 2, [1]),
    ],
)
def test_which_copy_counts(outcomes, answer, at, sent, cancelled):
    script = Script(outcomes)
    dispatcher = concurrency.Dispatcher(concurrency.Hedging(1.0), clock=lambda: script.now)

    def conversation():
        yield from dispatcher.start("x", CALL)
        return (yield from dispatcher.finish())

    assert script.run(conversation()) == ("x", answer)
    assert (script.now, len(script.sent), script.cancelled) == (at, sent, cancelled)
    assert [optional for _, optional in script.sent] == [False, True][:sent]
    assert len(dispatcher) == 0


def test_at_most_a_tenth_is_sent_twice():
    """A server that is slow for all gets 10 copies at first, then one for each ten calls."""
    script = Script([(5, "a")] * 1000)
    hedging = concurrency.Hedging(1.0)

    def conversation():
        for _ in range(200):
            dispatcher = concurrency.Dispatcher(hedging, clock=lambda: script.now)
            yield from dispatcher.start("x", CALL)
            yield from dispatcher.finish()

    script.run(conversation())
    twice = sum(optional for _, optional in script.sent)
    assert len(script.sent) == 200 + twice
    assert 28 <= twice <= 30
    hedging = concurrency.Hedging(1.0)
    for _ in range(100):
        hedging.earn()  # unused budget does not grow beyond its bound
    assert [hedging.spend() for _ in range(12)] == [True] * 10 + [False] * 2


def test_other_options_are_refused_before_any_call(connect):
    client = connect("status:INTERNAL")
    with pytest.raises(
        InputError, match=r"batch_size is np\.int64\(2\); give a plain int, such as int\(batch_size\)"
    ):
        import numpy as np

        client.predict(["a"], batch_size=np.int64(2))


def test_typed_results(connect):
    client = connect("sentiment")
    texts = ["good", "b"]
    assert client.classify(texts, batch_size=1) == client.predict(texts, expect=Classification)
    assert client.classify(texts) == client.predict(texts)
    assert client.classify([]) == []
    for ask, wanted in (
        (lambda: client.tag(texts), "Tagging"),
        (lambda: connect("pair").answer(texts, texts), "QuestionAnswering"),
    ):
        with pytest.raises(
            Exception,
            match=rf'model "\w+", signature "serving_default", answers with \w+, not with {wanted}; use predict\(\), or',
        ):
            ask()
