from __future__ import annotations

import pytest

from tfpipeline.errors import UserError
from tfpipeline.tasks.similarity.corpus import Corpus, CorpusOptions
from tfpipeline.tasks.similarity.rows import text_keys


def read(folder, lines, **options):
    (folder / "corpus.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return CorpusOptions(path=str(folder / "corpus.csv"), **options).content


def test_texts_with_their_ids(tmp_path, capsys):
    found = read(
        tmp_path,
        ["verse;words;more", "g1;In the beginning;x", "g2;And the earth;", "g3;IN the  beginning;"],
        delimiter=";",
        id="verse",
        text="words",
    )
    assert (len(found), found.ids, found.texts) == (2, ["g1", "g2"], ["In the beginning", "And the earth"])
    assert (
        "corpus.csv: 1 row has the text of an earlier row; each text is searched once"
        in capsys.readouterr().err
    )
    keys = text_keys([" and THE earth", "nothing", "in the beginning"])
    assert found.numbers(keys).tolist() == [1, -1, 0]
    found.save(tmp_path)
    again = Corpus.load(tmp_path)
    assert (again.name, list(again.ids), list(again.texts)) == (found.name, found.ids, found.texts)
    assert again.numbers(keys).tolist() == [1, -1, 0]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["id,text", "1,one", "2, "], r'corpus.csv:3: the row of the corpus has no text in the column "text"; complete it or remove it$'),
        (["id,text", ",one"], r'corpus.csv:2: the row of the corpus has no ID in the column "id"'),
        (["id,text", "1,one", "2,two", "1,three"], r'corpus.csv:4: the ID "1" is also that of .*corpus.csv:2; each row'),
        (["id,words", "1,one"], r'corpus.csv:1: there is no column "text"'),
        (["id,text"], r"corpus.csv: the file has no rows"),
        (["id,text", "1,", ",two"], r"^2 rows cannot be used:\n.*corpus.csv:2: .*\n.*corpus.csv:3: "),
    ],
    ids=["no-text", "no-id", "repeated-id", "no-column", "no-rows", "several"],
)  # fmt: skip
def test_rows_that_cannot_be_searched(tmp_path, lines, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, lines)


def test_a_run_without_its_corpus(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*corpus.jsonl: .*; is .* a run directory\?"):
        Corpus.load(tmp_path)
