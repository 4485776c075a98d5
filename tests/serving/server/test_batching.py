"""The batcher alone: who shares a batch with whom, and whose error is whose. No TensorFlow runs."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from tensorflow.core.protobuf import meta_graph_pb2

from tfpipeline.errors import UserError
from tfpipeline.serving.server import BatchingOptions
from tfpipeline.serving.server.batch_keys import batch_key, batchable, row_tokens
from tfpipeline.serving.server.batching import Batcher, NotRowByRowError
from tfpipeline.serving.server.status import StatusError, invalid_argument

OPTIONS = BatchingOptions(max_rows=8, timeout_seconds=0.02, max_pending_rows=1000, parallel=1)
CALLERS = 6


def double(arrays):
    return [arrays[0] * 2]


def together(batcher, inputs, run, keys=None, tokens=lambda x: None, before_release=lambda: None):
    """One caller for each input, all at once; each caller's outputs or error.

    A first caller holds the queue's only place until the others are waiting, so that they form one batch.
    """
    holding, release = threading.Event(), threading.Event()

    def hold(arrays):
        if arrays[0].flat[0] == -1:
            holding.set()
            assert release.wait(10)
            return [arrays[0]]
        return run(arrays)

    keys = keys or ["k"] * len(inputs)
    with ThreadPoolExecutor(len(inputs) + 1) as pool:
        first = pool.submit(batcher.run, keys[0], [np.array([-1.0])], hold)
        assert holding.wait(10)
        calls = [pool.submit(batcher.run, key, [x], hold, tokens=tokens(x)) for key, x in zip(keys, inputs)]
        while sum(len(queue.pending) for queue in batcher._queues.values()) < sum(k == keys[0] for k in keys):
            time.sleep(0.001)
        before_release()
        release.set()
        first.result(10)
        return [call.exception(10) or call.result() for call in calls]


def test_callers_share_a_batch_and_each_gets_its_own_rows():
    sizes = []

    def run(arrays):
        sizes.append(len(arrays[0]))
        return double(arrays)

    inputs = [np.array([float(i)]) for i in range(CALLERS)]
    answers = together(Batcher(OPTIONS), inputs, run)
    assert [answer[0].tolist() for answer in answers] == [[2.0 * i] for i in range(CALLERS)]
    assert sizes == [CALLERS]


def test_a_batch_is_never_larger_than_allowed_and_no_request_is_torn():
    sizes = []

    def run(arrays):
        sizes.append(len(arrays[0]))
        return double(arrays)

    inputs = [np.full(3, float(i)) for i in range(CALLERS)]
    together(Batcher(OPTIONS), inputs, run)
    assert sizes == [6, 6, 6]


def test_a_long_request_is_split_and_put_together_in_order():
    sizes = []

    def run(arrays):
        sizes.append(len(arrays[0]))
        return double(arrays)

    (out,) = Batcher(OPTIONS).run("k", [np.arange(19.0)], run)
    assert out.tolist() == [2.0 * i for i in range(19)]
    assert sizes == [8, 8, 3]


def test_a_long_request_is_sorted_by_tokens_before_it_is_split():
    batches = []

    def run(arrays):
        batches.append(arrays[0].tolist())
        return [arrays[0] * 2, arrays[1][:, :1]]

    options = BatchingOptions(max_rows=3, max_tokens=20, max_pending_rows=1000)
    tokens = np.array([30, 5, 9, 1, 8, 2, 4])
    inputs = [np.arange(7.0), np.arange(14).reshape(7, 2)]
    doubled, first = Batcher(options).run("k", inputs, run, tokens=tokens)
    # Three rows at most, 20 tokens at most; the row of 30 has a batch of its own.
    assert batches == [[3.0, 5.0, 6.0], [1.0, 4.0], [2.0], [0.0]]
    assert doubled.tolist() == [2.0 * i for i in range(7)]
    assert first.tolist() == [[2 * i] for i in range(7)]


def test_a_batch_of_several_callers_has_no_more_tokens_than_allowed():
    batches = []

    def run(arrays):
        batches.append(arrays[0].tolist())
        return double(arrays)

    options = BatchingOptions(max_rows=8, max_tokens=10, timeout_seconds=0.02, parallel=1)
    inputs = [np.array([float(size)]) for size in (4, 4, 4, 25, 1, 2)]
    together(Batcher(options), inputs, run, tokens=lambda x: np.maximum(x.astype(int), 1))
    # In the order of arrival, which threads do not promise: only the sums are certain.
    assert sorted(size for batch in batches for size in batch) == [1, 2, 4, 4, 4, 25]
    assert all(sum(batch) <= 10 for batch in batches if len(batch) > 1)
    assert len(batches) < len(inputs)


def after_a_batch(batcher, callers, started=0.0):
    """Let the batcher believe that so many callers have just had their answers."""
    for _ in range(callers):
        batcher._callers.arrive()
    batcher._callers.batch_ended(started)
    for _ in range(callers):
        batcher._callers.leave()


def test_a_batch_waits_for_the_callers_of_the_last_one():
    sizes = []

    def run(arrays):
        sizes.append(len(arrays[0]))
        return double(arrays)

    batcher = Batcher(BatchingOptions(timeout_seconds=0, parallel=1))
    after_a_batch(batcher, 3, time.monotonic() - 60)

    def call(number):
        time.sleep(0.02 * number)
        return batcher.run("k", [np.array([float(number)])], run)[0].tolist()

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(call, range(3))) == [[0.0], [2.0], [4.0]]
    assert sizes == [3]


@pytest.mark.parametrize(("max_rows", "expected"), [(2, 3), (8, 2)], ids=["full", "nobody else expected"])
def test_a_batch_that_can_gain_nothing_does_not_wait(max_rows, expected):
    sizes = []

    def run(arrays):
        sizes.append(len(arrays[0]))
        return double(arrays)

    # The clock stands still, so only the last caller can end the wait.
    batcher = Batcher(BatchingOptions(max_rows=max_rows, timeout_seconds=1000.0, parallel=1), lambda: 0.0)
    after_a_batch(batcher, expected)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(batcher.run, "k", [np.array([float(i)])], run) for i in range(2)]
        assert [call.result(10)[0].tolist() for call in calls] == [[0.0], [2.0]]
    assert sizes == [2]


def test_rows_of_different_widths_are_padded_with_zeros():
    seen = []

    def run(arrays):
        seen.append(arrays[0].shape)
        return [arrays[0].sum(1)]

    inputs = [np.full((1, width), width) for width in (1, 5, 3)]
    answers = together(Batcher(OPTIONS), inputs, run)
    assert [answer[0].tolist() for answer in answers] == [[1], [25], [9]]
    assert seen == [(3, 5)]


def test_a_bad_row_fails_its_own_request_only():
    def run(arrays):
        if (arrays[0] == 3).any():
            raise invalid_argument("three is not allowed")
        return double(arrays)

    answers = together(Batcher(OPTIONS), [np.array([float(i)]) for i in range(CALLERS)], run)
    assert isinstance(answers[3], StatusError)
    assert answers[3].message == "three is not allowed"
    del answers[3]
    assert [answer[0].tolist() for answer in answers] == [[0.0], [2.0], [4.0], [8.0], [10.0]]


def test_an_unforeseen_error_reaches_its_caller_and_the_queue_goes_on():
    def run(arrays):
        raise ZeroDivisionError

    batcher = Batcher(OPTIONS)
    with pytest.raises(ZeroDivisionError):
        batcher.run("k", [np.ones(1)], run)
    assert batcher.run("k", [np.ones(1)], double)[0].tolist() == [2.0]


def test_keys_never_share_a_batch():
    seen = []

    def run(arrays):
        seen.append(sorted(set(arrays[0])))
        return double(arrays)

    keys = [f"k{i % 2}" for i in range(CALLERS)]
    together(Batcher(OPTIONS), [np.array([float(i % 2)]) for i in range(CALLERS)], run, keys)
    assert all(len(values) == 1 for values in seen)


@pytest.mark.parametrize("output", [np.float32(1.0), np.ones(1)], ids=["scalar", "other rows"])
def test_outputs_that_are_not_row_by_row_are_refused(output):
    with pytest.raises(NotRowByRowError):
        Batcher(OPTIONS).run("k", [np.ones(2)], lambda arrays: [np.asarray(output)])


def test_a_single_caller_never_waits():
    def clock():
        return 0.0  # stands still: waiting for others would never end

    batcher = Batcher(OPTIONS, clock)
    for _ in range(3):
        assert batcher.run("k", [np.ones(1)], double)[0].tolist() == [2.0]


def test_a_full_queue_is_unavailable():
    options = BatchingOptions(max_rows=2, timeout_seconds=0, max_pending_rows=4, parallel=1)
    answers = together_until_full(Batcher(options), callers=CALLERS)
    refused = [answer for answer in answers if isinstance(answer, StatusError)]
    assert len(refused) == CALLERS - 4
    assert {error.code for error in refused} == {grpc.StatusCode.UNAVAILABLE}
    assert refused[0].message.startswith(
        "The batch scheduling queue to which this task was submitted is full"
    )


def together_until_full(batcher, callers):
    holding, release = threading.Event(), threading.Event()

    def hold(arrays):
        holding.set()
        assert release.wait(10)
        return double(arrays)

    answers = []
    with ThreadPoolExecutor(callers + 1) as pool:
        first = pool.submit(batcher.run, "k", [np.ones(1)], hold)
        assert holding.wait(10)
        calls = [pool.submit(batcher.run, "k", [np.ones(1)], hold) for _ in range(callers)]
        while sum(call.done() for call in calls) < callers - 4:
            time.sleep(0.001)
        release.set()
        first.result(10)
        answers = [call.exception(10) or call.result() for call in calls]
    return answers


def test_a_caller_that_has_gone_is_not_computed():
    computed = []

    def run(arrays):
        computed.append(len(arrays[0]))
        return double(arrays)

    with pytest.raises(StatusError, match="has gone"):
        Batcher(OPTIONS).run("k", [np.ones(1)], run, alive=lambda: False)
    assert computed == []


def test_no_queue_is_left_behind():
    batcher = Batcher(OPTIONS)
    for width in range(50):
        batcher.run(("s", width), [np.ones((2, width))], double)
    assert batcher._queues == {}


@pytest.mark.parametrize(
    "fields",
    [{"max_rows": 0}, {"max_tokens": 0}, {"timeout_seconds": -1.0}, {"max_rows": 64, "max_pending_rows": 63}],
    ids=str,
)
def test_options_that_cannot_work(fields):
    with pytest.raises(UserError):
        BatchingOptions(**fields)


FLOAT, STRING, INT32 = 1, 7, 3


def signature(inputs, outputs):
    """Each is name -> (dtype, dims or None for an unknown rank)."""
    made = meta_graph_pb2.SignatureDef()
    for side, tensors in ((made.inputs, inputs), (made.outputs, outputs)):
        for name, (dtype, dims) in tensors.items():
            side[name].name = f"{name}:0"
            side[name].dtype = dtype
            if dims is None:
                side[name].tensor_shape.unknown_rank = True
            else:
                side[name].tensor_shape.SetInParent()
                for size in dims:
                    side[name].tensor_shape.dim.add(size=size)
    return made


@pytest.mark.parametrize(
    ("inputs", "outputs", "want"),
    [
        ({"x": (FLOAT, [-1])}, {"y": (FLOAT, [-1])}, True),
        ({"x": (INT32, [-1, -1])}, {"y": (FLOAT, [-1, 5])}, True),
        ({"x": (FLOAT, [4])}, {"y": (FLOAT, [-1])}, False),
        ({"x": (FLOAT, [-1])}, {"y": (FLOAT, [])}, False),
        ({"x": (FLOAT, [-1])}, {"y": (FLOAT, [-1]), "total": (FLOAT, [1])}, False),
        ({"x": (STRING, [-1])}, {"ids": (INT32, [-1, -1])}, False),  # as wide as the longest of the batch
        ({"x": (FLOAT, None)}, {"y": (FLOAT, [-1])}, False),
        ({}, {"y": (FLOAT, [-1])}, False),
    ],
)
def test_batchable(inputs, outputs, want):
    assert batchable(signature(inputs, outputs)) is want


def test_batch_key_is_what_the_rows_have_in_common():
    two = signature({"b": (INT32, [-1, -1]), "a": (STRING, [-1])}, {"y": (FLOAT, [-1])})
    text = np.array([b"x", b"y"], object)
    assert batch_key({"b": np.ones((2, 5), np.int32), "a": text}, two) == ((), (5,))
    assert batch_key({"b": np.ones((3, 5), np.int32), "a": text}, two) is None  # other rows
    assert batch_key({"b": np.ones((2, 5), np.int64), "a": text}, two) is None  # other type
    assert batch_key({"b": np.ones(2, np.int32), "a": text}, two) is None  # other rank
    assert batch_key({"b": np.ones((0, 5), np.int32), "a": text[:0]}, two) is None  # no rows
    fixed = signature({"x": (FLOAT, [-1, 3])}, {"y": (FLOAT, [-1])})
    assert batch_key({"x": np.ones((2, 3), np.float32)}, fixed) == ((3,),)
    assert batch_key({"x": np.ones((2, 4), np.float32)}, fixed) is None  # other width


def ids(rows, width, *lengths):
    return {"input_ids": np.ones((rows, width), np.int32), "lengths": np.array(lengths, np.int32)}


def test_widths_beyond_the_lengths_of_rows_may_differ():
    padded = signature({"input_ids": (INT32, [-1, -1]), "lengths": (INT32, [-1])}, {"y": (FLOAT, [-1])})
    assert batch_key(ids(2, 5, 5, 3), padded) == batch_key(ids(1, 9, 9), padded) is not None
    # A length beyond its row's width would look right in a wider batch.
    assert batch_key(ids(2, 5, 5, 6), padded) is None
    assert batch_key(ids(1, 5, -1), padded) is None


@pytest.mark.parametrize(
    ("inputs", "want"),
    [
        ({"text": np.array([b"x" * 40, b""], object)}, [10, 1]),
        ({"text": np.array([b"x" * 40], object), "text_pair": np.array([b"y" * 80], object)}, [30]),
        (ids(2, 8, 8, 3), [8, 3]),
        ({"x": np.ones((2, 3, 4))}, [12, 12]),
        ({"x": np.ones(3)}, [1, 1, 1]),
    ],
)
def test_tokens_of_rows(inputs, want):
    assert row_tokens(inputs).tolist() == want


def test_the_time_in_the_queue_is_told():
    now, waits = [5.0], []

    def run(arrays):
        return [arrays[0]]

    def clock():
        now[0] += 0.25
        return now[0]

    batcher = Batcher(BatchingOptions(max_rows=2, timeout_seconds=0.0), clock, waits.append)
    batcher.run("k", [np.ones(1)], run)
    assert len(waits) == 1
    assert waits[0] in (0.25, 0.5)  # asked once or twice between its arrival and its batch
