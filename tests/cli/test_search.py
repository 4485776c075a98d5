"""`tfpipeline index`, `mine` and `search`, with a small run of the task similarity."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tfpipeline as package
from tests.cli.test_bad_input import refused
from tests.index.searchable import MOST, ROWS, searchable
from tfpipeline.index.stored import open_index

QUERY = "was the film awful ?"


@pytest.fixture(scope="module")
def made(shared):
    return searchable(shared)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Rows in German Excel's format."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = [
        "Nr;Antwort;Ort",
        "2;der Film ist gut;Köln",
        "10;das Essen ist schlecht;",
        "3;the door is fine;Bonn",
    ]
    (folder / "answers.csv").write_bytes("\n".join(rows).encode("cp1252"))
    return folder


COLUMNS = ["--text", "Antwort", "--id", "Nr", "--keep", "Ort", "--delimiter", ";", "--encoding", "cp1252"]


def test_an_index_is_made_and_searched_from_other_directories(tfpipeline, made, corpus, tmp_path):
    run, _ = made.run.path, (tmp_path / "elsewhere").mkdir()
    done = tfpipeline(
        *("index", run.name, "--data", corpus / "answers.csv", "--to", tmp_path / "i", *COLUMNS),
        cwd=run.parent,
    )
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'i'}\n"), done.stderr
    index = open_index(tmp_path / "i")
    assert list(index.ids) == ["10", "2", "3"]
    assert list(index.columns["Ort"]) == ["", "Köln", "Bonn"]
    wanted = package.load_index(tmp_path / "i").search([QUERY, "x"], 2)
    searched = ("search", "--from", "../i", "-k", 2)
    done = tfpipeline(*searched, QUERY, "x", cwd=tmp_path / "elsewhere")
    lines = []
    for query, hits in zip([QUERY, "x"], wanted):
        lines.append(query)
        for hit in hits:
            place = f"  Ort: {hit.columns['Ort']}" if hit.columns["Ort"] else ""
            lines.append(f"  {hit.score:.4f}  {hit.id}  {hit.text}{place}")
    assert done.stdout.splitlines() == lines, done.stderr
    done = tfpipeline(*searched, "--json", input=f"{QUERY}\nx\n", cwd=tmp_path / "elsewhere")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == [
        {"query": query, "hits": [hit.to_dict() for hit in hits]} for query, hits in zip([QUERY, "x"], wanted)
    ]


@pytest.mark.parametrize(
    "options",
    [["--precision", "bfloat16"], ["--precision", "int8", "--lists", "4"]],
    ids=["bfloat16", "int8-lists"],
)
def test_an_index_is_stored_as_asked(tfpipeline, made, tmp_path, options):
    done = tfpipeline(
        *("index", made.run.path, "--data", made.corpus, "--to", tmp_path / "i", "--text", "answer", *options)
    )
    assert done.returncode == 0, done.stderr
    facts = open_index(tmp_path / "i").facts
    assert (facts["precision"], facts["lists"]) == (options[1], 4 if "--lists" in options else 0)
    assert f"{facts['recall']['value']:.3f}" in done.stderr
    scores = [
        [hit.score for hit in package.load_index(path).search([QUERY], ROWS)[0]]
        for path in (tmp_path / "i", made.index)
    ]
    np.testing.assert_allclose(*scores, atol=0.02)


def test_an_exported_model_is_searched(tfpipeline, made):
    (wanted,) = package.load_index(made.index).search([QUERY], MOST)
    done = tfpipeline("search", "--from", made.version, "-k", MOST, "--json", QUERY)
    (found,) = [json.loads(line)["hits"] for line in done.stdout.splitlines()]
    assert [hit["id"] for hit in found] == [hit.id for hit in wanted]
    assert [hit["title"] if "title" in hit else hit["columns"]["title"] for hit in found] == [
        hit.columns["title"] for hit in wanted
    ]
    refused(
        tfpipeline("search", "--from", made.version, "-k", MOST + 1, QUERY),
        f"k must be at most {MOST}, got {MOST + 1}",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x"], "choose where to search: --target HOST:PORT --model NAME, or --from PATH"),
        (["--target", "a:1", "x"], "--target needs the model's name: --model NAME"),
        (["--from", "i", "-k", 0, "x"], "-k is 0; ask for 1 row or more"),
        (["--from", "nowhere", "x"], "nowhere: no such directory"),
        (["--from", "RUN", "x"], r"is a model without an index; make one \(tfpipeline index"),
        (
            ["--from", "INDEX", "--run", "nowhere", "x"],
            "nowhere, which embeds the queries of .*, is not there",
        ),
        (
            ["--from", "INDEX", "--run", "CHECKPOINT", "x"],
            "was embedded by another model than [^(]*checkpoint",
        ),
    ],
    ids=["nowhere", "no-model", "k", "no-path", "run", "no-run", "checkpoint"],
)
def test_searches_that_are_refused(tfpipeline, made, tmp_path, arguments, message):
    paths = {"RUN": made.run.path, "INDEX": made.index, "CHECKPOINT": made.run.config.checkpoint}
    refused(tfpipeline("search", *(paths.get(one, one) for one in arguments), cwd=tmp_path), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "float16"], 'precision is "float16"; it must be one of float32, bfloat16, int8'),
        (["--probes", 2], "probes are for an index with inverted lists"),
        (["--lists", 7], "lists is 7, but there are only 3 rows"),
        (["--keep", "Ort,ids"], 'the column "ids" cannot be kept'),
        (["--keep", "Stadt"], 'answers.csv:1: there is no column "Stadt"'),
        (["--id", "Ort"], r'answers.csv:3: the row has no id \(the column "Ort" is empty\)'),
        (["--encoding", "utf-8"], r"answers.csv:2: not UTF-8 .* name the right one with --encoding \("),
        (["--to", "taken"], "taken exists and is not an index"),
        (["--weights", "first"], 'weights is "first"; it must be best or last'),
        (["--set", "task.pooling=cls"], "is a run, whose settings are its own; --set is for checkpoints"),
    ],
    ids=lambda value: value[0].strip("-") + str(value[1]) if isinstance(value, list) else "",
)
def test_indexes_that_are_refused(tfpipeline, made, corpus, tmp_path, arguments, message):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").touch()
    asked = ["index", made.run.path, "--data", corpus / "answers.csv", "--to", "i", *COLUMNS, *arguments]
    refused(tfpipeline(*asked, cwd=tmp_path), message)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


PAIRS = """question,answer,topic
is it good ?,it is,x
is it bad ?,the food is bad,x
what film ?,a film,y
"""


def test_mining_writes_a_file(tfpipeline, made, tmp_path):
    (tmp_path / "pairs.csv").write_text(PAIRS)
    (tmp_path / "more.csv").write_text("nr,words\n1,the door\n2,a table\n")
    more = ["--corpus", "more.csv", "--corpus-id", "nr", "--corpus-text", "words"]
    wide = ["--count", 2, "--margin", 0, "--relative-margin", 1, *more]
    asked = ["mine", made.run.path, "--data", "pairs.csv", "--to", "mined.jsonl"]
    refused(tfpipeline(*asked, *wide, cwd=tmp_path), "no row has a negative among 5 texts; lower --margin")
    done = tfpipeline(*asked, *more, "--relative-margin", 0, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "mined.jsonl\n"), done.stderr
    lines = [json.loads(line) for line in (tmp_path / "mined.jsonl").read_text().splitlines()]
    assert lines
    assert all(set(line) >= {"question", "answer", "topic", "negative"} for line in lines)
    assert not (tmp_path / "mined.jsonl.partial").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "m.csv"], r"name a file that ends in \.jsonl"),
        (["--teacher-label", "yes"], "--teacher-label is for a teacher; name one with --teacher RUN"),
        (["--depth", 2, "--skip", 2], "--depth is 2, which leaves no room for --count 1 after --skip 2"),
        (["--corpus", "pairs.csv"], 'pairs.csv:1: there is no column "id"'),
        (["--data", "none.csv"], "cannot read none.csv"),
        (["--teacher", "RUN"], "is of the task similarity, so it cannot score pairs of texts"),
    ],
    ids=["format", "label", "depth", "corpus", "data", "teacher"],
)
def test_mining_that_is_refused(tfpipeline, made, tmp_path, arguments, message):
    (tmp_path / "pairs.csv").write_text(PAIRS)
    asked = ["mine", made.run.path, "--data", "pairs.csv", "--to", "m.jsonl"]
    arguments = [made.run.path if one == "RUN" else one for one in arguments]
    refused(tfpipeline(*asked, *arguments, cwd=tmp_path), message)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]
