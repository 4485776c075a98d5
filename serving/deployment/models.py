"""The models to deploy, from their directories on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfpipeline import paths
from tfpipeline.errors import UserError
from tfpipeline.serving.deployment.options import Model
from tfpipeline.serving.server.model_dir import check_model_dir, has_saved_model, version_directories

LABELS_FILE = "labels.json"


def find_models(given: Sequence[str], latest: int = 1) -> tuple[Model, ...]:
    """The models of directories `models/NAME`, or of directories of such models.

    With labels, the labelled versions and the newest ones are served, and no others until the files are
    written again. Without labels, servers take new versions by themselves.

    Args:
        given: the directories.
        latest: how many of the newest versions of each model are served.
    Raises:
        UserError: a directory has nothing to serve, two models have one name, or a label's version is gone.
    """
    directories = [one for path in given for one in _models_in(Path(os.path.abspath(paths.local(path))))]
    found: dict[str, Path] = {}
    for directory in directories:
        if directory.name in found:
            raise UserError(
                f"two models have the name {directory.name}: {found[directory.name]} and {directory}; "
                "rename a directory"
            )
        found[directory.name] = directory
    return tuple(_model(directory, latest) for directory in directories)


def _models_in(directory: Path) -> list[Path]:
    """The directory itself if it has versions, or the models in it."""
    if directory.is_dir() and not version_directories(directory) and not has_saved_model(directory):
        models = sorted(path for path in directory.iterdir() if path.is_dir() and _has_versions(path))
        if models:
            return models
    return [directory]


def _has_versions(path: Path) -> bool:
    try:
        return any(has_saved_model(version) for version in version_directories(path).values())
    except OSError:  # it is somebody else's
        return False


def _model(directory: Path, latest: int) -> Model:
    whole = {number: path for number, path in check_model_dir(directory).items() if has_saved_model(path)}
    newest = sorted(whole)[-latest:]
    labels = _labels(directory)
    for label, version in labels.items():
        if version not in whole:
            raise UserError(
                f'the label "{label}" of {directory} points to version {version}, which is not there; '
                f"it has: {', '.join(map(str, sorted(whole)))}"
            )
    served = sorted({*newest, *labels.values()})
    policy = f"latest {{ num_versions: {latest} }}"
    if labels:
        policy = f"specific {{ {' '.join(f'versions: {version}' for version in served)} }}"
    return Model(
        name=directory.name,
        directory=str(directory),
        policy=policy,
        labels=tuple(sorted(labels.items())),
        size=max(_size(whole[version]) for version in served),
    )


def _labels(directory: Path) -> Mapping[str, int]:
    path = directory / LABELS_FILE
    try:
        labels: Any = json.loads(path.read_bytes())["labels"]
        return {str(label): int(version) for label, version in labels.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{path} is not a file of labels ({error}); correct it, such as {{"labels": {{"stable": 7}}}}, '
            "or delete it"
        ) from error


def _size(version: Path) -> int:
    return sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
