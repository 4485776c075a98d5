"""docs/keras.md is true: its blocks run one after another, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest

from tests import tiny

PAGE = Path(__file__).parents[1] / "docs" / "keras.md"


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)  # Keras's own
def test_every_block_of_the_page_runs(tmp_path, monkeypatch, capsys):
    tiny.write_checkpoint(tmp_path / "models" / "minilm")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    embeddings, *others = blocks
    assert len(re.findall(r"^(?:\w+ = |print)", embeddings, re.MULTILINE)) == 3  # lines, beside the import
    names: dict = {}
    exec(compile(embeddings, f"{PAGE}: embeddings", "exec"), names)
    np.testing.assert_allclose(np.linalg.norm(names["vectors"], axis=1), 1, atol=1e-6)
    before = names["model"].encoder.tensors()
    for number, block in enumerate(others):
        exec(compile(block, f"{PAGE}: block {number}", "exec"), names)
    after = names["encoder"].tensors()
    changed = {name.partition("/")[0] for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"layer_1"}, changed  # the others are frozen
    assert names["logits"].shape == (16, 2)
    assert names["vectors"].shape == (1, 16)
    assert names["scores"].shape == (1, 4, names["encoder"].config.vocab_size)
    assert isinstance(names["again"], keras.Model)
    printed = capsys.readouterr().out
    assert "<TextModel text_model: encoder 2 layers" in printed
    assert "layer_1 (EncoderBlock)" in printed
