"""Opens the predictor for whatever a caller names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Optional, Union

from tfpipeline import paths
from tfpipeline.errors import UserError, explain_missing_extra
from tfpipeline.mistaken import check_run
from tfpipeline.paths import AnyPath
from tfpipeline.predictors.base import SIGNATURE, Predictor
from tfpipeline.predictors.run import RunPredictor
from tfpipeline.predictors.saved_model import SavedModelPredictor
from tfpipeline.predictors.server import ServerPredictor

if TYPE_CHECKING:
    from tfpipeline.training.trained_model import TrainedModel


def open_any(
    model: Union[AnyPath, TrainedModel],
    target: Optional[str],
    signature: str = SIGNATURE,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Predictor:
    """The predictor for a model, or for a model on a server; see :func:`tfpipeline.predict`.

    Raises:
        UserError: there is no such model, or options are given that are for a server only.
    """
    if target is not None:
        return ServerPredictor(target, str(model), signature=signature, **options)
    if options:
        raise UserError(f"{', '.join(sorted(options))}: for a server only; give its target as well")
    return open_local(model, signature)


def open_local(source: Union[AnyPath, TrainedModel], signature: str = SIGNATURE) -> Predictor:
    """The predictor for a run directory, a SavedModel, a directory of versions, or a fine-tuned checkpoint.

    Raises:
        UserError: the path is none of these.
    """
    if not isinstance(source, (str, os.PathLike)):
        return RunPredictor(source, signature=signature)
    if paths.is_far(source):
        return _open_far(paths.expand(source).rstrip("/"), signature)
    path = paths.local(source)
    if (path / "saved_model.pb").is_file():
        return SavedModelPredictor(path, signature)
    if not path.exists():
        check_run(path)
        raise UserError(
            f"{path}: no such directory; name a run, a SavedModel, a model's directory of versions, "
            "or a checkpoint"
        )
    if path.is_dir() and (version := _newest(str(path))):
        return SavedModelPredictor(version, signature)
    check_run(source)
    if path.is_dir() and not (path / "config.yaml").is_file() and not _is_checkpoint(path):
        check_run(source, unread=True)
        raise UserError(
            f"{path} is neither a run (config.yaml), nor a SavedModel (saved_model.pb), nor a directory of "
            "versions (1, 2, ...), nor a checkpoint"
        )
    return RunPredictor(source, signature=signature)


def _open_far(address: str, signature: str) -> Predictor:
    """What lies on a far file system: a SavedModel, versions, or else a run or a checkpoint."""
    with explain_missing_extra():
        from tfpipeline.runtime import import_tensorflow

        tf = import_tensorflow()
        from tfpipeline.export.model_directory import MARKER

    if paths.scheme(address) in tf.io.gfile.get_registered_schemes():
        if _there(tf, f"{address}/{MARKER}"):
            return SavedModelPredictor(address, signature)
        if "/" in address.partition("://")[2] and (version := _newest(address)):
            return SavedModelPredictor(version, signature)
    return RunPredictor(address, signature=signature)


def _newest(model: str) -> Optional[str]:
    """The directory of a model's newest version; None if it has none."""
    from tfpipeline.export.model_directory import open_directory

    versions = open_directory(model).versions()
    return f"{model}/{versions[max(versions)]}" if versions else None


def _there(tf: Any, path: str) -> bool:
    try:
        return bool(tf.io.gfile.exists(path))
    except tf.errors.OpError as error:
        reason = (str(error.message).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"cannot read {path}: {reason}; check the address and your rights to it") from error


def _is_checkpoint(path: Path) -> bool:
    with explain_missing_extra():
        from tfpipeline.runtime import import_tensorflow

        import_tensorflow()
        from tfpipeline import checkpoints
    return bool(checkpoints.is_checkpoint(path))
