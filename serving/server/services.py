"""`PredictionService` and `ModelService` for the versions in memory.

Each method checks in the order of TensorFlow Serving, and returns its status codes and messages.
Sources in tensorflow/serving: model_servers/{prediction,model}_service_impl.cc, get_model_status_impl.cc,
server_core.cc (ServableRequestFromModelSpec), servables/tensorflow/{predict_util,get_model_metadata_impl}.cc.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional

import grpc
import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tfpipeline.serving.server import inference
from tfpipeline.serving.server.batch_keys import batch_key, batchable, row_tokens
from tfpipeline.serving.server.batching import NotRowByRowError
from tfpipeline.serving.server.model_config import from_message
from tfpipeline.serving.server.models import Models
from tfpipeline.serving.server.predict import Question, find_signature, read_request
from tfpipeline.serving.server.saved_model import DEFAULT_SIGNATURE
from tfpipeline.serving.server.status import StatusError, invalid_argument, not_found
from tfpipeline.serving.server.tensors import encode
from tfpipeline.serving.server.versions import Version

_SIGNATURE_DEF = "signature_def"


def add_services(server: grpc.Server, models: Models) -> tuple[PredictionService, ModelService]:
    """Register both services with a gRPC server."""
    predictions, status = PredictionService(models), ModelService(models)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(predictions, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(status, server)
    return predictions, status


class LocalCall:
    """A call from this process, in place of a `grpc.ServicerContext`: a refusal is raised as a StatusError.

    Args:
        alive: whether the caller still waits.
    """

    def __init__(self, alive: Callable[[], bool] = lambda: True) -> None:
        self.is_active = alive


@contextlib.contextmanager
def _answered(context: Any) -> Iterator[None]:
    try:
        yield
    except StatusError as error:
        if isinstance(context, LocalCall):
            raise
        context.abort(error.code, error.details())


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, GetModelMetadata, Classify, Regress, MultiInference."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def inputs(self, spec: Any, signature_name: str) -> Mapping[str, Any]:
        """The inputs of a signature, alias -> `TensorInfo`, which a request in JSON is read with.

        Raises:
            StatusError: there is no such model, version or signature. Source: HttpRestApiHandler::GetInfoMap.
        """
        name = signature_name or DEFAULT_SIGNATURE
        with self._models.use(spec) as version:
            signatures = version.model.signatures
            if name not in signatures:
                raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
            found: Mapping[str, Any] = signatures[name].inputs
            return found

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the protocol's name
        response = predict_pb2.PredictResponse()
        with _answered(context):
            _need_spec(request)
            with self._models.use(request.model_spec) as version:
                name, signature = find_signature(version.model.signatures, request.model_spec.signature_name)
                _fill_spec(response.model_spec, request.model_spec.name, version, name)
                question = read_request(request, signature)
                values = _compute(version, name, signature, question, context.is_active)
            for alias, value in zip(question.outputs, values):
                encode(value, response.outputs[alias])
        return response

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with _answered(context):
            _need_spec(request)
            if not request.metadata_field:
                raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
            for field in request.metadata_field:
                if field != _SIGNATURE_DEF:
                    raise invalid_argument(f"Metadata field {field} is not supported")
            with self._models.use(request.model_spec) as version:
                signatures = get_model_metadata_pb2.SignatureDefMap()
                for name, signature in version.model.signatures.items():
                    signatures.signature_def[name].CopyFrom(signature)
                response.model_spec.name = request.model_spec.name
                response.model_spec.version.value = version.number
            response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._infer(
            request,
            context,
            classification_pb2.ClassificationResponse(),
            inference.classify_tensors,
            inference.write_classifications,
        )

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._infer(
            request,
            context,
            regression_pb2.RegressionResponse(),
            inference.regress_tensors,
            inference.write_regressions,
        )

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        response = inference_pb2.MultiInferenceResponse()
        with _answered(context):
            # The first task names the model and version; without tasks, the empty spec is refused.
            spec = request.tasks[0].model_spec if request.tasks else inference_pb2.InferenceTask().model_spec
            with self._models.use(spec) as version:
                signatures = version.model.signatures
                inputs, outputs = inference.check_tasks(request.tasks, signatures)
                examples, values = inference.compute(version.model.run, request.input, inputs, outputs)
            for task in request.tasks:
                signature = signatures[task.model_spec.signature_name or DEFAULT_SIGNATURE]
                result = response.results.add()
                if task.method_name == inference.CLASSIFY:
                    inference.write_classifications(signature, examples, values, result.classification_result)
                    result.classification_result.SetInParent()
                else:
                    inference.write_regressions(signature, examples, values, result.regression_result)
                _fill_spec(
                    result.model_spec,
                    task.model_spec.name,
                    version,
                    task.model_spec.signature_name or DEFAULT_SIGNATURE,
                )
        return response

    def _infer(
        self,
        request: Any,
        context: grpc.ServicerContext,
        response: Any,
        tensors: Callable[[Any], tuple[str, list[str]]],
        write: Callable[[Any, int, Any, Any], None],
    ) -> Any:
        with _answered(context):
            _need_spec(request)
            with self._models.use(request.model_spec) as version:
                name = request.model_spec.signature_name or DEFAULT_SIGNATURE
                signature = inference.signature_of(version.model.signatures, name)
                tensor, outputs = tensors(signature)
                _fill_spec(response.model_spec, request.model_spec.name, version, name)
                examples, values = inference.compute(version.model.run, request.input, [tensor], outputs)
            write(signature, examples, values, response.result)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        response = get_model_status_pb2.GetModelStatusResponse()
        with _answered(context):
            _need_spec(request)
            spec = request.model_spec
            states = self._models.states(spec.name)
            if spec.HasField("version"):
                states = [entry for entry in states if entry[0] == spec.version.value]
                if not states:
                    raise not_found(f"Could not find version {spec.version.value} of model {spec.name}")
            elif not states:
                raise not_found(f"Could not find any versions of model {spec.name}")
            for number, state, error in states:
                status = response.model_version_status.add(version=number, state=int(state))
                status.status.SetInParent()
                if error is not None:
                    status.status.error_code = error.number
                    status.status.error_message = error.message
        return response

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        with _answered(context):
            if request.config.WhichOneof("config") != "model_config_list":
                raise invalid_argument(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                    "Only ModelConfigList is currently supported"
                )
            self._models.reload(from_message(request.config))
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        for name in sorted(set(request.metric_names)):
            response.metric.add(name=name)  # the embedded server counts nothing by these names
        return response


def _need_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")


def _fill_spec(spec: Any, name: str, version: Version, signature_name: str) -> None:
    spec.name = name
    spec.signature_name = signature_name
    spec.version.value = version.number


def _compute(
    version: Version, name: str, signature: Any, question: Question, alive: Callable[[], bool]
) -> list[np.ndarray]:
    """Compute through the batcher if that affects only the speed, otherwise directly in the session."""
    model, notes = version.model, version.notes
    fetches = [signature.outputs[alias].name for alias in question.outputs]
    key = _batch_key(notes, name, signature, question)
    if key is not None and version.batcher is not None:
        aliases = sorted(question.inputs)
        tensors = [signature.inputs[alias].name for alias in aliases]
        try:
            return version.batcher.run(
                (name, question.outputs, key),
                [question.inputs[alias] for alias in aliases],
                lambda arrays: model.run(dict(zip(tensors, arrays)), fetches),
                alive,
                row_tokens(question.inputs),
            )
        except NotRowByRowError:
            notes[name] = False  # the outputs differ from the signature: not batched again for this version
    feeds = {signature.inputs[alias].name: array for alias, array in question.inputs.items()}
    result: list[np.ndarray] = model.run(feeds, fetches)
    return result


def _batch_key(
    notes: dict[str, Any], name: str, signature: Any, question: Question
) -> Optional[tuple[Any, ...]]:
    if name not in notes:
        notes[name] = batchable(signature)
    return batch_key(question.inputs, signature) if notes[name] else None
