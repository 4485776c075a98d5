"""What is refused, with which status and in which words: one table for both servers.

Each case names the file of tensorflow/serving (or tensorflow) 2.21 that decides it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Optional

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

pytestmark = pytest.mark.contract

CODE = grpc.StatusCode


def predict(
    model: Optional[str] = "half",
    signature: str = "",
    version: Optional[int] = None,
    label: Optional[str] = None,
    outputs: tuple[str, ...] = (),
    **inputs: Any,
) -> predict_pb2.PredictRequest:
    """A request; an input is a TensorProto or anything NumPy takes."""
    request = predict_pb2.PredictRequest(output_filter=outputs)
    spec(request.model_spec, model, signature, version, label)
    for alias, value in inputs.items():
        proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        request.inputs[alias].CopyFrom(proto)
    return request


def spec(message, model, signature="", version=None, label=None):
    if model is not None:
        message.name = model
        message.SetInParent()
    if signature:
        message.signature_name = signature
    if version is not None:
        message.version.value = version
    if label is not None:
        message.version_label = label


def metadata(model: Optional[str] = "half", fields=("signature_def",), **kwargs):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    spec(request.model_spec, model, **kwargs)
    return request


def status(model: Optional[str] = "half", **kwargs):
    request = get_model_status_pb2.GetModelStatusRequest()
    spec(request.model_spec, model, **kwargs)
    return request


def examples(request, *values: float, feature: str = "x", context: Optional[float] = None):
    """Put one `tf.train.Example` for each value into a request's input."""
    if context is None:
        added = request.input.example_list.examples
    else:
        added = request.input.example_list_with_context.examples
        request.input.example_list_with_context.context.features.feature[feature].float_list.value.append(
            context
        )
    for value in values:
        example = added.add()
        if not np.isnan(value):
            example.features.feature[feature].float_list.value.append(value)
    return request


def classify(*values: float, model: Optional[str] = "half", signature: str = "classify", **kwargs):
    request = classification_pb2.ClassificationRequest()
    spec(request.model_spec, model, signature, **kwargs)
    return examples(request, *values)


def regress(*values: float, model: Optional[str] = "half", signature: str = "regress", **kwargs):
    request = regression_pb2.RegressionRequest()
    spec(request.model_spec, model, signature, **kwargs)
    return examples(request, *values)


def multi(*tasks: tuple[str, str, str], values=(0.5,)):
    """Tasks are (model, signature, method)."""
    request = inference_pb2.MultiInferenceRequest()
    for model, signature, method in tasks:
        task = request.tasks.add(method_name=method)
        spec(task.model_spec, model, signature)
    return examples(request, *values)


def proto(dtype: tf.DType, shape: list[int], **fields: Any):
    message = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, **fields)
    message.tensor_shape.SetInParent()
    for size in shape:
        message.tensor_shape.dim.add(size=size)
    return message


@dataclass
class Case:
    name: str
    request: Any
    code: grpc.StatusCode
    message: str  # a regular expression for the whole message


