"""The benchmark of exports runs; its figures are of a tiny model."""

from __future__ import annotations

from benchmarks import export
from tfpipeline import checkpoints


def test_what_is_exported_is_a_fine_tuned_checkpoint_of_the_shape(tmp_path):
    size = export.write_checkpoint(tmp_path / "model", layers=2, hidden=64, vocabulary=100)
    found = checkpoints.load(tmp_path / "model")
    assert found.labels == ("no", "yes")
    assert (found.config.num_hidden_layers, found.config.hidden_size) == (2, 64)
    values = [*found.tensors.values(), *found.heads.values()]
    assert sum(tensor.size for tensor in values) * 4 == size
    assert {} in export._precisions()
