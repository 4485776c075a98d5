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
            "tokens": '["Norway", "\'s", "Anna", "Berg", "won", "."]',
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
    assert rows(tmp_path, "a\nb\n") == [
        ({"0": '["a", "b"]', "-1": '["a", "b"]', "tokens": '["a", "b"]', "text": "a b"}, 1)
    ]


@pytest.mark.parametrize(
    ("data", "required", "found"),
    [
        (
            EXCERPT.replace("won VBD B-VP O", "won VBD O"),
            (),
            "x.conll:7: 3 columns where the file's first token, in line 3, has 4; give every token that many, and put an "
            "empty line between sentences",
        ),
        (
            "a\tO\n# a comment\n",
            (),
            "x.conll:2: 3 columns where the file's first token, in line 1, has 2; give every token that many, and put an "
            "empty line between sentences, or remove the line if it is a comment",
        ),
        (
            "a X O\n\nb O\n",
            (),
            "x.conll:3: 2 columns where the file's first token, in line 1, has 3; give every token that many, and put an "
            "empty line between sentences",
        ),
        ("", (), "x.conll:1: the file is empty; expected one token per line and an empty line after each sentence"),
        ("\n-DOCSTART- O\n \n", ("9",), "x.conll:1: the file is empty; expected one token per line and an empty line after each sentence"),
        ("\na O\n", ("4",), 'x.conll:2: there is no column "4"; the columns are "0", "1", "-1", "tokens", "text"'),
        ("\na O\n", ("form",), 'x.conll:2: there is no column "form"; the columns are "0", "1", "-1", "tokens", "text"'),
        (b"a O\n\xff O\n", (), "x.conll:2: not UTF-8 (byte 0xff); it may be cp1252 or cp1251: name the right one with --encoding (in a run file: \"encoding\", beside the path of the file), or save the file as UTF-8"),
        ("a O\n".encode("utf-16"), (), "x.conll:1: the file is UTF-16, not UTF-8; name utf-16 with --encoding (in a run file: \"encoding\", beside the path of the file), or save the file as UTF-8"),
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
    lambda width: st.lists(
        st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=4),
        min_size=1,
        max_size=4,
    )
)


@given(sentences=tables, separator=st.sampled_from(["\t", " ", "  "]))
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


# Lines that begin with "#": comments in many files, tokens in others.
def said(capfd):
    return " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize(
    "comment",
    [
        "# newpar",
        "# newdoc id = weblog-1",
        "# sent_id = 7",
        "#\thttp://example.org/a [2009-10-17]",
        "# text = two of them",
        "#begin document (bc/cctv/00/cctv_0000); part 000",
        "# a remark of five words",
        "#",
    ],
)
def test_comments_are_left_out_and_counted(tmp_path, comment, capfd):
    """Of two columns, as many as some of the comments have."""
    data = f"{comment}\nNorway B-LOC\nwon O\n\n{comment}\n{comment}\nOslo B-LOC\n"
    assert [(columns["text"], line) for columns, line in rows(tmp_path, data)] == [
        ("Norway won", 2),
        ("Oslo", 7),
    ]
    assert 'x.conll: 3 lines that begin with "#" were read as comments, the first is line 1 ("#' in said(
        capfd
    )


def test_a_tab_in_a_shown_comment_is_escaped(tmp_path, capfd):
    rows(tmp_path, "#\thttp://example.org/\n1\tOslo\tB-LOC\n")
    assert '1 line that begins with "#" was read as a comment, the first is line 1 ("#\\thttp' in said(capfd)


def test_tokens_that_are_a_hash_stay(tmp_path, capfd):
    """As in tweets: with the tags that other tokens have, wherever they stand."""
    data = "# O\nnewpar O\n\n#happy B-TAG\n# O\n\n# O\n#new B-TAG\nyear B-TAG\n"
    assert [columns["text"] for columns, _ in rows(tmp_path, data)] == ["# newpar", "#happy #", "# #new year"]
    assert rows(tmp_path, "#\n#\n\na\n")[0][0]["text"] == "# #"
    assert said(capfd) == ""
    assert (
        rows(tmp_path, "# O\n#x O\n")[0][0]["text"] == "# #x"
    )  # no other token says how many columns there are


