"""Serves a directory of model versions over TensorFlow Serving's gRPC API.

    from tfpipeline.serving.server import serve
    serve("models/sentiment")

`serve` blocks until Ctrl-C or SIGTERM; :class:`EmbeddedServer` is the development server as a context
manager. Importing this module loads neither TensorFlow nor gRPC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfpipeline.serving.server.options import BatchingOptions, ServerOptions, make_options

if TYPE_CHECKING:
    from tfpipeline.serving.server.embedded import EmbeddedServer
    from tfpipeline.serving.server.run import serve

__all__ = ["BatchingOptions", "EmbeddedServer", "ServerOptions", "make_options", "serve"]

_LAZY = {"serve": "run", "EmbeddedServer": "embedded"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
