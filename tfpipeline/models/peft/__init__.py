"""Parameter-efficient fine-tuning: an encoder is frozen, and a few new or chosen weights are trained.

One module per method; the module's name is the method's name. A module defines ``OPTIONS``: the method's
section of the run file, derived from :class:`PeftOptions`, which attaches the method to an encoder.
``find("lora")`` imports ``tfpipeline/models/peft/lora.py``; a name with a dot,
``find("our_company.method")``, is a module outside this package.

    from tfpipeline.models import peft

    model = tfpipeline.load("checkpoint")
    peft.attach(model.encoder, {"method": "lora", "rank": 8})

This module imports no framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfpipeline import config
from tfpipeline.errors import UserError
from tfpipeline.models.peft._options import METHODS_THAT_CAN, Adaptation, PeftOptions
from tfpipeline.named_modules import find_module, module_names

__all__ = ["METHODS_THAT_CAN", "Adaptation", "PeftOptions", "attach", "find", "names", "restore"]


def names() -> list[str]:
    """The names of all methods here, sorted."""
    return module_names(__path__)


def find(name: str) -> type[PeftOptions]:
    """The options of a method.

    Args:
        name: the name of a module here, or, with a dot in it, of any module that defines ``OPTIONS``.
    Raises:
        UserError: there is no such method.
    """
    module = find_module("method", name, __name__, names())
    options = getattr(module, "OPTIONS", None)
    if not (isinstance(options, type) and issubclass(options, PeftOptions)):
        raise UserError(
            f"the module {name} contains no method; its OPTIONS must be a class derived from PeftOptions"
        )
    return options


def attach(encoder: Any, options: PeftOptions | Mapping[str, Any] | str, seed: int = 0) -> Adaptation:
    """Add a method's layers to an encoder. Its outputs do not change until the layers are trained.

    Args:
        encoder: a :class:`tfpipeline.models.Encoder`, built.
        options: the method's options, the same as a mapping like the run file's ``peft`` section, or the name
            of the method.
        seed: for the initial weights, at least 0.
    Returns:
        What was attached; it is also ``encoder.adaptation``.
    Raises:
        UserError: the options have errors or do not fit the encoder, or it already has an adaptation.
    """
    if not isinstance(options, PeftOptions):
        raw = {"method": options} if isinstance(options, str) else dict(options)
        if "method" not in raw:
            raise UserError(f"peft: method is missing; choose one of {', '.join(names())}")
        options = config.resolve(raw, find(str(raw["method"])), source="peft")
    if getattr(encoder, "adaptation", None) is not None:
        raise UserError(
            f"the encoder already has the method {encoder.adaptation.options.method}; load it "
            "again, or merge it first (TextModel.merge)"
        )
    adaptation = options.attach(encoder, seed)
    encoder.adaptation = adaptation
    return adaptation


def restore(encoder: Any, values: Mapping[str, Any]) -> Adaptation:
    """Attach what :meth:`Adaptation.get_config` described, for Keras's ``from_config``."""
    return attach(encoder, values["options"], values["seed"])
