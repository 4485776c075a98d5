"""A checkpoint that another program has fine-tuned: evaluated, exported and asked without training."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

import tfpipeline
from tests import tiny
from tests.models.numpy_bert import encode
from tfpipeline import checkpoints, predictors, tasks
from tfpipeline.errors import UserError
from tfpipeline.evaluation import evaluate
from tfpipeline.export import export_run
from tfpipeline.models.inputs import INPUTS
from tfpipeline.serving.client import predictions
from tfpipeline.training import open_run

TEXTS = ["the food was good", "a bad film , very bad", "x y", ""]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.write_checkpoint(
        tmp_path_factory.mktemp("their") / "model", seed=7, std=0.3, **tiny.CLASSIFIER
    )


def expected(source, run, texts):
    """Probabilities by NumPy: transformers' class is a dense layer on the pooler's output."""
    checkpoint, raw = checkpoints.load(source), load_file(source / "model.safetensors")
    tokens = run.encode(texts, None, 40)
    _, pooled = encode(
        checkpoint.config,
        checkpoint.tensors,
        tokens["input_ids"],
        tokens["token_type_ids"],
        tokens["attention_mask"],
    )
    logits = pooled @ raw["classifier.weight"].T + raw["classifier.bias"]
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def test_answers_by_every_way(source, tmp_path):
    run = open_run(source)
    want = expected(source, run, TEXTS)
    assert np.ptp(want, axis=0).max() > 0.1
    version = export_run(source, tmp_path / "models")
    assert version == tmp_path / "models" / "1"
    assert export_run(source, tmp_path / "models") == version  # the same model again
    for path in (source, tmp_path / "models"):
        with predictors.open_local(path) as predictor:
            answers = predictor.predict(TEXTS)
        got = np.array([[answer.probabilities[label] for label in tiny.LABELS] for answer in answers])
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
        assert [answer.label for answer in answers] == [tiny.LABELS[row.argmax()] for row in want]


def test_loaded_as_an_ordinary_model(source):
    model = tfpipeline.load(source)
    tokens = model.tokenizer(TEXTS, max_length=40)
    answers = model.task.predictions(model(tokens), tokens)
    want = expected(source, open_run(source), TEXTS)
    np.testing.assert_allclose(answers["probabilities"], want, rtol=0, atol=1e-5)
    states = model.encoder(model.tokenizer(TEXTS[:1]))["sequence_output"]
    np.testing.assert_allclose(model.embed(TEXTS[:1]), np.mean(states, axis=1), atol=1e-5)
    with pytest.raises(UserError, match='is a checkpoint: it has no "last" weights, only its own'):
        tfpipeline.load(source, "last")


def test_evaluated_on_a_file(source, tmp_path):
    rows = tiny.texts(40)
    data = tmp_path / "reviews.csv"
    data.write_text("review,stars\n" + "".join(f'"{text}",{label}\n' for text, label in rows))
    before = sorted(path.name for path in source.iterdir())
    report = evaluate(source, data, overrides=["data.text=review", "data.label=stars"])
    want = expected(source, open_run(source), [text for text, _ in rows]).argmax(-1)
    right = np.mean([tiny.LABELS[index] == label for index, (_, label) in zip(want, rows)])
    (entry,) = report.entries
    assert entry.name == "fine-tuned checkpoint"
    assert entry.scores["accuracy"] == pytest.approx(right)
    assert sorted(path.name for path in source.iterdir()) == before
    with pytest.raises(
        UserError, match="is a checkpoint without rows of its own; give a data file with --data"
    ):
        evaluate(source)


def test_the_google_format_carries_it_too(source, tmp_path):
    checkpoints.convert(source, tmp_path / "google", to="google")
    run = open_run(tmp_path / "google")
    tokens = run.encode(TEXTS, None, 40)
    answers = run.task.predictions(run.model()(tokens), tokens)
    np.testing.assert_allclose(answers["probabilities"], expected(source, run, TEXTS), rtol=0, atol=1e-5)


def test_settings_of_a_checkpoint(source):
    run = open_run(source, ["text.max_length=12"])
    assert run.config.text.max_length == 12
    assert open_run(source).config.text.max_length == 40
    with pytest.raises(
        UserError, match=r'--set text\.max_len=3  .*unknown field; did you mean "text\.max_length"'
    ):
        open_run(source, ["text.max_len=3"])


def test_lowercase_of_a_checkpoint(source, tmp_path):
    """What is set is what reads the texts: in an evaluation, and in the exported model, which is another
    one.
    """
    cased = ["text.lowercase=false"]
    shouted, unknown = "The FOOD was GOOD", "[UNK] [UNK] was [UNK]"
    as_it_is, run = open_run(source), open_run(source, cased)
    read = run.encode([shouted])["input_ids"].tolist()
    assert read == run.encode([unknown])["input_ids"].tolist()
    assert read != as_it_is.encode([shouted])["input_ids"].tolist()
    assert open_run(source, ["text.lowercase=true"]).text_identity == as_it_is.text_identity
    assert run.text_identity != as_it_is.text_identity

    rows = [(text.upper(), label) for text, label in tiny.texts(40)]
    data = tiny.write_csv(tmp_path / "rows.csv", rows)
    want = expected(source, run, [text for text, _ in rows]).argmax(-1)
    right = np.mean([tiny.LABELS[index] == label for index, (_, label) in zip(want, rows)])
    assert evaluate(source, data, overrides=cased).entries[0].scores["accuracy"] == pytest.approx(right)
    assert evaluate(source, data).entries[0].scores["accuracy"] != pytest.approx(right)

    models = tmp_path / "models"
    assert export_run(source, models).name == "1"
    assert export_run(source, models, overrides=cased).name == "2"  # other answers, so another version
    with predictors.open_local(models) as predictor:
        first, second, plain = predictor.predict([shouted, unknown, shouted.lower()])
    assert first == second != plain


def changed_copy(source, folder, config, tensors=lambda raw: raw):
    """Their files with another configuration, and other tensors."""
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    old = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**old, **config}))
    save_file(tensors(load_file(source / "model.safetensors")), folder / "model.safetensors")
    return folder


def test_what_was_decided_of_the_files_is_printed(source, tmp_path, capfd):
    """Also where it is not converted: what a head means must not be a silent guess."""
    copy = changed_copy(source, tmp_path / "copy", {"architectures": None})
    open_run(copy)
    printed = capfd.readouterr().err
    notes = checkpoints.load(copy).notes
    assert any("architectures" in note for note in notes)
    assert [f"note: {copy}: {note}" for note in notes] == printed.splitlines()


def test_a_classifier_of_several_labels(source, tmp_path):
    """transformers' problem_type multi_label_classification: a sigmoid each, given from 0.5 on."""
    copy = changed_copy(source, tmp_path / "copy", {"problem_type": "multi_label_classification"})
    run = open_run(copy)
    odds = expected(source, open_run(source), TEXTS)
    # Softmax knows the logits but for a constant of each text, which the classifier's own numbers give.
    checkpoint, raw = checkpoints.load(source), load_file(source / "model.safetensors")
    tokens = run.encode(TEXTS, None, 40)
    names = ("input_ids", "token_type_ids", "attention_mask")
    _, pooled = encode(checkpoint.config, checkpoint.tensors, *(tokens[name] for name in names))
    logits = pooled @ raw["classifier.weight"].T + raw["classifier.bias"]
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), odds, rtol=1e-6)
    want = 1 / (1 + np.exp(-logits))
    assert 0 < (want >= 0.5).sum() < want.size
    export_run(copy, tmp_path / "models")
    for path in (copy, tmp_path / "models"):
        with predictors.open_local(path) as predictor:
            answers = predictor.predict(TEXTS)
        got = np.array([[answer.scores[label] for label in tiny.LABELS] for answer in answers])
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
        for answer, scores in zip(answers, want):
            order = np.argsort(-scores)
            assert answer.labels == [tiny.LABELS[index] for index in order if scores[index] >= 0.5]


