from __future__ import annotations

import html.parser
import json
import re
import warnings

import pytest
from matplotlib.figure import Figure

from tfpipeline.evaluation import Report
from tfpipeline.evaluation.escaping import fenced, markdown, one_line, visible
from tfpipeline.evaluation.report import Entry
from tfpipeline.tasks.scorer import Mistake


def report(**changes):
    entries = [
        Entry("TF-IDF", {"accuracy": 0.5}, "table one"),
        Entry("after fine-tuning", {"loss": 0.25, "accuracy": 0.75}, "table two"),
    ]
    given = {"data": "test rows", "rows": 4, "metric": "accuracy", "entries": entries, **changes}
    return Report(**given)


def test_the_headline_is_the_metric_that_picked_the_checkpoint():
    lines = report().text().splitlines()
    assert lines[-3:] == ["accuracy on test rows", "TF-IDF             0.5000", "after fine-tuning  0.7500"]


def test_a_model_may_lack_it():
    """A baseline has no loss; a file may have no row of one head of several."""
    lines = report(metric="loss").text().splitlines()
    assert lines[-2:] == ["TF-IDF             -", "after fine-tuning  0.2500"]


def test_what_python_shows_of_it():
    assert repr(report()) == (
        "<Report on test rows, 4 rows, accuracy: TF-IDF: 0.5000, after fine-tuning: 0.7500>"
    )
    assert str(report()) == report().text()


def test_cells_of_the_page_are_escaped(tmp_path):
    mistakes = [Mistake("a | text\nof two lines", "x|y", "z", "a|b.csv:3")]
    mistakes.append(Mistake("long " * 100, "a", "b"))
    report(mistakes=mistakes, notes=["2 of 4 rows are cut"]).save(tmp_path)
    page = (tmp_path / "report.md").read_text("utf-8")
    assert "| expected | predicted | text | row |" in page
    assert "| x\\|y | z | a \\| text of two lines | a\\|b.csv:3 |" in page
    assert f"| a | b | {('long ' * 100)[:199]}… |  |" in page
    assert "\n2 of 4 rows are cut\n" in page
    document = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert document["notes"] == ["2 of 4 rows are cut"]
    assert document["scores"]["after fine-tuning"] == {"loss": 0.25, "accuracy": 0.75}
    assert document["mistakes"][0] == {
        "text": "a | text\nof two lines",
        "expected": "x|y",
        "predicted": "z",
        "source": "a|b.csv:3",
    }


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("macro_f1, 3.5 (a-b)", "macro_f1, 3.5 (a-b)"),
        ("_a_ *b* `c` \\ # ~d~ $e$", r"\_a\_ \*b\* \`c\` \\ \# \~d\~ \$e\$"),
        ("![x](https://example.org/a_b)", r"!\[x\](https\://example.org/a_b)"),
        ("www.example.org", r"www\.example.org"),
        ("<img src=x> &amp;", "&lt;img src=x&gt; &amp;amp;"),
        ("a\r\n\t b\u2028c", "a b c"),
        ("\x1b[31mred\x00", r"\\x1b\[31mred\\x00"),
        ("\u202egnp.exe\udcff", r"\\u202egnp.exe\\udcff"),
        ("x" * 300, "x" * 300),
        ("می‌خواهم 👩‍👧 é", "می‌خواهم 👩‍👧 é"),
    ],
)
def test_markdown(text, written):
    assert markdown(text) == written


def test_a_code_block_is_ended_by_nothing_in_it():
    table = "`````\n<b>\x1b[0m\ta\n```"
    assert fenced(table) == "``````text\n`````\n<b>\\x1b[0m\ta\n```\n``````"
    assert fenced("plain\n") == "```text\nplain\n```"


def test_a_terminal_is_told_nothing_by_data():
    shown = report(
        data="\x1b]0;title\x07.csv", entries=[Entry("a", {"accuracy": 1.0}, "l\x1b[2J\tx\n")]
    ).text()
    assert "\x1b" not in shown
    assert shown.startswith("a (\\x1b]0;title\\x07.csv, 4 rows)\n\nl\\x1b[2J\tx\n")
    assert visible("a\nb") == "a\nb"
    assert one_line(" a\n\nb ") == "a b"


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts = set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert not attributes

    def handle_data(self, data):
        self.texts.append(data)


def test_a_notebook_shows_the_scores_and_runs_nothing():
    evil = '<script>alert("&amp;")</script>'
    scores = {"accuracy": 0.75, **{f"f1/{evil}{number}": 0.5 for number in range(50)}}
    entries = [Entry("TF-IDF", {"accuracy": 0.5}, ""), Entry("after", scores, "")]
    shown = report(
        data=evil, entries=entries, notes=[evil], mistakes=[Mistake(evil, "a", "b", "c.csv:1")]
    )._repr_html_()
    page = Tags()
    page.feed(shown)
    assert page.tags == {"table", "tr", "th", "td", "p"}
    assert f"{evil}, 4 rows" in page.texts
    assert page.texts[page.texts.index("accuracy") :][:3] == ["accuracy", "0.5000", "0.7500"]
    assert "and 21 more metrics: report.entries[-1].scores" in page.texts
    assert page.texts[-4:] == ["a", "b", evil, "c.csv:1"]


def test_scores_are_there_before_a_plot_is_drawn(tmp_path):
    seen = []

    def draw():
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        figure = Figure()
        figure.set_label("1 = <a>")
        return {"one": figure}

    made = report(draw=draw)
    assert not seen
    assert made.save(tmp_path, "report-my rows)") == tmp_path / "report-my rows).md"
    assert seen == [["report-my rows).json", "report-my rows).md"]]
    page = (tmp_path / "report-my rows).md").read_text("utf-8")
    assert "\n![report-my rows)-one](report-my%20rows%29-one.png)\n\n1 = &lt;a&gt;\n" in page
    assert (tmp_path / "report-my rows)-one.png").stat().st_size > 1000
    assert made.figures is made.figures
    assert len(seen) == 1


def broken(*_, **__):
    raise MemoryError


def test_a_plot_that_fails_costs_one_line(tmp_path, capfd):
    bad, good = Figure(), Figure()
    bad.savefig = broken
    report(draw=lambda: {"bad": bad, "good": good}).save(tmp_path)
    assert capfd.readouterr().err == "warning: the plot bad of the report: not drawn: MemoryError\n"
    page = (tmp_path / "report.md").read_text("utf-8")
    assert re.findall(r"!\[.*", page) == ["![report-good](report-good.png)"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report-good.png", "report.json", "report.md"]

    report(draw=broken).save(tmp_path, "other")
    assert capfd.readouterr().err == "warning: the plots of the report: not drawn: MemoryError\n"
    assert "| accuracy | 0.5000 | 0.7500 |" in (tmp_path / "other.md").read_text("utf-8")


def test_a_warning_of_a_plot_is_one_line_too(tmp_path, capfd):
    figure = Figure()
    figure.suptitle("好评")  # no font of matplotlib's has these

    def draw():
        warnings.warn("of a task", UserWarning, stacklevel=1)
        return {"title": figure}

    report(draw=draw).save(tmp_path)
    first, second = capfd.readouterr().err.splitlines()
    assert first == "warning: the plots of the report: of a task"
    assert second.startswith("warning: the plot title of the report: Glyph ")
