"""The benchmark of writing runs, and what it compares writes the same; nothing is timed."""

from __future__ import annotations

import json

import numpy as np

from benchmarks import generate
from tests import tiny


def measurements(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


def test_all_comparisons_are_made(tmp_path, capsys):
    checkpoint = tiny.write_checkpoint(tmp_path / "checkpoint", std=0.5, seed=3, max_position_embeddings=24)
    sizes = ["--source", "6", "--tokens", "5", "--rounds", "1"]
    generate.main(["--checkpoint", str(checkpoint), *sizes, "--torch", str(tmp_path / "none")])
    found = measurements(capsys)
    assert [(line["case"], line.get("peer")) for line in found] == [
        ("greedy", "no cache"),
        ("4 beams", "greedy"),
        ("greedy in bfloat16", "greedy"),
        ("memory of greedy", None),
        ("memory of 4 beams", None),
    ]
    # All keys and values, and nothing else of their size.
    assert [line["megabytes_ratio"] for line in found[3:]] == [1, 1]


def test_with_and_without_the_cache_the_same_is_written(tmp_path):
    checkpoint = tiny.write_checkpoint(tmp_path / "checkpoint", std=0.5, seed=3, max_position_embeddings=24)
    writer = generate.Writer(checkpoint, tokens=9)
    size = writer.config.vocab_size
    ids = np.random.default_rng(0).integers(5, size, (generate.BATCH, 7), np.int32)
    written = writer.way(1)(ids)
    assert written.shape == (generate.BATCH, 9)
    assert len(np.unique(written)) > 3
    np.testing.assert_array_equal(written, writer.without_cache()(ids))
