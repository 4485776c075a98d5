"""One loaded SavedModel: its signatures and a TensorFlow session, as in TensorFlow Serving.

TensorFlow Serving loads a SavedModel into a `DirectSession` and answers with `Session::Run`. A session of
TensorFlow's v1 API wraps the same class, so it accepts the same requests and gives the same errors as the
server. `tf.saved_model.load` checks types and shapes in Python first, by other rules and with other messages.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf

from tfpipeline._tensorflow_internals import run_session, session_handle
from tfpipeline.serving.server.model_dir import has_saved_model
from tfpipeline.serving.server.status import (
    StatusError,
    from_number,
    invalid_argument,
    no_saved_model,
    not_found,
)
from tfpipeline.serving.server.tensors import as_array

DEFAULT_SIGNATURE = "serving_default"
_TAGS = ["serve"]


class SavedModel:
    """A SavedModel in memory; :meth:`close` frees the memory.

    Args:
        path: the version directory.
    Raises:
        StatusError: it cannot be loaded; code and message are those of TensorFlow Serving if it reports any.
    """

    def __init__(self, path: Path) -> None:
        if not has_saved_model(path):
            raise no_saved_model(path)
        config = tf.compat.v1.ConfigProto()
        config.gpu_options.allow_growth = True  # a development server shares the GPU
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph, config=config)
        try:
            with self._graph.as_default(), _quiet_loader(), _load_errors(path):
                meta_graph = tf.compat.v1.saved_model.load(self._session, _TAGS, str(path))
        except StatusError:
            self._session.close()
            raise
        #: signature name -> `SignatureDef`, as stored.
        self.signatures: Mapping[str, Any] = dict(meta_graph.signature_def)
        self._handles: dict[str, Any] = {}

    def run(self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str]) -> list[np.ndarray]:
        """`Session::Run`: takes values by tensor name, returns the values of the named tensors.

        Raises:
            StatusError: TensorFlow's code and message.
        """
        feed = {self._handle(name): value for name, value in feeds.items()}
        fetch = [self._handle(name) for name in fetches]
        try:
            # Session.run() checks dtypes and shapes in Python, more strictly than the server and with other
            # messages.
            values = run_session(self._session, feed, fetch)
        except tf.errors.OpError as error:
            raise from_number(error.error_code, error.message) from error
        return [as_array(value) for value in values]

    def close(self) -> None:
        """Close the session, which frees its variables and tables."""
        self._session.close()
        self._handles.clear()

    def _handle(self, name: str) -> Any:
        handle = self._handles.get(name)
        if handle is None:
            try:
                # The initialiser's signature names an operation without outputs.
                tensor = self._graph.get_tensor_by_name(name if ":" in name else f"{name}:0")
            except (KeyError, ValueError) as error:
                # Source: FetchOutputs, tensorflow/core/graph/subgraph.cc.
                raise invalid_argument(
                    f"Tried to fetch data for '{name}', which produces no output.  To run to a node but not "
                    f"fetch any data, pass '{name}' as an argument to the 'target_node_names' argument of "
                    f"the Session::Run API."
                ) from error
            handle = self._handles[name] = session_handle(tensor)
        return handle


@contextlib.contextmanager
def _load_errors(path: Path) -> Iterator[None]:
    """Convert any exception of the loader to a status."""
    try:
        yield
    except tf.errors.OpError as error:
        message = error.message.removeprefix("Graph execution error:\n\n")  # added by Python
        if "No such file or directory" in message:  # becomes UNKNOWN in the Python loader
            raise not_found(message) from error
        raise from_number(error.error_code, message) from error
    except OSError as error:
        if "Cannot parse" in str(error):
            message = f"Can't parse {path / 'saved_model.pb'} as binary proto"
            raise StatusError(grpc.StatusCode.DATA_LOSS, message) from error
        if "No such file or directory" in str(error):
            raise not_found(str(error)) from error
        raise StatusError(grpc.StatusCode.UNKNOWN, str(error)) from error
    except RuntimeError as error:
        if "MetaGraphDef associated with tags" in str(error):
            raise not_found(
                "Could not find meta graph def matching supplied tags: { serve }. To inspect available "
                "tag-sets "
                "in the SavedModel, please use the SavedModel CLI: `saved_model_cli`"
            ) from error
        raise StatusError(grpc.StatusCode.UNKNOWN, str(error)) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        # A graph that the importer refuses: an op unknown to this TensorFlow, an inconsistent node.
        raise invalid_argument(str(error)) from error


@contextlib.contextmanager
def _quiet_loader() -> Iterator[None]:
    """Hide the loader's hints to developers (deprecations, custom gradients), in this thread only."""
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        advice = "is deprecated" in message or "unsaved custom gradient" in message
        return record.thread != thread or not advice

    logger = logging.getLogger("tensorflow")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
