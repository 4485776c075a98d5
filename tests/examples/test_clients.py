"""The recipes in other languages: what can be said about them without their stubs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_service_pb2

ROOT = Path(__file__).parent.parent.parent / "examples" / "clients"
JAVA = ROOT / "java" / "src" / "main" / "java" / "Classify.java"
GO = ROOT / "go" / "main.go"
_MISSING = r"package .* does not exist|cannot find symbol"


@pytest.mark.skipif(shutil.which("javac") is None, reason="there is no Java compiler")
def test_java_lacks_nothing_but_its_stubs(tmp_path):
    command = ["javac", "-Xmaxerrs", "1000", "-d", str(tmp_path), str(JAVA)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    errors = re.findall(r"^.*Classify\.java:\d+: error: (.*)$", done.stderr, re.MULTILINE)
    assert errors
    assert [error for error in errors if not re.fullmatch(_MISSING, error)] == []


def test_java_uses_the_names_that_the_protos_give():
    """Where the protos name no package, an outer class is called like the file."""
    source = JAVA.read_text()
    for message in (tensor_pb2.TensorProto, tensor_shape_pb2.TensorShapeProto):
        options = message.DESCRIPTOR.file.GetOptions()
        assert options.java_multiple_files
        assert f"import {options.java_package}.{message.DESCRIPTOR.name};" in source
    assert f"import {types_pb2.DESCRIPTOR.GetOptions().java_package}.DataType;" in source
    for message in (model_pb2.ModelSpec, predict_pb2.PredictRequest, predict_pb2.PredictResponse):
        file = message.DESCRIPTOR.file
        assert not file.GetOptions().java_package
        outer = Path(file.name).stem.capitalize()
        assert f"import {file.package}.{outer}.{message.DESCRIPTOR.name};" in source
    service = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"]
    assert f"import {service.file.package}.{service.name}Grpc;" in source
    assert service.full_name in source
    assert service.full_name in GO.read_text()


@pytest.mark.parametrize(
    ("message", "java", "go"),
    [
        (predict_pb2.PredictRequest, ["ModelSpec", "Inputs"], ["ModelSpec", "Inputs"]),
        (predict_pb2.PredictResponse, ["Outputs"], ["Outputs"]),
        (model_pb2.ModelSpec, ["Name"], ["Name", "SignatureName"]),
        (
            tensor_pb2.TensorProto,
            ["Dtype", "TensorShape", "StringVal", "FloatVal"],
            ["Dtype", "TensorShape", "StringVal", "IntVal"],
        ),
    ],
)
def test_fields_exist(message, java, go):
    fields = {"".join(map(str.capitalize, field.name.split("_"))) for field in message.DESCRIPTOR.fields}
    assert set(java) | set(go) <= fields
    for names, source in ((java, JAVA.read_text()), (go, GO.read_text())):
        assert all(re.search(rf"(\b|set|get|add|put){name}", source) for name in names)


def test_the_build_file_of_java_is_xml():
    names = {element.text for element in ElementTree.parse(ROOT / "java" / "pom.xml").iter() if element.text}
    assert {"grpc-stub", "grpc-protobuf", "grpc-netty-shaded", "protobuf-java"} <= names
