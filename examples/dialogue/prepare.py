"""Short conversations in English as train.jsonl and test.jsonl, a conversation a line: ``turns``, a list of
its turns.

A fifth of the conversations, by hash of their first turn, is the test: what a test conversation begins with
begins none that is trained on. Most have two turns.

    python -m examples.dialogue.prepare FOLDER
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import yaml

from examples.packaged import dialogues
from examples.preparing import command, write_parts
from examples.splits import TEST_SHARE, digest, fold

Conversation = tuple[str, ...]
LONGEST_TURN = 300  # characters; longer turns are pages of an encyclopaedia


def rows() -> tuple[list[Conversation], list[Conversation]]:
    """(train, test), each conversation once.

    Raises:
        UserError: the texts cannot be fetched.
    """
    found: dict[Conversation, None] = {}
    for path in sorted(dialogues().glob("*.yml")):
        for turns in yaml.safe_load(path.read_text("utf-8"))["conversations"]:
            # YAML reads a bare "Yes" as true, and a turn with a colon as a dict: they are left out.
            if len(turns) > 1 and all(map(_is_turn, turns)):
                found[tuple(" ".join(turn.split()) for turn in turns)] = None
    train: list[Conversation] = []
    test: list[Conversation] = []
    for turns in found:
        (test if int(digest(fold(turns[0]))[:8], 16) % TEST_SHARE == 0 else train).append(turns)
    return train, test


def _is_turn(turn: object) -> bool:
    return isinstance(turn, str) and bool(turn.strip()) and len(turn) <= LONGEST_TURN


def write(file: IO[str], some: Iterable[Conversation]) -> None:
    """Write conversations as JSON lines."""
    file.writelines(json.dumps({"turns": turns}, ensure_ascii=False) + "\n" for turns in some)


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.jsonl`` and ``test.jsonl`` into ``folder`` unless both are there.

    Returns:
        The two paths.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    return write_parts(folder, ".jsonl", rows, write)


if __name__ == "__main__":
    command("examples.dialogue.prepare", prepare)
