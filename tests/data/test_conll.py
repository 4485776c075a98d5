from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpipeline.data import read_records
from tfpipeline.errors import UserError

# The form of CoNLL-2003: word, part of speech, chunk, entity.
EXCERPT = """\
-DOCSTART- -X- -X- O

Norway NNP B-NP B-LOC
's POS B-NP O
Anna NNP I-NP B-PER
Berg NNP I-NP I-PER
won VBD B-VP O
. . O O

OSLO NNP B-NP B-LOC
1996-08-22 CD I-NP O

-DOCSTART- -X- -X- O

# # B-NP O
7 CD I-NP O
"""


def rows(tmp_path, data, required=()):
    path = tmp_path / "x.conll"
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    return [(dict(record.columns), record.line) for record in read_records(path, required)]


def sentence(tmp_path, data, required=()):
    with pytest.raises(UserError) as caught:
        rows(tmp_path, data, required)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_an_excerpt(tmp_path):
    found = rows(tmp_path, EXCERPT, ["text", "0", "3", "-1"])
    assert found[0] == (
        {
            "0": '["Norway", "\'s", "Anna", "Berg", "won", "."]',
            "1": '["NNP", "POS", "NNP", "NNP", "VBD", "."]',
            "2": '["B-NP", "B-NP", "I-NP", "I-NP", "B-VP", "O"]',
            "3": '["B-LOC", "O", "B-PER", "I-PER", "O", "O"]',
            "-1": '["B-LOC", "O", "B-PER", "I-PER", "O", "O"]',
            "text": "Norway 's Anna Berg won .",
        },
        3,
    )
    assert [(columns["text"], line) for columns, line in found[1:]] == [
        ("OSLO 1996-08-22", 10),
        ("# 7", 15),
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(" ", "\t"),
        lambda text: text.replace(" ", "   "),
        lambda text: text.replace(" ", "\t", 6),  # line by line
        lambda text: text.replace("\n", " \n").replace("\n \n", "\n\n"),
        lambda text: text.replace("\n\n", "\n \t\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text + "\n",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
    ],
    ids=[
        "tabs",
        "many blanks",
        "both",
        "blanks at the end",
        "blank lines",
        "no end",
        "an end more",
        "CRLF",
        "BOM",
    ],
)
def test_forms_that_mean_the_same(tmp_path, change):
    assert change(EXCERPT) != EXCERPT
    assert rows(tmp_path, change(EXCERPT)) == rows(tmp_path, EXCERPT)


def test_many_empty_lines_end_one_sentence(tmp_path):
    assert [line for _, line in rows(tmp_path, "\n\na\n\n\n\nb\n\n")] == [3, 7]


def test_a_document_ends_a_sentence_without_an_empty_line(tmp_path):
    found = rows(tmp_path, "a O\n-DOCSTART- -X- -X- O\nb O\n-DOCSTART-\n")
    assert [(columns["text"], line) for columns, line in found] == [("a", 1), ("b", 3)]
    assert rows(tmp_path, "a\tO\n-DOCSTART-\tO\n") == rows(tmp_path, "a O\n")


def test_cells_are_kept_as_they_are(tmp_path):
    data = '10\u00a0000 O\n"é\\ \u2028O\n\nNew York \tB-LOC\n\t\n\tO\n'
    assert [json.loads(columns["0"]) for columns, _ in rows(tmp_path, data)] == [
        ["10\u00a0000", '"é\\'],
        ["New York "],
        [""],
    ]
    assert rows(tmp_path, data)[0][0]["1"] == '["O", "\u2028O"]'


def test_a_column_only(tmp_path):
    assert rows(tmp_path, "a\nb\n") == [({"0": '["a", "b"]', "-1": '["a", "b"]', "text": "a b"}, 1)]


def test_each_sentence_may_have_its_own_columns(tmp_path):
    found = rows(tmp_path, "a X O\n\nb O\n", ["-1"])
    assert [columns["-1"] for columns, _ in found] == ['["O"]', '["O"]']
    assert sentence(tmp_path, "a X O\n\nb O\n", ["2"]).startswith('x.conll:3: there is no column "2"')


@pytest.mark.parametrize(
    ("data", "required", "found"),
    [
        (
            EXCERPT.replace("won VBD B-VP O", "won VBD O"),
            (),
            "x.conll:7: 3 columns where the sentence's first line, 3, has 4; give each token as many, and put an empty "
            "line between sentences",
        ),
        (
            "a\tO\n# a comment\n",
            (),
            "x.conll:2: 3 columns where the sentence's first line, 1, has 2; give each token as many, and put an empty "
            "line between sentences",
        ),
        ("", (), "x.conll:1: the file is empty; expected a token a line and an empty line after each sentence"),
        ("\n-DOCSTART- O\n \n", ("9",), "x.conll:1: the file is empty; expected a token a line and an empty line after each sentence"),
        ("\na O\n", ("4",), 'x.conll:2: there is no column "4"; known: 0, 1, -1, text'),
        ("\na O\n", ("tokens",), 'x.conll:2: there is no column "tokens"; known: 0, 1, -1, text'),
        (b"a O\n\xff O\n", (), "x.conll:2: not UTF-8 (byte 0xff); save the file as UTF-8"),
        ("a O\n".encode("utf-16"), (), "x.conll:1: the file is UTF-16, not UTF-8; save it as UTF-8"),
    ],
)  # fmt: skip
def test_errors(tmp_path, data, required, found):
    assert sentence(tmp_path, data, required) == found


def test_sentences_before_a_broken_one_are_read(tmp_path):
    path = tmp_path / "x.conll"
    path.write_text("a O\n\nb O\nc\n")
    records = read_records(path)
    assert next(records).columns["text"] == "a"
    with pytest.raises(UserError, match=r"x\.conll:4: 1 columns"):
        next(records)


cells = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=" \t\r\n"), min_size=1, max_size=5
).filter(lambda cell: cell != "-DOCSTART-" and not cell.startswith("\ufeff"))
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=4)
)


@given(sentences=st.lists(tables, min_size=1, max_size=4), separator=st.sampled_from(["\t", " ", "  "]))
def test_reads_what_was_written(tmp_path_factory, sentences, separator):
    lines = ["\n".join(map(separator.join, tokens)) for tokens in sentences]
    found = rows(tmp_path_factory.getbasetemp(), "\n\n".join(lines))
    start = 1
    for (columns, line), tokens in zip(found, sentences, strict=True):
        assert line == start
        assert [json.loads(columns[str(number)]) for number in range(len(tokens[0]))] == [
            list(column) for column in zip(*tokens)
        ]
        start += len(tokens) + 1