def test_task_settings_of_a_checkpoint(source, tmp_path):
    copy = changed_copy(source, tmp_path / "copy", {"problem_type": "multi_label_classification"})
    with predictors.open_local(copy) as predictor:
        assert predictor.predict(["x"])[0].thresholds == dict.fromkeys(tiny.LABELS, 0.5)
    run = open_run(copy, ["task.threshold=0.25", "task.separator=;"])
    np.testing.assert_array_equal(run.model().head.thresholds, [0.25] * 3)
    assert run.task.options.separator == ";"
    for override in ("labels=[a, b, c]", "pooling=mean"):
        field = override.split("=")[0]
        with pytest.raises(
            UserError, match=rf"task\.{field} of .*copy is fixed by its head; do not change it"
        ):
            open_run(copy, [f"task.{override}"])
    with pytest.raises(UserError):
        open_run(copy, ["task.name=regression"])


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        ("classification", {"pooling", "labels"}),
        ("multilabel", {"pooling", "labels"}),
        ("regression", {"pooling"}),
        ("tagging", {"labels", "scheme", "crf"}),
        ("question_answering", set()),
    ],
)
def test_what_a_trained_head_fixes(task, fields):
    options = tasks.find(task)
    assert set(options.fixed_by_head) == fields <= options.model_fields.keys()


