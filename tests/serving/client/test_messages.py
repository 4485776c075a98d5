"""Our messages are the official ones: same fields, same bytes, and both live in one process."""

from __future__ import annotations

import subprocess
import sys

import pytest
from google.protobuf.wrappers_pb2 import Int64Value
from grpc_health.v1 import health_pb2
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
    status_pb2,
)

from tfpipeline.serving.client import messages

OFFICIAL = {
    "Dim": tensor_shape_pb2.TensorShapeProto.Dim,
    "TensorShapeProto": tensor_shape_pb2.TensorShapeProto,
    "TensorProto": tensor_pb2.TensorProto,
    "UnpackedTensorProto": tensor_pb2.TensorProto,
    "Int64Value": Int64Value,
    "ModelSpec": model_pb2.ModelSpec,
    "PredictRequest": predict_pb2.PredictRequest,
    "PredictResponse": predict_pb2.PredictResponse,
    "GetModelStatusRequest": get_model_status_pb2.GetModelStatusRequest,
    "StatusProto": status_pb2.StatusProto,
    "ModelVersionStatus": get_model_status_pb2.ModelVersionStatus,
    "GetModelStatusResponse": get_model_status_pb2.GetModelStatusResponse,
    "GetModelMetadataRequest": get_model_metadata_pb2.GetModelMetadataRequest,
    "Any": get_model_metadata_pb2.GetModelMetadataResponse().metadata["x"].__class__,
    "GetModelMetadataResponse": get_model_metadata_pb2.GetModelMetadataResponse,
    "TensorInfo": meta_graph_pb2.TensorInfo,
    "SignatureDef": meta_graph_pb2.SignatureDef,
    "SignatureDefMap": get_model_metadata_pb2.SignatureDefMap,
    "HealthCheckRequest": health_pb2.HealthCheckRequest,
    "HealthCheckResponse": health_pb2.HealthCheckResponse,
}
RAW = {"float_val", "double_val", "scomplex_val", "dcomplex_val"}


@pytest.mark.parametrize("name", messages._SCHEMA)
def test_fields_are_the_official_ones(name):
    ours = messages._CLASSES[name].DESCRIPTOR
    theirs = OFFICIAL[name].DESCRIPTOR
    for field in ours.fields:
        official = theirs.fields_by_name[field.name]
        assert field.number == official.number
        assert field.is_repeated == official.is_repeated
        if name == "TensorProto" and field.name in RAW:
            assert (field.type, official.is_packed) == (field.TYPE_BYTES, True)
        elif official.type == official.TYPE_ENUM:
            assert field.type == field.TYPE_INT32  # the same varint
        else:
            assert field.type == official.type
        if field.message_type:
            assert field.message_type.GetOptions().map_entry == official.message_type.GetOptions().map_entry
            assert field.message_type.name in (official.message_type.name, "TensorProto")
        # A oneof of ours may have lost members we never send, but not gained any.
        if field.containing_oneof:
            assert official.containing_oneof.name == field.containing_oneof.name


specs = st.fixed_dictionaries(
    {"name": st.text(), "signature_name": st.text()},
    optional={"version": st.fixed_dictionaries({"value": st.integers(-(2**63), 2**63 - 1)})},
) | st.fixed_dictionaries({"name": st.text(), "version_label": st.text(min_size=1)})
shapes = st.fixed_dictionaries(
    {
        "dim": st.lists(st.fixed_dictionaries({"size": st.integers(-1, 2**62)}), max_size=3),
        "unknown_rank": st.booleans(),
    }
)
int32 = st.integers(-(2**31), 2**31 - 1)
tensors = st.fixed_dictionaries(
    {"dtype": st.sampled_from([1, 3, 7, 9, 19, 23])},
    optional={
        "tensor_shape": shapes,
        "tensor_content": st.binary(),
        "half_val": st.lists(int32, max_size=3),
        "int_val": st.lists(int32, max_size=3),
        "string_val": st.lists(st.binary(), max_size=3),
        "int64_val": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
        "bool_val": st.lists(st.booleans(), max_size=3),
        "uint32_val": st.lists(st.integers(0, 2**32 - 1), max_size=3),
        "uint64_val": st.lists(st.integers(0, 2**64 - 1), max_size=3),
    },
)
VALUES = {
    "PredictRequest": st.fixed_dictionaries(
        {
            "model_spec": specs,
            "inputs": st.dictionaries(st.text(), tensors, max_size=3),
            "output_filter": st.lists(st.text(), max_size=3),
        }
    ),
    "PredictResponse": st.fixed_dictionaries(
        {"model_spec": specs, "outputs": st.dictionaries(st.text(), tensors, max_size=3)}
    ),
    "GetModelStatusRequest": st.fixed_dictionaries({"model_spec": specs}),
    "GetModelStatusResponse": st.fixed_dictionaries(
        {
            "model_version_status": st.lists(
                st.fixed_dictionaries(
                    {"version": st.integers(0, 2**63 - 1), "state": st.sampled_from([0, 10, 20, 30, 40, 50])},
                    optional={
                        "status": st.fixed_dictionaries(
                            {"error_code": st.integers(0, 16), "error_message": st.text()}
                        )
                    },
                ),
                max_size=3,
            )
        }
    ),
    "GetModelMetadataRequest": st.fixed_dictionaries(
        {"model_spec": specs, "metadata_field": st.lists(st.text())}
    ),
    "SignatureDefMap": st.fixed_dictionaries(
        {
            "signature_def": st.dictionaries(
                st.text(),
                st.fixed_dictionaries(
                    {
                        "inputs": st.dictionaries(
                            st.text(),
                            st.fixed_dictionaries(
                                {"name": st.text(), "dtype": st.sampled_from([1, 14]), "tensor_shape": shapes}
                            ),
                            max_size=2,
                        ),
                        "method_name": st.text(),
                    }
                ),
                max_size=2,
            )
        }
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_bytes_go_both_ways(name):
    @given(VALUES[name])
    def both_ways(value):
        ours = messages._CLASSES[name](**value)
        theirs = OFFICIAL[name](**value)
        assert OFFICIAL[name].FromString(ours.SerializeToString()) == theirs
        assert messages._CLASSES[name].FromString(theirs.SerializeToString()) == ours

    both_ways()


BESIDE_TENSORFLOW = """
import sys, warnings
warnings.simplefilter("ignore")
{imports}
ours = messages.PredictRequest(model_spec={{"name": "m"}})
ours.inputs["x"].string_val.append(b"y")
theirs = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
assert theirs.inputs["x"].string_val == [b"y"], theirs
assert messages.PredictRequest.FromString(theirs.SerializeToString()) == ours
assert "tensorflow" in sys.modules
"""


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_lives_beside_tensorflow_in_either_order(first):
    imports = [
        "from tfpipeline.serving.client import messages",
        "from tensorflow_serving.apis import predict_pb2",
    ]
    code = BESIDE_TENSORFLOW.format(imports="\n".join(imports if first == "ours" else reversed(imports)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
