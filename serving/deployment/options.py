"""What is deployed, and how: the options of `tfpipeline serve-config` and their checks."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Optional

from tfpipeline.errors import UserError, visible
from tfpipeline.serving.server.model_config import ModelConfig
from tfpipeline.serving.server.options import ServerOptions

#: The newest release of TensorFlow Serving with an image. Exported models run on 2.6 to 2.21.
IMAGE = "tensorflow/serving:2.20.0"

_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?")  # DNS-1035, with room for suffixes such as -config
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_CLAIM = re.compile(r"pvc://([a-z0-9]([-a-z0-9.]*[a-z0-9])?)(/[A-Za-z0-9._/-]*)?")
_BUCKET = re.compile(r"(?!pvc:)[a-z][a-z0-9+]*://[^/\s]+(/\S*)?")

_BASE_MIB = 512  # the server itself, its thread pools and the tensors of a batch
_COPIES = 3  # a version's files in memory: prepared weights of one version, and of the next while it loads


@dataclass(frozen=True)
class Deployment:
    """Servers of some models.

    Args:
        server: how each server is run; its ports, limits, TLS files and flags.
        models: at least one, with its labels and the versions to serve, and its directory on this machine.
        size: bytes of the versions that are served, of each model the largest.
        batching: a `BatchingParameters` text; "" for no batching.
        name: of all resources; the model's, by default.
        image: the server's image, which holds `tensorflow_model_server` and bash; by default
            TensorFlow Serving's own, for CPUs or GPUs.
        storage: where the cluster finds `MODEL/VERSION`: `pvc://CLAIM/FOLDER` or an address of a bucket.
        namespace: of all resources; that of `kubectl`, by default.
        cpus: the cores of a server.
        gpus: the NVIDIA GPUs of a server.
        memory_mib: the memory of a server; None: by the size of the models.
        replicas: the least number of servers.
        max_replicas: the greatest number of servers.
        pod_monitor: whether the Prometheus operator is told about the metrics.
    """

    server: ServerOptions
    models: tuple[ModelConfig, ...]
    size: int = 0
    batching: str = ""
    name: str = ""
    image: str = ""
    storage: str = "pvc://models"
    namespace: Optional[str] = None
    cpus: int = 2
    gpus: int = 0
    memory_mib: Optional[int] = None
    replicas: int = 2
    max_replicas: int = 8
    pod_monitor: bool = True

    def __post_init__(self) -> None:
        for model in self.models:
            if not _MODEL.fullmatch(model.name):
                raise UserError(
                    f'the model\'s name "{visible(model.name)}" cannot be part of an address; give a letter '
                    'or digit, followed by up to 127 letters, digits, ".", "_" and "-"'
                )
        names = [resource_name(model.name) for model in self.models]
        for model, name in zip(self.models, names):
            first = self.models[names.index(name)]
            if first is not model:
                raise UserError(
                    f"the models {first.name} and {model.name} would both be called {name} in Kubernetes; "
                    "rename one of them"
                )
        if not self.name:
            object.__setattr__(self, "name", names[0] if len(names) == 1 else "tensorflow-serving")
        for option, given in (("--name", self.name), ("--namespace", self.namespace)):
            if given is not None and not _LABEL.fullmatch(given):
                raise UserError(
                    f'{option} "{visible(given)}" cannot be a name in Kubernetes; give a letter, followed by '
                    'up to 49 small letters, digits and "-"'
                )
        if not self.image:
            object.__setattr__(self, "image", f"{IMAGE}-gpu" if self.gpus else IMAGE)
        if not _IMAGE.fullmatch(self.image):
            raise UserError(f'--image "{visible(self.image)}" is not an image; give one such as {IMAGE}')
        if self.image.endswith(":latest") or ":" not in self.image.rpartition("/")[2]:
            raise UserError(
                f"--image {self.image} names no version, so servers could differ; give one such as {IMAGE}"
            )
        if not (_CLAIM.fullmatch(self.storage) or _BUCKET.fullmatch(self.storage)):
            raise UserError(
                f"--storage {visible(self.storage)} is no address; give pvc://CLAIM/FOLDER (a claim's name "
                'has small letters, digits, "-" and ".") or gs://BUCKET/FOLDER, the folder that holds '
                "the models' directories"
            )
        for option, port in (("--port", self.server.port), ("--rest-port", self.server.rest_port)):
            if not port:
                raise UserError(f"{option} {port}: clients and probes must know it; give 1 to 65535")
        if self.cpus < 1:
            raise UserError(f"--cpus {self.cpus}: a server needs 1 or more")
        if self.gpus < 0:
            raise UserError(f"--gpus {self.gpus}: give 0 or more")
        if self.memory_mib is not None and self.memory_mib < _BASE_MIB // 2:
            raise UserError(f"--memory {self.memory_mib} MiB is too little for a server; give 256 or more")
        if not 1 <= self.replicas <= self.max_replicas:
            raise UserError(
                f"--replicas {self.replicas} and --max-replicas {self.max_replicas}: give 1 or more, and a "
                "maximum that is no smaller"
            )
        if self.server.max_connection_age <= 0:
            raise UserError(
                f"--max-connection-age {self.server.max_connection_age:g}: clients would stay with servers "
                "that are being replaced; give seconds, such as 30"
            )

    @property
    def memory(self) -> int:
        """The memory of a server in MiB, a multiple of 256."""
        if self.memory_mib is not None:
            return self.memory_mib
        return 256 * math.ceil((_BASE_MIB + _COPIES * self.size / 2**20) / 256)

    @property
    def drain_seconds(self) -> int:
        """How long a server that is to end still answers.

        Clients find the other servers when their connection is closed, which gRPC spreads by 10 % around the
        maximum age. Ten seconds are for the calls and for the cluster to take the address away.
        """
        return math.ceil(1.1 * self.server.max_connection_age) + 10

    @property
    def claim(self) -> Optional[tuple[str, str]]:
        """The volume claim and the folder in it ("" or ending with "/"); None for a bucket."""
        match = _CLAIM.fullmatch(self.storage)
        if match is None:
            return None
        folder = (match[3] or "").strip("/")
        return match[1], f"{folder}/" if folder else ""


def resource_name(name: str) -> str:
    """A name that Kubernetes allows, made from any other."""
    small = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return (small if small[:1].isalpha() else f"model-{small}")[:50].rstrip("-")
