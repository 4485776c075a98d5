"""Writes resources as YAML, and never over a file that somebody else has written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfpipeline.errors import UserError, explain_missing_extra
from tfpipeline.files import atomic_file, require_writable
from tfpipeline.serving.deployment.server import PRIVATE_FILE

MARK = "# Written by tfpipeline serve-config, which replaces this file when it runs again.\n"
PRIVATE = ("secret.yaml", PRIVATE_FILE)  # readable for their owner only
_SHEBANG = "#!"


def write(folders: Mapping[Path, Mapping[str, Any]]) -> list[Path]:
    """Write the files of several folders.

    Args:
        folders: folder -> its files by their path in it: a text, or a document that becomes YAML. Folders are
            made if they do not exist.
    Returns:
        The files written.
    Raises:
        UserError: a file exists that :func:`write` has not written; then nothing is written.
    """
    texts = {
        folder / name: _marked(content if isinstance(content, str) else to_yaml(content))
        for folder, files in folders.items()
        for name, content in files.items()
    }
    for path in texts:
        if path.is_dir() or (path.exists() and not _is_ours(path)):
            raise UserError(
                f"{path} exists and was not written by serve-config; name another folder, or move it away"
            )
    for path in texts:
        require_writable(path.parent)
    for path, text in texts.items():
        private = path.name in PRIVATE
        with atomic_file(path) as temporary:  # in a folder that only its owner can enter
            temporary.touch(0o600 if private else 0o666)
            temporary.write_text(text, encoding="utf-8")
    return list(texts)


def to_yaml(document: Mapping[str, Any]) -> str:
    """A document as YAML, its keys in their order, texts of several lines as blocks."""
    with explain_missing_extra("train"):
        import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    dumped: str = yaml.dump(document, Dumper=Dumper, sort_keys=False, width=110, allow_unicode=True)
    return dumped


def _marked(text: str) -> str:
    first, end, rest = text.partition("\n")
    return f"{first}{end}{MARK}{rest}" if first.startswith(_SHEBANG) else MARK + text


def _is_ours(path: Path) -> bool:
    try:
        return MARK.strip() in path.read_text("utf-8", errors="replace").splitlines()[:2]
    except OSError:
        return False
