"""Entities and tags in data files: whichever way they are written, or a sentence with file and line."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text.characters import edges
from tfpipeline.data import Example, read_examples, write_examples
from tfpipeline.data.options import DataOptions
from tfpipeline.errors import UserError
from tfpipeline.tasks import _spans
from tfpipeline.tasks.tagging import TaggingOptions

TEXT = "Ada Lovelace in London"
ENTITIES = [[0, 12, "PER"], [16, 22, "LOC"]]


def read(path, label="tags", text="text", **options):
    """The rows of a file, and the JSON that is kept of their labels."""
    data = DataOptions(train=str(path), text=text, label=label)
    rows = list(TaggingOptions(**options).read(data, path))
    return rows, [json.loads(row.label) for row in rows]


def jsonl(folder, *rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def prepared(text, label, **options):
    """A row as it is kept: its text, and what is kept of its label."""
    given_ = label if label is None or isinstance(label, str) else json.dumps(label)
    row = TaggingOptions(**options).preprocess(
        Example(text, label=given_, file="rows.csv", line=7, weight=2.0, group="g")
    )
    assert (row.source, row.weight, row.group) == ("rows.csv:7", 2.0, "g")
    return row.text, json.loads(row.label)


CONLL = """\
-DOCSTART- -X- O O

Ada NNP B-NP B-PER
Lovelace NNP I-NP I-PER
in IN B-PP O
London NNP B-NP B-LOC

