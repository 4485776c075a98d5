"""Which models a server is asked to serve: from directories, or from a configuration file; with their labels.

Everything is read from the disk anew at each call, so that a running server can follow what changes there.
Imports no TensorFlow.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfpipeline import paths
from tfpipeline.errors import UserError, visible
from tfpipeline.serving.server import model_config
from tfpipeline.serving.server.model_config import PLATFORM, All, Latest, ModelConfig, Specific
from tfpipeline.serving.server.model_dir import check_model_dir, models_in, version_directories
from tfpipeline.serving.server.options import ServerOptions

LABELS_FILE = "labels.json"  # written by `tfpipeline promote` and `rollback`


def find_models(options: ServerOptions) -> tuple[ModelConfig, ...]:
    """The models to serve, without the labels of their directories.

    Raises:
        UserError: a directory or the configuration file cannot be read, or two models have the same name.
    """
    if options.config is not None:
        models = read_config(options.config)
    else:
        # A model may be given by itself and with its directory; it is served once.
        directories = dict.fromkeys(
            path for given in options.model_dirs for path in (models_in(given) or [given])
        )
        models = tuple(
            ModelConfig(options.name or path.name, path, Latest(options.latest_versions))
            for path in directories
        )
    if options.name and len(models) > 1:
        raise UserError(
            f"--name names one model, and {options.model_dir} holds {len(models)}; give one of them, such as "
            f"{models[0].base_path}"
        )
    seen: dict[str, Path] = {}
    for model in models:
        if not model.name.isprintable():
            raise UserError(
                f'the model\'s name "{visible(model.name)}" has a character that cannot be printed; give it '
                "another name"
            )
        if model.name in seen:
            raise UserError(
                f"two models have the name {model.name}: {seen[model.name]} and {model.base_path}; give them "
                "different names in a file for --config"
            )
        seen[model.name] = model.base_path
    return models


def checked_models(options: ServerOptions) -> tuple[ModelConfig, ...]:
    """The models to serve, each with something to serve.

    Raises:
        UserError: see :func:`find_models` and :func:`check_model`.
    """
    models = find_models(options)
    for model in models:
        check_model(model)
    return models


def read_config(path: Path) -> tuple[ModelConfig, ...]:
    """The models of a configuration file in TensorFlow Serving's text format.

    Raises:
        UserError: it cannot be read, or names a model that no server could serve.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read --config {path}: {os.strerror(error.errno or 0)}") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"--config {path} is not a text file in UTF-8 (byte {error.start}); give TensorFlow Serving's "
            "models.config"
        ) from error
    models = model_config.parse(text, str(path))
    if not models:
        raise UserError(f"{path} lists no model; add a config {{ ... }} to its model_config_list")
    return tuple(_checked(model, f"{path}, model {number}", path) for number, model in enumerate(models, 1))


def _checked(model: ModelConfig, where: str, path: Path) -> ModelConfig:
    if not model.name:
        raise UserError(f'{where} has no name; add a line such as name: "sentiment"')
    where = f"{path}, model {model.name}"
    if str(model.base_path) in ("", "."):
        raise UserError(f'{where} has no base_path; add a line such as base_path: "/models/{model.name}"')
    base_path = paths.local(model.base_path)
    if not base_path.is_absolute():
        raise UserError(
            f"{where}: base_path {model.base_path} is relative, which TensorFlow Serving refuses; write "
            f"{path.parent / base_path}"
        )
    if model.platform != PLATFORM:
        said = f'model_platform is "{model.platform}"' if model.platform else "there is no model_platform"
        raise UserError(f'{where}: {said}; write model_platform: "{PLATFORM}"')
    return replace(model, base_path=base_path)


def check_model(model: ModelConfig) -> None:
    """Check that a model can be served as it is configured.

    Raises:
        UserError: its directory has nothing to serve, or lacks a version that the policy or a label names.
    """
    there = check_model_dir(model.base_path)
    named: list[tuple[str, int]] = []
    if isinstance(model.policy, Specific):
        if not model.policy.versions:
            raise UserError(
                f"the version policy of {model.name} names no version; write specific {{ versions: 1 }}"
            )
        named = [(f"the version policy of {model.name} names", n) for n in model.policy.versions]
    named += [(f'label "{label}" of {model.name} points to', n) for label, n in model.labels.items()]
    for who, version in named:
        if version not in there:
            has = ", ".join(map(str, sorted(there)))
            raise UserError(f"{who} version {version}, but {model.base_path} has {has}; name one of these")


def with_labels(model: ModelConfig) -> ModelConfig:
    """The model with the labels of its directory, and a policy that serves every labelled version.

    Labels of a configuration file come before those of `labels.json`. A label of `labels.json` that points to
    a removed version is left out.

    Raises:
        UserError: the labels cannot be read.
    """
    found = read_labels(model.base_path)
    if found:
        try:
            there = version_directories(model.base_path)
        except OSError:  # loaded versions are kept, and so are their labels
            there = dict.fromkeys(found.values(), model.base_path)
        found = {label: version for label, version in found.items() if version in there}
    labels = {**found, **model.labels}
    if not labels:
        return model
    labelled = tuple(sorted(set(labels.values())))
    policy = model.policy
    if isinstance(policy, Latest):
        policy = replace(policy, also=labelled)
    elif isinstance(policy, Specific):
        policy = Specific(tuple(sorted({*policy.versions, *labelled})))
    else:
        assert isinstance(policy, All)
    return replace(model, policy=policy, labels=labels)


def read_labels(model_dir: Path) -> Mapping[str, int]:
    """Label -> version from the `labels.json` of a model's directory; empty if there is none.

    Raises:
        UserError: the file cannot be read.
    """
    path = model_dir / LABELS_FILE
    try:
        labels: Any = json.loads(path.read_bytes())["labels"]
        return {str(label): _version(version) for label, version in labels.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UserError(f"cannot read {path}: {os.strerror(error.errno or 0)}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a file of labels ({type(error).__name__}: {error}); correct it, such as "
            '{"labels": {"stable": 7}}, or delete it'
        ) from error


def _version(number: Any) -> int:
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{number!r} is not a version")
    return number
