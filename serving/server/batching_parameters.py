"""`batching_params.pbtxt`: how `tensorflow_model_server` batches, and its defaults for CPUs and GPUs.

The embedded server reads the same file. Source: `BatchingParameters` in tensorflow/serving 2.21,
servables/tensorflow/session_bundle_config.proto; the advice for CPUs and GPUs:
tensorflow_serving/batching/README.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from tfpipeline.errors import UserError
from tfpipeline.serving.server.declared_messages import BOOL, INT64, STRING, declare, read_text
from tfpipeline.serving.server.model_config import ModelConfig
from tfpipeline.serving.server.model_dir import version_directories
from tfpipeline.serving.server.options import BatchingOptions, ServerOptions

#: Beside a model's versions. Servers ignore names that are not integers.
FILE_NAME = "batching_params.pbtxt"
_MODEL_CARD = Path("assets.extra") / "model_card.json"  # every exported version has one


def default_options(*, gpu: bool) -> BatchingOptions:
    """Sizes and timeouts for a machine.

    On a CPU, throughput hardly grows beyond 32 rows (docs/serving.md), and a longer batch only keeps others
    waiting. A GPU needs larger batches to be busy; its values follow TensorFlow Serving's advice and are not
    measured.
    """
    if gpu:
        return BatchingOptions(
            max_rows=128, max_tokens=32768, timeout_seconds=0.005, parallel=os.cpu_count() or 1
        )
    return BatchingOptions()


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU that containers and processes can see."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def to_text(options: BatchingOptions, comments: Iterable[str] = ()) -> str:
    """The contents of a file.

    Args:
        options: what it says. The tokens of a batch have no field: only the embedded server counts them.
        comments: lines at its top.
    """
    fields = {
        # A request with more rows than this is refused, so it is out of reach; a longer one is split.
        "max_batch_size": options.max_pending_rows,
        "max_execution_batch_size": options.max_rows,
        "enable_large_batch_splitting": True,
        "batch_timeout_micros": round(1e6 * options.timeout_seconds),
        "max_enqueued_batches": max(1, options.max_pending_rows // options.max_rows),
        "num_batch_threads": options.batch_threads,
    }
    lines = [f"# {line}" for line in comments]
    lines += [f"{name} {{ value: {str(value).lower()} }}" for name, value in fields.items()]
    # Otherwise token ids of different widths in one batch fail all of its requests.
    return "\n".join([*lines, "pad_variable_length_inputs: true"]) + "\n"


def read(path: Path) -> BatchingOptions:
    """The options that a file stands for.

    Raises:
        UserError: it cannot be read, or TensorFlow Serving would refuse it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read the batching file {path}: {os.strerror(error.errno or 0)}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file; give TensorFlow Serving's {FILE_NAME}") from error
    message = _message()()
    read_text(
        text,
        message,
        str(path),
        "a file of batching parameters",
        "tfpipeline tune-serving writes a correct one",
    )
    given = {
        field.name: getattr(message, field.name).value
        for field, _ in message.ListFields()
        if field.message_type is not None
    }
    for name in ("num_batch_threads", "max_enqueued_batches"):
        if given.get(name, 1) < 1:
            raise UserError(
                f"{path}: {name} is {given[name]}, with which nothing would be computed; give 1 or more"
            )
    most = given.get("max_batch_size", 1000)  # the scheduler's default
    if given.get("max_execution_batch_size", 0) > most:
        raise UserError(
            f"{path}: max_execution_batch_size is {given['max_execution_batch_size']} and max_batch_size is "
            f"{most}, for which TensorFlow Serving ends with a segmentation fault; give no more than {most}"
        )
    rows = given.get("max_execution_batch_size", most) if given.get("enable_large_batch_splitting") else most
    if message.allowed_batch_sizes and message.allowed_batch_sizes[-1] != rows:
        raise UserError(
            f"{path}: the last of allowed_batch_sizes is {message.allowed_batch_sizes[-1]}, but a batch has "
            f"up to {rows} rows; make them equal"
        )
    defaults = BatchingOptions()
    try:
        return dataclasses.replace(
            defaults,
            max_rows=rows,
            timeout_seconds=given.get("batch_timeout_micros", 0) / 1e6,
            max_pending_rows=max(rows, rows * given.get("max_enqueued_batches", 10)),
            parallel=given.get("num_batch_threads", os.cpu_count() or 1),
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


@contextlib.contextmanager
def chosen(options: ServerOptions, models: Iterable[ModelConfig]) -> Iterator[ServerOptions]:
    """Options with a batching file: the given one, the model's own, or one with the defaults.

    The defaults batch every signature of a model, which is right for exported models. For others there is no
    file: a signature whose outputs are not row by row would fail.

    Raises:
        UserError: see :func:`read`.
    """
    models = list(models)
    found = _file(options, models)
    if found is not None:
        read(found)  # before the server starts: it would only log what is wrong
        yield dataclasses.replace(options, batching_file=found)
    elif all(map(is_exported, models)):
        with tempfile.TemporaryDirectory(prefix="tfpipeline-batching-") as folder:
            path = Path(folder) / FILE_NAME
            path.write_text(to_text(default_options(gpu=has_gpu())), encoding="utf-8")
            yield dataclasses.replace(options, batching_file=path)
    else:
        yield options


def for_embedded(options: ServerOptions, models: Iterable[ModelConfig]) -> ServerOptions:
    """Options with what the batching file says: the given one or the model's own, if there is any.

    Raises:
        UserError: see :func:`read`.
    """
    found = _file(options, list(models))
    if found is None or options.batching != BatchingOptions():  # what a program asks for counts
        return options
    return dataclasses.replace(options, batching=read(found), batching_file=None)


def _file(options: ServerOptions, models: Sequence[ModelConfig]) -> Optional[Path]:
    if options.batching_file is not None:
        return options.batching_file
    own = models[0].base_path / FILE_NAME if len(models) == 1 else None
    return own if own is not None and own.is_file() else None


def is_exported(model: ModelConfig) -> bool:
    """Whether all versions of a model come from `tfpipeline export`."""
    try:
        versions = version_directories(model.base_path).values()
    except OSError:
        return False
    return bool(versions) and all((path / _MODEL_CARD).is_file() for path in versions)


@functools.lru_cache(maxsize=1)
def _message() -> Any:
    declared = declare(
        "tensorflow.serving",
        {
            "Int64Value": {"value": (1, INT64)},
            "BoolValue": {"value": (1, BOOL)},
            "StringValue": {"value": (1, STRING)},
            "BatchingParameters": {
                "max_batch_size": (1, "Int64Value"),
                "batch_timeout_micros": (2, "Int64Value"),
                "max_enqueued_batches": (3, "Int64Value"),
                "num_batch_threads": (4, "Int64Value"),
                "thread_pool_name": (5, "StringValue"),
                "allowed_batch_sizes": (6, [INT64]),
                "pad_variable_length_inputs": (7, BOOL),
                "enable_large_batch_splitting": (8, "BoolValue"),
                "max_execution_batch_size": (9, "Int64Value"),
            },
        },
    )
    return declared["BatchingParameters"]