REFUSED = [
    # servables/tensorflow/predict_impl.cc, Predict
    Case("no model spec", predict(model=None, x=[1.0]), CODE.INVALID_ARGUMENT, "Missing ModelSpec"),
    # model_servers/server_core.cc, ServableRequestFromModelSpec and GetModelVersionForLabel
    Case(
        "no model name",
        predict(model="", x=[1.0]),
        CODE.INVALID_ARGUMENT,
        r"ModelSpec has no name specified\.",
    ),
    Case(
        "unknown label",
        predict(label="stable", x=[1.0]),
        CODE.INVALID_ARGUMENT,
        "Unrecognized servable version label: stable",
    ),
    Case(
        "a label before the model's name",
        predict(model="nobody", label="canary", x=[1.0]),
        CODE.INVALID_ARGUMENT,
        "Unrecognized servable version label: canary",
    ),
    # core/basic_manager.cc, ServingMap::GetUntypedServableHandle; core/manager.h,
    # ServableRequest::DebugString
    Case(
        "unknown model",
        predict(model="nobody", x=[1.0]),
        CODE.NOT_FOUND,
        r"Servable not found for request: Latest\(nobody\)",
    ),
    Case(
        "unknown model and version",
        predict(model="nobody", version=7, x=[1.0]),
        CODE.NOT_FOUND,
        r"Servable not found for request: Specific\(nobody, 7\)",
    ),
    Case(
        "unknown version",
        predict(version=7, x=[1.0]),
        CODE.NOT_FOUND,
        r"Servable not found for request: Specific\(half, 7\)",
    ),
    Case(
        "version 0",
        predict(version=0, x=[1.0]),
        CODE.NOT_FOUND,
        r"Servable not found for request: Specific\(half, 0\)",
    ),
    Case(
        "the model before the signature",
        predict(model="nobody", signature="nothing"),
        CODE.NOT_FOUND,
        r"Servable not found for request: Latest\(nobody\)",
    ),
    # servables/tensorflow/predict_util.cc, RunPredict
    Case(
        "unknown signature",
        predict(signature="nothing", x=[1.0]),
        CODE.FAILED_PRECONDITION,
        'Serving signature key "nothing" not found\\.',
    ),
    # servables/tensorflow/predict_util.cc, VerifyRequestInputsSize
    Case(
        "no inputs",
        predict(),
        CODE.INVALID_ARGUMENT,
        r"input size does not match signature: 0!=1 len\(\{\}\) != len\(\{x\}\)\. Sent extra: \{\}\. Missing but required: \{x\}\.",
    ),
    Case(
        "an input too many",
        predict(x=[1.0], z=[1.0]),
        CODE.INVALID_ARGUMENT,
        r"input size does not match signature: 2!=1 len\(\{x,z\}\) != len\(\{x\}\)\. Sent extra: \{z\}\. Missing but required: \{\}\.",
    ),
    Case(
        "an input too few",
        predict(signature="two", b=[1]),
        CODE.INVALID_ARGUMENT,
        r"input size does not match signature: 1!=2 len\(\{b\}\) != len\(\{a,b\}\)\. Sent extra: \{\}\. Missing but required: \{a\}\.",
    ),
    Case(
        "an input too few, another name",
        predict(signature="two", c=[1]),
        CODE.INVALID_ARGUMENT,
        r"input size does not match signature: 1!=2 .* Sent extra: \{c\}\. Missing but required: \{a,b\}\.",
    ),
    # tensorflow/cc/saved_model/util.cc, GetInputValues
    Case(
        "a misnamed input",
        predict(z=[1.0]),
        CODE.INVALID_ARGUMENT,
        r"Signature input alias: x\(feed name: serving_default_x:0\) not found in request and no default value provided\. "
        r"Inputs expected to be in the request \{z\}, or default input alias set: ",
    ),
    Case(
        "values that do not fit the shape",
        predict(x=proto(tf.float32, [2], tensor_content=b"1234567")),
        CODE.INVALID_ARGUMENT,
        "tensor parsing error: x",
    ),
    Case("no type", predict(x=tensor_pb2.TensorProto()), CODE.INVALID_ARGUMENT, "tensor parsing error: x"),
    Case(
        "an impossible shape",
        predict(x=proto(tf.float32, [-1], float_val=[1.0])),
        CODE.INVALID_ARGUMENT,
        "tensor parsing error: x",
    ),
    # servables/tensorflow/predict_util.cc, PreProcessPrediction
    Case(
        "an unknown output",
        predict(x=[1.0], outputs=("z",)),
        CODE.INVALID_ARGUMENT,
        r"output tensor alias not found in signature: z Outputs expected to be in the set \{y\}\.",
    ),
    Case(
        "an output twice",
        predict(signature="two", a=[1.0], b=[1], outputs=("sum", "sum")),
        CODE.INVALID_ARGUMENT,
        "duplicate output tensor alias: sum",
    ),
    Case(
        "inputs before outputs",
        predict(z=[1.0], outputs=("z",)),
        CODE.INVALID_ARGUMENT,
        r"Signature input alias: x\(feed name: .*",
    ),
    # tensorflow/core/framework/function.cc, FunctionCallFrame::SetArgs
    Case(
        "another type",
        predict(x=[1]),
        CODE.INVALID_ARGUMENT,
        r"Expects arg\[0\] to be float but int32 is provided",
    ),
    Case(
        "another type for text",
        predict(signature="upper", text=[1.5]),
        CODE.INVALID_ARGUMENT,
        r"Expects arg\[0\] to be string but float is provided",
    ),
    # The server checks no shapes: the operation that cannot work with it complains.
    # tensorflow/core/kernels/matmul_op_impl.h
    Case(
        "another width",
        predict(signature="wide", x=[[1.0, 2.0]]),
        CODE.INVALID_ARGUMENT,
        r"Matrix size-incompatible: In\[0\]: \[1,2\], In\[1\]: \[3,1\](\n.*)*",
    ),
    # tensorflow/core/kernels/logging_ops.cc, AssertOp
    Case(
        "a row the model refuses",
        predict(signature="picky", x=[1.0, -1.0]),
        CODE.INVALID_ARGUMENT,
        r"assertion failed: \[x must not be negative(.|\n)*",
    ),
    # servables/tensorflow/get_model_metadata_impl.cc: the fields are looked at before the model
    Case("metadata: no model spec", metadata(model=None), CODE.INVALID_ARGUMENT, "Missing ModelSpec"),
    Case(
        "metadata: no field",
        metadata(fields=()),
        CODE.INVALID_ARGUMENT,
        "GetModelMetadataRequest must specify at least one metadata_field",
    ),
    Case(
        "metadata: an unknown field",
        metadata(fields=("signature_def", "owner")),
        CODE.INVALID_ARGUMENT,
        "Metadata field owner is not supported",
    ),
    Case(
        "metadata: the field before the model",
        metadata(model="nobody", fields=("owner",)),
        CODE.INVALID_ARGUMENT,
        "Metadata field owner is not supported",
    ),
    Case(
        "metadata: unknown model",
        metadata("nobody"),
        CODE.NOT_FOUND,
        r"Servable not found for request: Latest\(nobody\)",
    ),
    Case("metadata: no name", metadata(""), CODE.INVALID_ARGUMENT, r"ModelSpec has no name specified\."),
    Case(
        "metadata: unknown version",
        metadata(version=9),
        CODE.NOT_FOUND,
        r"Servable not found for request: Specific\(half, 9\)",
    ),
    # model_servers/get_model_status_impl.cc
    Case("status: no model spec", status(None), CODE.INVALID_ARGUMENT, "Missing ModelSpec"),
    Case("status: no name", status(""), CODE.NOT_FOUND, "Could not find any versions of model "),
    Case(
        "status: unknown model",
        status("nobody"),
        CODE.NOT_FOUND,
        "Could not find any versions of model nobody",
    ),
    Case(
        "status: unknown version", status(version=9), CODE.NOT_FOUND, "Could not find version 9 of model half"
    ),
    Case(
        "status: unknown both",
        status("nobody", version=9),
        CODE.NOT_FOUND,
        "Could not find version 9 of model nobody",
    ),
    # servables/tensorflow/classifier.cc, GetClassificationSignatureDef and PreProcessClassification
    Case(
        "classify: no model spec",
        classify(0.5, model=None, signature=""),
        CODE.INVALID_ARGUMENT,
        "Missing ModelSpec",
    ),
    Case(
        "classify: unknown signature",
        classify(0.5, signature="nothing"),
        CODE.INVALID_ARGUMENT,
        "No signature was found with the name: nothing",
    ),
    Case(
        "classify: not a classifier",
        classify(0.5, signature=""),
        CODE.INVALID_ARGUMENT,
        "No classification inputs found in SignatureDef: (.|\n)*",
    ),
    Case(
        "classify: two inputs",
        classify(0.5, signature="two"),
        CODE.INVALID_ARGUMENT,
        r"Expected one input Tensor\.",
    ),
    Case(
        "classify: a regressor",
        classify(0.5, signature="regress"),
        CODE.INVALID_ARGUMENT,
        'Expected classification signature outputs to contain at least one of "classes" or "scores"\\. '
        "Signature was: (.|\n)*",
    ),
    # servables/tensorflow/util.cc, InputToSerializedExampleTensor
    Case("classify: no examples", classify(), CODE.INVALID_ARGUMENT, r"Input is empty\."),
    Case(
        "classify: an example without the feature",
        classify(float("nan")),
        CODE.INVALID_ARGUMENT,
        r"(.|\n)*Feature: x \(data type: float\) is required but could not be found\.(.|\n)*",
    ),
    # servables/tensorflow/regressor.cc
    Case(
        "regress: unknown model",
        regress(0.5, model="nobody"),
        CODE.NOT_FOUND,
        r"Servable not found for request: Latest\(nobody\)",
    ),
    Case(
        "regress: a classifier",
        regress(0.5, signature="classify"),
        CODE.INVALID_ARGUMENT,
        r"Expected one output Tensor\.",
    ),
    Case(
        "regress: not a regressor",
        regress(0.5, signature="wide"),
        CODE.INVALID_ARGUMENT,
        "No regression inputs found in SignatureDef: (.|\n)*",
    ),
    # servables/tensorflow/multi_inference_helper.cc and multi_inference.cc
    Case("multi: no tasks", multi(), CODE.INVALID_ARGUMENT, r"ModelSpec has no name specified\."),
    Case(
        "multi: another method",
        multi(("half", "classify", "tensorflow/serving/predict")),
        CODE.UNIMPLEMENTED,
        "Unsupported signature method_name: tensorflow/serving/predict",
    ),
    Case(
        "multi: a signature twice",
        multi(
            ("half", "regress", "tensorflow/serving/regress"),
            ("half", "regress", "tensorflow/serving/regress"),
        ),
        CODE.INVALID_ARGUMENT,
        "Duplicate evaluation of signature: regress",
    ),
    Case(
        "multi: two models",
        multi(
            ("half", "regress", "tensorflow/serving/regress"),
            ("full", "classify", "tensorflow/serving/classify"),
        ),
        CODE.INVALID_ARGUMENT,
        r"All ModelSpecs in a MultiInferenceRequest must access the same model name\.",
    ),
    Case(
        "multi: unknown signature",
        multi(("half", "nothing", "tensorflow/serving/regress")),
        CODE.INVALID_ARGUMENT,
        "Requested signature not found in model graph: nothing",
    ),
    # model_servers/model_service_impl.cc, HandleReloadConfigRequest
    Case(
        "reload: nothing",
        model_management_pb2.ReloadConfigRequest(),
        CODE.INVALID_ARGUMENT,
        r"ServerModelConfig type not supported by HandleReloadConfigRequest\. Only ModelConfigList is currently supported",
    ),
]

