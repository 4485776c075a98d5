"""Concurrent requests share a batch in both servers, with the file of parameters that `serve` writes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tfpipeline.serving.server import BatchingOptions
from tfpipeline.serving.server.batching_parameters import to_text

pytestmark = pytest.mark.contract

# One batch at a time and a long wait: 16 callers cannot help sharing batches.
OPTIONS = BatchingOptions(max_rows=16, timeout_seconds=0.05, parallel=1)


def total(served, ids, lengths):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.model_spec.signature_name = "input_ids"
    for name, value in (("input_ids", ids), ("lengths", lengths)):
        request.inputs[name].CopyFrom(tf.make_tensor_proto(np.array(value, np.int32)))
    answer = served.predictions.Predict(request, timeout=20)
    return tf.make_ndarray(answer.outputs["total"]).tolist()


def test_token_ids_of_different_widths_share_a_batch(start, tmp_path, publish):
    (tmp_path / "half").mkdir()
    publish(tmp_path / "half", 1)
    (tmp_path / "params").write_text(to_text(OPTIONS))
    with (
        start(tmp_path / "half", batching_file=str(tmp_path / "params")) as served,
        ThreadPoolExecutor(16) as pool,
    ):

        def call(i):
            width, rows = i % 7 + 1, i % 3 + 1
            lengths = [width - row % width for row in range(rows)]
            return total(served, np.full((rows, width), i), lengths) == [i * length for length in lengths]

        assert all(pool.map(call, range(200)))
        # Split into batches of 16 rows; the server would refuse it otherwise.
        assert total(served, np.ones((50, 3)), np.arange(50) % 3 + 1) == [1, 2, 3] * 16 + [1, 2]
        with pytest.raises(grpc.RpcError, match="a length is too long"):
            total(served, [[1, 2]], [3])
