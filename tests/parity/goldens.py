"""Writes the goldens that the tests without PyTorch compare with: ``make parity`` runs it.

For each packaged model ``NAME.npz``: a sample of every hidden state at every length. For each tiny model a
directory: the Hugging Face files as ``save_pretrained`` writes them, and the whole outputs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from tests.parity import cases, pytorch

# Another processor adds up in another order; what agrees to this is left as it is.
NOISE = 5e-6


def main() -> None:
    """Write what is missing or differs."""
    for name, fetch in cases.REAL.items():
        model = pytorch.model_of(fetch())
        vocab, types = model.config.vocab_size, model.config.type_vocab_size
        values = {}
        for length in cases.LENGTHS:
            inputs = cases.inputs_of(length, vocab, types)
            outputs = pytorch.outputs_of(model, inputs)
            for index, state in enumerate(outputs[: model.config.num_hidden_layers + 1]):
                values[f"length_{length}/state_{index}"] = cases.sample(cases.real_tokens(state, inputs))
        write(cases.GOLDENS / f"{name}.npz", values)
    for seed, (name, changes) in enumerate(cases.TINY.items()):
        model = pytorch.random_model(changes, seed)
        config = model.config
        directory = cases.GOLDENS / f"tiny_{name}"
        inputs = cases.inputs_of(config.max_position_embeddings, config.vocab_size, config.type_vocab_size)
        with tempfile.TemporaryDirectory() as temporary:
            model.save_pretrained(temporary)
            pytorch.write_vocabulary(Path(temporary), config.vocab_size)
            directory.mkdir(parents=True, exist_ok=True)
            for file in Path(temporary).iterdir():
                if not (directory / file.name).exists() or name_changed(directory / file.name, file):
                    (directory / file.name).write_bytes(file.read_bytes())
        outputs = pytorch.outputs_of(model, inputs)
        *states, pooled = outputs
        values = {f"state_{index}": state for index, state in enumerate(states)}
        write(directory / "outputs.npz", {**values, "pooled": pooled})
    total = sum(path.stat().st_size for path in cases.GOLDENS.rglob("*") if path.is_file())
    print(f"{cases.GOLDENS}: {total / 1e3:.0f} kB")


def name_changed(old: Path, new: Path) -> bool:
    """Whether a file holds something else than before."""
    return old.read_bytes() != new.read_bytes()


def write(path: Path, values: dict[str, np.ndarray]) -> None:
    """Write arrays unless those there agree."""
    if path.exists():
        with np.load(path) as old:
            same = set(old.files) == set(values) and all(
                old[name].shape == value.shape and np.abs(old[name] - value).max() < NOISE
                for name, value in values.items()
            )
        if same:
            print(f"{path}: agrees")
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **values)
    print(f"{path}: written")


if __name__ == "__main__":
    main()