METHODS = {
    predict_pb2.PredictRequest: ("predictions", "Predict"),
    get_model_metadata_pb2.GetModelMetadataRequest: ("predictions", "GetModelMetadata"),
    get_model_status_pb2.GetModelStatusRequest: ("models", "GetModelStatus"),
    classification_pb2.ClassificationRequest: ("predictions", "Classify"),
    regression_pb2.RegressionRequest: ("predictions", "Regress"),
    inference_pb2.MultiInferenceRequest: ("predictions", "MultiInference"),
    model_management_pb2.ReloadConfigRequest: ("models", "HandleReloadConfigRequest"),
}


def ask(server, request):
    service, method = METHODS[type(request)]
    return getattr(getattr(server, service), method)(request, timeout=20)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused(server, case):
    with pytest.raises(grpc.RpcError) as caught:
        ask(server, case.request)
    assert (caught.value.code(), caught.value.details()) == (case.code, Matches(case.message))


def test_long_messages_are_cut_where_the_server_cuts_them(server):
    # model_servers/grpc_status_util.cc, ToGRPCStatus
    with pytest.raises(grpc.RpcError) as caught:
        ask(server, predict(model="m" * 2000, x=[1.0]))
    start = "Servable not found for request: Latest("
    assert caught.value.details() == start + "m" * (1024 - len(start)) + "...TRUNCATED"


