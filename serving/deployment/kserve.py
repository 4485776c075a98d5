"""A KServe `ServingRuntime`, and an `InferenceService` for each model: plain dicts.

KServe's own runtime for TensorFlow is an image of 2.6.2 without batching, labels and TensorFlow Serving's
metrics. This one gives each `InferenceService` a `models.config` of its own, found by its name.
Sources in kserve/kserve 0.20: config/runtimes/kserve-tensorflow-serving.yaml, the CRDs of charts/kserve-crd,
pkg/controller/v1beta1/inferenceservice/utils (placeholders in a container's arguments).
"""

from __future__ import annotations

from typing import Any

from tfpipeline.errors import UserError
from tfpipeline.serving.deployment import kubernetes, server
from tfpipeline.serving.deployment.options import Deployment, resource_name
from tfpipeline.serving.server.model_config import ModelConfig

_MODELS_FOLDER = "/mnt/models"  # where KServe's storage initializer puts a model
_PORT, _REST_PORT = 9000, 8080  # that KServe expects
_OWN_CONFIG = "{{.Name}}.config"  # KServe fills in the name of the InferenceService


def resources(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """All resources, by the name of their file.

    Raises:
        UserError: an option has no meaning for KServe.
    """
    if deployment.server.tls_key is not None:
        raise UserError("--tls-key: KServe's gateway has the certificates; leave the TLS files out")
    made = {"configmap.yaml": _config_map(deployment), "serving-runtime.yaml": _runtime(deployment)}
    for model in deployment.models:
        made[f"inference-service-{resource_name(model.name)}.yaml"] = _service(deployment, model)
    made["kustomization.yaml"] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(made),
    }
    return made


def _config_map(deployment: Deployment) -> dict[str, Any]:
    configs = {
        f"{resource_name(model.name)}.config": server.models_config([model]).replace(
            f'"{server.MODELS_FOLDER}/{model.name}"', f'"{_MODELS_FOLDER}"'
        )
        for model in deployment.models
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": kubernetes.metadata(deployment, f"{deployment.name}-config"),
        "data": {**configs, **server.shared_files(deployment)},
    }


def _runtime(deployment: Deployment) -> dict[str, Any]:
    arguments = [
        flag.replace(server.MODELS_FILE, _OWN_CONFIG)
        for flag in server.flags(deployment, port=_PORT, rest_port=_REST_PORT)
    ]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": kubernetes.metadata(deployment, deployment.name),
        "spec": {
            "annotations": {
                "prometheus.kserve.io/port": str(_REST_PORT),
                "prometheus.kserve.io/path": server.METRICS_PATH,
            },
            # Chosen by its name only: other models of the namespace stay with KServe's runtime.
            "supportedModelFormats": [{"name": "tensorflow", "version": "2", "autoSelect": False}],
            "protocolVersions": ["v1", "grpc-v1"],
            "containers": [
                {
                    "name": "kserve-container",
                    **kubernetes.container(deployment),
                    "args": arguments,
                    "ports": [
                        {"name": "http", "containerPort": _REST_PORT, "protocol": "TCP"},
                        {"name": "grpc", "containerPort": _PORT, "protocol": "TCP"},
                    ],
                    **kubernetes.probes(_REST_PORT, _PORT, _OWN_CONFIG),
                    "volumeMounts": [
                        {"name": "config", "mountPath": server.CONFIG_FOLDER, "readOnly": True},
                        {"name": "temporary", "mountPath": "/tmp"},
                    ],
                }
            ],
            "volumes": [
                {"name": "config", "configMap": {"name": f"{deployment.name}-config"}},
                {"name": "temporary", "emptyDir": {}},
            ],
        },
    }


def _service(deployment: Deployment, model: ModelConfig) -> dict[str, Any]:
    annotations = {
        "serving.kserve.io/deploymentMode": "Standard",
        "serving.kserve.io/enable-prometheus-scraping": "true",
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": kubernetes.metadata(deployment, resource_name(model.name), annotations=annotations),
        "spec": {
            "predictor": {
                "minReplicas": deployment.replicas,
                "maxReplicas": deployment.max_replicas,
                "scaleMetric": "cpu",
                "scaleTarget": 70,
                **kubernetes.termination(deployment),
                "model": {
                    "modelFormat": {"name": "tensorflow", "version": "2"},
                    "runtime": deployment.name,
                    "storageUri": f"{deployment.storage.rstrip('/')}/{model.name}",
                },
            }
        },
    }
