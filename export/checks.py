"""Checks of a SavedModel before it becomes visible."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tfpipeline.errors import UserError

# The largest allowed difference of float32 outputs between the trained and the exported model. For an output
# with values above 1, it is relative to the largest value.
TOLERANCE = 1e-5
_BOOKKEEPING = 256 * 1024  # bytes of names and structure in addition to the weights
_FRESH_PROCESS = Path(__file__).with_name("fresh_process.py")

# TensorFlow operations that call back into the Python process that created them, or compile with XLA, which
# stock servers are built without.
_FORBIDDEN_OPS = frozenset(
    {"PyFunc", "PyFuncStateless", "EagerPyFunc", "XlaLaunch", "_XlaCompile", "_XlaRun"}
)


class ExportError(UserError):
    """The exported model differs from the trained one (a bug here or in TensorFlow); it is not published."""


def operations(saved_model: Path) -> set[str]:
    """The names of all operations in a SavedModel, including those in its functions."""
    from tfpipeline._tensorflow_internals import SavedModel

    proto = SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    names: set[str] = set()
    for meta_graph in proto.meta_graphs:
        names.update(node.op for node in meta_graph.graph_def.node)
        for function in meta_graph.graph_def.library.function:
            names.update(node.op for node in function.node_def)
    return names


def must_compile(saved_model: Path) -> bool:
    """Whether a function of the SavedModel requires XLA (``jit_compile=True``)."""
    from tfpipeline._tensorflow_internals import SavedModel

    proto = SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    return any(
        function.attr["_XlaMustCompile"].b
        for meta_graph in proto.meta_graphs
        for function in meta_graph.graph_def.library.function
        if "_XlaMustCompile" in function.attr
    )


def check_operations(saved_model: Path) -> None:
    """Check that a SavedModel has only core operations, so that anything that loads SavedModels can load it.

    :func:`answers_of_fresh_process` also shows that TensorFlow alone registers every operation: it loads the
    SavedModel without this package.
    """
    forbidden = operations(saved_model) & _FORBIDDEN_OPS
    if forbidden:
        raise ExportError(
            f"{saved_model} uses operations that a server lacks: {', '.join(sorted(forbidden))}"
        )
    if must_compile(saved_model):
        raise ExportError(
            f"{saved_model} has a function that must be compiled by XLA, which stock servers lack"
        )


def check_size(saved_model: Path, weights: int, tables: int) -> None:
    """Check that the variables' files hold the weights only once.

    Args:
        weights, tables: bytes of the model's weights and of the tokenizer's tables.
    """
    stored = sum(path.stat().st_size for path in (saved_model / "variables").iterdir())
    if stored > 1.1 * (weights + tables) + _BOOKKEEPING:
        raise ExportError(
            f"{saved_model}/variables has {stored} bytes for {weights} bytes of weights and {tables} "
            "of tables"
        )


def answers_of_fresh_process(
    saved_model: Path,
    asked: Mapping[str, Mapping[str, np.ndarray | Sequence[str]]],
    *,
    warmup_requests: Path | None = None,
) -> dict[str, dict[str, np.ndarray]]:
    """Run signatures in a new Python process that imports TensorFlow and nothing of this package.

    Args:
        saved_model: its directory.
        asked: signature -> its inputs.
        warmup_requests: a file of warm-up requests, which is replayed first.
    Returns:
        Signature -> its outputs; strings are object arrays of str.
    """
    with tempfile.TemporaryDirectory() as scratch:
        request, answer = Path(scratch) / "request.json", Path(scratch) / "answer"
        # Strings stay in lists: an array would pad each to the longest, and strip NULs at their ends.
        plain = {
            signature: {
                name: value.tolist() if isinstance(value, np.ndarray) else list(value)
                for name, value in inputs.items()
            }
            for signature, inputs in asked.items()
        }
        request.write_text(json.dumps(plain, default=bytes.decode), "utf-8")
        answer.mkdir()
        # -I: neither the current folder nor PYTHONPATH can make this package importable.
        command = [sys.executable, "-I", str(_FRESH_PROCESS), str(saved_model), str(request), str(answer)]
        if warmup_requests is not None:
            command.append(str(warmup_requests))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ExportError(f"a fresh process can't run {saved_model}:\n{done.stderr[-2000:]}")
        return {signature: _answer(answer, signature) for signature in asked}


def _answer(folder: Path, signature: str) -> dict[str, np.ndarray]:
    """The outputs that the process wrote for a signature."""
    with np.load(folder / f"{signature}.npz", allow_pickle=False) as arrays:
        outputs = {name.removeprefix("output "): array for name, array in arrays.items()}
    strings = json.loads((folder / f"{signature}.json").read_text("utf-8"))
    for name, output in strings.items():
        outputs[name] = np.array(output["values"], object).reshape(output["shape"])
    return outputs


def largest_difference(
    expected: Mapping[str, np.ndarray],
    actual: Mapping[str, np.ndarray],
    near_ties: np.ndarray | None = None,
    tolerance: float = TOLERANCE,
) -> float:
    """The largest difference between floats; for an output with values above 1, relative to its largest
    value.

    Args:
        expected, actual: name -> [N, ...].
        near_ties: bool [N], rows whose strings and integers depend on rounding (``Task.near_ties``). In these
            rows they may differ; where they do, the floats may too, since they belong to another word. By
            default there are none.
        tolerance: the largest difference that is allowed.
    Raises:
        ExportError: outputs are missing; a shape, a string or an integer differs; or floats differ by more
            than the tolerance or are NaN.
    """
    if expected.keys() != actual.keys():
        raise ExportError(f"outputs differ: {sorted(actual)} instead of {sorted(expected)}")
    for name, want in expected.items():
        if want.shape != actual[name].shape:
            raise ExportError(f"output {name}: shape {actual[name].shape} instead of {want.shape}")
    floats = [name for name, want in expected.items() if want.dtype.kind == "f"]
    excused = np.zeros(len(next(iter(expected.values()))), bool)
    for name in [name for name in expected if name not in floats]:
        want, got = expected[name], actual[name]
        differs = (want != got).reshape(len(want), -1).any(-1)
        wrong = differs if near_ties is None else differs & ~near_ties
        if wrong.any():
            row = int(wrong.argmax())
            raise ExportError(f"output {name}, row {row}: {got[row]!r} instead of {want[row]!r}")
        excused |= differs
    largest = 0.0
    for name in floats:
        want, got = expected[name], actual[name]
        gap = np.abs(got - want)
        gap[excused & np.isfinite(got).reshape(len(got), -1).all(-1)] = 0
        # A regression's predictions are in the unit of the data.
        difference = float(gap.max(initial=0.0) / np.abs(want).max(initial=1.0))
        if not difference <= tolerance:  # also raises for NaN
            raise ExportError(f"output {name} differs by {difference:.1e}, more than {tolerance:.0e}")
        largest = max(largest, difference)
    return largest