def test_what_may_be_either_is_a_token_and_said(tmp_path, capfd):
    data = "# Heading\nOslo LOC\n\n# LOC\nRome LOC\n"
    assert [columns["text"] for columns, _ in rows(tmp_path, data)] == ["# Oslo", "# Rome"]
    assert (
        'x.conll: 1 line that begins with "#" has 2 columns and is read as a token, with tags that no other token has, in '
        'line 1 ("# Heading"); remove it if it is a comment'
    ) in said(capfd)


def test_several_that_may_be_either(tmp_path, capfd):
    rows(tmp_path, "# Heading\nOslo LOC\n\n# Other\nRome LOC\n")
    assert (
        'x.conll: 2 lines that begin with "#" have 2 columns and are read as tokens, with tags that no other token has, the '
        'first in line 1 ("# Heading"); remove them if they are comments'
    ) in said(capfd)


def test_within_a_sentence_there_is_no_comment(tmp_path):
    assert sentence(tmp_path, "a O\n# sent_id = 7\nb O\n").startswith("x.conll:2: 4 columns where")
    assert rows(tmp_path, "a O\n# newpar\n")[0][0]["-1"] == '["O", "newpar"]'


# CoNLL-U. The sentence of the format's own page, with its words of several tokens, and one that is not written.
UNIVERSAL = """\
# sent_id = 1
# text = vámonos al mar
1-2	vámonos	_	_	_	_	_	_	_	_
1	vamos	ir	VERB	_	_	0	root	_	_
2	nos	nosotros	PRON	_	_	1	obj	_	_
3-4	al	_	_	_	_	_	_	_	_
3	a	a	ADP	_	_	5	case	_	_
4	el	el	DET	_	_	5	det	_	_
5	mar	mar	NOUN	_	_	1	obl	_	SpaceAfter=No

# sent_id = 2
1	10 000	10 000	NUM	_	_	0	root	_	_
1.1	likes	like	VERB	_	_	_	_	0:root	CopyOf=1
2	#	#	SYM	_	_	1	dep	_	_
"""


def universal(tmp_path, data, required=()):
    path = tmp_path / "x.conllu"
    path.write_text(data, "utf-8")
    return [(dict(record.columns), record.line) for record in read_records(path, required)]


def test_universal_dependencies(tmp_path):
    (first, line), (second, behind) = universal(tmp_path, UNIVERSAL, ["form", "upos", "3", "-1", "text"])
    assert (line, behind) == (4, 12)
    assert first["text"] == "vamos nos a el mar"
    assert first["upos"] == first["3"] == '["VERB", "PRON", "ADP", "DET", "NOUN"]'
    assert first["misc"] == first["-1"] == '["_", "_", "_", "_", "SpaceAfter=No"]'
    assert (json.loads(second["form"]), json.loads(second["upos"])) == (["10 000", "#"], ["NUM", "SYM"])
    comments = "# only a comment\n\n1-2\tal" + "\t_" * 8 + "\n\n"
    assert universal(tmp_path, comments + UNIVERSAL)[0] == (first, line + 4)


@pytest.mark.parametrize(
    ("data", "required", "found"),
    [
        (UNIVERSAL.replace("ir\t", "ir "), (), "x.conllu:4: 9 columns; a word of CoNLL-U has ten, separated by tabs"),
        (UNIVERSAL.replace("1-2\t", "1-2 "), (), "x.conllu:3: 9 columns; a word of CoNLL-U has ten, separated by tabs"),
        (UNIVERSAL, ["upost"], 'x.conllu:4: there is no column "upost"; did you mean "upos"?'),
        ("# only a comment\n", (), "x.conllu:1: the file is empty; expected one token per line"),
    ],
)  # fmt: skip
def test_errors_of_universal_dependencies(tmp_path, data, required, found):
    with pytest.raises(UserError) as caught:
        universal(tmp_path, data, required)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(found)
