"""What a version says of itself, in ``assets.extra``, which servers ignore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CARD = Path("assets.extra") / "tfpipeline.json"


def write(version: Path, card: dict[str, Any]) -> None:
    """Write the card into a version's directory."""
    path = version / CARD
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(card, indent=1), "utf-8")


def read(version: Path) -> dict[str, Any]:
    """What an export noted in its version; nothing for a SavedModel that is not ours."""
    path = version / CARD
    if not path.exists():
        return {}
    card: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return card
