"""Makes a deployment from models on this machine and the options of `tfpipeline serve-config`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional

from tfpipeline.serving.deployment.options import Deployment
from tfpipeline.serving.server import batching_parameters, sources
from tfpipeline.serving.server.binary_command import check_flags
from tfpipeline.serving.server.model_config import Latest, ModelConfig, as_specific
from tfpipeline.serving.server.model_dir import has_saved_model, version_directories
from tfpipeline.serving.server.options import make_options

POLL_SECONDS = 10.0
REST_PORT = 8501  # readiness is asked for there, so a deployment always has one


def make_deployment(models: Iterable[str], server: dict[str, Any], **deployment: Any) -> Deployment:
    """Find the models, their labels and their sizes.

    With labels, the labelled versions and the newest ones are served, and no others until the files are
    written again. Without labels, servers take new versions by themselves.

    Args:
        models: directories `models/NAME`, or of such models.
        server: fields of `ServerOptions`; `rest_port` is 8501 by default.
        deployment: the other fields of :class:`Deployment`.
    Raises:
        UserError: an option is invalid, or a model cannot be served.
    """
    options = make_options(models, poll_seconds=POLL_SECONDS, **{"rest_port": REST_PORT, **server})
    check_flags(options.flags)
    found = tuple(_resolved(model) for model in sources.checked_models(options))
    size = sum(max(map(_size, _served(model)), default=0) for model in found)
    defaults = default_batching(deployment.get("cpus", Deployment.cpus), gpu=bool(deployment.get("gpus")))
    text = _batching(options.batching_file, found, defaults)
    return Deployment(server=options, models=found, size=size, batching=text, **deployment)


def _resolved(model: ModelConfig) -> ModelConfig:
    labelled = sources.with_labels(model)
    if isinstance(labelled.policy, Latest) and labelled.policy.also:
        return as_specific(labelled, _whole(labelled))
    return labelled


def _whole(model: ModelConfig) -> dict[int, Path]:
    versions = version_directories(model.base_path)
    return {number: path for number, path in versions.items() if has_saved_model(path)}


def _served(model: ModelConfig) -> list[Path]:
    whole = _whole(model)
    return [whole[number] for number in model.policy.select(whole)]


def _size(version: Path) -> int:
    return sum(path.stat().st_size for path in version.rglob("*") if path.is_file())


def _batching(given: Optional[Path], models: tuple[ModelConfig, ...], defaults: str) -> str:
    """The text of a file: the given one, the model's own, or defaults that suit exported models only.

    A signature of another program may have outputs that are not row by row, which batching would break.
    """
    own = [model.base_path / batching_parameters.FILE_NAME for model in models]
    path = given or (own[0] if len(models) == 1 and own[0].is_file() else None)
    if path is not None:
        batching_parameters.read(path)  # a mistake is reported here, not by a server that does not start
        return path.read_text("utf-8-sig")
    return defaults if all(map(batching_parameters.is_exported, models)) else ""


def default_batching(cpus: int, *, gpu: bool = False) -> str:
    """A `BatchingParameters` text for exported models.

    Args:
        cpus: the cores of a server: on CPUs, there is one batch at a time per two of them.
        gpu: whether it computes on a GPU.
    """
    defaults = batching_parameters.default_options(gpu=gpu)
    parallel = cpus if gpu else max(1, cpus // 2)
    return batching_parameters.to_text(dataclasses.replace(defaults, parallel=parallel))