U.S. NNP B-NP S-LOC
-- : O O
"""


@pytest.mark.parametrize("label", ["3", "-1"])
def test_conll(tmp_path, label):
    path = tmp_path / "x.conll"
    path.write_text(CONLL, "utf-8")
    rows, kept = read(path, label)
    assert [(row.text, row.line) for row in rows] == [(TEXT, 3), ("U.S. --", 8)]
    assert kept == [
        {"spans": ENTITIES, "words": [[0, 3], [4, 12], [13, 15], [16, 22]]},
        {"spans": [[0, 4, "LOC"]], "words": [[0, 4], [5, 7]]},
    ]
    # The first column itself: the text is then the list of its tokens, joined as the run file says.
    rows, same = read(path, label, text="0")
    assert [row.text for row in rows] == [TEXT, "U.S. --"]
    assert same == kept
    rows, kept = read(path, label, text="0", separator="")
    assert (rows[1].text, kept[1]) == ("U.S.--", {"spans": [[0, 4, "LOC"]], "words": [[0, 4], [4, 6]]})
    _, kept = read(path, "1", scheme="plain")
    assert kept[1] == {"spans": [[0, 4, "NNP"], [5, 7, ":"]], "words": [[0, 4], [5, 7]]}


@pytest.mark.parametrize("name", ["x.conll", "x.conllu"])
@pytest.mark.parametrize(
    "tokens",
    [["10\u00a0000", "euros"], ["[", '"', "hi", '"', "]"], ["[", "]"], ["[", '"a"', "]"], ["x\u2028y", "\x85", "a\x1cb"], ["a", "a", "aa"], ["10 000", "euros", "10"]],
)  # fmt: skip
def test_tokens_of_conll_are_not_guessed_from_the_text(tmp_path, name, tokens):
    """They may hold white space, and a sentence may look like a list of tokens."""
    tags = [f"B-{number}" for number, _ in enumerate(tokens)]
    cells = [[token, tag] for token, tag in zip(tokens, tags)]
    if name == "x.conllu":
        cells = [[str(n), token, "_", tag, *"_" * 6] for n, (token, tag) in enumerate(cells, 1)]
    (tmp_path / name).write_text("".join("\t".join(row) + "\n" for row in cells), "utf-8", newline="")
    (row,), (kept,) = read(tmp_path / name, label="upos" if name == "x.conllu" else "1")
    assert row.text == " ".join(tokens)
    assert [row.text[start:end] for start, end, _ in kept["spans"]] == tokens
    assert [kind for *_, kind in kept["spans"]] == [str(number) for number, _ in enumerate(tokens)]
    assert kept["words"] == [span[:2] for span in kept["spans"]]
    assert row.columns == {}  # the other cells of ten million rows are not kept


def test_tokens_may_all_be_numbers(tmp_path):
    """In a list of the file; a text that looks like one is a text."""
    rows, kept = read(
        jsonl(
            tmp_path,
            {"text": [1996, 12.50], "tags": ["B-D", "I-D"]},
            {"text": "[1996, 12.5]", "tags": ["O", "O"]},
        )
    )
    assert [row.text for row in rows] == ["1996 12.5", "[1996, 12.5]"]
    assert kept[0]["words"] == [[0, 4], [5, 9]]


def test_tokens_beside_a_text(tmp_path):
    """They say which words have the tags, if they are as many and are in the text."""
    text, tags = "It's New\u00a0York.", ["O", "O", "B-LOC", "I-LOC", "O"]
    tokens = ["It", "'s", "New", "York", "."]
    (row,), (kept,) = read(jsonl(tmp_path, {"text": text, "tokens": tokens, "tags": tags}))
    assert (row.text, kept["spans"]) == (text, [[5, 13, "LOC"]])
    assert [text[start:end] for start, end in kept["words"]] == tokens
    for other in (["it", "'s", "New", "York", "."], tokens[:4], 5, "x", ["It", 1, "New", "York", "."]):
        path = jsonl(tmp_path, {"text": text, "tokens": other, "tags": ["O", "B-LOC", "I-LOC"]})
        (row,), (kept,) = read(path)
        assert kept["words"] == [[0, 4], [5, 8], [9, 14]]


def test_tags_lose_white_space_around_them():
    for tags in (["O ", "B-PER\u00a0"], ["\tO", " B-PER"]):
        assert prepared("a b", tags)[1]["spans"] == [[2, 3, "PER"]]
    assert prepared("a b", ["X ", " Y"], scheme="plain")[1]["spans"] == [[0, 1, "X"], [2, 3, "Y"]]


def test_the_separator_joins_tokens_of_conll(tmp_path):
    path = tmp_path / "x.conll"
    path.write_text("王\tB-PER\n小\tI-PER\n在\tO\n", "utf-8")
    (row,), (kept,) = read(path, label=1, separator="")
    assert (row.text, kept["spans"]) == ("王小在", [[0, 2, "PER"]])


def test_words_end_where_bert_sees_white_space():
    """What BERT drops is none: one word cannot have two tags."""
    for character in "\x85\x1c\u200b":
        with pytest.raises(UserError, match=r"rows\.csv:7: 2 tags for 1 words between white space"):
            prepared(f"ann{character}in", "O B-PER")
    _, kept = prepared("ann\u00a0in\u3000rio", "O B-PER O")
    assert kept["words"] == [[0, 3], [4, 6], [7, 10]]


TAGS = ["B-PER", "I-PER", "O", "B-LOC"]


def test_tags_as_lists_and_as_text(tmp_path):
    want = {"spans": ENTITIES, "words": [[0, 3], [4, 12], [13, 15], [16, 22]]}
    path = jsonl(
        tmp_path, {"text": TEXT, "tags": TAGS}, {"text": f" {TEXT.replace(' ', '  ')}\n", "tags": TAGS}
    )
    rows, kept = read(path)
    assert rows[0].text == TEXT
    assert kept[0] == want
    assert rows[1].text == " Ada  Lovelace  in  London\n"  # the text stays as it is
    assert kept[1] == {
        "spans": [[1, 14, "PER"], [20, 26, "LOC"]],
        "words": [[1, 4], [6, 14], [16, 18], [20, 26]],
    }
    path = jsonl(
        tmp_path, {"text": TEXT.split(), "tags": TAGS}, {"text": TEXT.split(), "tags": " ".join(TAGS)}
    )
    rows, kept = read(path)
    assert [row.text for row in rows] == [TEXT, TEXT]
    assert kept == [want, want]
    path = tmp_path / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("text", "tags"), (TEXT, " B-PER I-PER\tO  B-LOC "), (TEXT, json.dumps(TAGS))]
        )
    assert read(path)[1] == [want, want]


def test_chinese_tokens_are_joined_by_nothing():
    text, kept = prepared(
        json.dumps(["王", "小", "明", "在", "北京"]), ["B", "M", "E", "O", "S"], separator=""
    )
    assert text == "王小明在北京"
    assert kept == {
        "spans": [[0, 3, "_"], [4, 6, "_"]],
        "words": [[0, 1], [1, 2], [2, 3], [3, 4], [4, 6]],
    }


def test_what_only_begins_like_a_list_is_a_text():
    assert prepared("[1]", "O") == ("[1]", {"spans": [], "words": [[0, 3]]})
    assert prepared("[Applause] Ada", ["O", "B-PER"])[1] == {
        "spans": [[11, 14, "PER"]],
        "words": [[0, 10], [11, 14]],
    }
    assert prepared("[" * 100_000, "O")[1]["words"] == [[0, 100_000]]
    assert prepared('["GET", {"a": 1}]', [[2, 5, "VERB"]])[1] == {"spans": [[2, 5, "VERB"]]}


def test_numbers_among_tokens_are_as_they_are_written(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": ["in", 1996.50, "!"], "tags": ["O", "B-DATE", "O"]}\n')
    rows, kept = read(path)
    assert rows[0].text == "in 1996.50 !"
    assert kept[0]["spans"] == [[3, 10, "DATE"]]


def test_tokens_may_hold_blanks():
    """A no-break space within a number, as French has it, is white space to Python and to BERT."""
    text, kept = prepared(json.dumps(["1\u00a0000", "euros"]), ["B-SUM", "I-SUM"])
    assert (text, kept["spans"], kept["words"]) == ("1\u00a0000 euros", [[0, 11, "SUM"]], [[0, 5], [6, 11]])


def test_no_tokens_are_no_words():
    for scheme in ("bio", "plain"):
        assert prepared("[]", [], scheme=scheme) == ("", {"spans": [], "words": []})
    assert prepared("", [], scheme="plain") == ("", {"spans": [], "words": []})
    assert prepared("no entity", []) == ("no entity", {"spans": []})


@pytest.mark.parametrize(
    "entities",
    [
        [{"start": 0, "end": 12, "type": "PER"}, {"start": 16, "end": 22, "type": "LOC"}],
        [{"label": "LOC", "end": 22, "start": 16}, {"label": " PER ", "end": 12, "start": 0, "score": 0.5}],
        [{"entity": "PER", "start": 0, "end": 12, "more": {"a": [1]}}, [16, 22, "LOC"]],
        ENTITIES,
        ENTITIES[::-1],
    ],
)
def test_entities_as_objects_and_as_lists(tmp_path, entities):
    rows, kept = read(jsonl(tmp_path, {"text": TEXT, "tags": entities}))
    assert rows[0].text == TEXT
    assert kept == [{"spans": ENTITIES}]


# The words of entities, in each notation; written from its definition.
def iob1(word, words, after_same):
    return "B" if word == 0 and after_same else "I"


def bio(word, words, after_same):
    return "B" if word == 0 else "I"


def bioes(word, words, after_same):
    return "S" if words == 1 else "B" if word == 0 else "E" if word == words - 1 else "I"


def bilou(word, words, after_same):
    return bioes(word, words, after_same).translate(str.maketrans("ES", "LU"))


def bmes(word, words, after_same):
    return bioes(word, words, after_same).replace("I", "M")


NOTATIONS = [iob1, bio, bioes, bilou, bmes]


def tags_in(notation, parts):
    """(type or None, words) of each part -> a tag a word."""
    tags, before = [], None
    for kind, words in parts:
        tags += [
            "O" if kind is None else f"{notation(word, words, kind == before)}-{kind}"
            for word in range(words)
        ]
        before = kind
    return tags


@pytest.mark.parametrize(
    ("notation", "tags"),
    [
        (iob1, "I-A I-A B-A I-B O I-A"),
        (bio, "B-A I-A B-A B-B O B-A"),
        (bioes, "B-A E-A S-A S-B O S-A"),
        (bilou, "B-A L-A U-A U-B O U-A"),
        (bmes, "B-A E-A S-A S-B O S-A"),
    ],
)
def test_five_notations_by_hand(notation, tags):
    assert tags_in(notation, [("A", 2), ("A", 1), ("B", 1), (None, 1), ("A", 1)]) == tags.split()
    spans = [[0, 3, "A"], [4, 5, "A"], [6, 7, "B"], [10, 11, "A"]]
    assert prepared("a b c d e f", tags)[1]["spans"] == spans


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([None, "PER", "LOC", "a-b", "_", "O", "B"]), st.integers(1, 4))),
    st.sampled_from(NOTATIONS),
    st.sampled_from(["", " ", " / "]),
)
def test_every_notation_gives_the_entities(parts, notation, separator):
    tags = tags_in(notation, parts)
    tokens = [f"t{number}" for number in range(len(tags))]
    text, kept = prepared(json.dumps(tokens), tags, separator=separator)
    found = [(kind, text[start:end]) for start, end, kind in kept["spans"]]
    numbers = iter(tokens)
    pieces = [(kind, separator.join([next(numbers) for _ in range(words)])) for kind, words in parts]
    assert found == [piece for piece in pieces if piece[0] is not None]
    assert [text[start:end] for start, end in kept["words"]] == tokens
    # In BIO no entity but IOB1's begins wrongly.
    assert kept.get("mended", False) == (notation is iob1 and any(kind for kind, _ in parts))


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("I-A I-A O", [(0, 3)]),
        ("O I-A I-A", [(2, 5)]),
        ("B-A I-B O", [(0, 1), (2, 3)]),
        ("B-A E-A E-A", [(0, 3), (4, 5)]),
        ("S-A I-A O", [(0, 1), (2, 3)]),
        ("E-A I-A O", [(0, 1), (2, 3)]),
        ("O E-A O", [(2, 3)]),
        ("L-A M-A U-A", [(0, 1), (2, 3), (4, 5)]),
    ],
)
def test_broken_sequences_are_read_as_conlleval_reads_them(tags, spans):
    kept = prepared("a b c", tags)[1]
    assert [(start, end) for start, end, _ in kept["spans"]] == spans
    assert kept["mended"] is True


def test_mended_rows_are_counted_in_one_warning(tmp_path, capfd):
    rows = [
        {"text": "a b", "tags": tags}
        for tags in ("B-PER O", "O I-PER", "B-LOC I-PER", "B-LOC I-LOC", "I-PER O")
    ]
    found, _ = read(jsonl(tmp_path, *rows))
    assert capfd.readouterr().err == ""
    TaggingOptions().fit(found)
    said = " ".join(capfd.readouterr().err.split())
    assert "warning: 3 training rows continue an entity that has not begun" in said
    assert re.search(r"the first is \S*rows.jsonl:2;", said)
    assert said.count("warning") == 1
    TaggingOptions().fit([found[0], found[0], found[3], found[3]])
    assert capfd.readouterr().err == ""


def test_what_is_kept_is_read_back(tmp_path):
    cells = [
        {"text": TEXT, "tags": ENTITIES},
        {"text": ["é", "b"], "tags": ["I-PER", "O"]},
        {"text": "x y", "tags": "B-LOC O"},
        {"text": "", "tags": []},
    ]
    rows, kept = read(jsonl(tmp_path, *cells))
    write_examples(tmp_path / "kept.jsonl", rows)
    again = list(read_examples(tmp_path / "kept.jsonl"))
    assert again == rows
    assert [json.loads(row.label) for row in again] == kept
    assert [row.line for row in again] == [1, 2, 3, 4]


def test_labels_of_a_row_do_not_change_from_process_to_process():
    """The split depends on their order: that of a set hangs on the seed of strings' hashes."""
    code = (
        "import json; from tfpipeline.data import Example; from tfpipeline.tasks.tagging import Tagging, TaggingOptions\n"
        "spans = [[n, n + 1, f't{n % 7}'] for n in range(20)]\n"
        "print(list(TaggingOptions().strata(Example('x' * 20, label=json.dumps({'spans': spans})))))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": str(seed), "PATH": ""},
        ).stdout
        for seed in (1, 2)
    }
    assert found == {"['t0', 't1', 't2', 't3', 't4', 't5', 't6']\n"}


