"""`tfpipeline.explain`, and what readers see of explanations."""

from __future__ import annotations

import html.parser

import pytest

import tfpipeline
from tests import tiny
from tfpipeline import explanation_pages, predictors
from tfpipeline.errors import UserError
from tfpipeline.serving.client import Explanation, InputError, WordScore
from tfpipeline.training import open_run

TEXT = "not <b>good</b> & 你\x1b"
WORDS = [
    WordScore("not", 0, 3, "text", -1.5),
    WordScore("<", 4, 5, "text", 0.0),
    WordScore("good", 7, 11, "text", 3.0),
    WordScore("你", 18, 19, "text", 0.25),
]
FOUND = Explanation("so <good>", 2.0, 0.25, 1e-6, WORDS)


def test_lines_for_a_terminal():
    """Bars show the scores without colours; words with half of the greatest score are marked."""
    assert explanation_pages.as_text({"text": TEXT}, FOUND) == (
        "text: not <b>good</b> & 你\\x1b\n"
        "so <good>: 2.000 = 0.250 without words +1.750 from words (gap +1.0e-06)\n"
        "    -1.500 * ----------            not\n"
        "    +0.000                         <\n"
        "    +3.000 * ++++++++++++++++++++  good\n"
        "    +0.250   ++                    你\n"
    )


def test_lines_for_a_pair_and_for_nothing():
    pair = Explanation("yes", 1.0, 0.0, 0.0, [WordScore("so", 0, 2, "text_pair", 1.0)])
    shown = explanation_pages.as_text({"text": "", "text_pair": "so"}, pair)
    assert shown.splitlines()[1] == "text_pair: so"
    assert shown.splitlines()[-1].endswith("so  (text_pair)")
    nothing = explanation_pages.as_text({"text": "x"}, Explanation("", 0.0, 0.0, 0.0, []))
    assert nothing == "text: x\nnothing to explain: the text has no such answer\n"


class Reader(html.parser.HTMLParser):
    """The text of a page's paragraphs as a reader sees it, and what it is made of."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts, self.styles, self.inside = [], [], [], False

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        named = dict(attributes)
        if tag == "p":
            self.inside = named.get("class") == "text"
            self.texts += [""] * self.inside
        if tag == "span" and "style" in named:
            self.styles.append((named["title"], named["style"], named.get("class")))

    def handle_data(self, data):
        if self.inside:
            self.texts[-1] += data


def test_a_page_shows_the_texts_and_nothing_else():
    page = explanation_pages.as_html([({"text": TEXT}, FOUND), ({"text": "<script>x"}, FOUND)])
    reader = Reader()
    reader.feed(page)
    assert [text.strip() for text in reader.texts] == ["not <b>good</b> & 你\\x1b", "<script>x"]
    assert not {"b", "script", "link", "img"} & set(reader.tags)
    assert "http" not in page.replace("http-equiv", "")
    titles = [("-1.5000", "strong"), ("+0.0000", None), ("+3.0000", "strong"), ("+0.2500", None)]
    assert [(title, kind) for title, _, kind in reader.styles[:4]] == titles
    assert [style.partition("(")[2] for _, style, _ in reader.styles[:4]] == [
        "230, 85, 13, 0.300)",
        "230, 85, 13, 0.000)",
        "33, 113, 181, 0.600)",
        "33, 113, 181, 0.050)",
    ]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A fine-tuned checkpoint."""
    return tiny.write_checkpoint(tmp_path_factory.mktemp("their") / "model", seed=7, **tiny.CLASSIFIER)


@pytest.fixture(scope="module")
def opened(source):
    """A predictor that has made its graph."""
    return predictors.RunPredictor(open_run(source))


@pytest.fixture
def cheap(monkeypatch, opened):
    """Whoever opens the model is given the one that is open."""
    monkeypatch.setattr(predictors.opening, "open_local", lambda *_: opened)


@pytest.mark.usefixtures("cheap")
def test_one_text_and_many(source):
    many = tfpipeline.explain(source, ["so good", "a table", "very bad !"], batch_size=2)
    assert [[word.word for word in one.words] for one in many] == [
        ["so", "good"],
        ["a", "table"],
        ["very", "bad", "!"],
    ]
    one = tfpipeline.explain(source, "a table")
    assert one.label == many[1].label
    assert one.value == pytest.approx(many[1].value, abs=1e-5)
    assert tfpipeline.explain(source, ["x", "y"], labels=["neutral", ""])[0].label == "neutral"
    assert tfpipeline.explain(source, []) == []
    with pytest.raises(InputError, match="2 texts but 1 label;"):
        tfpipeline.explain(source, ["x", "y"], labels=["neutral"])
    wrong = r"label must be empty .* or one of positive, negative, neutral; found nice$"
    with pytest.raises(UserError, match=wrong):
        tfpipeline.explain(source, "x", labels="nice")
    with pytest.raises(UserError, match="the run takes label, text, but was given text, text_pair, label"):
        tfpipeline.explain(source, "x", "y")


def test_a_predictor_that_cannot_explain():
    class Echo(predictors.Predictor):
        def predict(self, texts, text_pair=None):
            return []

    with pytest.raises(UserError, match="Echo cannot explain predictions"):
        Echo().explain(["x"])
