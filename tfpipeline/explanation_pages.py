"""Explanations for readers: lines for a terminal, and a page of HTML that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping

from tfpipeline.evaluation.escaping import one_line, visible
from tfpipeline.serving.client import Explanation
from tfpipeline.serving.client.predictions import WordScore

_BAR = 20  # characters of the longest bar
_STRONG = 0.5  # a word is marked from this share of the strongest word's score on

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Explanations</title>
<style>
body {{ font: 16px/1.7 sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
section {{ border-top: 1px solid #ccc; padding: 0.5rem 0 1rem; }}
.text {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
.text span {{ border-radius: 3px; padding: 1px 0; }}
.strong {{ font-weight: bold; text-decoration: underline; }}
.facts {{ color: #666; font-size: 85%; }}
.for {{ background: #9ecae1; }} .against {{ background: #fdae6b; }}
</style>
</head>
<body>
<h1>Explanations</h1>
<p class="facts"><span class="for">Blue</span> words raise the number that is explained,
<span class="against">orange</span> ones lower it; the strongest are bold and underlined. Point at a word
to see its score. Method: integrated gradients.</p>
{sections}
</body>
</html>
"""


def strong_words(explanation: Explanation) -> list[WordScore]:
    """The words that decide most: with at least half of the greatest score, whatever its sign."""
    greatest = max((abs(word.score) for word in explanation.words), default=0.0)
    return [word for word in explanation.words if greatest > 0 and abs(word.score) >= _STRONG * greatest]


def as_text(texts: Mapping[str, str], explanation: Explanation) -> str:
    """An explanation as lines: what is explained, then a line per word.

    Bars of + and - show the scores without colours; * marks the strongest words.

    Args:
        texts: ``text`` and, of a pair, ``text_pair``, as they were asked.
        explanation: of them.
    """
    lines = [f"{name}: {one_line(text)}" for name, text in texts.items()]
    lines.append(_summary(explanation))
    strong = strong_words(explanation)
    greatest = max((abs(word.score) for word in explanation.words), default=0.0)
    for word in explanation.words:
        length = round(_BAR * abs(word.score) / greatest) if greatest else 0
        bar = ("+" if word.score > 0 else "-") * length
        mark = "*" if word in strong else " "
        of_pair = "  (text_pair)" if word.source != "text" else ""
        lines.append(f"  {word.score:+8.3f} {mark} {bar:<{_BAR}}  {one_line(word.word)}{of_pair}")
    return "\n".join(lines) + "\n"


def as_html(explained: Iterable[tuple[Mapping[str, str], Explanation]]) -> str:
    """A page with the texts, their words coloured by their scores; no script, nothing from elsewhere.

    Args:
        explained: texts, as of :func:`as_text`, with their explanations.
    """
    sections = "\n".join(_section(texts, explanation) for texts, explanation in explained)
    return _PAGE.format(sections=sections)


def _summary(explanation: Explanation) -> str:
    """What is explained, in one line."""
    if not explanation.label:
        return "nothing to explain: the text has no such answer"
    words = sum(word.score for word in explanation.words)
    return (
        f"{one_line(explanation.label)}: {explanation.value:.3f} = {explanation.baseline:.3f} without words "
        f"{words:+.3f} from words (gap {explanation.gap:+.1e})"
    )


def _section(texts: Mapping[str, str], explanation: Explanation) -> str:
    greatest = max((abs(word.score) for word in explanation.words), default=0.0)
    strong = strong_words(explanation)
    drawn = []
    for name, text in texts.items():
        words = [word for word in explanation.words if word.source == name]
        drawn.append(f'<p class="text">{"".join(_pieces(text, words, strong, greatest))}</p>')
    facts = html.escape(_summary(explanation))
    return f'<section>\n<p class="facts">{facts}</p>\n' + "\n".join(drawn) + "\n</section>"


def _pieces(text: str, words: Iterable[WordScore], strong: list[WordScore], greatest: float) -> Iterator[str]:
    """A text's words and what stands between them, as HTML."""
    end = 0
    for word in words:
        yield _escaped(text[end : word.start])
        share = abs(word.score) / greatest if greatest else 0.0
        rgb = "33, 113, 181" if word.score > 0 else "230, 85, 13"
        style = f"background: rgba({rgb}, {0.6 * share:.3f})"
        kind = ' class="strong"' if word in strong else ""
        shown = _escaped(text[word.start : word.end])
        yield f'<span{kind} style="{style}" title="{word.score:+.4f}">{shown}</span>'
        end = word.end
    yield _escaped(text[end:])


def _escaped(text: str) -> str:
    return html.escape(visible(text))
