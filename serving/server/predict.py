"""Checks Predict requests in the server's order, and refuses them in the server's words.

Sources: servables/tensorflow/predict_util.cc (tensorflow/serving), tensorflow/cc/saved_model/util.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfpipeline.serving.server.saved_model import DEFAULT_SIGNATURE
from tfpipeline.serving.server.status import failed_precondition, invalid_argument
from tfpipeline.serving.server.tensors import TensorParseError, decode


@dataclass(frozen=True)
class Question:
    """A checked request.

    Args:
        inputs: alias -> array, every input of the signature.
        outputs: the requested aliases, in order.
    """

    inputs: Mapping[str, np.ndarray]
    outputs: tuple[str, ...]


def find_signature(signatures: Mapping[str, Any], name: str) -> tuple[str, Any]:
    """The signature's name (the default one if empty) and its definition.

    Raises:
        StatusError: FAILED_PRECONDITION, there is none.
    """
    name = name or DEFAULT_SIGNATURE
    if name not in signatures:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    return name, signatures[name]


def read_request(request: Any, signature: Any) -> Question:
    """The inputs and requested outputs of a `PredictRequest`.

    Raises:
        StatusError: INVALID_ARGUMENT, as `PreProcessPrediction` words it.
    """
    _check_number(request, signature)
    return Question(_read_inputs(request, signature), _read_filter(request, signature))


def _check_number(request: Any, signature: Any) -> None:
    sent, wanted = set(request.inputs), set(signature.inputs)
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not signature.defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({{{_names(sent)}}}) != "
            f"len({{{_names(wanted)}}}). Sent extra: {{{_names(sent - wanted)}}}. "
            f"Missing but required: {{{_names(wanted - sent)}}}."
        )


def _read_inputs(request: Any, signature: Any) -> dict[str, np.ndarray]:
    inputs: dict[str, np.ndarray] = {}
    used = set()
    for alias, info in signature.inputs.items():
        if alias in request.inputs:
            proto = request.inputs[alias]
            used.add(alias)
        elif alias in signature.defaults:
            proto = signature.defaults[alias]
        else:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and no default "
                f"value provided. Inputs expected to be in the request {{{_names(request.inputs)}}}, or "
                f"default input alias set: {_names(signature.defaults)}"
            )
        try:
            inputs[alias] = decode(proto)
        except TensorParseError as error:
            raise invalid_argument(f"tensor parsing error: {alias}") from error
    if len(used) != len(request.inputs):
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {_names(used)}, "
            f"request input: {_names(request.inputs)}"
        )
    return inputs


def _read_filter(request: Any, signature: Any) -> tuple[str, ...]:
    outputs: list[str] = []
    for alias in request.output_filter:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_names(signature.outputs)}}}."
            )
        if alias in outputs:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        outputs.append(alias)
    return tuple(outputs) or tuple(sorted(signature.outputs))


def _names(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
