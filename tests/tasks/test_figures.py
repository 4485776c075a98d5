"""Plots say what the numbers are, for any number of labels and in any script."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from scipy import sparse

from tfpipeline.tasks import _figures
from tfpipeline.tasks.classification import Classification, ClassificationOptions


def counts(size, cells):
    rows, columns, numbers = zip(*((row, column, number) for (row, column), number in cells.items()))
    return sparse.coo_array((np.array(numbers, float), (rows, columns)), shape=(size, size)).tocsr()


def drawn(figure, tmp_path):
    """A figure's tick labels and the texts of its cells, by place; no warning while it is drawn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(tmp_path / "plot.png", dpi=30)
    axes = figure.axes[0]
    for axis in (axes.xaxis, axes.yaxis):
        ticks = [text.get_text() for text in axis.get_ticklabels()]
    return ticks, {tuple(map(round, text.get_position())): text.get_text() for text in axes.texts}


def test_colours_are_shares_of_the_row(tmp_path):
    """A rare label that is always mistaken is as dark as a frequent one."""
    figure = _figures.confusion(
        counts(3, {(0, 0): 900, (0, 1): 100, (1, 0): 2, (2, 2): 4}), ["many", "$few$", "a_{"]
    )
    ticks, cells = drawn(figure, tmp_path)
    assert ticks == ["many", "$few$", "a_{"]
    assert cells == {(0, 0): "900", (1, 0): "100", (0, 1): "2", (2, 2): "4"}  # x, y
    (image,) = figure.axes[0].images
    assert image.get_array().tolist() == [[0.9, 0.1, 0], [1, 0, 0], [0, 0, 1]]
    assert image.get_clim() == (0, 1)
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("predicted", "expected")
    assert not figure.axes[0].get_title()
    assert not figure.get_label()


def test_the_most_confused_labels():
    confused = {(7, 3): 5, (1, 9): 6, (9, 1): 1, (2, 4): 3}
    right = {(label, label): 100 - label for label in range(10)}
    matrix = counts(10, {**right, **confused})
    assert _figures.most_confused(matrix, 2).tolist() == [1, 9]
    assert _figures.most_confused(matrix, 4).tolist() == [1, 3, 7, 9]
    # No room for both 2 and 4; of all others 2 has the most rows.
    assert _figures.most_confused(matrix, 5).tolist() == [1, 2, 3, 7, 9]
    assert _figures.most_confused(matrix, 7).tolist() == [0, 1, 2, 3, 4, 7, 9]
    assert _figures.most_confused(matrix, 10).tolist() == list(range(10))
    assert _figures.most_confused(counts(10, right), 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("labels", [40, 41, 2000])
def test_a_plot_has_40_labels_at_most(labels, tmp_path):
    own = Classification(ClassificationOptions(), [f"label {index}" for index in range(labels)])
    truth = np.arange(labels)
    answered = np.where(truth % 2 == 0, truth, truth - 1)  # each odd one is taken for its neighbour
    answers = {"probabilities": np.eye(labels, dtype=np.float32)[answered]}
    figure = own.scorer.figures(answers, {"label": truth})["confusion"]
    ticks, cells = drawn(figure, tmp_path)
    assert ticks == [f"label {index}" for index in range(40)]
    assert len(cells) == 40
    assert figure.axes[0].get_title() == ("" if labels == 40 else f"the 40 most confused of {labels} labels")
    assert max(figure.get_size_inches()) < 25


@pytest.fixture
def font(tmp_path):
    """A font that has two Chinese characters, as if the machine had it."""
    pen = TTGlyphPen(None)
    for move, *points in (("moveTo", (0, 0)), ("lineTo", (500, 0)), ("lineTo", (500, 700))):
        getattr(pen, move)(*points)
    pen.closePath()
    glyphs = [".notdef", "one", "two"]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap({ord("好"): "one", ord("评"): "two"})
    builder.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (600, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Two Characters", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "two.ttf")
    before = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(tmp_path / "two.ttf")
    _figures.fonts_for.cache_clear()
    yield
    font_manager.fontManager.ttflist = before
    _figures.fonts_for.cache_clear()


@pytest.fixture
def own_fonts_only(monkeypatch):
    """The fonts that come with matplotlib, whatever the machine has."""
    own = [entry for entry in font_manager.fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    _figures.fonts_for.cache_clear()
    yield
    _figures.fonts_for.cache_clear()


@pytest.mark.usefixtures("own_fonts_only", "font")
def test_a_font_of_the_machine_is_used(tmp_path):
    assert _figures.fonts_for(frozenset("good 好评")) == ("Two Characters",)
    assert _figures.fonts_for(frozenset("good")) == ()
    assert _figures.fonts_for(frozenset("好评差")) is None  # which it lacks
    figure = _figures.confusion(counts(2, {(0, 0): 1}), ["好评", "so 好"])
    assert drawn(figure, tmp_path)[0] == ["好评", "so 好"]
    assert not figure.get_label()


@pytest.mark.usefixtures("own_fonts_only")
def test_without_one_labels_are_numbered(tmp_path):
    """Matplotlib brings a font that has a box for every character, which says nothing."""
    figure = _figures.confusion(counts(3, {(0, 0): 1}), ["好评", "bad", "差\x1b评" + "x" * 40])
    assert drawn(figure, tmp_path)[0] == ["1", "2", "3"]
    assert figure.axes[0].get_xlabel() == "predicted (labels are numbered: see the report)"
    assert figure.get_label() == f"Labels: 1 = 好评, 2 = bad, 3 = 差\x1b评{'x' * 26}…"
