"""batching_params.pbtxt: what it says, what is refused, and which file is used."""

from __future__ import annotations

import json

import pytest

from tfpipeline.errors import UserError
from tfpipeline.serving.server import BatchingOptions, batching_parameters, make_options
from tfpipeline.serving.server.sources import find_models

OPTIONS = BatchingOptions(max_rows=16, max_pending_rows=64, timeout_seconds=0.0025, parallel=3)


def test_the_text_of_a_file():
    assert batching_parameters.to_text(OPTIONS, ["measured"]).splitlines() == [
        "# measured",
        "max_batch_size { value: 64 }",
        "max_execution_batch_size { value: 16 }",
        "enable_large_batch_splitting { value: true }",
        "batch_timeout_micros { value: 2500 }",
        "max_enqueued_batches { value: 4 }",
        "num_batch_threads { value: 3 }",
        "pad_variable_length_inputs: true",
    ]


@pytest.mark.parametrize(
    "options", [OPTIONS, batching_parameters.default_options(gpu=False)], ids=["own", "cpu"]
)
def test_a_file_is_read_back(tmp_path, options):
    path = tmp_path / "params"
    path.write_text(batching_parameters.to_text(options))
    read = batching_parameters.read(path)
    assert (read.max_rows, read.max_pending_rows) == (options.max_rows, options.max_pending_rows)
    assert (read.timeout_seconds, read.batch_threads) == (options.timeout_seconds, options.batch_threads)


def test_gpus_get_larger_batches_than_cpus():
    cpu, gpu = (batching_parameters.default_options(gpu=gpu) for gpu in (False, True))
    assert gpu.max_rows > cpu.max_rows
    assert gpu.max_tokens > cpu.max_tokens


def test_a_hand_written_file(tmp_path):
    path = tmp_path / "params"
    path.write_text("max_batch_size { value: 128 } # as in the guide\nbatch_timeout_micros { value: 0 }")
    read = batching_parameters.read(path)
    assert (read.max_rows, read.timeout_seconds, read.max_pending_rows) == (128, 0.0, 1280)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_batch_size { value: 8 }\nmax_bach_size: 8", r"line 2 is not .*max_bach_size"),
        ("max_batch_size: 8", "line 1 is not a file of batching parameters: Expected"),
        ("max_batch_size { value: 0 }", "the largest batch is 0 rows"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [2, 4]", "the last of allowed_batch_sizes is 4"),
        ("max_batch_size { value: 8 } batch_timeout_micros { value: -1 }", "timeout"),
        ("num_batch_threads { value: 0 }", "num_batch_threads is 0, with which nothing .* give 1 or more"),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches is 0, with which nothing"),
        (
            "max_batch_size { value: 8 } max_execution_batch_size { value: 9 }",
            "max_execution_batch_size is 9 and max_batch_size is 8, .*; give no more than 8",
        ),
    ],
)
def test_what_is_refused_says_where(tmp_path, text, words):
    path = tmp_path / "params"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        batching_parameters.read(path)
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the batching file .*: No such file"):
        batching_parameters.read(tmp_path / "nothing")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not a text file"):
        batching_parameters.read(tmp_path / "binary")


@pytest.fixture
def model_dir(tmp_path):
    version = tmp_path / "m" / "1"
    (version / "assets.extra").mkdir(parents=True)
    (version / "saved_model.pb").touch()
    return tmp_path / "m"


def chosen(options):
    with batching_parameters.chosen(options, find_models(options)) as batched:
        return batched.batching_file, batched.batching_file and batching_parameters.read(
            batched.batching_file
        )


def test_only_exported_models_are_batched_by_default(model_dir):
    """A signature of another model may have outputs that are not row by row: they would fail in a batch."""
    options = make_options(model_dir)
    assert chosen(options) == (None, None)
    (model_dir / "1" / "assets.extra" / "model_card.json").write_text(json.dumps({}))
    file, read = chosen(options)
    assert read == BatchingOptions(parallel=BatchingOptions().batch_threads)
    assert not file.exists()  # it was a temporary one
    assert batching_parameters.for_embedded(options, find_models(options)) == options


def test_a_models_own_file_is_used_and_a_given_one_before_it(model_dir, tmp_path):
    own, given = model_dir / batching_parameters.FILE_NAME, tmp_path / "given"
    own.write_text(batching_parameters.to_text(OPTIONS))
    given.write_text("max_batch_size { value: 5 }")
    for options, file, rows in (
        (make_options(model_dir), own, 16),
        (make_options(model_dir, batching_file=given), given, 5),
    ):
        models = find_models(options)
        assert chosen(options)[0] == file
        assert batching_parameters.for_embedded(options, models).batching.max_rows == rows
    programmed = make_options(model_dir, batching=BatchingOptions(max_rows=2))
    assert batching_parameters.for_embedded(programmed, find_models(programmed)).batching.max_rows == 2


def test_a_broken_file_is_refused_before_a_server_starts(model_dir):
    (model_dir / batching_parameters.FILE_NAME).write_text("max_batch_size { value: many }")
    options = make_options(model_dir)
    with pytest.raises(UserError, match=r"params\.pbtxt, line 1 is not a file of batching"):
        chosen(options)
    with pytest.raises(UserError, match=r"params\.pbtxt, line 1 is not a file of batching"):
        batching_parameters.for_embedded(options, find_models(options))
