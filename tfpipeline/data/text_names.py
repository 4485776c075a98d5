"""The names of a row's texts, and of what belongs to each text that is encoded by itself.

The first text is called ``text``, and its tensors have no prefix: ``input_ids``. The tensors of any other
text are called ``NAME/input_ids``, such as ``text_pair/input_ids``. A text's name has no slash, but a
tensor's name may have one, such as a target of one of several tasks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

TEXT, TEXT_PAIR = "text", "text_pair"
_IDS = "/input_ids"  # every sequence of tokens has them

T = TypeVar("T")


def key(text: str, name: str) -> str:
    """The name of a text's tensor among those of all texts."""
    return name if text == TEXT else f"{text}/{name}"


def of_text(text: str, tensors: Mapping[str, T]) -> dict[str, T]:
    """A text's tensors under their names among those of all texts."""
    return {key(text, name): value for name, value in tensors.items()}


def joined(by_text: Mapping[str, Mapping[str, T]]) -> dict[str, T]:
    """All texts' tensors in one mapping; the inverse of :func:`divided`."""
    return {name: value for text, own in by_text.items() for name, value in of_text(text, own).items()}


def divided(tensors: Mapping[str, T], texts: Collection[str]) -> dict[str, dict[str, T]]:
    """The tensors of each text, under their own names.

    Args:
        tensors: those of all texts.
        texts: the names of the texts. A tensor that belongs to none of them belongs to the first text.
    """
    parts: dict[str, dict[str, T]] = {text: {} for text in texts}
    for name, value in tensors.items():
        text, slash, own = name.partition("/")
        if slash and text != TEXT and text in parts:
            parts[text][own] = value
        else:
            parts[TEXT][name] = value
    return parts


def texts_of(tensors: Collection[str]) -> list[str]:
    """The names of the texts that have tokens among some tensors: first ``text``, then the others in a fixed
    order.
    """
    others = [name.removesuffix(_IDS) for name in tensors if name.endswith(_IDS)]
    # Not the order of the mapping, which TensorFlow may change: dropout masks depend on a text's number.
    return [TEXT, *sorted((name for name in others if "/" not in name), key=lambda name: (len(name), name))]