def sentence(folder, row, **options):
    """What is said of a row behind a good one."""
    good = {"text": "a", "tags": ["N"] if options.get("scheme") == "plain" else []}
    with pytest.raises(UserError) as caught:
        read(jsonl(folder, good, row), **options)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    assert len(said) < 400
    said.encode()
    return said.replace(f"{folder}/", "")


NO_JSON = 'expected tags ["B-PER", "O"], or entities [{"start": 0, "end": 4, "type": "PER"}]'


@pytest.mark.parametrize(
    ("text", "tags", "said"),
    [
        ("a b", ["O"], "1 tags for 2 words between white space; give each one a tag"),
        ("a b", "O O O", "3 tags for 2 words between white space; give each one a tag"),
        ("", "O", "1 tags for 0 words between white space"),
        (["a", "b"], ["O"], "1 tags for 2 tokens; give each one a tag"),
        (["a", "b"], [], "0 tags for 2 tokens; give each one a tag"),
        (["a", ""], ["O", "O"], 'token 2 is ""; expected a text that is not empty'),
        (["a", None], ["O", "O"], "token 2 is null; expected a text that is not empty"),
        (["a", ["b"]], ["O", "O"], 'token 2 is ["b"]; expected a text that is not empty'),
        (["a", "b"], [[0, 1, "PER"]], "the text is a list of tokens, but the row has entities"),
        ("a b", "O X-PER", 'the tag of token 2, "X-PER", is neither O nor one such as B-PER or I-PER; if each word'),
        ("a b", ["O", "b-PER"], 'the tag of token 2, "b-PER", is neither O nor'),
        ("a b", ["O", "B-"], 'the tag of token 2, "B-", is neither O nor'),
        ("a b", ["O", "o"], 'the tag of token 2, "o", is neither O nor'),
        ("a b", ["O", ""], 'the tag of token 2, "", is neither O nor'),
        ("a b", ["O", "x" * 1_000_000], 'the tag of token 2, "xxx'),
        ("a b", ["O", "a\nb\u2028c"], 'the tag of token 2, "a\\nb\\u2028c", is neither O nor'),
        ("a b", "{} []", 'the tag of token 1, "{}", is neither O nor'),
        ("a b", ["O", 1], "tag 2 is 1; write the tags' names, such as B-PER"),
        ("a b", ["O", []], '[] is not a tag; expected tags ["B-PER", "O"], or entities'),
        ("a b", {"start": 0, "end": 1, "type": "A"}, 'the label is {"start": 0, "end": 1, "type": "A"}; expected a list: tags ["B-PER"'),
        (["a", "b"], [3, 0], "tag 1 is 3; write the tags' names, such as B-PER (a data set of Hugging Face has them in"),
        ("a b", [[0, 1, 5]], "entity 1 has the type 5; expected its name"),
        ("a b", [0, 1], "tag 1 is 0; write the tags' names"),
        ("a b", [["B-PER", "O"]], 'entity 1 is ["B-PER", "O"]; expected'),
        ("a b", [[0, 1, "A"], [0, 1]], "entity 2 is [0, 1]; expected"),
        ("a b", [None], "tag 1 is null; write the tags' names"),
        ("a b", [["x\n" * 500]], 'entity 1 is ["x\\nx\\n'),
        ("a b", [[0, 2, "PER"], [1, 3, "LOC"]], "the entities PER (0 to 2) and LOC (1 to 3) overlap; keep one"),
        ("a b", [[1, 3, "LOC"], [0, 3, "PER"]], "the entities PER (0 to 3) and LOC (1 to 3) overlap; keep one"),
        ("a b", [[0, 1, "A"], [0, 1, "A"]], "the entities A (0 to 1) and A (0 to 1) overlap"),
        ("a b", [[0, 1, "x" * 1_000_000], [0, 1, "a\nb"]], "the entities a\\nb (0 to 1) and xxx"),
        ("a b", [[0, 4, "A"]], "entity 1 is from 0 to 4, but the text has 3 characters; offsets count code points, and"),
        ("a b", [[3, 4, "A"]], "entity 1 is from 3 to 4, but the text has 3"),
        ("", [[0, 1, "A"]], "entity 1 is from 0 to 1, but the text has 0"),
        ("a b", [[-1, 2, "A"]], "entity 1 is from -1 to 2, but"),
        ("a b", [[1, 1, "A"]], "entity 1 is from 1 to 1, but"),
        ("a b", [[0, 1, "A"], [2, 1, "A"]], "entity 2 is from 2 to 1, but"),
        ("a b", [[0, 10**4000, "A"]], "entity 1 is from 0 to 1000"),
        ("a b", [[True, 3, "A"]], "entity 1 has the start true; offsets are whole numbers"),
        ("a b", [[0, 1.0, "A"]], "entity 1 has the end 1.0; offsets are whole numbers"),
        ("a b", [[0, "1", "A"]], 'entity 1 has the end "1"; offsets are whole numbers'),
        ("a b", [[float("nan"), 1, "A"]], "entity 1 has the start NaN; offsets are whole numbers"),
        ("a b", [[["x\n" * 500], 1, "A"]], 'entity 1 has the start ["x\\nx\\n'),
        ("a b", [{"start": 0, "type": "A"}], "entity 1 has the end null; offsets are whole numbers"),
        ("a b", [{"start": 0, "end": 1}], 'entity 1 has no type; give it one, such as "type": "PER"'),
        ("a b", [{"start": 0, "end": 1, "type": " "}], "entity 1 has no type"),
        ("a b", [{"start": 0, "end": 1, "type": ["A"]}], 'entity 1 has the type ["A"]; expected its name'),
        ("a b", [[0, 1, None]], "entity 1 has no type"),
        ("a b", [[0, 1, 1]], "entity 1 has the type 1; expected its name"),
        ("a b", [[1, 2, "A"]], "entity 1 is ' ', which has no letter and no sign; remove it"),
        ("a\u200b\u3000b", [[1, 3, "A"]], "entity 1 is '\\u200b\\u3000', which has no letter"),
        ("a b", "[0, 1", f"[0, 1 is not JSON (Expecting ',' delimiter: line 1 column 6 (char 5)); {NO_JSON}"),
        ("a b", "['O', 'O']", "['O', 'O'] is not JSON ("),
        ("a b", "[O O]\n" * 1000, "[O O]\\n[O O]"),
        ("a b", "[" * 100_000, f"{'[' * 40}... is not JSON (nested too deeply); {NO_JSON}"),
        ("a b", f"[1{'0' * 5000}]", f"[1{'0' * 38}... is not JSON ("),
        ("a b", None, "the row has no tags; write a tag for each token, or a list of entities ([] for none)"),
        ("a b", "  ", "the row has no tags"),
    ],
)  # fmt: skip
def test_bad_rows(tmp_path, text, tags, said):
    assert sentence(tmp_path, {"text": text, "tags": tags}).startswith(f"rows.jsonl:2: {said}")


