"""predict_stream: order, bounds, and rows that fail."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tfpipeline.serving.client import (
    AnswerError,
    AsyncPredictClient,
    Classification,
    ClosedError,
    InputError,
    InvalidArgumentError,
    NotFoundError,
    PredictClient,
    Regression,
    RowResult,
    UnavailableError,
)


@pytest.fixture
def key(request):
    """Part of a model's name, so that its calls are counted for this test alone."""
    return request.node.name


TEXTS = [f"{'good ' * (i % 3)}{'x' * (i * 7 % 23)}" for i in range(101)]


@pytest.mark.parametrize("options", [{}, {"max_concurrency": 3}, {"hedge_after": 30.0}], ids=str)
@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_the_same_predictions_in_the_same_order(connect, options, batch_size):
    client = connect("sentiment", timeout=60, **options)
    results = list(client.predict_stream(iter(TEXTS), batch_size=batch_size))
    assert [result.row for result in results] == list(range(101))
    assert [result.text for result in results] == TEXTS
    assert [result.result() for result in results] == client.predict(TEXTS)
    assert all(result.error is None for result in results)
    assert list(client.predict_stream([])) == []


def test_pairs(connect):
    client = connect("pair")
    results = list(client.predict_stream(iter(["a", "b"]), iter(["a", "c"]), batch_size=1))
    assert [result.result().outputs["same"] for result in results] == [True, False]
    for texts, pairs, shorter in ((["a", "b"], ["a"], "text_pair"), (["a"], ["a", "b"], "text")):
        with pytest.raises(
            InputError, match=f'input "{shorter}" ends .*before the other; give a second text'
        ):
            list(client.predict_stream(texts, pairs))


def test_batches_of_similar_lengths(connect, key):
    texts = ["x" * length for length in (3, 90, 1, 41, 2, 88, 40, 89, 42)]
    results = connect(f"batches:{key}").predict_stream(texts, batch_size=3)
    lengths = [result.prediction.outputs["lengths"] for result in results]
    assert set(lengths) == {"90 89 88", "42 41 40", "3 2 1"}


def test_rows_that_fail_are_reported_alone(connect, key):
    texts = ["good", None, "bad one", "b", "x\ud83d", "bad two", ("a", "b"), "c"]
    want = connect("sentiment").predict(["good", "b", "c"])
    model = f"picky:{key}"
    for limit in (None, 2):
        results = list(connect(model, max_concurrency=limit).predict_stream(texts, batch_size=8))
        assert [result.text for result in results] == texts
        assert [results[row].prediction for row in (0, 3, 7)] == want
        errors = {result.row: result.error for result in results if result.error is not None}
        assert [type(error) for error in errors.values()] == [
            InputError, InvalidArgumentError, InputError, InvalidArgumentError, InputError,
        ]  # fmt: skip
        assert str(errors[1]).startswith('input "text" is NoneType, not str or bytes')
        assert "give second texts as text_pair" in str(errors[6])
        assert 'text must not be bad, got "bad one" 2 rows; the client\'s metadata()' in str(errors[2])
        with pytest.raises(InvalidArgumentError, match="bad two"):
            results[5].result()


def test_what_concerns_all_rows(connect, key):
    """A server that is down fails each row once, without asking for each; no model at all ends the stream."""
    model = f"status:UNAVAILABLE:{key}"
    results = list(connect(model, retries=0).predict_stream(["a"] * 10, batch_size=5))
    assert [type(result.error) for result in results] == [UnavailableError] * 10
    assert int(connect(f"counts:{model}").predict_raw({}).outputs["calls"]) == 2
    with pytest.raises(NotFoundError):
        list(connect("status:NOT_FOUND").predict_stream(["a"] * 10, batch_size=5))
    with pytest.raises(AnswerError, match="answers with Classification, not with Regression"):
        list(connect("sentiment").predict_stream(["a"], expect=Regression))


@pytest.mark.parametrize("read_ahead", [1, 2, 5, 16])
@pytest.mark.parametrize("limit", [1, 3])
def test_it_reads_no_further_than_it_must(server, read_ahead, limit):
    read = []

    def source():
        for number in itertools.count():  # endless
            read.append(number)
            yield f"good {number}"

    with PredictClient(server.target, model="sentiment", max_concurrency=limit, timeout=60) as client:
        results = client.predict_stream(source(), batch_size=4, read_ahead=read_ahead)
        assert read == []  # nothing before the first result is asked for
        for taken in range(30):
            assert next(results).row == taken
            assert len(read) - (taken + 1) < read_ahead
        results.close()


def test_an_asynchronous_source(server):
    read = []

    async def source():
        for number in itertools.count():
            await asyncio.sleep(0)
            read.append(number)
            yield f"good {number}"

    async def main():
        async with AsyncPredictClient(server.target, model="sentiment", timeout=60) as client:
            taken = 0
            stream = client.predict_stream(source(), batch_size=2, read_ahead=4, expect=Classification)
            async for result in stream:
                assert result.row == taken
                assert result.result().label == "positiv ✓"
                taken += 1
                assert len(read) - taken < 4
                if taken == 9:
                    break
            await stream.aclose()
            with pytest.raises(InputError, match="one string"):
                client.predict_stream("abc")

    asyncio.run(main())


def test_a_source_that_raises_raises_its_own_error(connect):
    def source():
        yield "a"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(connect("sentiment").predict_stream(source()))


def test_closing_ends_a_stream(server):
    with PredictClient(server.target, model="sentiment") as client:
        results = client.predict_stream(["a"] * 100, batch_size=1, read_ahead=2)
        next(results)
    with pytest.raises(ClosedError):
        list(results)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"texts": "abc"}, 'input "text" is one string'),
        ({"texts": None}, 'input "text" is NoneType; give a list of texts'),
        ({"texts": {"a": 1}}, 'input "text" is dict; give a list of texts'),
        ({"texts": ["a"], "text_pair": {"a"}}, 'input "text_pair" is set, which promises no order'),
        ({"texts": ["a"], "batch_size": 0}, "batch_size is 0"),
        ({"texts": ["a"], "read_ahead": 0}, "read_ahead is 0; give a whole number from 1 on"),
        ({"texts": ["a"], "timeout": 0}, "timeout is 0"),
    ],
)
def test_bad_input(connect, options, says):
    with pytest.raises(InputError) as caught:
        connect("status:INTERNAL").predict_stream(**options)
    assert says in str(caught.value)


def test_a_result_has_one_of_two():
    assert RowResult(0, "a", prediction=Regression(2.5)).result() == Regression(2.5)
    with pytest.raises(UnavailableError):
        RowResult(0, "a", error=UnavailableError("x")).result()
