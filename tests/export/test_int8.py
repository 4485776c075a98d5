"""The products that the benchmark of 8 bits times are the same product; nothing is timed."""

from __future__ import annotations

import json

import numpy as np

from benchmarks import int8


def test_all_ways_multiply(capsys, monkeypatch):
    products = {name: call().numpy().astype(np.float64) for name, call in int8.ways(3, 64, 16).items()}
    products["int8_matmul"] *= (6 / 127) ** 2  # of both scales
    for name, product in products.items():
        assert product.shape == (3, 16)
        assert np.corrcoef(product.ravel(), products["float32"].ravel())[0, 1] > 0.98, name
    monkeypatch.setattr(int8, "SHAPES", ((2, 4, 4),))
    int8.main(repeats=1)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["way"] for line in lines] == list(products)
    assert lines[0]["speed_ratio"] == 1