@pytest.mark.parametrize(
    ("text", "tags", "said"),
    [
        ("a b", ENTITIES, "the row has entities, but task.scheme is plain; set it to bio, or give each word a tag"),
        ("a b", [], "0 tags for 2 words between white space; give each one a tag"),
        ("a b", ["N"], "1 tags for 2 words between white space; give each one a tag"),
        (["a"], [["N"]], "the row has entities, but task.scheme is plain"),
    ],
)  # fmt: skip
def test_bad_rows_of_plain_tags(tmp_path, text, tags, said):
    assert sentence(tmp_path, {"text": text, "tags": tags}, scheme="plain").startswith(
        f"rows.jsonl:2: {said}"
    )


def test_any_depth_is_a_sentence():
    """Also that at which parsing just works, and writing what was parsed into a message does not."""
    for depth in range(800, 1030, 3):
        nested = "[" * depth + "]" * depth
        for cell in (
            f"[{nested}]",
            f'[[{nested}, 1, "A"]]',
            f'[[0, 1, "\\u0041"], {{"a": {nested}}}]',
            f'["O", {nested}]',
        ):
            with pytest.raises(UserError) as caught:
                prepared("a b", cell)
            assert len(str(caught.value)) < 400


# A text, places in UTF-16 units or bytes that part its characters, and which those are in code points.
EMOJI = "👍🏽 Ada"