def test_a_regression(source, tmp_path):
    """transformers' rule: one output is a regression, whose number is the answer."""

    def one_output(raw):
        return {
            name: np.ascontiguousarray(a[:1]) if name.startswith("classifier") else a
            for name, a in raw.items()
        }

    only = {"problem_type": "single_label_classification", "id2label": {"0": "x"}}
    with pytest.raises(UserError, match="is a classifier with only one label, so it predicts nothing"):
        open_run(changed_copy(source, tmp_path / "one", only, one_output))
    copy = changed_copy(source, tmp_path / "copy", {"id2label": {"0": "LABEL_0"}}, one_output)
    run = open_run(copy)
    raw = load_file(copy / "model.safetensors")
    tokens = run.encode(TEXTS, None, 40)
    checkpoint = checkpoints.load(copy)
    names = ("input_ids", "token_type_ids", "attention_mask")
    _, pooled = encode(checkpoint.config, checkpoint.tensors, *(tokens[name] for name in names))
    want = (pooled @ raw["classifier.weight"].T + raw["classifier.bias"])[:, 0]
    export_run(copy, tmp_path / "models")
    for path in (copy, tmp_path / "models"):
        with predictors.open_local(path) as predictor:
            got = [answer.value for answer in predictor.predict(TEXTS)]
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"architectures": ["BertModel"]},
            "copy is a pre-trained encoder without a task head; fine-tune it first",
        ),
        (
            {"problem_type": "token_counting"},
            "has heads only for sequence_classifier for token_counting, which no task supports",
        ),
        (
            {"problem_type": "regression"},
            "is a regression of 3 numbers; one of a single number can be used",
        ),
    ],
)
def test_what_no_task_serves(source, tmp_path, change, sentence):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in source.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError) as caught:
        open_run(copy)
    assert sentence in str(caught.value)


