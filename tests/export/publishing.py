"""Run as a script: publishes and removes versions and moves labels until it is killed."""

from __future__ import annotations

import sys

from tfpipeline.export import labels, versions
from tfpipeline.export.model_directory import open_directory

model = sys.argv[1]
directory = open_directory(model)
print("ready", flush=True)
for number in range(100_000):
    with directory.staging(versions.next_version(directory)) as folder:
        for name in ("saved_model.pb", *(f"variables/{i}" for i in range(39))):
            path = folder / "model" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 5000)
        version = versions.publish_version(folder / "model", directory, f"{number}")
    labels.promote(model, version)
    versions.prune(directory, 2)
