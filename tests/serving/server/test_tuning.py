"""`tune-serving`: what follows from which measurements; a stand-in plays the model."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tfpipeline.cli import app
from tfpipeline.errors import UserError
from tfpipeline.serving.server import BatchingOptions, batching_parameters, tuning
from tfpipeline.serving.server.tuning import MIXED, Measured, choose


def measured(group, tokens, **milliseconds):
    return [
        Measured(group, int(rows[1:]), int(rows[1:]) * tokens, time / 1000)
        for rows, time in milliseconds.items()
    ]


def test_the_smallest_batch_that_is_nearly_the_fastest_is_chosen():
    found = [
        *measured(
            MIXED, 40, r1=10, r2=14, r4=22, r8=40, r16=78, r32=155
        ),  # 100, 143, 182, 200, 205, 206 rows / s
        *measured("16", 16, r1=10, r2=11, r4=12, r8=16, r16=25, r32=48),  # 640 and 667 rows / s from 16 on
        *measured("128", 128, r1=20, r2=38, r4=75, r8=149, r16=299, r32=600),  # 50 to 53.7 from 2 rows on
    ]
    assert choose(found, {1: 200.0, 2: 205.0, 4: 150.0}) == BatchingOptions(
        # 8 rows of 40 tokens; 16 rows of 16 tokens; 2 rows of 128 tokens
        max_rows=8,
        max_tokens=320,
        timeout_seconds=0.0025,
        parallel=1,
    )
    assert choose(found, {1: 180.0, 2: 205.0}).parallel == 2


def test_nobody_waits_longer_than_five_milliseconds():
    assert choose(measured(MIXED, 40, r1=1000), {1: 1.0}).timeout_seconds == 0.005


def test_the_table_has_a_line_for_each_group():
    found = [*measured(MIXED, 40, r1=10, r2=16), *measured("16", 16, r1=5)]
    assert tuning.Tuning(tuple(found), {1: 99.6}, BatchingOptions()).lines() == [
        "tokens         1      2   rows per batch",
        "mixed        100    125   rows per second",
        "16           200          rows per second",
        "batches at once, rows per second: 1: 100",
    ]


def write(version, *requests):
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as file:
        for signature, inputs in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.model_spec.signature_name = signature
            for alias, value in inputs.items():
                log.predict_log.request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
            file.write(log.SerializeToString())


def test_the_command_measures_and_writes_a_file_that_serve_uses(tmp_path, publish, capfd):
    model_dir = publish(tmp_path / "m", 1)
    publish(model_dir, 2)
    x = np.arange(8, dtype=np.float32)
    write(model_dir / "2", ("", {"x": x[:1]}), ("upper", {"text": ["a"]}), ("serving_default", {"x": x}))
    app(["tune-serving", str(model_dir), "--seconds", "0.1"], standalone_mode=False)
    out, _ = capfd.readouterr()
    read = batching_parameters.read(model_dir / batching_parameters.FILE_NAME)
    assert f"{read.max_rows} rows per batch, {read.parallel} at once" in out.splitlines()[-1]
    table = (model_dir / batching_parameters.FILE_NAME).read_text().splitlines()
    assert table[0].endswith("version 2.")
    assert [line.split()[1] for line in table[2:4]] == ["1", "mixed"]
    assert [line.removeprefix("# ") for line in table[1:5]] == out.splitlines()[:4]
    with pytest.raises(UserError, match=r"has no version 7; it has: 1, 2"):
        app(["tune-serving", str(model_dir), "--version", "7"], standalone_mode=False)


def test_a_version_without_requests_says_what_to_do(tmp_path, publish):
    model_dir = publish(tmp_path / "m", 1)
    with pytest.raises(UserError, match="has no warm-up requests to measure; export the model again"):
        tuning.tune(model_dir / "1")


def test_rows_are_taken_evenly_and_stay_together():
    """The second text of a pair stays with its first."""
    rows = {
        "text": np.array([b"x" * n for n in (40, 8, 80, 4)], object),
        "text_pair": np.array([b"40", b"8", b"80", b"4"], object),
    }
    taken = tuning._take(rows, 8)
    assert [len(text) for text in taken["text"]] == [4, 4, 8, 8, 40, 40, 80, 80]
    assert [int(text) for text in taken["text_pair"]] == [len(text) for text in taken["text"]]
    assert [len(text) for text in tuning._take(rows, 2)["text"]] == [8, 80]
