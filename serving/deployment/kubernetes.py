"""The resources of a Kubernetes cluster: plain dicts, in the form of its API."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tfpipeline.errors import UserError
from tfpipeline.serving.deployment import server
from tfpipeline.serving.deployment.options import Deployment

_USER = 1000  # the image names none, and runs as root otherwise
_CPU_PERCENT = 70  # of what is requested; above it, the autoscaler adds servers

_PROBE_SECONDS = 5
_START_SECONDS = 600  # to read the models from their storage and to replay warm-up requests


def resources(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """All resources, by the name of their file.

    Raises:
        UserError: the server itself cannot read the storage.
    """
    if not deployment.claim and not deployment.storage.startswith("gs://"):
        raise UserError(
            f"--storage {deployment.storage}: TensorFlow Serving reads volumes (pvc://CLAIM) and gs:// only; "
            "copy the models to one of them, or deploy with KServe, which copies them itself"
        )
    made = {
        "configmap.yaml": config_map(deployment),
        "deployment.yaml": _deployment(deployment),
        "service.yaml": _service(deployment),
        "autoscaler.yaml": _autoscaler(deployment),
        "disruption-budget.yaml": _disruption_budget(deployment),
    }
    if deployment.pod_monitor:
        made["pod-monitor.yaml"] = _pod_monitor(deployment)
    if private := secret(deployment):
        made["secret.yaml"] = private
    made["kustomization.yaml"] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(made),
    }
    return made


def metadata(deployment: Deployment, name: str, **more: Any) -> dict[str, Any]:
    """The metadata of a resource."""
    namespace = {} if deployment.namespace is None else {"namespace": deployment.namespace}
    return {"name": name, **namespace, "labels": labels(deployment), **more}


def labels(deployment: Deployment) -> dict[str, str]:
    """The labels by which the resources find one another."""
    return {"app.kubernetes.io/name": "tensorflow-serving", "app.kubernetes.io/instance": deployment.name}


def config_map(deployment: Deployment) -> dict[str, Any]:
    """The files that servers read. A running server follows changes of `models.config`."""
    root = server.MODELS_FOLDER if deployment.claim else deployment.storage.rstrip("/")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(deployment, f"{deployment.name}-config"),
        "data": {
            server.MODELS_FILE: server.models_config(deployment.models, root),
            **server.public(server.shared_files(deployment)),
        },
    }


def secret(deployment: Deployment) -> dict[str, Any]:
    """The file that has the private key of TLS; empty without one."""
    text = server.shared_files(deployment).get(server.PRIVATE_FILE)
    if text is None:
        return {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(deployment, f"{deployment.name}-tls"),
        "type": "Opaque",
        "stringData": {server.PRIVATE_FILE: text},
    }


def container(deployment: Deployment) -> dict[str, Any]:
    """What the server's container is in every kind of cluster, without a name, arguments and ports."""
    memory = f"{deployment.memory}Mi"
    gpus = {"nvidia.com/gpu": str(deployment.gpus)} if deployment.gpus else {}
    return {
        "image": deployment.image,
        "command": [server.BINARY],
        # No limit of CPU: a server that is stopped for a part of each period answers late.
        "resources": {
            "requests": {"cpu": str(deployment.cpus), "memory": memory},
            "limits": {"memory": memory, **gpus},
        },
        # Calls go on until clients have found other servers; the server itself would just end.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(deployment.drain_seconds)]}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def probes(rest_port: int, port: int, models_file: str = server.MODELS_FILE) -> dict[str, Any]:
    """Ready once all models are available; alive while the gRPC port accepts connections."""
    ready = {"exec": {"command": server.ready_command(rest_port, models_file)}, "timeoutSeconds": 5}
    return {
        "startupProbe": {
            **ready,
            "periodSeconds": _PROBE_SECONDS,
            "failureThreshold": _START_SECONDS // _PROBE_SECONDS,
        },
        "readinessProbe": {**ready, "periodSeconds": _PROBE_SECONDS, "failureThreshold": 3},
        "livenessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 20, "failureThreshold": 6},
    }


def termination(deployment: Deployment) -> dict[str, Any]:
    """How a pod ends; see :mod:`tfpipeline.serving.deployment.server`."""
    return {
        # The server is then not the first process, and SIGTERM ends it.
        "shareProcessNamespace": True,
        "terminationGracePeriodSeconds": deployment.drain_seconds + 15,
    }


def _deployment(deployment: Deployment) -> dict[str, Any]:
    files = server.shared_files(deployment)
    # Servers read these files at their start only, so a change replaces the pods.
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    port, rest_port = deployment.server.port, int(deployment.server.rest_port or 0)
    arguments = server.flags(deployment, port=port, rest_port=rest_port)
    config = [{"configMap": {"name": f"{deployment.name}-config"}}]
    if server.PRIVATE_FILE in files:
        config.append({"secret": {"name": f"{deployment.name}-tls"}})
    volumes: list[dict[str, Any]] = [
        {"name": "config", "projected": {"sources": config}},
        {"name": "temporary", "emptyDir": {}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "config", "mountPath": server.CONFIG_FOLDER, "readOnly": True},
        {"name": "temporary", "mountPath": "/tmp"},
    ]
    if deployment.claim:
        claim, folder = deployment.claim
        volumes.append({"name": "models", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
        where = {"subPath": folder.rstrip("/")} if folder else {}
        mounts.append({"name": "models", "mountPath": server.MODELS_FOLDER, **where, "readOnly": True})
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels(deployment)},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(deployment, deployment.name),
        "spec": {  # without a number of replicas: that is the autoscaler's
            "selector": {"matchLabels": labels(deployment)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {
                    "labels": labels(deployment),
                    "annotations": {"tfpipeline/files-sha256": digest},
                },
                "spec": {
                    **termination(deployment),
                    "topologySpreadConstraints": [spread],
                    "containers": [
                        {
                            "name": "serving",
                            **container(deployment),
                            "args": arguments,
                            "ports": [
                                {"name": "grpc", "containerPort": port},
                                {"name": "rest", "containerPort": rest_port},
                            ],
                            **probes(rest_port, port),
                            "volumeMounts": mounts,
                        }
                    ],
                    "volumes": volumes,
                },
            },
        },
    }


def _service(deployment: Deployment) -> dict[str, Any]:
    """Without an address of its own: gRPC keeps a connection, so clients must see every server's address."""
    port, rest_port = deployment.server.port, deployment.server.rest_port
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(deployment, deployment.name),
        "spec": {
            "clusterIP": "None",
            "selector": labels(deployment),
            "ports": [
                {"name": "grpc", "port": port, "targetPort": "grpc"},
                {"name": "rest", "port": rest_port, "targetPort": "rest"},
            ],
        },
    }


def _autoscaler(deployment: Deployment) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(deployment, deployment.name),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.name},
            "minReplicas": deployment.replicas,
            "maxReplicas": deployment.max_replicas,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": _CPU_PERCENT},
                    },
                }
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
        },
    }


def _disruption_budget(deployment: Deployment) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(deployment, deployment.name),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels(deployment)}},
    }


def _pod_monitor(deployment: Deployment) -> dict[str, Any]:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata(deployment, deployment.name),
        "spec": {
            "selector": {"matchLabels": labels(deployment)},
            "podMetricsEndpoints": [{"port": "rest", "path": server.METRICS_PATH, "interval": "15s"}],
        },
    }
