from __future__ import annotations

import hashlib
import importlib.util

import numpy as np
from safetensors.numpy import load_file

from tests import tiny
from tfpipeline import checkpoints


def test_every_tensor_is_listed_with_its_checksum(tmp_path):
    source = tiny.write_checkpoint(tmp_path / "source", **tiny.CLASSIFIER)
    checkpoints.convert(source, tmp_path / "google", to="google")
    report = checkpoints.parity_report(checkpoints.load(source))
    again = checkpoints.parity_report(checkpoints.load(tmp_path / "google"))

    raw = load_file(source / "model.safetensors")
    rows = {line.split()[1]: line.split() for line in report.splitlines() if len(line.split()) == 4}
    rows = {theirs.replace("bert.", ""): row for theirs, row in rows.items()}
    assert rows.keys() == {name.removeprefix("bert.") for name in raw}
    kernel = raw["classifier.weight"].T
    assert rows["classifier.weight"][2:] == ["16x3", hashlib.sha256(kernel.tobytes()).hexdigest()[:12]]
    norm = raw["bert.embeddings.LayerNorm.bias"]
    assert rows["embeddings.LayerNorm.bias"] == [
        "embeddings/norm/bias",
        "embeddings.LayerNorm.bias",
        "16",
        hashlib.sha256(norm.tobytes()).hexdigest()[:12],
    ]
    # The same weights have the same checksums in whatever format.
    sums = [
        {tuple(line.split()[::3]) for line in text.splitlines() if len(line.split()) == 4}
        for text in (report, again)
    ]
    assert sums[0] == sums[1]
    assert len(sums[0]) == len(raw)

    total = sum(array.size for array in raw.values())
    assert f"{len(raw)} tensors mapped, 0 left out, {total:,} weights" in report
    assert 'note: hidden_act "gelu" is gelu_erf: what transformers computes' in report
    assert report.splitlines()[0].endswith("heads sequence_classifier (positive, negative, neutral)")
    if importlib.util.find_spec("torch") is None:
        assert report.splitlines()[-1] == "hidden states not compared with PyTorch's: torch not installed"


def test_what_is_left_out_and_what_was_made_is_said(tmp_path):
    from safetensors.numpy import save_file

    source = tiny.write_checkpoint(tmp_path / "source")
    raw = load_file(source / "model.safetensors")
    save_file({**raw, "embeddings.position_ids": np.arange(40)}, source / "model.safetensors")
    checkpoint = checkpoints.extend(checkpoints.load(source), positions=50)
    report = checkpoints.parity_report(checkpoint).splitlines()
    assert "left out: embeddings.position_ids (the numbers 0, 1, 2, ...: not a weight)" in report
    (row,) = (line for line in report if line.startswith("embeddings/position "))
    assert row.split()[1:4] == ["made", "here", "50x16"]
