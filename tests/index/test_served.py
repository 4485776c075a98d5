"""An exported model that searches: its answers are those of the index in NumPy."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import tfpipeline
from tests import tiny
from tests.index.searchable import KEPT, MOST, ROWS, searchable
from tests.tasks import kit
from tfpipeline.errors import UserError
from tfpipeline.export import compatibility, export_run, inspection, prediction_logs
from tfpipeline.export.identity import identity
from tfpipeline.export.options import ExportOptions
from tfpipeline.export.publish import export_with
from tfpipeline.index import served
from tfpipeline.index.embedder import ModelEmbedder
from tfpipeline.index.stored import open_index
from tfpipeline.predictors import RunPredictor, open_local
from tfpipeline.serving.client import Embedding, InputError, Similarity
from tfpipeline.serving.server.saved_model import SavedModel
from tfpipeline.serving.server.status import StatusError

QUERIES = ["the food is good", "", "was the film awful ?", "x " * 90, "😀 door"]


@pytest.fixture(scope="module")
def made(shared):
    return searchable(shared)


@pytest.fixture(scope="module")
def session(made):
    """The signature as servers run it."""
    model = SavedModel(made.version)
    signature = model.signatures["search"]

    def ask(texts, k):
        feeds = {
            signature.inputs["text"].name: np.array([text.encode() for text in texts], object),
            signature.inputs["k"].name: np.array(k, np.int32),
        }
        names = sorted(signature.outputs)
        return dict(zip(names, model.run(feeds, [signature.outputs[name].name for name in names])))

    yield ask
    model.close()


def test_served_searches_are_those_of_the_index(made, session):
    k = [1, MOST, 3, 2, 5]
    found = session(QUERIES, k)
    index = tfpipeline.load_index(made.index)
    for row, hits in enumerate(index.search(QUERIES, MOST)):
        count = found["count"][row]
        assert count == k[row]
        assert [text.decode() for text in found["ids"][row]] == [
            *(hit.id for hit in hits[:count]),
            *[""] * (MOST - count),
        ]
        np.testing.assert_allclose(
            found["scores"][row, :count], [hit.score for hit in hits[:count]], atol=2e-6
        )
        assert not found["scores"][row, count:].any()
        assert found["texts"][row, 0].decode() == hits[0].text
        for name in KEPT:
            assert found[name][row, 0].decode() == f"{name} {hits[0].id}" == hits[0].columns[name]


def test_vectors_find_what_texts_find(made):
    index = tfpipeline.load_index(made.index)
    run = made.run
    vectors = run.predict(run.model(), QUERIES)["embedding"]
    for one, other in zip(index.search(vectors, 5), index.search(QUERIES, 5)):
        assert [hit.id for hit in one] == [hit.id for hit in other]
        np.testing.assert_allclose([hit.score for hit in one], [hit.score for hit in other], atol=2e-6)
    assert index.search(vectors.tolist(), 2) == index.search(vectors, 2)
    assert [len(hits) for hits in index.search(vectors, 1000)] == [ROWS] * len(QUERIES)
    assert index.search([], 3) == []


def test_rows_are_embedded_as_documents_and_queries_as_queries(made):
    """The prompts of the sample are "the " and "a "."""
    index = open_index(made.index)
    plain = {"query": made.run.predict(made.run.model(), ["food"])["embedding"]}
    documents = ModelEmbedder(made.run.path)
    np.testing.assert_allclose(documents.embed(list(index.texts)), index.vectors.stored, atol=1e-6)
    queries = ModelEmbedder(made.run.path, prompt="query")
    np.testing.assert_allclose(queries.embed(["food"]), plain["query"], atol=1e-6)
    assert np.abs(documents.embed(["food"]) - plain["query"]).max() > 1e-3
    signatures = tf.saved_model.load(str(made.version)).signatures
    document = signatures["document"](text=tf.constant(["food"]))["embedding"].numpy()
    np.testing.assert_allclose(document, documents.embed(["food"]), atol=1e-6)


def test_similarity_is_the_cosine_of_a_query_and_a_document(made):
    query = ModelEmbedder(made.run.path, prompt="query").embed(QUERIES)
    document = ModelEmbedder(made.run.path).embed(QUERIES[::-1])
    want = (query * document).sum(1) / np.linalg.norm(query, axis=1) / np.linalg.norm(document, axis=1)
    for source in (made.version, made.run):
        with open_local(source, "similarity") as predictor:
            answers = predictor.predict(QUERIES, QUERIES[::-1])
        assert all(type(answer) is Similarity for answer in answers)
        np.testing.assert_allclose([answer.score for answer in answers], want, atol=2e-6)
    (answer,) = RunPredictor(made.run, signature="document").predict(QUERIES[4:])
    assert type(answer) is Embedding
    np.testing.assert_allclose(answer.embedding, document[0], atol=1e-6)


def test_equal_texts_have_equal_scores_in_the_graph(made, session):
    index = open_index(made.index)
    text = index.texts[list(index.ids).index("3")]
    found = session([text], [MOST])
    ids = found["ids"][0].tolist()
    assert ids.index(b"3") + 1 == ids.index(b"8")
    scores = found["scores"][0]
    assert scores[ids.index(b"3")] == scores[ids.index(b"8")]


@pytest.mark.parametrize(
    ("texts", "k", "sentence"),
    [
        (["a"], [0], "k must be at least 1, got 0"),
        (["a", "b"], [1, MOST + 1], f"k must be at most {MOST}, got {MOST + 1}"),
        (["a"], 1, "k must be [B], got []: send a list of numbers"),
        (["a"], [1, 1], "k must have as many rows as text, got [2] and [1]"),
    ],
    ids=["zero", "above", "scalar", "rows"],
)
def test_bad_numbers_get_a_sentence(session, texts, k, sentence):
    with pytest.raises(StatusError) as caught:
        session(texts, k)
    assert caught.value.message.startswith(f"assertion failed: [{sentence}]")


def test_no_queries_find_nothing(session):
    found = session([], [])
    assert found["ids"].shape == (0, MOST)


def test_every_output_has_static_dimensions_except_the_batch(made):
    """So that servers batch the requests of several callers."""
    model = SavedModel(made.version)
    for name in ("search", "similarity", "document"):
        for info in model.signatures[name].outputs.values():
            first, *others = [dim.size for dim in info.tensor_shape.dim]
            assert first == -1
            assert all(size > 0 for size in others)
    model.close()


def test_every_release_has_its_operations(made):
    for release in compatibility.RELEASES:
        assert list(compatibility.problems(made.version, compatibility.table(release))) == []


def test_servers_are_warmed_up_with_searches(made):
    asked = list(prediction_logs.read(str(made.version / "assets.extra" / "tf_serving_warmup_requests")))
    assert {name for name, _ in asked} >= {"search", "similarity", "document", "serving_default"}
    k = [tf.io.parse_tensor(given["k"], tf.int32).numpy() for name, given in asked if name == "search"]
    assert 1 in np.concatenate(k)


def test_the_card_says_what_is_searched(made):
    facts = json.loads((made.version / "assets.extra" / "model_card.json").read_text("utf-8"))
    assert facts["index"]["rows"] == ROWS
    assert facts["index"]["max_k"] == MOST
    assert facts["index"]["content"] == open_index(made.index).facts["content"]
    told = inspection.inspect(made.version)
    assert told.signatures["search"][0] == {"text": "string [?]", "k": "int32 [?]"}
    assert f"index.rows: {ROWS}" in told.text()
    assert "## Index" in (made.version / "assets.extra" / "model_card.md").read_text("utf-8")


def test_another_index_is_another_version(made):
    graph = made.run.graph(made.run.model(precision="float32"))
    index = open_index(made.index)
    found = {
        identity(made.run, graph, ExportOptions(), further)
        for further in (
            {},
            {"search": served.search_signature(index, 5)},
            {"search": served.search_signature(index, 6)},
        )
    }
    assert len(found) == 3


def _changed(made, folder, **model):
    """A copy of the index with other facts about its model."""
    shutil.copytree(made.index, folder)
    facts = json.loads((folder / "index.json").read_text("utf-8"))
    facts["model"].update(model)
    (folder / "index.json").write_text(json.dumps(facts), "utf-8")
    return folder


def test_an_index_of_another_model_is_refused(made, tmp_path):
    other = _changed(made, tmp_path / "other.index", identity="0" * 64)
    with pytest.raises(UserError, match=r"other\.index was embedded by another model than .*run"):
        export_with(made.run, tmp_path / "model", ExportOptions(index=other))
    assert not list((tmp_path / "model").iterdir())
    with pytest.raises(UserError, match="was embedded by another model than"):
        tfpipeline.load_index(other).search(["a"])
    assert tfpipeline.load_index(other).search(np.ones((1, 12), np.float32), 1)


def test_a_model_that_needs_other_settings_is_another_model(made, tmp_path):
    """A search has the settings of the index, so it must not advise to set others."""
    told = r"was embedded by another model than .*; build it again with this model: tfpipeline index [^(]*$"
    with pytest.raises(UserError, match=told):
        tfpipeline.load_index(made.index, made.run.config.checkpoint).search(["a"])
    of_checkpoint = _changed(made, tmp_path / "checkpoint.index", settings=["task.pooling=mean"])
    with pytest.raises(UserError, match=told):
        tfpipeline.load_index(of_checkpoint, made.run.path).search(["a"])


def test_queries_in_bfloat16_are_searched_in_float32(made, tmp_path):
    """The index keeps its vectors and its identity; only the model is rounded."""
    precision = {"precision": "bfloat16", "max_accuracy_loss": float("inf")}
    export_run(made.run.path, tmp_path / "model", index=made.index, max_k=MOST, warmup=0, **precision)
    version = tmp_path / "model" / "1"
    index = open_index(made.index)
    texts = [*index.texts]
    with open_local(version) as predictor:
        vectors = np.array([answer.embedding for answer in predictor.predict(texts)], np.float32)
        found = predictor.search(texts, MOST)
    exact = made.run.predict(made.run.model(), texts)["embedding"]
    assert 1e-5 < np.abs(vectors - exact).max() < 0.05
    _, scores, _ = index.search(vectors, MOST)
    places = {name: row for row, name in enumerate(index.ids)}
    stored = index.vectors.stored
    for row, hits in enumerate(found):
        got = [hit.score for hit in hits]
        np.testing.assert_allclose(got, scores[row], atol=2e-6)
        own = [float(stored[places[hit.id]] @ vectors[row]) for hit in hits]
        np.testing.assert_allclose(got, own, atol=2e-6)
    card = json.loads((version / "assets.extra" / "model_card.json").read_text("utf-8"))
    assert card["index"]["precision"] == "float32"


def test_the_weights_and_the_prompts_are_part_of_the_identity(made):
    from tfpipeline.training.model_identity import model_identity

    model = made.run.model(precision="float32")
    graph = made.run.graph(model)
    before = model_identity(made.run, graph)
    assert before == open_index(made.index).model["identity"]
    prompts = made.run.config.task.prompts
    query = prompts.query
    try:
        prompts.__dict__["query"] = "a "
        assert model_identity(made.run, graph) != before
    finally:
        prompts.__dict__["query"] = query
    variable = model.encoder.weights[0]
    variable.assign(variable + 1e-3)
    assert model_identity(made.run, graph) != before


def test_no_weights_and_no_index_are_copied_by_a_search(made):
    """ResourceGather makes every later read of a variable copy all of it."""
    signatures = tf.saved_model.load(str(made.version)).signatures

    def gathers(name):
        graph = signatures[name].graph.as_graph_def()
        functions = [node.op for function in graph.library.function for node in function.node_def]
        return [*functions, *(node.op for node in graph.node)].count("ResourceGather")

    assert gathers("search") == gathers("serving_default") == 0


def test_a_model_that_is_gone_is_named(made, tmp_path):
    moved = _changed(made, tmp_path / "moved.index", path=str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"gone, which embeds the queries of .*moved\.index, is not there"):
        tfpipeline.load_index(moved).search(["a"])
    hits = tfpipeline.load_index(moved, made.run.path).search(["a"], 1)
    assert hits == tfpipeline.load_index(made.index).search(["a"], 1)


@pytest.mark.parametrize(
    ("queries", "error", "sentence"),
    [
        ("a text", InputError, 'input "text" is one string; give a list of texts'),
        ([[1.0, 2.0], [1.0]], UserError, "neither texts nor vectors of one length"),
        (np.ones((1, 3)), UserError, "the queries have 3 dimensions, but the vectors of .* have 12"),
        (["a", 1], InputError, "text"),
    ],
    ids=["string", "ragged", "dimension", "mixed"],
)
def test_bad_queries_are_refused(made, queries, error, sentence):
    with pytest.raises(error, match=sentence):
        tfpipeline.load_index(made.index).search(queries)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_k": 5}, "max_k is 5, but no index is given"),
        ({"max_k": 0, "index": "i"}, "max_k is 0; it must be from 1 to 1000"),
        ({"max_k": 1.5, "index": "i"}, "max_k is 1.5; it must be a whole number"),
    ],
    ids=["alone", "zero", "fraction"],
)
def test_bad_options_are_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        ExportOptions(**options)


def test_a_task_without_vectors_cannot_be_indexed(shared):
    run = kit.trained(shared, kit.sample(kit.SAMPLES / "classification.yaml")).run
    with pytest.raises(UserError, match="is of the task classification, which predicts no vectors"):
        ModelEmbedder(run.path)


def test_a_run_does_not_search(made):
    with pytest.raises(UserError, match=r"is a model without an index; make one \(tfpipeline index"):
        open_local(made.run).search(["a"])


def test_texts_of_other_lengths_do_not_change_a_vector(made):
    texts = [text for text, _ in tiny.texts(70, seed=9)]
    embedder = ModelEmbedder(made.run.path)
    whole = embedder.embed(texts)
    np.testing.assert_array_equal(whole, embedder.embed(texts))
    np.testing.assert_allclose(whole[:3], embedder.embed(texts[:3]), atol=1e-6)
