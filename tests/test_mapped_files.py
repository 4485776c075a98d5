"""Memory-mapped files: their numbers stay, their pages go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tfpipeline.checkpoints import weights
from tfpipeline.mapped_files import open_mapped, release_pages

STATUS = Path("/proc/self/status")


def resident_file_bytes():
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssFile"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not STATUS.exists(), reason="the system does not tell resident pages")
def test_released_pages_leave_the_memory_and_can_be_read_again(tmp_path):
    path, size = tmp_path / "numbers", 2**25
    np.arange(size // 4, dtype=np.int32).tofile(path)
    numbers = open_mapped(path, np.int32)
    before = resident_file_bytes()
    total = numbers.sum(dtype=np.int64)
    assert resident_file_bytes() - before > 0.9 * size
    release_pages(numbers)
    assert resident_file_bytes() - before < 0.1 * size
    assert numbers.sum(dtype=np.int64) == total == (size // 4) * (size // 4 - 1) // 2


def test_an_empty_file_has_no_numbers(tmp_path):
    (tmp_path / "empty").touch()
    numbers = open_mapped(tmp_path / "empty", np.float32)
    assert numbers.shape == (0,)
    release_pages(numbers)


def test_reading_a_checkpoint_releases_what_was_read_before(tmp_path, monkeypatch):
    tensors = {f"t{number}": np.full(100, number, np.float32) for number in range(6)}
    save_file(tensors, tmp_path / "model.safetensors")
    released = []
    monkeypatch.setattr(weights, "_MOST_MAPPED", 700)
    monkeypatch.setattr(
        weights, "release_pages", lambda *arrays: (released.append(1), release_pages(*arrays))
    )
    opened = weights.open_safetensors(tmp_path / "model.safetensors")
    read = {name: opened.read(name) for name in tensors}
    assert len(released) == 2  # before the third and the fifth: two tensors are 800 bytes
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(read[name], tensor)
