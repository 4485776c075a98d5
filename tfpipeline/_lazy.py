"""Public names that are loaded on first use (PEP 562), with a table and ``__getattr__``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Callable

from tfpipeline.errors import explain_missing_extra


def attach(
    package: str, public: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package.

    Args:
        package: the package's ``__name__``.
        public: public name -> the module that defines it.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in public:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with explain_missing_extra():
            return getattr(importlib.import_module(public[name]), name)

    def __dir__() -> list[str]:  # noqa: N807
        return sorted(public)

    return __getattr__, __dir__, sorted(public)
