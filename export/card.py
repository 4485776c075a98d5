"""The card of a version: facts about it in ``assets.extra``, which servers ignore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path("assets.extra")
CARD = FOLDER / "model_card.json"
# The second file is from versions that were exported before there was a model card.
FILES = (CARD.as_posix(), "assets.extra/tfpipeline.json")


def write(version: Path, card: dict[str, Any]) -> None:
    """Write the card to a version's directory."""
    path = version / CARD
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")


def read(version: Path) -> dict[str, Any]:
    """The facts that an export stored in its version; empty for a SavedModel of another program."""
    files = [version / name for name in FILES if (version / name).exists()]
    return parse(files[0].read_bytes() if files else None)


def parse(content: bytes | None) -> dict[str, Any]:
    """Parse the content of a card file; empty for None and for anything that is not a card."""
    try:
        card = json.loads(content or b"{}")
    except ValueError:
        return {}
    return card if isinstance(card, dict) else {}
