"""Writes ``schemas.json.xz``: the schemas of KServe, the Prometheus operator and Docker Compose.

    python -m tests.serving.deployment.generate_schemas KSERVE PROMETHEUS_OPERATOR COMPOSE_SPEC

Each argument is a checkout of the repository of that name, or its git directory. Only the structure is kept:
fields, types, allowed values. An API server drops a field that it does not know; here, such a field is
refused. The script is run only to move to other releases.
"""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

SCHEMAS = Path(__file__).with_name("schemas.json.xz")
_CRDS = {  # kind -> (position of the repository, path in it, version)
    "ServingRuntime": (0, "charts/kserve-crd/templates/serving.kserve.io_servingruntimes.yaml", "v1alpha1"),
    "InferenceService": (
        0,
        "charts/kserve-crd/templates/serving.kserve.io_inferenceservices.yaml",
        "v1beta1",
    ),
    "PodMonitor": (1, "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml", "v1"),
}
_COMPOSE = (2, "schema/compose-spec.json")
_PROSE = ("description", "title", "$comment", "default")
_UNKNOWN_FIELDS = "x-kubernetes-preserve-unknown-fields"


def main(repositories: list[str]) -> None:
    schemas = {}
    for kind, (repository, path, version) in _CRDS.items():
        definition = yaml.safe_load(_read(repositories[repository], path))
        (found,) = (one for one in definition["spec"]["versions"] if one["name"] == version)
        schemas[kind] = strict(found["schema"]["openAPIV3Schema"], top=True)
    schemas["compose"] = _without_prose(json.loads(_read(repositories[_COMPOSE[0]], _COMPOSE[1])))
    text = json.dumps(schemas, sort_keys=True, separators=(",", ":"))
    SCHEMAS.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{SCHEMAS}: {SCHEMAS.stat().st_size / 1024:.0f} KiB")


def strict(schema: Any, *, top: bool = False) -> Any:
    """A structural schema of Kubernetes as a JSON schema that refuses unknown fields."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: {name: strict(one) for name, one in value.items()} if key == "properties" else strict(value)
        for key, value in schema.items()
        if key not in _PROSE and not key.startswith("x-kubernetes-") and key != "format"
    }
    if top:  # the API server knows these, not the definition
        for name in ("apiVersion", "kind", "metadata"):
            kept["properties"].setdefault(name, {})
    closed = "properties" in kept and "additionalProperties" not in kept and not schema.get(_UNKNOWN_FIELDS)
    return {**kept, "additionalProperties": False} if closed else kept


def _without_prose(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_prose(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    named = ("properties", "patternProperties", "definitions", "$defs")
    return {
        key: {name: _without_prose(one) for name, one in value.items()}
        if key in named
        else _without_prose(value)
        for key, value in schema.items()
        if key not in _PROSE
    }


def _read(repository: str, path: str) -> str:
    command = ["git", "-C", repository, "show", f"HEAD:{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(sys.argv[1:])