class Matches:
    """Equal to every string that the regular expression matches whole; shows both when it is not."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def __eq__(self, text: object) -> bool:
        return isinstance(text, str) and re.fullmatch(self.pattern, text) is not None

    def __repr__(self) -> str:
        return f"matches {self.pattern!r}"

    __hash__ = None


# -- what is answered ----------------------------------------------------------------------------------------


def test_answer_names_model_version_and_signature(server):
    # servables/tensorflow/util.cc, MakeModelSpec; predict_util.cc, PostProcessPredictionResult
    # (kAsProtoField)
    response = ask(server, predict(x=[1.0, 2.0, 5.0]))
    want = predict_pb2.PredictResponse()
    spec(want.model_spec, "half", "serving_default", version=3)
    want.outputs["y"].CopyFrom(proto(tf.float32, [3], float_val=[2.5, 3.0, 4.5]))
    assert response == want


def test_version_may_be_named(server):
    response = ask(server, predict(version=3, x=[1.0]))
    assert response.model_spec.version.value == 3


def test_strings_are_bytes_in_typed_fields(server):
    # The operation upper-cases ASCII only; bytes that are not UTF-8 pass.
    response = ask(
        server, predict(signature="upper", text=np.array(["straße".encode(), b"\xff\x00a", b""], object))
    )
    want = predict_pb2.PredictResponse()
    spec(want.model_spec, "half", "upper", version=3)
    want.outputs["upper"].CopyFrom(proto(tf.string, [3], string_val=["STRAßE".encode(), b"\xff\x00A", b""]))
    want.outputs["bytes"].CopyFrom(proto(tf.int32, [3], int_val=[7, 3, 0]))
    assert response == want


def test_only_the_outputs_asked_for(server):
    response = ask(server, predict(signature="two", a=[1.0], b=[4], outputs=("difference",)))
    assert dict(response.outputs) == {"difference": proto(tf.float32, [1], float_val=[-3.0])}


ECHO = {
    "float64": ("double_val", [0.1, -2.5]),
    "float16": ("half_val", [0x3C00, 0xC100]),
    "bfloat16": ("half_val", [0x3F80, 0xC020]),
    "int8": ("int_val", [-128, 127]),
    "uint8": ("int_val", [0, 255]),
    "int64": ("int64_val", [-(2**63), 2**63 - 1]),
    "bool": ("bool_val", [True, False]),
    "uint32": ("uint32_val", [0, 2**32 - 1]),
    "complex64": ("scomplex_val", [1.0, -2.0, 3.0, 0.5]),
}


def test_every_type_comes_back_in_its_own_field(server):
    # tensorflow/core/framework/tensor.cc, AsProtoField
    inputs = {
        name: proto(getattr(tf, name), [2], **{field: values}) for name, (field, values) in ECHO.items()
    }
    response = ask(server, predict(signature="echo", **inputs))
    assert dict(response.outputs) == inputs


@pytest.mark.parametrize(
    ("sent", "shape", "values"),
    [
        # tensorflow/core/framework/tensor.cc, FromProtoField: the last value is repeated, more than enough
        # are dropped
        (proto(tf.float32, [3], float_val=[2.0]), [3], [3.0, 3.0, 3.0]),
        (proto(tf.float32, [3], float_val=[2.0, 4.0]), [3], [3.0, 4.0, 4.0]),
        (proto(tf.float32, [2]), [2], [2.0, 2.0]),
        (proto(tf.float32, [2], float_val=[2.0, 4.0, 6.0]), [2], [3.0, 4.0]),
        (proto(tf.float32, [2], tensor_content=np.array([2.0, 4.0], "<f4").tobytes()), [2], [3.0, 4.0]),
        (proto(tf.float32, [0]), [0], []),
        # The server checks no shapes, and half plus two works on any.
        (proto(tf.float32, [], float_val=[2.0]), [], [3.0]),
        (proto(tf.float32, [1, 2], float_val=[2.0, 4.0]), [1, 2], [3.0, 4.0]),
    ],
    ids=[
        "one for all",
        "last repeated",
        "none is zero",
        "too many",
        "content",
        "no rows",
        "scalar",
        "matrix",
    ],
)
def test_tensors_are_read_as_the_server_reads_them(server, sent, shape, values):
    response = ask(server, predict(x=sent))
    assert response.outputs["y"] == proto(tf.float32, shape, float_val=values)


def test_scalar_output_and_output_as_wide_as_its_longest_row(server):
    assert ask(server, predict(signature="mean", x=[1.0, 2.0])).outputs["mean"] == proto(
        tf.float32, [], float_val=[1.5]
    )
    letters = ask(server, predict(signature="letters", text=["ab", "c"])).outputs["letters"]
    assert letters == proto(tf.string, [2, 2], string_val=[b"a", b"b", b"c", b"-"])


def test_more_rows_than_a_batch_and_more_bytes_than_grpc_allows_by_default(server):
    x = np.arange(2_000_003, dtype=np.float32)
    with grpc.insecure_channel(server.address, [("grpc.max_receive_message_length", -1)]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Predict(predict(x=x), timeout=60)
    np.testing.assert_array_equal(np.array(response.outputs["y"].float_val, np.float32), x / 2 + 2)


def test_metadata_is_the_signatures_as_saved(server):
    response = ask(server, metadata())
    assert (
        response.model_spec.name,
        response.model_spec.version.value,
        response.model_spec.signature_name,
    ) == ("half", 3, "")
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) >= {
        "serving_default",
        "upper",
        "wide",
        "two",
        "__saved_model_init_op",
    }
    default = signatures.signature_def["serving_default"]
    assert default.method_name == "tensorflow/serving/predict"
    assert default.inputs["x"].name == "serving_default_x:0"
    assert default.inputs["x"].dtype == tf.float32.as_datatype_enum
    assert [dim.size for dim in default.inputs["x"].tensor_shape.dim] == [-1]


@pytest.mark.parametrize(
    "request_", [status(), status(version=3), status(label="any")], ids=["all", "one", "label"]
)
def test_status_is_available(server, request_):
    response = ask(server, request_)
    want = get_model_status_pb2.GetModelStatusResponse()
    want.model_version_status.add(version=3, state="AVAILABLE").status.SetInParent()
    assert response == want


def test_classify(server):
    response = ask(server, classify(0.25, 1.0))
    assert response.model_spec == ask(server, predict(signature="classify", inputs=[EXAMPLE])).model_spec
    assert [[(c.label, c.score) for c in row.classes] for row in response.result.classifications] == [
        [("low", 0.75), ("high", 0.25)],
        [("low", 0.0), ("high", 1.0)],
    ]


def test_regress_and_context(server):
    assert [r.value for r in ask(server, regress(1.0, 2.0)).result.regressions] == [2.5, 3.0]
    request = regression_pb2.RegressionRequest()
    spec(request.model_spec, "half", "regress")
    examples(request, float("nan"), 4.0, context=2.0)  # an example without the feature takes the context's
    assert [r.value for r in ask(server, request).result.regressions] == [3.0, 4.0]


def test_multi_inference(server):
    response = ask(
        server,
        multi(
            ("half", "regress", "tensorflow/serving/regress"),
            ("half", "classify", "tensorflow/serving/classify"),
        ),
    )
    one, two = response.results
    assert (one.model_spec.signature_name, one.model_spec.version.value) == ("regress", 3)
    assert [r.value for r in one.regression_result.regressions] == [2.25]
    assert [c.score for c in two.classification_result.classifications[0].classes] == [0.5, 0.5]


EXAMPLE = tf.train.Example(
    features=tf.train.Features(feature={"x": tf.train.Feature(float_list=tf.train.FloatList(value=[1.0]))})
).SerializeToString()
