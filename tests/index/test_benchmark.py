"""The benchmark of searches runs; its figures are of few rows."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np

from benchmarks import search, table


def test_the_rows_are_unit_vectors_in_clusters():
    rows = search.clustered(400, 64, 2)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    products = np.sort((rows @ rows.T).ravel())
    assert products[: 400 * 190].max() < 0.4 < 0.45 < np.median(products[-400 * 190 :]) < 0.55


def test_each_measurement_is_printed(monkeypatch, capsys):
    def loads(command, **options):
        """Stands for a process that takes a minute to start."""
        assert (Path(command[3]) / "saved_model.pb").exists()
        told = json.dumps({"seconds": 1.5, "peak_mb": 900.0, "base_mb": 600.0})
        return subprocess.CompletedProcess(command, 0, told)

    monkeypatch.setattr(search.subprocess, "run", loads)
    arguments = [
        "--rows",
        "2000",
        "--list-rows",
        "3000",
        "--lists",
        "16",
        "--dimensions",
        "24",
        "--rounds",
        "2",
    ]
    search.main(arguments)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    exact = [line for line in lines if line["case"] == "exact"]
    assert [(line["batch"], line["precision"]) for line in exact] == [
        (batch, kind) for batch in (1, 32) for kind in ("float32", "bfloat16", "int8")
    ]
    assert all(line["recall"] == 1 for line in exact if line["precision"] == "float32")
    lists = [line for line in lines if "lists" in line["case"]]
    assert [line["batch"] for line in lists] == [1, 32]
    assert all(line["recall"] > 0.8 for line in lists)
    loaded = {line["way"]: line for line in lines if line["case"] == "memory"}
    assert loaded.keys() == {"exact", "lists"}
    assert loaded["exact"]["disk_megabytes"] > 3000 * 24 * 4 / 2**20
    assert len(table.rows(lines)) == len(lines)
