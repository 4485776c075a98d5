"""Encodings and line ends of text files, through every reader of text."""

from __future__ import annotations

import json
from functools import partial

import pytest

from tfpipeline.data import lines, read_data_file, read_records
from tfpipeline.data.options import DataOptions
from tfpipeline.data.records import FileOptions, file_options
from tfpipeline.errors import UserError
from tfpipeline.tasks.similarity.corpus import CorpusOptions

TEXTS = {
    "utf-8-sig": ["naïve — 猫", "b"],
    "utf-16": ["naïve — 猫", "\u0a0a\u0d0a \U0001f600"],  # bytes 10 and 13 within characters
    "utf-16-le": ["naïve — 猫", "b"],
    "utf-16-be": ["naïve — 猫", "b"],
    "utf-32": ["naïve — 猫", "b"],
    "cp1252": ["naïve — “œuvre”", "b"],
    "cp1251": ["хорошо", "b"],
    "gb18030": ["这家店很好", "€ \U0001f600"],
    "big5": ["這家店很好", "許功蓋"],  # whose second byte is a backslash
    "shift_jis": ["表示テスト", "ソ"],
    "euc_kr": ["좋은 영화", "b"],
    "iso2022_jp": ["日本語のテスト", "b"],
}


def written(suffix, texts):
    if suffix == "csv":
        return "text,label\n" + "".join(f'"{text}",l\n' for text in texts)
    if suffix == "tsv":
        return "text\tlabel\n" + "".join(f"{text}\tl\n" for text in texts)
    if suffix in ("jsonl", "json"):
        rows = [json.dumps({"text": text, "label": "l"}, ensure_ascii=False) for text in texts]
        return "\n".join(rows) if suffix == "jsonl" else f"[{', '.join(rows)}]"
    if suffix == "conll":
        return "".join(f"{text.replace(' ', '_')}\tl\n\n" for text in texts)
    return "".join(f"{text}\n" for text in texts)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "conll", "txt"])
@pytest.mark.parametrize("encoding", TEXTS)
def test_encodings(tmp_path, encoding, suffix):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(written(suffix, TEXTS[encoding]).encode(encoding))
    found = [record.columns["text"] for record in read_records(path, ["text"], FileOptions(encoding))]
    assert found == [text.replace(" ", "_") if suffix == "conll" else text for text in TEXTS[encoding]]


def test_a_run_file_names_encoding_and_delimiter(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes('text;label\n"oui; déjà";gut\n'.encode("cp1252"))
    (row,) = read_data_file(path, DataOptions(train=str(path), encoding="cp1252", delimiter=";"))
    assert (row.text, row.label) == ("oui; déjà", "gut")
    path = tmp_path / "x.tsv"
    path.write_text("text|label\na\tb|c\n")
    (row,) = read_data_file(path, DataOptions(train=str(path), delimiter="|"))
    assert (row.text, row.label) == ("a\tb", "c")


@pytest.mark.parametrize("written", ["\t", "\\t", "tab"])
def test_a_tab_can_be_typed(tmp_path, written):
    (tmp_path / "x.csv").write_text('text\tlabel\n"a ""b"""\tc\n')
    file = FileOptions(**file_options(delimiter=written))
    assert [dict(record.columns) for record in read_records(tmp_path / "x.csv", file=file)] == [
        {"text": 'a "b"', "label": "c"}
    ]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"encoding": "utf9"}, 'encoding "utf9": no such encoding of text; common ones are utf-8, utf-16'),
        ({"encoding": "base64"}, 'encoding "base64": no such encoding of text'),
        ({"delimiter": ";;"}, 'delimiter ";;": must be one character, such as ";"'),
        ({"delimiter": '"'}, 'delimiter """: must be one character'),
    ],
)
def test_options_that_cannot_be(given, found):
    with pytest.raises(UserError) as caught:
        file_options(**given)
    assert str(caught.value).startswith(found)
    for section in (partial(DataOptions, train="x.csv"), partial(CorpusOptions, path="x.csv")):
        with pytest.raises(ValueError, match=r"no such encoding|one character"):
            section(**given)