def test_without_a_pooler(source, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in source.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    raw = load_file(copy / "model.safetensors")
    save_file(
        {name: array for name, array in raw.items() if "pooler" not in name}, copy / "model.safetensors"
    )
    with pytest.raises(
        UserError, match="has no pooler, which its classifier reads; copy the whole checkpoint"
    ):
        open_run(copy)


BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
BIOES = ("O", *(f"{prefix}-{kind}" for kind in ("PER", "LOC") for prefix in "BIES"))
POS = ("NOUN", "VERB", "ADJ", ".")
SENTENCES = [
    "The badly , the film !",
    "good film so",
    "a badly poor table and x",
    "é   the\u00a0door 😀 ,good e\u0301",
    "",
    "  ",
]
QUESTIONS = ["the food", "", "a very bad film !", "x", "y"]
CONTEXTS = [
    "The food was good , the  film badly bad .",
    "so fine",
    "é   the\u00a0door 😀 ,good and the chair is awful !",
    "",
    "very",
]


def with_head(source, folder, kind, head, size, labels=None, seed=5, std=1.0):
    """A copy of the classifier's encoder with another head, without a pooler, as transformers writes it."""
    random = np.random.default_rng(seed)
    width = tiny.SHAPE["hidden_size"]

    def tensors(raw):
        kept = {
            name: array
            for name, array in raw.items()
            if not name.startswith("classifier") and "pooler" not in name
        }
        weight = random.normal(0, std, (size, width)).astype(np.float32)
        return {
            **kept,
            f"{head}.weight": weight,
            f"{head}.bias": random.normal(0, std, size).astype(np.float32),
        }

    names = {} if labels is None else {"id2label": {str(index): label for index, label in enumerate(labels)}}
    copy = changed_copy(source, folder, {"architectures": [kind], **names}, tensors)
    if labels is None:
        config = json.loads((copy / "config.json").read_text())
        config.pop("id2label")
        (copy / "config.json").write_text(json.dumps(config))
    return copy


def tagger(source, folder, labels, **options):
    return with_head(
        source, folder, "BertForTokenClassification", "classifier", len(labels), labels, **options
    )


def reader(source, folder, **options):
    return with_head(source, folder, "BertForQuestionAnswering", "qa_outputs", 2, **options)


def token_scores(source, head, tokens):
    """[B, T, outputs], by NumPy."""
    checkpoint, raw = checkpoints.load(source), load_file(source / "model.safetensors")
    states, _ = encode(checkpoint.config, checkpoint.tensors, *(tokens[name] for name in INPUTS))
    return states[-1] @ raw[f"{head}.weight"].T + raw[f"{head}.bias"]


def softmax(x):
    odds = np.exp(x - x.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def pieces(text):
    """(start, end, token, begins a word), written from the vocabulary and from BERT's rules, for the texts
    here.
    """
    found = []
    for match in re.finditer("(?:[^\\W_]\\u0301?)+|[^\\w\\s]", text):
        word = match.group().lower().replace("é", "e").replace("\u0301", "")
        start, end = match.span()
        if word in tiny.VOCABULARY:
            found.append((start, end, word, True))
        elif word.endswith("ly") and word[:-2] in tiny.VOCABULARY:
            found += [(start, end - 2, word[:-2], True), (end - 2, end, "##ly", False)]
        else:
            found.append((start, end, "[UNK]", True))
    return found


def ids_of(*texts):
    """[CLS] ... [SEP] for each row, padded: the encoder's inputs without our tokenizer."""
    rows = []
    for row in zip(*texts):
        tokens, types = ["[CLS]"], [0]
        for number, text in enumerate(row):
            own = [*(token for _, _, token, _ in pieces(text)), "[SEP]"]
            tokens += own
            types += [number] * len(own)
        rows.append(([tiny.VOCABULARY.index(token) for token in tokens], types))
    width = max(len(ids) for ids, _ in rows)
    found = {name: np.zeros((len(rows), width), np.int32) for name in INPUTS}
    for number, (ids, types) in enumerate(rows):
        found["input_ids"][number, : len(ids)] = ids
        found["token_type_ids"][number, : len(ids)] = types
        found["attention_mask"][number, : len(ids)] = 1
    return found


def may_follow(before, behind, scheme):
    """Whether a tag may stand behind another one; None is outside of the text."""
    first, second = (tag if tag is None else tag.partition("-") for tag in (before, behind))
    same = bool(first and second) and first[2] == second[2]
    inside = bool(second) and second[0] in ("I", "E")
    opened = bool(first) and first[0] in ("B", "I")
    if scheme == "bioes":
        return same if opened and inside else opened == inside
    return (opened and same) if inside else True


def best_tags(scores, labels, scheme, constrained):
    """Every sequence tried: the best one that the scheme has, and by which share the next best one is less
    probable.
    """
    best, second, found = -np.inf, -np.inf, ()
    scores = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    allowed = {
        pair: not constrained or scheme == "plain" or may_follow(*pair, scheme)
        for pair in itertools.product((None, *labels), repeat=2)
    }

    def grow(sequence, total):
        nonlocal best, second, found
        before = sequence[-1] if sequence else None
        if len(sequence) == len(scores):
            if not sequence or allowed[before, None]:
                if total > best:
                    best, second, found = total, best, sequence
                else:
                    second = max(second, total)
            return
        for number, tag in enumerate(labels):
            if allowed[before, tag]:
                grow((*sequence, tag), total + scores[len(sequence), number])

    grow((), 0.0)
    return found, 1 - np.exp(second - best)


def entities_by_hand(text, scores, labels, scheme, constrained=False, apart=None):
    """[(type, text, start, end, score)] and the margin; ``scores`` [T, C] of the tokens of ``pieces``."""
    tokens = pieces(text)
    begins = [begins and (apart is None or apart(text, start)) for start, _, _, begins in tokens]
    first = [number for number, begin in enumerate(begins) if begin]
    ends = [tokens[behind - 1][1] for behind in [*first[1:], len(tokens)]] if first else []
    scores = scores[first]
    tags, margin = best_tags(scores, labels, scheme, constrained)
    odds = softmax(scores)
    chosen = [odds[number, labels.index(tag)] for number, tag in enumerate(tags)]
    found, before = [], (None, None)
    for number, tag in enumerate(tags):
        prefix, _, kind = ("S", "", tag) if scheme == "plain" else tag.partition("-")
        if tag == "O" and scheme != "plain":
            before = (None, None)
            continue
        start = tokens[first[number]][0]
        if prefix in ("I", "E") and before[1] == kind and before[0] in ("B", "I"):
            found[-1][2].append(number)
        else:
            found.append((kind, start, [number]))
        before = (prefix, kind)
    entities = [
        (kind, text[start : ends[words[-1]]], start, ends[words[-1]], np.mean([chosen[n] for n in words]))
        for kind, start, words in found
    ]
    return entities, margin


def check_tagging(answers, want):
    for answer, (entities, margin) in zip(answers, want, strict=True):
        got = [(one.type, one.text, one.start, one.end) for one in answer.entities]
        assert got == [entity[:4] for entity in entities]
        np.testing.assert_allclose(
            [one.score for one in answer.entities], [entity[4] for entity in entities], rtol=0, atol=1e-5
        )
        assert answer.count == len(entities)
        assert answer.margin == pytest.approx(margin, abs=1e-5)


def answered(run, *asked):
    """A run's own answers, typed."""
    return predictions.decode(run.predict(run.model(), *asked))


def tokens_of(texts, scores):
    """Of each text its own tokens' scores."""
    return [(text, row[1 : 1 + len(pieces(text))]) for text, row in zip(texts, scores)]


@pytest.mark.parametrize(
    ("labels", "scheme", "seed", "exported"),
    [
        (BIO, "bio", 5, True),
        (BIOES, "bioes", 5, False),
        pytest.param(BIOES, "bioes", 5, True, marks=pytest.mark.soak),
        (POS, "plain", 5, False),
        (("B", "I", "O"), "bio", 7, False),
    ],
)
def test_a_tagger_answers_by_every_way(source, tmp_path, labels, scheme, seed, exported):
    copy = tagger(source, tmp_path / "tagger", labels, seed=seed)
    run = open_run(copy)
    assert (run.config.task.name, run.config.task.scheme) == ("tagging", scheme)
    tokens = ids_of(SENTENCES)
    np.testing.assert_array_equal(run.encode(SENTENCES)["input_ids"], tokens["input_ids"])
    scores = token_scores(copy, "classifier", tokens)
    real = tokens["attention_mask"] > 0
    np.testing.assert_allclose(run.model()(tokens)["logits"][real], scores[real], rtol=0, atol=1e-5)
    want = [entities_by_hand(*row, labels, scheme) for row in tokens_of(SENTENCES, scores)]
    if labels == ("B", "I", "O"):
        want = [([("_", *entity[1:]) for entity in entities], margin) for entities, margin in want]
    assert sum(len(entities) for entities, _ in want) > 5
    assert scheme == "plain" or any(len(pieces(one[1])) > 1 for entities, _ in want for one in entities)
    with predictors.open_local(copy) as predictor:
        check_tagging(predictor.predict(SENTENCES), want)
    if exported:
        export_run(copy, tmp_path / "models")
        with predictors.open_local(tmp_path / "models") as predictor:
            check_tagging(predictor.predict(SENTENCES), want)


def spans_by_hand(context, scores, none=None, longest=30):
    """[(probability, start, end)], the best first, and the probability of none beside the best one.

    ``scores`` [T, 2] of the context's tokens, ``none`` [2] of [CLS] where that may be the answer.
    """
    tokens = pieces(context)
    if not tokens:
        return [], 1.0
    everything = scores if none is None else np.concatenate([scores, none[None]])
    logs = np.log(softmax(everything.T)).T
    found = sorted(
        (
            (np.exp(logs[first, 0] + logs[last, 1]), tokens[first][0], tokens[last][1])
            for first in range(len(tokens))
            for last in range(first, min(first + longest, len(tokens)))
        ),
        key=lambda span: -span[0],
    )
    if none is None:
        return found, 0.0
    odds = np.exp(logs[-1].sum())
    return found, odds / (odds + found[0][0])


def check_spans(answers, contexts, scores, may_be_none=False, threshold=0.5, best=5, longest=30):
    """``scores`` [B, T, 2] of [CLS] and of the context's tokens."""
    nones = 0
    for answer, context, own in zip(answers, contexts, scores, strict=True):
        spans, no_answer = spans_by_hand(context, own[1:], own[0] if may_be_none else None, longest)
        assert [(one.start, one.end) for one in answer.best] == [span[1:] for span in spans[:best]]
        assert [one.text for one in answer.best] == [context[start:end] for _, start, end in spans[:best]]
        np.testing.assert_allclose(
            [one.score for one in answer.best], [span[0] for span in spans[:best]], rtol=0, atol=1e-5
        )
        assert answer.no_answer == pytest.approx(no_answer, abs=1e-5)
        assert answer.threshold == pytest.approx(threshold)
        if not spans or no_answer > threshold:
            nones += 1
            assert (answer.answer, answer.start, answer.end) == (None, None, None)
        else:
            assert (answer.start, answer.end) == spans[0][1:]
            assert answer.answer == context[answer.start : answer.end]
            assert answer.score == pytest.approx(spans[0][0], abs=1e-5)
    return nones


def context_scores(source, questions, contexts):
    """Of each row what ``check_spans`` takes."""
    tokens = ids_of(questions, contexts)
    scores = token_scores(source, "qa_outputs", tokens)
    found = []
    for row, (question, context) in enumerate(zip(questions, contexts)):
        first = 2 + len(pieces(question))
        found.append(np.concatenate([scores[row, :1], scores[row, first : first + len(pieces(context))]]))
    return found


def test_a_reader_answers_by_every_way(source, tmp_path):
    copy = reader(source, tmp_path / "reader")
    run = open_run(copy)
    assert run.config.task.name == "question_answering"
    assert (run.config.data.text, run.config.data.text_pair, run.config.data.label) == (
        "question",
        "context",
        "answers",
    )
    tokens = ids_of(QUESTIONS, CONTEXTS)
    for name, array in run.encode(QUESTIONS, CONTEXTS).items():
        if name in INPUTS:
            np.testing.assert_array_equal(array, tokens[name])
    scores = context_scores(copy, QUESTIONS, CONTEXTS)
    assert max(np.ptp(own) for own in scores) > 1
    export_run(copy, tmp_path / "models")
    for path in (copy, tmp_path / "models"):
        with predictors.open_local(path) as predictor:
            # Only the empty context has no answer.
            assert check_spans(predictor.predict(QUESTIONS, CONTEXTS), CONTEXTS, scores) == 1


def test_a_reader_that_may_find_no_answer(source, tmp_path):
    copy = reader(source, tmp_path / "reader")
    scores = context_scores(copy, QUESTIONS, CONTEXTS)
    odds = sorted(spans_by_hand(own, s[1:], s[0], 2)[1] for own, s in zip(CONTEXTS, scores) if own)
    nones = []
    for threshold in (0.0, (odds[1] + odds[2]) / 2, 1.0):
        settings = [
            "task.no_answer=true",
            f"task.no_answer_threshold={threshold}",
            "task.best=3",
            "task.max_answer_tokens=2",
        ]
        run = open_run(copy, settings)
        answers = answered(run, QUESTIONS, CONTEXTS)
        nones.append(check_spans(answers, CONTEXTS, scores, True, threshold, best=3, longest=2))
    assert nones == [5, 3, 1]  # an empty context has no answer whatever the threshold
    export_run(copy, tmp_path / "models", overrides=settings)
    with predictors.open_local(tmp_path / "models") as predictor:
        answers = predictor.predict(QUESTIONS, CONTEXTS)
    check_spans(answers, CONTEXTS, scores, True, threshold, best=3, longest=2)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["task.no_answer=true", "task.no_answer_threshold=tuned"],
            "task.no_answer_threshold is tuned, but a checkpoint is not trained on, which is when it is "
            "chosen; set it to a number",
        ),
        (
            ["task.no_answer_threshold=tuned"],
            "task.no_answer_threshold is tuned, but a checkpoint is not trained on, which is when it is "
            "chosen; set it to a number",
        ),
        (
            ["task.no_answer_threshold=0.3"],
            "task.no_answer_threshold is 0.3, but a checkpoint answers none only if task.no_answer is true; "
            "set that too",
        ),
    ],
)
def test_thresholds_that_no_reader_can_use(source, tmp_path, settings, sentence):
    copy = reader(source, tmp_path / "reader")
    with pytest.raises(UserError) as caught:
        open_run(copy, settings)
    assert str(caught.value) == sentence
    open_run(copy, ["task.no_answer_threshold=0.5"])