@pytest.mark.parametrize(
    ("text", "start", "end", "at"),
    [
        ("cafe\u0301 Ada", 0, 4, 4),
        ("cafe\u0301 Ada", 4, 9, 4),
        (EMOJI, 1, 4, 1),
        ("👩\u200d👩\u200d👧 x", 0, 1, 1),
        ("👩\u200d👩\u200d👧 x", 0, 2, 2),
        ("❤\ufe0f x", 0, 1, 1),
        ("1\ufe0f\u20e3 x", 0, 2, 2),
        ("🇩🇪🇫🇷 x", 0, 1, 1),
        ("🇩🇪🇫🇷 x", 2, 3, 3),
        ("🏴\U000e0067\U000e0062\U000e007f x", 0, 3, 3),
        ("हिन्दी", 0, 1, 1),
        ("\u1112\u1161\u11ab x", 0, 2, 2),
    ],
)
def test_places_within_a_character(text, start, end, at):
    with pytest.raises(UserError) as caught:
        prepared(text, [[start, end, "A"]])
    assert str(caught.value) == (
        f"rows.csv:7: entity 1 is from {start} to {end}, and at {at} that is within one character "
        f"({text[at - 1 : at + 1]!a}); offsets count code points, not bytes or UTF-16 units"
    )


def test_places_between_characters():
    for text in (
        "cafe\u0301 Ada",
        EMOJI,
        "🇩🇪🇫🇷🇮🇹",
        "👩\u200d👩\u200d👧x",
        "한국",
        "ab",
        "\u1112\u1161\u11abx",
        "❤\ufe0f",
        "é",
    ):
        prepared(text, [[0, len(text), "A"]])
    assert prepared("🇩🇪🇫🇷🇮🇹", [[0, 2, "A"], [2, 4, "A"]])[1]["spans"] == [[0, 2, "A"], [2, 4, "A"]]
    assert prepared("한국", [[0, 1, "A"], [1, 2, "B"]])[1]["spans"] == [[0, 1, "A"], [1, 2, "B"]]
    assert prepared("cafe\u0301", [[0, 3, "A"], [3, 5, "B"]])[1]["spans"] == [[0, 3, "A"], [3, 5, "B"]]


