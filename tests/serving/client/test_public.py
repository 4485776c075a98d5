"""What users see: the names, the cost of importing, the documentation, the benchmark."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import tfpipeline.serving.client as package
from benchmarks import client as benchmark
from tfpipeline.serving.client import errors

ROOT = Path(__file__).parents[3]


def fresh(code):
    """What a new process prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_public_names():
    others = [
        "AsyncPredictClient", "Classification", "ModelMetadata", "MultiLabel", "Multitask", "NamedOutputs",
        "PredictClient", "Prediction", "RawAnswer", "Regression", "Signature", "TLS", "TensorSpec", "VersionState", "VersionStatus",
    ]  # fmt: skip
    raised = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert sorted(package.__all__) == sorted(others + raised)
    assert dir(package) == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
        assert getattr(package, name).__module__.startswith("tfpipeline.serving.client.")
    with pytest.raises(AttributeError, match="no attribute 'PredictClien'"):
        _ = package.PredictClien


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(package.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module.rpartition(".")[2]
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {name: package._MODULE_OF.get(name, "errors") for name in package.__all__}


def test_never_imports_tensorflow_and_little_else():
    code = """
import sys
from tfpipeline.serving.client import *
client = PredictClient("localhost:1", model="m", retries=0)
try:
    client.predict(["a"])
except UnavailableError:
    pass
client.close()
print(" ".join(sys.modules))
"""
    modules = set(fresh(code).split())
    installed = {module.partition(".")[0] for module in modules} & set(packages_distributions())
    # setuptools puts a hook of its own into every interpreter; grpcio needs typing_extensions.
    assert installed - {"_distutils_hack"} <= {"tfpipeline", "numpy", "grpc", "google", "typing_extensions"}
    ours = {module for module in modules if module.startswith("tfpipeline.")}
    assert {module for module in ours if not module.startswith("tfpipeline.serving")} <= {
        "tfpipeline._lazy",
        "tfpipeline.errors",
    }
    assert not any(module.startswith("tfpipeline.serving.server") for module in ours)


def test_naming_an_error_costs_neither_grpc_nor_numpy():
    code = "import sys; from tfpipeline.serving.client import ClientError; print({'grpc', 'numpy', 'google'} & set(sys.modules))"
    assert fresh(code).strip() == "set()"


BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "client.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[str(i) for i in range(len(BLOCKS))])
def test_documentation_runs(server, capsys, block):
    exec(compile(block.replace("localhost:8500", server.target), "docs/client.md", "exec"), {})
    assert capsys.readouterr().out or "answers" in block


def test_documentation_names_what_there_is():
    text = (ROOT / "docs" / "client.md").read_text("utf-8")
    assert len(BLOCKS) >= 5
    named = set(re.findall(r"`(\w+Error)`", text))
    assert len(named) >= 8
    assert named <= set(package.__all__)


def test_benchmark_runs(capsys):
    benchmark.main(["--rounds", "1", "--import-rounds", "0"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    cases = len(benchmark.request_cases()) + 2 * len(benchmark.response_cases())
    assert len(lines) == 2 * cases
    assert all(line["milliseconds"] >= 0 and line["speed_ratio"] > 0 for line in lines)


def test_benchmarked_ways_do_the_same_work():
    from tensorflow_serving.apis import predict_pb2

    for array in benchmark.request_cases().values():
        made = [
            predict_pb2.PredictRequest.FromString(encode(array)) for encode in benchmark.encoders().values()
        ]
        assert made[0] == made[1]
    for outputs in benchmark.response_cases().values():
        for layout in ("typed fields", "tensor_content"):
            data = benchmark.response_bytes(outputs, layout)
            for decode in benchmark.decoders().values():
                got = decode(data)
                assert {name: array.tolist() for name, array in got.items()} == {
                    name: array.tolist() for name, array in outputs.items()
                }


def test_benchmark_measures_fresh_processes():
    """Its figures are real ones: a module that takes memory shows."""
    plain = benchmark.measure_import("import json", 1)
    heavy = benchmark.measure_import("x = bytearray(b'x' * 200_000_000)", 1)
    assert heavy["peak_mb"] - plain["peak_mb"] > 150
    assert plain["peak_mb"] < 60
    assert not plain["tensorflow"]
