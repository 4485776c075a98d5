"""Plots for the report, readable with any number of labels and in any script that has an installed font."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

MOST_LABELS = 40  # in one plot
_FEW, _LARGE, _SMALL = 10, 0.8, 0.45  # up to _FEW labels, cells are _LARGE inches wide, else _SMALL
_LONGEST = 30  # maximum number of characters per label
_NO_CHARACTER = 0xFDD0  # a noncharacter: no font should have a glyph for it
_DARK = 0.5  # above this share, numbers are white


def confusion(counts: Any, labels: Sequence[str]) -> Any:
    """A confusion matrix of row counts, coloured by the share of the expected label's rows.

    Of more than 40 labels, only the most confused are drawn. If no font has glyphs for all characters, the
    labels are numbered, and the figure's own label (``get_label``) lists them.

    Args:
        counts: sparse [C, C], row counts by expected label (first axis) and predicted label (second axis).
        labels: the names of the C labels.
    Returns:
        A ``matplotlib.figure.Figure``.
    """
    from matplotlib.figure import Figure

    shown = most_confused(counts, MOST_LABELS)
    matrix, rows = counts[shown][:, shown].toarray(), np.asarray(counts.sum(1)).ravel()[shown]
    shares = matrix / np.maximum(rows, 1)[:, None]
    inches = 2.5 + len(shown) * (_LARGE if len(shown) <= _FEW else _SMALL)
    figure = Figure(figsize=(inches, inches), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, shrink=0.5, label="share of the expected label's rows")
    for row, column in np.argwhere(matrix):
        colour = "white" if shares[row, column] > _DARK else "black"
        axes.text(column, row, f"{matrix[row, column]:.0f}", ha="center", va="center", color=colour)
    names = [_short(labels[index]) for index in shown]
    families, note = fonts_for(frozenset("".join(names))), ""
    if families is None:
        numbered = [f"{number} = {name}" for number, name in enumerate(names, 1)]
        figure.set_label(f"Labels: {', '.join(numbered)}")
        note = " (labels are numbered: see the report)"
        names, families = [str(number) for number in range(1, len(names) + 1)], ()
    # A dollar sign in a label does not start a formula.
    style: dict[str, Any] = {
        "parse_math": False,
        **({"family": ["sans-serif", *families]} if families else {}),
    }
    places = range(len(names))
    axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor", **style)
    axes.set_yticks(places, names, **style)
    axes.set(xlabel=f"predicted{note}", ylabel=f"expected{note}")
    if len(shown) < len(labels):
        axes.set_title(f"the {len(shown)} most confused of {len(labels)} labels")
    return figure


def most_confused(counts: Any, most: int) -> np.ndarray:
    """The labels in the pairs with the most confused rows, in their original order, int64.

    The result has ``most`` labels, or all if there are fewer. If too few are confused, labels with the most
    rows are added.

    Args:
        counts: sparse [C, C].
        most: maximum number of labels.
    """
    size = counts.shape[0]
    if size <= most:
        return np.arange(size)
    cells = counts.tocoo()
    wrong = np.flatnonzero((cells.row != cells.col) & (cells.data > 0))
    largest = wrong[np.argsort(-cells.data[wrong], kind="stable")]
    by_rows = np.argsort(-np.asarray(counts.sum(1)).ravel(), kind="stable")
    pairs = zip(cells.row[largest].tolist(), cells.col[largest].tolist())
    chosen: set[int] = set()
    for some in (*pairs, *((label,) for label in by_rows.tolist())):
        if len(chosen) == most:
            break
        if len(chosen.union(some)) <= most:
            chosen.update(some)
    return np.array(sorted(chosen))


@functools.lru_cache(maxsize=32)
def fonts_for(characters: frozenset[str]) -> tuple[str, ...] | None:
    """Families of installed fonts that cover the characters that matplotlib's default font lacks; None if a
    character is not covered by any font.

    Args:
        characters: the characters, each a string of length 1.
    """
    from matplotlib import font_manager

    missing = set(map(ord, characters)) - _covered(font_manager.findfont(font_manager.FontProperties()))
    families = []
    for font in font_manager.fontManager.ttflist if missing else ():
        if font.style == "normal" and not missing.isdisjoint(covered := _covered(font.fname)):
            families.append(font.name)
            missing -= covered
        if not missing:
            break
    return None if missing else tuple(families)


def _covered(path: str) -> frozenset[int]:
    """The code points for which a font has glyphs.

    Empty for a font that matplotlib cannot read (such as colour emoji) or that has a placeholder glyph for
    every code point.
    """
    from matplotlib import font_manager

    try:
        points = frozenset(font_manager.get_font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset() if _NO_CHARACTER in points else points


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"