def test_places_in_other_units():
    """Behind an emoji they are too large: past the end, or within it."""
    start = EMOJI.index("Ada")
    for unit, size in (("utf-8", 1), ("utf-16-le", 2)):
        shifted = [len(EMOJI[:place].encode(unit)) // size for place in (start, start + 3)]
        with pytest.raises(UserError, match=r"rows.csv:7: entity 1 is from .*; offsets count code points"):
            prepared(EMOJI, [[*shifted, "PER"]])
    assert prepared(EMOJI, [[start, start + 3, "PER"]])[1] == {"spans": [[3, 6, "PER"]]}


@given(st.text(st.sampled_from("ab\u0301\u200d\ufe0f👩👍🏽🇩🇪한\u1161\u11ab \u0903\u1df6#\u20e3"), max_size=8))
def test_what_parts_a_character(text):
    parted = [place for place in range(len(text) + 1) if _spans.parts_a_character(text, place)]
    assert parted == sorted({*range(len(text) + 1)}.difference(edges(text)))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("a b", '["B-\\ud83d", "O"]'),
        ("a b", '[{"start": 0, "end": 1, "type": "\\udc00"}]'),
        ('["a\\ud83d", "b"]', '["B-X", "O"]'),
    ],
)
def test_half_of_a_pair_becomes_a_replacement_character(text, label):
    """As in JSON lines: no UTF-8 text, no name of a model's output can hold it."""
    text, kept = prepared(text, label)
    json.dumps([text, kept], ensure_ascii=False).encode()
    assert "\ufffd" in text + kept["spans"][0][2]


def test_whole_pairs_are_kept():
    text, kept = prepared('["\\ud83d\\ude00"]', '["B-\\u00e9"]')
    assert (text, kept["spans"]) == ("😀", [[0, 1, "é"]])
    assert prepared('["\\\\ud83d"]', "O")[0] == "\\ud83d"