def test_a_reader_in_windows(source, tmp_path):
    """Each token from the window with most around it; no answer as in the window that is least for it."""
    copy = reader(source, tmp_path / "reader")
    settings = ["text.long=windows", "text.max_length=16", "text.overlap=4", "task.no_answer=true"]
    question = "the food is"
    contexts = [
        "The food was good , the film badly bad . a chair and a door so very fine !",
        "so fine",
        "x " * 40,
    ]
    answers = answered(open_run(copy, settings), [question] * 3, contexts)
    room = 16 - 3 - 3  # of the context in a window
    wanted = []
    for context in contexts:
        words = pieces(context)
        starts = [0]
        while starts[-1] + room < len(words):
            starts.append(min(starts[-1] + room - 4, len(words) - room))
        # No window begins within a word here, so its part of the text has the same tokens.
        parts = [context[words[start][0] : words[min(start + room, len(words)) - 1][1]] for start in starts]
        own = context_scores(copy, [question] * len(parts), parts)
        merged = []
        for token in range(len(words)):
            around = [
                min(token - start, start + room - 1 - token) if start <= token < start + room else -1
                for start in starts
            ]
            window = int(np.argmax(around))
            merged.append(own[window][1 + token - starts[window]])
        none = min((part[0] for part in own), key=sum)
        wanted.append(np.array([none, *merged]))
    assert [len(scores) - 1 for scores in wanted] == [20, 2, 40]
    check_spans(answers, contexts, wanted, True)


