"""What runs `tensorflow_model_server`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Program:
    """The executable itself, or docker.

    Args:
        path: the executable.
        image: the image, if it is docker.
    """

    path: Path
    image: str = ""

    def __str__(self) -> str:
        return f"{self.path} run {self.image}" if self.image else str(self.path)
