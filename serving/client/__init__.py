"""The thin client: queries TensorFlow Serving with numpy, grpcio and protobuf, and never imports TensorFlow.

    from tfpipeline.serving.client import PredictClient

    with PredictClient("localhost:8500", model="tweets") as client:
        for answer in client.predict(["what a day"]):
            print(answer.label, answer.probability)

Names are loaded on first use: importing an error class imports neither grpc nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfpipeline.serving.client.async_client import *  # noqa: F403
    from tfpipeline.serving.client.calls import *  # noqa: F403
    from tfpipeline.serving.client.errors import *  # noqa: F403
    from tfpipeline.serving.client.options import *  # noqa: F403
    from tfpipeline.serving.client.predictions import *  # noqa: F403
    from tfpipeline.serving.client.streaming import *  # noqa: F403
    from tfpipeline.serving.client.sync_client import *  # noqa: F403

# The modules whose ``__all__`` is public here. The cheapest to import comes first: a name is looked up in
# this order.
_MODULES = ("errors", "options", "predictions", "calls", "streaming", "sync_client", "async_client")


def __getattr__(name: str) -> Any:
    if name == "__all__":
        value: Any = __dir__()
    elif name.startswith("__"):  # Python asks every package for names that few have
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    else:
        value = _find(name)
    globals()[name] = value  # later uses do not call this function
    return value


def __dir__() -> list[str]:
    return sorted(name for module in _MODULES for name in _import(module).__all__)


def _find(name: str) -> Any:
    for module in _MODULES:
        module_with_name = _import(module)
        if name in module_with_name.__all__:
            return getattr(module_with_name, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _import(module: str) -> Any:
    return importlib.import_module(f"{__name__}.{module}")