def test_tagger_evaluated_on_a_file(source, tmp_path):
    copy = tagger(source, tmp_path / "tagger", BIO)
    texts = SENTENCES[:4]
    scores = tokens_of(texts, token_scores(copy, "classifier", ids_of(texts)))
    found = [
        [entity[:4] for entity in entities_by_hand(*row, BIO, "bio", constrained=True)[0]] for row in scores
    ]
    # The right entities: what it answers but for every third one, and the first one that it does not answer.
    right = [[one for index, one in enumerate(own) if index % 3 != 1] for own in found]
    row, free = next(
        (row, piece)
        for row, text in enumerate(texts)
        for piece in pieces(text)
        if piece[3] and all(not entity[2] <= piece[0] < entity[3] for entity in found[row])
    )
    start, end = free[:2]
    right[row] = sorted([*right[row], ("LOC", texts[row][start:end], start, end)], key=lambda one: one[2])
    data = tmp_path / "rows.jsonl"
    data.write_text(
        "".join(
            json.dumps(
                {
                    "sentence": text,
                    "entities": json.dumps([[start, end, kind] for kind, _, start, end in own]),
                }
            )
            + "\n"
            for text, own in zip(texts, right)
        )
    )
    settings = ["data.text=sentence", "data.label=entities", "task.constrained=true"]
    (entry,) = evaluate(copy, data, overrides=settings).entries
    given, wanted = sum(map(len, found)), sum(map(len, right))
    hits = sum(len(set(one) & set(two)) for one, two in zip(found, right))
    assert 0 < hits < given
    assert hits < wanted
    assert entry.scores["precision"] == pytest.approx(hits / given)
    assert entry.scores["recall"] == pytest.approx(hits / wanted)
    assert entry.scores["f1"] == pytest.approx(2 * hits / (given + wanted))
    # The loss: the mean over texts of the mean over words of -log p of the right tag.
    losses = []
    for (text, own), entities in zip(scores, right):
        odds = softmax(own)
        words = [(number, start) for number, (start, _, _, begins) in enumerate(pieces(text)) if begins]
        own_losses = []
        for number, start in words:
            kind = next(
                (f"{'B' if start == e[2] else 'I'}-{e[0]}" for e in entities if e[2] <= start < e[3]), "O"
            )
            own_losses.append(-np.log(odds[number, BIO.index(kind)]))
        losses.append(np.mean(own_losses))
    assert entry.scores["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_reader_evaluated_on_a_file(source, tmp_path):
    copy = reader(source, tmp_path / "reader")
    scores = context_scores(copy, QUESTIONS, CONTEXTS)
    rows, exact, loss = [], 0, []
    for number, (question, context, own) in enumerate(zip(QUESTIONS, CONTEXTS, scores)):
        if not context:
            continue
        words = pieces(context)
        best = spans_by_hand(context, own[1:])[0][0]
        # The first and the last row have what is answered, the others another part.
        start, end = best[1:] if number in (0, 4) else (words[0][0], words[-1][1])
        exact += context[start:end] == context[best[1] : best[2]]
        logs = np.log(softmax(own[1:].T)).T
        first = next(index for index, word in enumerate(words) if word[0] == start)
        last = next(index for index, word in enumerate(words) if word[1] == end)
        loss.append(-(logs[first, 0] + logs[last, 1]) / 2)
        answers = {"text": [context[start:end]], "answer_start": [start]}
        rows.append({"question": question, "context": context, "answers": answers})
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (entry,) = evaluate(copy, data).entries
    assert 0 < exact < len(rows)
    assert entry.scores["exact_match"] == pytest.approx(exact / len(rows))
    assert entry.scores["loss"] == pytest.approx(np.mean(loss), rel=1e-5)
    assert sorted(path.name for path in copy.iterdir()) == sorted(path.name for path in source.iterdir())


def test_what_may_be_set_of_a_tagger(source, tmp_path):
    copy = tagger(source, tmp_path / "tagger", BIO)
    for override in (
        "task.scheme=bioes",
        "task.scheme=plain",
        "task.crf=true",
        "task.labels=[PER, LOC]",
        "task.name=question_answering",
        "task.name=classification",
    ):
        with pytest.raises(UserError):
            open_run(copy, [override])
    with pytest.raises(UserError, match=r"task\.scheme of .*tagger is fixed by its head"):
        open_run(copy, ["task.scheme=plain"])
    own = tokens_of(SENTENCES, token_scores(copy, "classifier", ids_of(SENTENCES)))
    bound = [entities_by_hand(*row, BIO, "bio", constrained=True) for row in own]
    free = [entities_by_hand(*row, BIO, "bio") for row in own]
    assert [entities for entities, _ in free] != [entities for entities, _ in bound]
    check_tagging(answered(open_run(copy, ["task.constrained=true"]), SENTENCES), bound)

    def apart(text, start):
        return start == 0 or text[start - 1].isspace()

    whole = [entities_by_hand(*row, BIO, "bio", apart=apart) for row in own]
    assert [entities for entities, _ in whole] != [entities for entities, _ in free]
    export_run(copy, tmp_path / "whole", overrides=["task.words=whitespace"])
    with predictors.open_local(tmp_path / "whole") as predictor:
        check_tagging(predictor.predict(SENTENCES), whole)


@pytest.mark.parametrize("most", [1, 300])
def test_how_many_entities_a_tagger_answers_with(source, tmp_path, most):
    copy = tagger(source, tmp_path / "tagger", POS)
    run = open_run(copy, [f"task.max_entities={most}"])
    texts = ["good bad", "x " * 30, ""]
    found = run.predict(run.model(), texts)
    assert {name: array.shape[1] for name, array in found.items() if array.ndim > 1} == dict.fromkeys(
        ("types", "texts", "starts", "ends", "scores"), most
    )
    assert found["count"].tolist() == [2, 30, 0]
    assert found["texts"][0, 0] == b"good"


def test_without_names_of_labels_tags_are_plain(source, tmp_path):
    copy = with_head(source, tmp_path / "tagger", "BertForTokenClassification", "classifier", 3)
    run = open_run(copy)
    assert (run.config.task.scheme, run.task.tags) == ("plain", ("LABEL_0", "LABEL_1", "LABEL_2"))
    (types,) = run.predict(run.model(), ["good bad"])["types"]
    assert set(types[:2]) <= {b"LABEL_0", b"LABEL_1", b"LABEL_2"}


@pytest.mark.parametrize("kind", ["tagger", "reader"])
def test_the_google_format_carries_them_too(source, tmp_path, kind):
    copy = tagger(source, tmp_path / "copy", BIO) if kind == "tagger" else reader(source, tmp_path / "copy")
    checkpoints.convert(copy, tmp_path / "google", to="google")
    asked = (SENTENCES, None) if kind == "tagger" else (QUESTIONS, CONTEXTS)
    answers = [open_run(path).predict(open_run(path).model(), *asked) for path in (copy, tmp_path / "google")]
    for name, want in answers[0].items():
        np.testing.assert_array_equal(answers[1][name], want)


def test_loaded_as_an_ordinary_model_with_places(source, tmp_path):
    """The task also takes the tokenizer's offsets and the texts; the model leaves aside what it does not
    read.
    """
    copy = tagger(source, tmp_path / "copy", BIO)
    model = tfpipeline.load(copy)
    tokens = model.tokenizer(SENTENCES, max_length=40, offsets=True)
    answers = model.task.predictions(model(tokens), {**tokens, "text": tf.constant(SENTENCES)})
    run = open_run(copy)
    for name, want in run.predict(run.model(), SENTENCES).items():
        np.testing.assert_array_equal(answers[name], want)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("data.text_pair=null", "data.text_pair is null, but question answering reads"),
        ("data.label=null", "data.label is null, but question answering reads"),
        ("data.context=x", "--set data.context=x  data.context: unknown field"),
    ],
)
def test_columns_of_a_reader(source, tmp_path, change, line):
    copy = reader(source, tmp_path / "copy")
    with pytest.raises(UserError) as caught:
        open_run(copy, [change])
    assert line in str(caught.value)
    named = open_run(copy, ["data.text=q", "data.text_pair=c"]).config.data
    assert (named.text, named.text_pair, named.label) == ("q", "c", "answers")


