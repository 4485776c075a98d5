"""The tagged corpora: their parsers on lines made up here."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from examples import random_bert
from examples.brown_pos import prepare as brown
from examples.peoples_daily import prepare as daily
from examples.splits import Row
from tfpipeline.data.readers import read_records
from tfpipeline.text import TokenizerOptions


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("nn", "NOUN"),
        ("np-tl-hl", "NOUN"),
        ("nns$-tl", "NOUN"),
        ("bedz*", "VERB"),
        ("md*-hl", "VERB"),
        ("*", "ADV"),
        ("*-nc", "ADV"),
        ("pp$", "PRON"),
        ("pp$$", "PRON"),
        ("wp$", "PRON"),
        ("ppss+bez*", "PRON"),
        ("wdt+do+pps", "DET"),
        ("rp+in", "PRT"),
        ("fw-in+at-t", "X"),
        ("fw-*-tl", "X"),
        ("uh", "X"),
        ("--", "."),
        ("---hl", "."),
        (",-tl", "."),
        ("''", "."),
        (")-hl", "."),
    ],
)
def test_universal_tags(tag, expected):
    assert brown.universal(tag) == expected


def test_each_of_browns_tags_is_of_one_universal_tag():
    tags = [tag for tags in brown.UNIVERSAL.values() for tag in tags.split()]
    assert len(tags) == len(set(tags))
    assert len(brown.UNIVERSAL) == 12
    with pytest.raises(KeyError):
        brown.universal("nil")


def test_sentences_of_the_brown_corpus(tmp_path):
    lines = [
        "",
        "\tYou're/ppss+ber and/or/cc 1/2/cd -/in -/in ?/. ?/.",
        "not/nil tagged/vbn",
        " ".join(["long/jj"] * 101),
        " ".join(["long/jj"] * 100),
    ]
    first, second = brown.read(lines)
    assert first == Row("You're and/or 1/2 - - ? ?", "PRON CONJ NUM ADP ADP . .")
    assert len(second.text.split()) == 100
    file = io.StringIO()
    brown.write(file, [first, Row("A", "DET")])
    assert file.getvalue().startswith("You're\tPRON\nand/or\tCONJ\n1/2\tNUM\n-\tADP\n")
    path = tmp_path / "two.conll"
    path.write_text(file.getvalue())
    rows = [record.columns for record in read_records(path)]
    assert [row["text"] for row in rows] == ["You're and/or 1/2 - - ? ?", "A"]
    assert json.loads(rows[0]["1"]) == ["PRON", "CONJ", "NUM", "ADP", "ADP", ".", "."]


def named(line: str) -> list[list[str]]:
    """The names in each sentence of a line, as text/type."""
    found = []
    for words in daily.sentences(line):
        row = daily.row_of(words)
        entities = json.loads(row.label)
        found.append([f"{row.text[one['start'] : one['end']]}/{one['type']}" for one in entities])
    return found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("江/nr  泽民/nr  访/v  美国/ns", [["江泽民/PER", "美国/LOC"]]),
        ("克林顿/nr  在/p  北京/ns  上海/ns", [["克林顿/PER", "北京/LOC", "上海/LOC"]]),
        ("江/nr  泽民/nr  李/nr  鹏/nr  乔/nr  石/nr", [["江泽民/PER", "李鹏/PER", "乔石/PER"]]),
        ("马克思/nr  恩格斯/nr", [["马克思/PER", "恩格斯/PER"]]),
        ("家贵/nr  军敏/nr", [["家贵/PER", "军敏/PER"]]),
        ("欧阳/nr  中石/nr  毛/nr  主席/n", [["欧阳中石/PER", "毛/PER"]]),
        ("司长/n  陈/nr  方/nr  安生/nr  出任/v", [["陈方安生/PER"]]),
        ("焦/nr  秋生/nr  银春/nr", [["焦秋生/PER", "银春/PER"]]),
        ("若愚/nr  肖/nr  荻/nr", [["若愚/PER", "肖荻/PER"]]),
        ("吴/nr  希曾/nr  刘/nr  伯根/nr  岑红/nr", [["吴希曾/PER", "刘伯根/PER", "岑红/PER"]]),
        ("罗/nr  军/nr  陈/nr  志安/nr", [["罗军/PER", "陈志安/PER"]]),
        ("新华社/nt  联合国/nt  １月/t", [["新华社/ORG", "联合国/ORG"]]),
        ("好/a  。/w  ”/w  李/nr  鹏/nr  说/v  ：/w  “/w  走/v  ！/w  ”/w", [[], ["李鹏/PER"]]),
        ("一/m  ；/w  二/m  ？/w  ！/w  三/m", [[], [], [], []]),
        ("", []),
    ],
)
def test_names_in_the_peoples_daily(line, expected):
    assert named(line) == expected


def test_sentences_end_behind_what_closes_them():
    words = list(daily.sentences("“/w  好/a  。/w  ”/w  １９９８年/t  Ａ/nx  ！/w  完/v"))
    assert ["".join(word for word, _ in sentence) for sentence in words] == ["“好。”", "１９９８年Ａ！", "完"]


def test_rows_of_the_peoples_daily(tmp_path):
    (words,) = daily.sentences("一𠮷/n  李/nr  鹏/nr")
    path = tmp_path / "one.jsonl"
    with path.open("w", encoding="utf-8") as file:
        daily.write(file, [daily.row_of(words)])
    assert json.loads(path.read_text("utf-8")) == {
        "text": "一𠮷李鹏",
        "entities": [{"start": 2, "end": 4, "type": "PER"}],  # code points, not bytes or UTF-16
    }


def test_the_vocabulary_of_characters():
    options = TokenizerOptions()
    texts = ["Ａ１１ａ ab好。", "aB好。c"]
    plain = random_bert.vocabulary_of(texts, options)
    assert plain[len(options.all_special_tokens) :] == ("a", "b", "。", "好", "１", "ａ", "##a", "##b")
    wide = random_bert.vocabulary_of(texts, options, daily.is_full_width)
    assert set(wide) - set(plain) == {"##１", "##ａ"}


def test_a_random_checkpoint_is_the_same_each_time():
    options = TokenizerOptions()
    vocabulary = (*options.all_special_tokens, "a")
    first, second = (
        random_bert.random_checkpoint(vocabulary, options, layers=1, hidden=64, heads=4, positions=8)
        for _ in range(2)
    )
    assert first.config == second.config
    assert first.config.num_attention_heads == 4
    assert all((first.tensors[name] == second.tensors[name]).all() for name in first.tensors)


def test_a_model_that_looks_around_looks_at_equals_and_neighbours():
    options = TokenizerOptions()
    vocabulary = (*options.all_special_tokens, *"abcdefgh")
    model = random_bert.random_checkpoint(vocabulary, options, positions=32, looks_around=True)
    query, key = (model.tensors[f"layer_1/attention/{role}/kernel"][:, :1] for role in ("query", "key"))
    for name, far in {"word": 0, "position": 2}.items():  # neighbouring places are nearly the same
        rows = model.tensors[f"embeddings/{name}"]
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        scores = np.einsum("ah,hnd,bg,gnd->ab", rows, query, rows, key)
        assert np.abs(scores.argmax(axis=1) - np.arange(len(rows))).max() <= far
