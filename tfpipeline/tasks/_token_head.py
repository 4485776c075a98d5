"""The head of BERT for masked tokens, as tasks that predict tokens exchange it with checkpoints."""

from __future__ import annotations

from typing import Any

HEAD = "mlm"  # its name in checkpoints (``models.neutral.HEADS``)


def head_variables(head: Any) -> dict[str, Any]:
    """Neutral name -> variable of a :class:`tfpipeline.models.vocabulary_head.VocabularyHead`."""
    return {
        f"{HEAD}/dense/kernel": head.dense.kernel,
        f"{HEAD}/dense/bias": head.dense.bias,
        f"{HEAD}/norm/scale": head.norm.scale,
        f"{HEAD}/norm/bias": head.norm.bias,
        f"{HEAD}/bias": head.bias,
    }