def sentence(tmp_path, data, encoding="utf-8", name="x.txt"):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError) as caught:
        list(read_records(tmp_path / name, file=FileOptions(encoding)))
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{tmp_path}/", "")


ADVICE = (
    'name the right one with --encoding (in a run file: "encoding", beside the path of the file), '
    "or save the file as UTF-8"
)


@pytest.mark.parametrize(
    ("data", "encoding", "found"),
    [
        ("ok\nl'été, à\n".encode("cp1252"), "utf-8", f"x.txt:2: not UTF-8 (byte 0xe9); it may be cp1252 or cp1251: {ADVICE}"),
        ("好\n这家店很好，真的\n".encode("gb18030"), "utf-8", "x.txt:1: not UTF-8 (byte 0xba); it may be gb18030 or "),
        ("a\nfür uns\n".encode("cp1252"), "utf-8", f"x.txt:2: not UTF-8 (byte 0xfc); it may be cp1252 or cp1251: {ADVICE}"),
        ("這家店很好\n".encode("big5"), "utf-8", "x.txt:1: not UTF-8 (byte 0xb3); it may be gb18030 or big5 or "),
        ("ok\nпривет\n".encode(), "ascii", "x.txt:2: not ASCII (byte 0xd0); it may be utf-8 or "),
        (b"a\n\x81\n", "cp1252", "x.txt:2: not CP1252 (byte 0x81); "),
        ("a\nb\nc\n".encode("utf-16-le") + b"\x00\xd8\x00\x00", "utf-16-le", f"x.txt:4: not UTF-16-LE (byte 0x00); {ADVICE}"),
        (("a\n" * 40_000).encode("utf-16-le") + b"\x00", "utf-16-le", f"x.txt:40001: not UTF-16-LE (byte 0x00); {ADVICE}"),
        (b"text\n", "utf-16", f"x.txt:1: not UTF-16 (no byte-order mark); it may be utf-8: {ADVICE}"),
        (b"text,label\n" * 9, "utf-32", f"x.txt:1: not UTF-32 (no byte-order mark); it may be utf-8: {ADVICE}"),
        ("text\n".encode("utf-16-le"), "utf-16", f"x.txt:1: not UTF-16 (no byte-order mark); it may be utf-16-le: {ADVICE}"),
        ("text\n".encode("utf-16"), "utf-32", f"x.txt:1: not UTF-32 (no byte-order mark); it may be utf-16: {ADVICE}"),
        ("text\n".encode("utf-16"), "utf-8", "x.txt:1: the file is UTF-16, not UTF-8; name utf-16 with --encoding (in a run file: \"encoding\", beside the path of the file), or"),
        ("text\n".encode("utf-16-le"), "utf-8", "x.txt:1: the file is UTF-16-LE, not UTF-8"),
        ("text\n".encode("utf-16-be"), "gb18030", "x.txt:1: the file is UTF-16-BE, not GB18030"),
        ("\ufefftext\n".encode(), "cp1252", "x.txt:1: the file is UTF-8, not CP1252"),
    ],
)  # fmt: skip
def test_bytes_of_another_encoding(tmp_path, data, encoding, found):
    assert sentence(tmp_path, data, encoding).startswith(found)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "conll", "txt"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_carriage_return_alone_ends_the_lines_of_a_file_without_line_feeds(tmp_path, suffix, encoding):
    path, texts = tmp_path / f"x.{suffix}", [f"text_{number}" for number in range(30_000)]
    path.write_bytes(written(suffix, texts).replace("\n", "\r").encode(encoding))
    found = list(read_records(path, file=FileOptions(encoding)))
    assert [record.columns["text"] for record in found] == texts
    assert found[-1].line - found[0].line == 29_999 * (2 if suffix == "conll" else 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_carriage_return_among_line_feeds_ends_nothing(tmp_path, encoding):
    (tmp_path / "x.txt").write_bytes("a\rb\nc\u2028d\x85".encode(encoding))
    assert list(lines.read_lines(tmp_path / "x.txt", encoding)) == ["a\rb\n", "c\u2028d\x85"]
