"""A Docker Compose file for one machine: a plain dict."""

from __future__ import annotations

import os
from typing import Any

from tfpipeline.serving.deployment import server
from tfpipeline.serving.deployment.options import Deployment

FILE = "compose.yaml"
CONFIG = "config"  # the folder of the server's files, beside the compose file


def project(deployment: Deployment) -> dict[str, Any]:
    """The Compose file."""
    models = [
        {
            "type": "bind",
            "source": str(model.base_path).replace("$", "$$"),  # Compose fills in variables
            "target": f"{server.MODELS_FOLDER}/{model.name}",
            "read_only": True,
        }
        for model in deployment.models
    ]
    config = {"type": "bind", "source": f"./{CONFIG}", "target": server.CONFIG_FOLDER, "read_only": True}
    memory = f"{deployment.memory}M"
    reserved: dict[str, Any] = {"memory": memory}
    if deployment.gpus:
        reserved["devices"] = [{"driver": "nvidia", "count": deployment.gpus, "capabilities": ["gpu"]}]
    port, rest_port = deployment.server.port, int(deployment.server.rest_port or 0)
    return {
        "name": deployment.name,
        "services": {
            "serving": {
                "image": deployment.image,
                # Without it the server is the first process, which SIGTERM does not end.
                "init": True,
                "entrypoint": [server.BINARY],
                "command": server.flags(deployment, port=port, rest_port=rest_port),
                # This machine only: the server asks nobody who they are.
                "ports": [
                    f"127.0.0.1:{port}:{port}",
                    f"127.0.0.1:{rest_port}:{rest_port}",
                ],
                "volumes": [*models, config],
                "healthcheck": {
                    "test": ["CMD", *server.ready_command(rest_port)],
                    "interval": "10s",
                    "timeout": "5s",
                    "retries": 3,
                    "start_period": "10m",
                },
                "restart": "unless-stopped",
                # Whoever writes this file can read the models.
                "user": f"{os.getuid()}:{os.getgid()}",
                "read_only": True,
                "tmpfs": ["/tmp"],
                "cap_drop": ["ALL"],
                "security_opt": ["no-new-privileges:true"],
                "deploy": {"resources": {"limits": {"memory": memory}, "reservations": reserved}},
            }
        },
    }


def files(deployment: Deployment) -> dict[str, str]:
    """The server's files, by their path beside the Compose file."""
    own = {
        server.MODELS_FILE: server.models_config(deployment.models),
        **server.shared_files(deployment),
    }
    return {f"{CONFIG}/{name}": text for name, text in own.items()}