def pretrained(source, folder, heads):
    """A copy of a checkpoint with these heads of pre-training, in place of its classifier."""
    width, tokens = tiny.SHAPE["hidden_size"], len(tiny.VOCABULARY)
    shapes = {
        "mlm": {
            "cls.predictions.transform.dense.weight": (width, width),
            "cls.predictions.transform.dense.bias": (width,),
            "cls.predictions.transform.LayerNorm.weight": (width,),
            "cls.predictions.transform.LayerNorm.bias": (width,),
            "cls.predictions.bias": (tokens,),
        },
        "nsp": {"cls.seq_relationship.weight": (2, width), "cls.seq_relationship.bias": (2,)},
    }
    random = np.random.default_rng(0)
    more = {
        name: random.normal(0, 0.3, shape).astype(np.float32)
        for head in heads
        for name, shape in shapes[head].items()
    }

    def tensors(raw):
        return {**{name: array for name, array in raw.items() if not name.startswith("classifier")}, **more}

    return changed_copy(source, folder, {"architectures": ["BertForPreTraining"]}, tensors)


def test_the_next_sentence_head_alone_serves_no_task(source, tmp_path):
    with pytest.raises(UserError, match="has heads only for nsp, which no task supports; fine-tune it first"):
        open_run(pretrained(source, tmp_path / "copy", ["nsp"]))


