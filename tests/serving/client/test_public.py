"""What users see: the names, the cost of importing, the documentation, the benchmark."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from concurrent import futures
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import ClassVar

import grpc
import numpy as np
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
        "AsyncPredictClient", "Candidate", "Classification", "Embedding", "Entity", "Explanation", "FillMask", "Generation", "Health", "Hit", "Mask", "ModelMetadata", "MultiLabel", "Multitask",
        "NamedOutputs", "Output", "PredictClient", "Prediction", "QuestionAnswering", "RawAnswer", "Regression", "RowResult", "SearchResult", "Signature", "Similarity",
        "Span", "TLS", "Tagging", "TensorSpec", "TokenScore", "VersionState", "VersionStatus", "WordScore",
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
    seen = {node.module.rpartition(".")[2] for node in block.body if isinstance(node, ast.ImportFrom)}
    assert seen == set(package._MODULES)
    assert all(alias.name == "*" for node in block.body for alias in node.names)


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
    # setuptools puts a hook of its own into every interpreter; grpcio needs typing_extensions, and imports its
    # own companions where they are installed.
    companions = {"grpc_channelz", "grpc_health", "grpc_reflection", "grpc_status", "grpc_tools"}
    wanted = {"tfpipeline", "numpy", "grpc", "google", "typing_extensions"}
    assert installed - {"_distutils_hack"} - companions <= wanted
    ours = {module for module in modules if module.startswith("tfpipeline.")}
    assert {module for module in ours if not module.startswith("tfpipeline.serving")} <= {
        "tfpipeline._lazy",
        "tfpipeline.errors",
    }
    assert not any(module.startswith("tfpipeline.serving.server") for module in ours)


def test_naming_an_error_costs_neither_grpc_nor_numpy():
    code = "import sys; from tfpipeline.serving.client import ClientError; print({'grpc', 'numpy', 'google'} & set(sys.modules))"
    assert fresh(code).strip() == "set()"


class Stretches:
    """Finds stretches of texts by a regular expression, in the unit of the signature that is asked."""

    MEASURES: ClassVar = {
        "serving_default": len,
        "utf8": lambda text: len(text.encode()),
        "utf16": lambda text: len(text.encode("utf-16-le")) // 2,
    }
    WIDTH = 4

    def __init__(self, signature):
        self._measure = self.MEASURES[signature]

    def _found(self, expression, text):
        """(text, start, end) of all matches, filled up to ``WIDTH``, and how many there are."""
        found = [
            (match[0].encode(), *(self._measure(text[:place]) for place in match.span()))
            for match in re.finditer(expression, text)
        ]
        return (found + [(b"", 0, 0)] * self.WIDTH)[: self.WIDTH], len(found)

    def _columns(self, found):
        texts, starts, ends = (
            np.array([[slot[place] for slot in row] for row in found], dtype)
            for place, dtype in enumerate((object, np.int32, np.int32))
        )
        return texts, starts, ends, (ends > starts) * np.float32(0.5)

    def names(self, texts):
        """Every word that begins with a capital letter is a name."""
        found, counts = zip(*(self._found(r"[A-Z]\w+", text) for text in texts))
        own, starts, ends, scores = self._columns(found)
        types = np.where(ends > starts, b"NAME", b"").astype(object)
        return {"types": types, "texts": own, "starts": starts, "ends": ends, "scores": scores,
                "count": np.array(counts, np.int32), "margin": np.ones(len(found), np.float32)}  # fmt: skip

    def reader(self, texts):
        """Every number may be the answer; the last is."""
        found, counts = zip(*(self._found(r"\d+", text) for text in texts))
        chosen = [
            row[min(count, self.WIDTH) - 1] if count else (b"", -1, -1) for row, count in zip(found, counts)
        ]
        answer, start, end, _ = (column[:, 0] for column in self._columns([[slot] for slot in chosen]))
        answers, starts, ends, scores = self._columns(found)
        sure = np.full(len(found), 0.75, np.float32)
        return {"answer": answer, "start": start, "end": end, "score": sure, "no_answer": 1 - sure, "threshold": 1 - sure,
                "answers": answers, "starts": starts, "ends": ends, "scores": scores}  # fmt: skip

    def filler(self, texts):
        """Every [MASK] may be "good"."""
        found, counts = zip(*(self._found(r"\[MASK\]", text) for text in texts))
        _, starts, ends, scores = self._columns(found)
        tokens = np.where(ends > starts, b"good", b"").astype(object)
        return {"tokens": tokens[..., None], "scores": scores[..., None], "starts": starts, "ends": ends,
                "count": np.array(counts, np.int32)}  # fmt: skip


@pytest.fixture(scope="module")
def documented():
    """The target of a server with the models that the documentation asks, and the fake server's."""
    import tensorflow as tf
    from tensorflow_serving.apis import (
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    from tests.serving.client import fake_server

    class Prediction(fake_server.Prediction):
        def Predict(self, request, context):  # noqa: N802
            model = request.model_spec.name
            if model not in ("names", "reader", "filler"):
                return super().Predict(request, context)
            column = "text_pair" if model == "reader" else "text"
            texts = [text.decode() for text in tf.make_ndarray(request.inputs[column])]
            response = predict_pb2.PredictResponse()
            response.model_spec.CopyFrom(request.model_spec)
            stretches = Stretches(request.model_spec.signature_name or "serving_default")
            for name, array in getattr(stretches, model)(texts).items():
                response.outputs[name].CopyFrom(fake_server.typed(array))
            return response

    server = grpc.server(futures.ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Prediction(), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(fake_server.Model(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


TEXT = "👩🏽‍🚀 Zoë flew from Kraków to São Paulo in 1986 and 1994."
CUTS = {
    "serving_default": lambda text, start, end: text[start:end],
    "utf8": lambda text, start, end: text.encode()[start:end].decode(),
    "utf16": lambda text, start, end: text.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le"),
}


@pytest.mark.parametrize("signature", CUTS)
def test_offsets_cut_the_callers_own_string(documented, signature):
    """In the unit of the signature: as Python, as Go, as Java and JavaScript cut strings."""
    texts = [TEXT, "nothing here"]
    with package.PredictClient(documented, model="names", signature=signature) as client:
        tagged, untagged = client.predict(texts)
    assert [entity.text for entity in tagged.entities] == ["Zoë", "Kraków", "São", "Paulo"]
    assert untagged == package.Tagging([], 0, 1.0)
    with package.PredictClient(documented, model="reader", signature=signature) as client:
        read, unread = client.predict(["When?", "When?"], text_pair=texts)
    assert (read.answer, [span.text for span in read.best]) == ("1994", ["1986", "1994"])
    assert unread == package.QuestionAnswering(None, None, None, 0.75, 0.25, 0.25, [])
    cut = CUTS[signature]
    assert cut(TEXT, read.start, read.end) == read.answer
    for one in (*tagged.entities, *read.best):
        assert cut(TEXT, one.start, one.end) == one.text
    others = [other for name, other in CUTS.items() if name != signature]
    assert all(other(TEXT, read.start, read.end) != read.answer for other in others)


BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "client.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[str(i) for i in range(len(BLOCKS))])
def test_documentation_runs(documented, capsys, block):
    exec(compile(block.replace("localhost:8500", documented), "docs/client.md", "exec"), {})
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