@pytest.mark.parametrize("heads", [("mlm",), ("mlm", "nsp")], ids="+".join)
def test_the_head_of_masked_tokens_fills_them_in(source, tmp_path, heads):
    """If no other head is there; the checkpoint still counts as pre-trained for who loads it."""
    copy = pretrained(source, tmp_path / "copy", heads)
    opened = open_run(copy, ["task.best=2"])
    assert (opened.config.task.name, opened.config.task.objective) == ("masked_lm", "none")
    answers = opened.predict(opened.model(), ["a [MASK] film", "so"])
    assert answers["tokens"].shape == (2, 8, 2)
    assert answers["count"].tolist() == [1, 0]
    assert (answers["starts"][0, 0], answers["ends"][0, 0]) == (2, 8)
    assert 0 < answers["scores"][0, 0, 1] < answers["scores"][0, 0, 0] < 1
    with pytest.raises(UserError, match=r"task\.objective of .* is fixed by its head"):
        open_run(copy, ["task.objective=next_sentence"])
    assert tfpipeline.load(copy).head is None


def test_a_head_for_a_task_comes_before_that_of_masked_tokens(source, tmp_path):
    """A classifier that was trained from a checkpoint may still hold the other heads."""
    masked = load_file(pretrained(source, tmp_path / "masked", ["mlm"]) / "model.safetensors")
    more = {name: array for name, array in masked.items() if name.startswith("cls.")}
    both = changed_copy(source, tmp_path / "both", {}, lambda raw: {**raw, **more})
    assert set(checkpoints.load(both).head_names) == {"mlm", "sequence_classifier"}
    assert open_run(both).config.task.name == "classification"
