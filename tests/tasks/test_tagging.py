"""Tagging, against plain Python: targets and scores by hand, decoding by trying every sequence of tags."""

from __future__ import annotations

import functools
import itertools
import json
import re
import types
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from tests import tiny
from tests.tasks import kit
from tests.text.characters import end_of, first_of
from tests.text.test_exactness import FRAGMENTS
from tfpipeline import checkpoints, config, tasks
from tfpipeline.data import Example
from tfpipeline.errors import UserError
from tfpipeline.evaluation import evaluate
from tfpipeline.export import export_run
from tfpipeline.models import TaggingHead, TextModel
from tfpipeline.models.inputs import encoder_inputs
from tfpipeline.models.windows import Windows
from tfpipeline.predictors import open_local
from tfpipeline.tasks.tagging import Tagging, TaggingOptions
from tfpipeline.text import TokenizerOptions, Truncation, WordPieceTokenizer
from tfpipeline.training import RunConfig, train
from tfpipeline.training.precision import policy
from tfpipeline.training.rows import read_targets

PREFIXES = {"bio": "BI", "bioes": "BIES"}


def tags_of(scheme, types_):
    if scheme == "plain":
        return list(types_)
    return ["O", *(f"{prefix}-{kind}" for kind in types_ for prefix in PREFIXES[scheme])]


def task(types_=("LOC", "PER"), most=16, **options):
    chosen = TaggingOptions(**options)
    return Tagging(chosen, {"tags": tags_of(chosen.scheme, types_), "max_entities": most})


def row(text, label, line=2, pair=None, **options):
    """A row as it is kept."""
    label = label if isinstance(label, str) else json.dumps(label)
    text = text if isinstance(text, str) else json.dumps(text)
    example = Example(text, text_pair=pair, label=label, file="rows.csv", line=line)
    return TaggingOptions(**options).preprocess(example)


PIECES = ["ann", "##a", "##berg", "berg", "in", "rio", "good", "##ly", *"().-/'", "王", "小", "明", "在"]
LETTERS = "abcxyz"
VOCABULARY = (*tiny.SPECIAL, *PIECES, *LETTERS, *(f"##{letter}" for letter in LETTERS))


@functools.cache
def tokenizer(cased=False):
    return WordPieceTokenizer(VOCABULARY, TokenizerOptions(lowercase=not cased))


def encode(texts, pairs=None, cased=False, **truncation):
    encoded = tokenizer(cased)(
        tf.constant(texts, tf.string, [len(texts)]),
        None if pairs is None else tf.constant(pairs),
        truncation=Truncation(**truncation),
        offsets=True,
    )
    return {name: tensor.numpy() for name, tensor in encoded.items()}


def shown(own, numbers):
    """ "-" for a token that learns nothing."""
    return ["-" if number == 0 else own.tags[number - 1] for number in numbers]


def told(own, examples, **truncation):
    """[(token, tag)] of each row, without [CLS], [SEP] and padding."""
    pairs = [example.text_pair for example in examples] if examples[0].text_pair is not None else None
    tokens = encode([example.text for example in examples], pairs, **truncation)
    found = own.token_targets(examples, tokens)
    assert list(found) == ["tags"]
    assert found["tags"].dtype == np.int32
    assert found["tags"].shape == tokens["input_ids"].shape
    rows = []
    for ids, numbers in zip(tokens["input_ids"], found["tags"]):
        pieces = [VOCABULARY[number] for number in ids]
        pairs_ = list(zip(pieces, shown(own, numbers)))
        assert all(tag == "-" for piece, tag in pairs_ if piece in ("[CLS]", "[SEP]", "[PAD]"))
        rows.append([pair for pair in pairs_ if pair[0] not in ("[CLS]", "[SEP]", "[PAD]")])
    return rows


def said(found):
    """The tags of one row's tokens, and that the tokens are those of TEXT."""
    return " ".join(tag for _, tag in found)


TEXT = "Anna  Berg-in (Rio)."
TOKENS = ["ann", "##a", "berg", "-", "in", "(", "rio", ")", "."]


@pytest.mark.parametrize(
    ("scheme", "sub_words", "words", "tags"),
    [
        ("bio", "first", "punctuation", "B-PER - I-PER O O O B-LOC O O"),
        ("bio", "all", "punctuation", "B-PER I-PER I-PER O O O B-LOC O O"),
        ("bioes", "first", "punctuation", "B-PER - E-PER O O O S-LOC O O"),
        ("bioes", "all", "punctuation", "B-PER I-PER E-PER O O O S-LOC O O"),
        ("plain", "first", "punctuation", "N - N N N P P P P"),
        ("plain", "all", "punctuation", "N N N N N P P P P"),
        # "(Rio)." begins with what is no place.
        ("bio", "first", "whitespace", "B-PER - I-PER - - O - - -"),
        ("bio", "all", "whitespace", "B-PER I-PER I-PER I-PER I-PER O O O O"),
        ("bioes", "first", "whitespace", "B-PER - E-PER - - O - - -"),
        ("bioes", "all", "whitespace", "B-PER I-PER I-PER I-PER E-PER O O O O"),
        ("plain", "first", "whitespace", "N - N - - P - - -"),
        ("plain", "all", "whitespace", "N N N N N P P P P"),
    ],
)
def test_token_targets_by_hand(scheme, sub_words, words, tags):
    options = {"scheme": scheme, "sub_words": sub_words, "words": words}
    label = "N N P" if scheme == "plain" else [[0, 10, "PER"], [15, 18, "LOC"]]
    own = task(("N", "P") if scheme == "plain" else ("LOC", "PER"), **options)
    (found,) = told(own, [row(TEXT, label, **options)])
    assert [piece for piece, _ in found] == TOKENS
    assert said(found) == tags


@pytest.mark.parametrize(
    ("text", "entities", "tags"),
    [
        ("王小明在Rio", [[0, 3, "PER"], [4, 7, "LOC"]], "B-PER I-PER I-PER O B-LOC"),
        ("王小明", [[0, 1, "PER"], [1, 3, "PER"]], "B-PER B-PER I-PER"),
        ("王\u3000小明", [[0, 2, "PER"]], "B-PER O O"),
        # Within a word: the word is what it begins in.
        ("Annaberg in", [[0, 4, "PER"]], "B-PER - - O"),
        ("Annaberg in", [[4, 8, "PER"]], "O - - O"),
        ("Annaberg in", [[0, 4, "PER"], [4, 8, "LOC"]], "B-PER - - O"),
        ("Annaberg in", [[4, 11, "PER"]], "O - - B-PER"),
        ("in Annaberg", [[0, 4, "PER"]], "B-PER I-PER - -"),
        ("in Annaberg", [[1, 6, "PER"]], "O B-PER - -"),
        # What BERT drops and what it does not see.
        ("\u200bAnna\u00ad in", [[0, 6, "PER"]], "B-PER - O"),
        ("e\u0301 A\u0301nna", [[3, 8, "PER"]], "O B-PER -"),
        ("  Anna ", [[0, 7, "PER"]], "B-PER -"),
        ("😀 Anna", [[2, 6, "PER"]], "O B-PER -"),
        ("Anna", [], "O -"),
        ("", [], ""),
        (" \u200b", [], ""),
    ],
)
def test_token_targets_of_odd_texts(text, entities, tags):
    (found,) = told(task(), [row(text, entities)])
    assert said(found) == tags


def test_token_targets_of_cut_rows():
    entities = [[0, 10, "PER"], [15, 18, "LOC"]]
    rows = [row(TEXT, entities), row("Rio", [[0, 3, "LOC"]])]
    for scheme, last, tail in (("bio", "B-PER", "B-LOC"), ("bioes", "S-PER", "S-LOC")):
        own = task(scheme=scheme)
        assert [said(found) for found in told(own, rows, max_length=4)] == [f"{last} -", tail]
        cut = {"max_length": 7, "long": "head_tail", "tail": 0.6}
        first, _ = told(own, rows, **cut)
        assert first == [("ann", last), ("##a", "-"), ("rio", tail), (")", "O"), (".", "O")]
    # Behind the cut, the rest of a word counts as one: it begins in the entity.
    cut = {"max_length": 6, "long": "head_tail", "tail": 0.5}
    (found,) = told(task(), [row("in Annabergly", [[0, 13, "PER"]])], **cut)
    assert found == [("in", "B-PER"), ("ann", "I-PER"), ("##berg", "I-PER"), ("##ly", "-")]
    # Also where words are what stands between white space: no entity would end with what is left of it else.
    options = {"words": "whitespace"}
    (found,) = told(task(**options), [row("in Annabergly", [[0, 13, "PER"]], **options)], **cut)
    assert said(found) == "B-PER I-PER I-PER -"


def test_token_targets_of_pairs():
    first, second = told(
        task(),
        [row("Anna in Rio", [[8, 11, "LOC"]], pair="Rio Rio Rio"), row("", [], pair="Anna")],
        max_length=40,
    )
    assert said(first) == "O - O B-LOC - - -"
    assert said(second) == "- -"


def test_plain_tags_that_are_missing_are_not_learnt():
    """What stands between tokens has none, also where one of the tags is called O."""
    options = {"scheme": "plain", "separator": " / "}
    (found,) = told(task(("N", "O"), **options), [row(["in", "rio"], ["O", "N"], **options)])
    assert found == [("in", "O"), ("/", "-"), ("rio", "N")]


def is_space(character):
    return character in "\t\n\r" or unicodedata.category(character) in ("Zs", "Zl", "Zp")


def is_read(character):
    return unicodedata.category(character)[0] in "LN"


def words_in(tokens, number, text, words):
    """The words of a row, each the list of its tokens."""
    found, before = [], None
    for at, (start, end) in enumerate(tokens["offsets"][number]):
        if end <= start or tokens["token_type_ids"][number, at]:
            before = None
            continue
        begins = tokens["word_starts"][number, at]
        if (
            before is not None
        ):  # what is joined to the character before, such as its mark, is not another word
            begins = begins and first_of(text, start) >= before
        if words == "whitespace" and before is not None:
            # Or behind words that were left out.
            begins = begins and any(is_space(one) or is_read(one) for one in text[before:start])
        if begins:
            found.append([])
        found[-1].append(at)
        before = end
    return found


SOME = [
    *FRAGMENTS,
    *["Anna", "Rio", "good-ly", " ", " ", "王小", "#\ufe0f\u20e3", "王\u0301", "-\u0301x", "\u0301x"],
]
TEXTS = st.lists(st.sampled_from(SOME), max_size=8).map("".join)


@st.composite
def texts_with_entities(draw):
    text = draw(TEXTS)
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=6)))
    spans = [
        [start, end, draw(st.sampled_from(["LOC", "PER"]))] for start, end in zip(places[::2], places[1::2])
    ]
    return text, spans


def kept(text, spans, line=2):
    """A row with entities anywhere, also within characters."""
    return Example(text, label=json.dumps({"spans": spans}), file="rows.csv", line=line)


@settings(max_examples=60)
@given(
    st.lists(texts_with_entities(), min_size=1, max_size=4),
    st.sampled_from(["bio", "bioes"]),
    st.sampled_from(["first", "all"]),
    st.sampled_from(["punctuation", "whitespace"]),
    st.booleans(),
    st.sampled_from(["head", "head_tail"]),
)
def test_token_targets_are_those_of_plain_python(rows, scheme, sub_words, words, cased, long):
    tokens = encode([text for text, _ in rows], cased=cased, max_length=12, long=long, tail=0.4)
    own = task(scheme=scheme, sub_words=sub_words, words=words)
    found = own.token_targets([kept(*one) for one in rows], tokens)["tags"]
    for number, (text, spans) in enumerate(rows):
        learn = []  # (token, its entity or None)
        for word in words_in(tokens, number, text, words):
            start = tokens["offsets"][number, word[0], 0]
            entity = next((one for one, span in enumerate(spans) if span[0] <= start < span[1]), None)
            learn += [(at, entity) for at in (word if sub_words == "all" else word[:1])]
        want = ["-"] * tokens["input_ids"].shape[1]
        for place, (at, entity) in enumerate(learn):
            if entity is None:
                want[at] = "O"
                continue
            inner = place > 0 and learn[place - 1][1] == entity
            goes_on = learn[place + 1 :][:1] and learn[place + 1][1] == entity
            letter = "I" if inner else "B"
            if scheme == "bioes" and not goes_on:
                letter = "E" if inner else "S"
            want[at] = f"{letter}-{spans[entity][2]}"
        assert shown(own, found[number]) == want


# Every sequence of tags, tried.


@functools.cache
def sequences(tags, scheme, count):
    """int [S, count]: all of them, and those that the scheme has."""
    every = np.array(list(itertools.product(range(len(tags)), repeat=count)), np.int64).reshape(
        len(tags) ** count, count
    )
    form = {
        "bio": r"(?:O |B-(\S+) (?:I-\1 )*)*",
        "bioes": r"(?:O |S-\S+ |B-(\S+) (?:I-\1 )*E-\1 )*",
        "plain": r".*",
    }[scheme]
    valid = [bool(re.fullmatch(form, "".join(f"{tags[tag]} " for tag in one))) for one in every]
    return every, every[valid]


def scores_of(some, logits, transitions=None):
    """What sequences [S, N] score with logits [N, C], and transitions [C + 2, C]."""
    size = logits.shape[1]
    total = logits[np.arange(len(logits)), some].sum(-1)
    if transitions is not None and len(logits):
        total = total + transitions[some[:, :-1], some[:, 1:]].sum(-1)
        total = total + transitions[size, some[:, 0]] + transitions[size + 1, some[:, -1]]
    return total


def log_sum_exp(scores):
    return scores.max() + np.log(np.exp(scores - scores.max()).sum())


def softmax(logits):
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def decoded(own, logits, transitions):
    """The tags of some positions, every tag's probability there, and the best score with another one there, less the best.

    logits float64 [N, C].
    """
    options, scheme = own.options, own.options.scheme
    constrained = options.constrained and scheme != "plain"
    if not options.crf and not constrained:
        ranked = np.sort(logits, axis=-1)
        return logits.argmax(-1), softmax(logits), ranked[:, -2] - ranked[:, -1]
    every, valid = sequences(own.tags, scheme, len(logits))
    some = valid if constrained else every
    scores = scores_of(some, logits, transitions if options.crf else None)
    best = some[scores.argmax()]
    behind = [scores[some[:, place] != tag].max(initial=-np.inf) for place, tag in enumerate(best)]
    behind = np.array(behind) - scores.max()
    if not options.crf:
        return best, softmax(logits), behind
    shares = np.exp(scores - log_sum_exp(scores))
    marginals = [np.bincount(column, shares, len(own.tags)) for column in some.T]
    return best, np.reshape(marginals, logits.shape), behind


def starts_chunk(before, tag):
    """conlleval.pl, startOfChunk, with its brackets read as S."""
    (letter_before, _, type_before), (letter, _, kind) = before.partition("-"), tag.partition("-")
    return (
        (letter in ("B", "S"))
        or (letter_before == "O" and letter in ("I", "E"))
        or (letter_before in ("E", "S") and letter in ("I", "E"))
        or (letter != "O" and type_before != kind)
    )


def ends_chunk(before, tag):
    """conlleval.pl, endOfChunk."""
    (letter_before, _, type_before), (letter, _, kind) = before.partition("-"), tag.partition("-")
    return (
        (letter_before in ("B", "I") and letter in ("B", "O", "S"))
        or (letter_before in ("E", "S"))
        or (letter_before != "O" and type_before != kind)
    )


def chunks(tags):
    """[(type, first word, one past the last)], as conlleval.pl walks over them."""
    found, opened = [], None
    before = "O"
    for number, tag in enumerate([*tags, "O"]):
        if opened is not None and ends_chunk(before, tag):
            found.append((before.partition("-")[2], opened, number))
            opened = None
        if starts_chunk(before, tag):
            opened = number
        before = tag
    return found


def answered(own, tokens, number, text, logits, transitions):
    """The entities (type, start, end, score) of a row, and its margin."""
    words = words_in(tokens, number, text, own.options.words)
    positions = [word[0] for word in words]
    if own.options.sub_words == "all":
        positions = list(itertools.chain.from_iterable(words))
    numbers, odds, others = decoded(own, logits[positions].astype(np.float64), transitions)
    first = [positions.index(word[0]) for word in words]
    numbers, odds, others = np.asarray(numbers)[first], odds[first], others[first]
    tags = [own.tags[tag] for tag in numbers]
    if own.options.scheme == "plain":
        found = [(tag, word, word + 1) for word, tag in enumerate(tags)]
    else:
        # No entity reaches over words that were left out.
        offsets, cuts = tokens["offsets"][number], [0]
        for word, (one, two) in enumerate(zip(words, words[1:]), 1):
            if any(map(is_read, text[offsets[one[-1], 1] : offsets[two[0], 0]])):
                cuts.append(word)
        found = [
            (kind, cut + begin, cut + end)
            for cut, stop in zip(cuts, [*cuts[1:], len(tags)])
            for kind, begin, end in chunks(tags[cut:stop])
        ]
    chosen = odds[np.arange(len(tags)), numbers]
    entities = []
    for kind, begin, end in found:
        start = tokens["offsets"][number, words[begin][0], 0]
        stop = max(tokens["offsets"][number, at, 1] for at in words[end - 1])
        entities.append([kind, first_of(text, start), end_of(text, stop), chosen[begin:end].mean()])
    return entities, 1 - np.exp(others.max(initial=-np.inf))


def answers_of(own, tokens, texts, logits, transitions=None):
    outputs = {"logits": tf.constant(logits)}
    if transitions is not None:
        outputs["transitions"] = tf.constant(np.broadcast_to(transitions, (len(texts), *transitions.shape)))
    inputs = {**tokens, "text": tf.constant(texts, tf.string, [len(texts)])}
    inputs = {name: tf.constant(array) for name, array in inputs.items()}
    return {name: tensor.numpy() for name, tensor in own.predictions(outputs, inputs).items()}


def check_answers(own, tokens, texts, logits, transitions=None):
    most = own.fitted["max_entities"]
    found = answers_of(own, tokens, texts, logits, transitions)
    assert {name: values.dtype for name, values in found.items()} == {
        **dict.fromkeys(("types", "texts"), np.dtype(object)),
        **dict.fromkeys(("starts", "ends", "count"), np.int32),
        **dict.fromkeys(("scores", "margin"), np.float32),
    }
    for number, text in enumerate(texts):
        entities, margin = answered(own, tokens, number, text, logits[number], transitions)
        own_answers = {name: values[number] for name, values in found.items()}
        assert own_answers["count"] == len(entities)
        assert own_answers["margin"] == pytest.approx(margin, abs=2e-5)
        got = list(zip(*(own_answers[name].tolist() for name in ("types", "starts", "ends"))))
        want = [(kind.encode(), start, end) for kind, start, end, _ in entities[:most]]
        assert got == want + [(b"", 0, 0)] * (most - len(want))
        cut = [text[start:end].encode() for _, start, end, _ in entities[:most]]
        assert own_answers["texts"].tolist() == cut + [b""] * (most - len(cut))
        scores = [score for *_, score in entities[:most]] + [0] * (most - len(want))
        np.testing.assert_allclose(own_answers["scores"], scores, atol=2e-5)
        # And what a caller may count on.
        places = [place for _, start, end in got[: len(want)] for place in (start, end)]
        assert places == sorted(places)
        assert all(start < end <= len(text) for _, start, end in got[: len(want)])


def random_logits(own, tokens, seed, size=3.0):
    random = np.random.default_rng(seed)
    logits = random.normal(0, size, (*tokens["input_ids"].shape, len(own.tags))).astype(np.float32)
    count = len(own.tags)
    return logits, random.normal(0, 1, (count + 2, count)).astype(np.float32)


@settings(max_examples=60)
@given(
    st.lists(TEXTS, max_size=4),
    st.sampled_from([("bio", ("LOC", "PER")), ("bioes", ("LOC",)), ("plain", ("N", "O", "V", "-"))]),
    st.sampled_from(["first", "all"]),
    st.sampled_from(["punctuation", "whitespace"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["head", "head_tail"]),
    st.integers(0, 1000),
)
def test_answers_are_those_of_plain_python(
    texts, scheme, sub_words, words, crf, constrained, cased, long, seed
):
    """Of five words at most, so that every sequence can be tried."""
    scheme, types_ = scheme
    options = {
        "scheme": scheme,
        "sub_words": sub_words,
        "words": words,
        "crf": crf,
        "constrained": constrained,
    }
    own = task(types_, most=3, **options)
    tokens = encode(texts, cased=cased, max_length=7, long=long, tail=0.4)
    logits, transitions = random_logits(own, tokens, seed)
    check_answers(own, tokens, texts, logits, transitions if crf else None)


@settings(max_examples=25)
@given(
    st.lists(TEXTS.flatmap(lambda text: st.just(text * 3)), min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 99),
)
def test_answers_of_longer_texts(texts, cased, seed):
    for scheme, types_ in (("bio", ("LOC", "PER")), ("bioes", ("LOC", "PER")), ("plain", ("N", "V"))):
        own = task(types_, most=7, scheme=scheme, constrained=False)
        tokens = encode(texts, cased=cased, max_length=64)
        check_answers(own, tokens, texts, random_logits(own, tokens, seed)[0])


def test_answers_by_hand():
    text = "Zoë Müller 👩🏽‍🚀 visits São Paulo, Rio and São José."
    own = task()
    tokens = encode([text])
    words = words_in(tokens, 0, text, "punctuation")
    named = [text[tokens["offsets"][0, word[0], 0] : tokens["offsets"][0, word[-1], 1]] for word in words]
    assert named == [
        "Zoë",
        "Müller",
        "👩🏽\u200d🚀",
        "visits",
        "São",
        "Paulo",
        ",",
        "Rio",
        "and",
        "São",
        "José",
        ".",
    ]
    tags = ["B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC", "O", "B-LOC", "O", "I-LOC", "I-PER", "O"]
    logits = np.zeros((1, tokens["input_ids"].shape[1], 5), np.float32)
    for word, tag in zip(words, tags):
        logits[0, word[0], own.tags.index(tag)] = np.log(6)  # 6 / 10
    found = answers_of(task(constrained=False), tokens, [text], logits)
    assert [name.decode() for name in found["texts"][0, :6]] == [
        "Zoë Müller",
        "São Paulo",
        "Rio",
        "São",
        "José",
        "",
    ]
    assert found["types"][0, :5].tolist() == [b"PER", b"LOC", b"LOC", b"LOC", b"PER"]
    assert found["starts"][0, :5].tolist() == [0, 23, 34, 42, 46]
    assert found["ends"][0, :5].tolist() == [10, 32, 37, 45, 50]
    np.testing.assert_allclose(found["scores"][0], [0.6] * 5 + [0] * 11, rtol=1e-6)
    assert found["count"].tolist() == [5]
    np.testing.assert_allclose(found["margin"], [5 / 6], rtol=1e-6)  # 1 / 10 is the next best
    # As BIO has it, São is B-PER, and I-PER goes on; or `and` is B-LOC, and São goes on.
    found = answers_of(own, tokens, [text], logits)
    assert [name.decode() for name in found["texts"][0, :5]] == [
        "Zoë Müller",
        "São Paulo",
        "Rio",
        "São José",
        "",
    ]
    np.testing.assert_allclose(found["margin"], [5 / 6], rtol=1e-6)


def test_tags_that_the_scheme_makes_equal_are_close_calls():
    """I-PER has six of ten parts, but may not stand first: O, B-PER and B-LOC are left, each with one."""
    own, tokens = task(), encode(["Anna"])
    logits = np.zeros((1, tokens["input_ids"].shape[1], 5), np.float32)
    logits[0, 1, own.tags.index("I-PER")] = np.log(6)
    found = answers_of(own, tokens, ["Anna"], logits)
    assert found["margin"].tolist() == [0]
    assert own.scorer.near_ties(found, 2e-5).tolist() == [True]
    logits[0, 1, own.tags.index("B-LOC")] = 1e-2
    found = answers_of(own, tokens, ["Anna"], logits)
    np.testing.assert_allclose(found["margin"], [1 - np.exp(-1e-2)], rtol=1e-3)
    assert own.scorer.near_ties(found, 2e-5).tolist() == [False]


def test_no_entity_reaches_over_what_was_left_out():
    text = "Rio Paulo Zoë Müller José São"
    tokens = encode([text], max_length=6, long="head_tail", tail=0.5)
    logits = np.zeros((1, tokens["input_ids"].shape[1], 5), np.float32)
    own = task(constrained=False)
    logits[..., own.tags.index("I-PER")] = 5
    found = answers_of(own, tokens, [text], logits)
    assert [name.decode() for name in found["texts"][0] if name] == ["Rio Paulo", "José São"]
    # Nor does a word, where words are what stands between white space.
    together = text.replace(" ", "-")
    tokens = encode([together], max_length=6, long="head_tail", tail=0.5)
    own = task(constrained=False, words="whitespace")
    found = answers_of(own, tokens, [together], np.resize(logits[0, 0], (*tokens["input_ids"].shape, 5)))
    first, second, *rest = [name.decode() for name in found["texts"][0]]
    assert (together.startswith(first), together.endswith(second), set(rest)) == (True, True, {""})
    assert 0 < len(first) + len(second) < len(together) - 5
    own, whole = task(constrained=False), encode([text])
    found = answers_of(own, whole, [text], np.resize(logits[0, 0], (*whole["input_ids"].shape, 5)))
    assert [name.decode() for name in found["texts"][0] if name] == [text]


def test_more_entities_than_are_answered():
    texts = ["a b c x y z", "a", ""]
    tokens = encode(texts)
    logits = np.zeros((*tokens["input_ids"].shape, 5), np.float32)
    logits[..., 1] = 5
    found = answers_of(task(most=2), tokens, texts, logits)
    assert found["count"].tolist() == [6, 1, 0]
    assert found["texts"].tolist() == [[b"a", b"b"], [b"a", b""], [b"", b""]]
    assert found["margin"][2] == 1
    assert found["starts"].shape == (3, 2)


def test_no_rows():
    own = task(crf=True)
    tokens = encode([])
    logits, transitions = random_logits(own, tokens, 0)
    found = answers_of(own, tokens, [], logits, transitions)
    assert {values.shape[0] for values in found.values()} == {0}
    assert own.token_targets([], tokens)["tags"].shape == tokens["input_ids"].shape


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("sub_words", ["first", "all"])
@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_constrained_sequences_are_of_the_scheme(scheme, sub_words, crf):
    """Also of long texts, and where the logits are all for what it does not have."""
    own = task(("A", "B", "C"), scheme=scheme, sub_words=sub_words, crf=crf)
    texts = ["good-ly Anna " * 20, "in", "annaberg", "", "Anna " * 60]
    tokens = encode(texts, max_length=128)
    logits, transitions = random_logits(own, tokens, 3)
    logits[..., [number for number, tag in enumerate(own.tags) if tag[0] == "I"]] += 8
    real = tokens["offsets"][..., 1] > 0
    positions = real if sub_words == "all" else real & (tokens["word_starts"] > 0)
    outputs = {"transitions": tf.constant(np.broadcast_to(transitions, (len(texts), *transitions.shape)))}
    tags, *_ = own._decoded(tf.constant(logits), tf.constant(positions), outputs)
    form = {
        "bio": r"(?:O |B-(\S+) (?:I-\1 )*)*",
        "bioes": r"(?:O |S-\S+ |B-(\S+) (?:I-\1 )*E-\1 )*",
    }[scheme]
    for numbers, there in zip(tags.numpy(), positions):
        assert re.fullmatch(form, "".join(f"{own.tags[number]} " for number in numbers[there]))


def test_a_batch_is_its_rows():
    """Words are numbered over the whole batch."""
    texts = SOME[:40]
    for words in ("punctuation", "whitespace"):
        own = task(words=words, constrained=False)
        tokens = encode(texts)
        logits, _ = random_logits(own, tokens, 1)
        whole = answers_of(own, tokens, texts, logits)
        for number, text in enumerate(texts):
            one = answers_of(
                own,
                {name: array[number : number + 1] for name, array in tokens.items()},
                [text],
                logits[number : number + 1],
            )
            kit.same(one, {name: values[number : number + 1] for name, values in whole.items()})


def test_bytes_that_are_not_utf8_are_answered():
    texts = [b"Anna\xff \xffRio \xe4\xb8", b"\xff", b"a\xc0 b"]
    for words in ("punctuation", "whitespace"):
        own = task(words=words)
        tokens = {
            name: tensor.numpy() for name, tensor in tokenizer()(tf.constant(texts), offsets=True).items()
        }
        logits = np.zeros((*tokens["input_ids"].shape, 5), np.float32)
        logits[..., 1] = 5
        found = answers_of(own, tokens, texts, logits)
        for text, count, starts, ends, names in zip(
            texts, *(found[name] for name in ("count", "starts", "ends", "texts"))
        ):
            decoded_ = text.decode("utf-8", "replace")
            for start, end, name in zip(starts[:count], ends[:count], names):
                assert name.decode("utf-8", "replace") == decoded_[start:end]
        assert found["count"].tolist() == [2, 0, 2]


# Loss.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("crf", [False, True])
def test_loss_by_trying_every_sequence(crf, dtype):
    own = task(crf=crf)
    random = np.random.default_rng(0)
    tags = np.zeros((5, 8), np.int32)
    learning = [[1, 2, 3, 4, 5], [3, 5], [7], [], [2, 6, 7]]
    for number, positions in enumerate(learning):
        tags[number, positions] = random.integers(1, 6, len(positions))
    logits = random.normal(0, 2, (5, 8, 5)).astype(dtype)
    transitions = random.normal(0, 1, (7, 5)).astype(dtype)
    want = []
    for row_logits, row_tags, positions in zip(logits, tags, learning):
        if not positions:
            want.append(0.0)
            continue
        right = row_tags[positions][None] - 1
        every, _ = sequences(own.tags, "bio", len(positions))
        used = transitions if crf else None
        log_likelihood = scores_of(right, row_logits[positions], used)[0] - log_sum_exp(
            scores_of(every, row_logits[positions], used)
        )
        want.append(-log_likelihood / len(positions))
    outputs = {"logits": tf.constant(logits)}
    if crf:
        outputs["transitions"] = tf.constant(np.repeat(transitions[None], 5, 0))
    losses = own.loss(outputs, {"tags": tf.constant(tags)})
    assert losses.dtype == dtype
    np.testing.assert_allclose(losses, want, rtol=1e-5 if dtype == np.float32 else 1e-12)
    assert losses[3] == 0
    # What a token says that learns nothing does not matter.
    noise = np.where(tags[..., None] > 0, logits, random.normal(0, 50, logits.shape)).astype(dtype)
    again = own.loss({**outputs, "logits": tf.constant(noise)}, {"tags": tf.constant(tags)})
    np.testing.assert_allclose(again, losses, rtol=1e-6)


@pytest.mark.parametrize("crf", [False, True])
def test_rows_without_words_give_no_gradient(crf):
    own = task(crf=crf)
    logits = tf.Variable(tf.random.stateless_normal((2, 4, 5), [1, 2]))
    transitions = tf.Variable(tf.random.stateless_normal((7, 5), [3, 4]))
    with tf.GradientTape() as tape:
        outputs = {"logits": tf.convert_to_tensor(logits), "transitions": tf.stack([transitions] * 2)}
        losses = own.loss(outputs, {"tags": tf.constant([[0, 0, 0, 0], [0, 2, 0, 0]])})
        total = tf.reduce_sum(losses)
    gradient = tape.gradient(total, logits).numpy()
    assert losses[0] == 0
    assert np.isfinite(gradient).all()
    assert np.flatnonzero(np.abs(gradient).sum(-1)).tolist() == [5]


# Scores.


def perfect(own, examples, cased=False, noise=0, **truncation):
    """The answers to rows of logits that say what the tokens' targets say."""
    texts = [example.text for example in examples]
    tokens = encode(texts, cased=cased, **truncation)
    tags = own.token_targets(examples, tokens)["tags"]
    logits = np.random.default_rng(noise).normal(0, 9, (*tags.shape, len(own.tags))).astype(np.float32)
    learns = tags > 0
    logits[learns] = 40 * np.eye(len(own.tags))[tags[learns] - 1]
    transitions = np.zeros((len(own.tags) + 2, len(own.tags)), np.float32) if own.options.crf else None
    return answers_of(own, tokens, texts, logits, transitions)


WORDS = ["Anna", "Berg", "U.S.", "can't", "é", "e\u0301", "\u200bRio", "\ufeffThe", "😀", "#1", "x-y", "\u0301in", "王", "Größe", "1\u00a0000", "\x01in"]  # fmt: skip


@st.composite
def tagged(draw):
    """A row of tokens with a tag each."""
    tokens = draw(st.lists(st.sampled_from(WORDS), max_size=8))
    tags = []
    while len(tags) < len(tokens):
        kind = draw(st.sampled_from([None, "LOC", "PER"]))
        size = min(draw(st.integers(1, 3)), len(tokens) - len(tags))
        tags += [f"{'I' if inner else 'B'}-{kind}" if kind else "O" for inner in range(size)]
    return tokens, tags


@settings(max_examples=15)
@given(
    st.lists(tagged(), min_size=1, max_size=4),
    st.sampled_from(["bio", "bioes", "plain"]),
    st.sampled_from(["first", "all"]),
    st.sampled_from(["punctuation", "whitespace"]),
    st.booleans(),
    st.booleans(),
)
def test_perfect_answers_score_1(rows, scheme, sub_words, words, crf, cased):
    if words == "whitespace":  # there a token with white space in it is two words
        rows = [([token.replace("\u00a0", "") for token in tokens], tags) for tokens, tags in rows]
    options = {"scheme": scheme, "sub_words": sub_words, "words": words, "crf": crf}
    examples = [row(*one, **options) for one in rows]
    kinds = ("LOC", "PER") if scheme != "plain" else sorted({tag for _, tags in rows for tag in tags}) or "x"
    own = task(kinds, most=50, **options)
    truth = own.targets(examples)
    scores = own.scorer.metrics(perfect(own, examples, cased), truth, np.ones(len(rows)))
    assert scores["token_accuracy"] == 1
    if scheme != "plain":
        assert scores["f1"] == scores["macro_f1"] == 1


@settings(max_examples=15)
@given(st.lists(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(["", "LOC", "PER"]), st.sampled_from([" ", "  ", "\u3000", "\u200b "])), max_size=6), min_size=1, max_size=3), st.booleans())  # fmt: skip
def test_perfect_answers_to_rows_of_entities_score_1(rows, cased):
    examples = []
    for parts in rows:
        text, entities = "", []
        for word, kind, gap in parts:
            text += gap
            if kind:
                entities.append([len(text), len(text) + len(word), kind])
            text += word
        examples.append(row(text, [one for one in entities if text[one[0]] != "\u0301"]))
    own = task(most=50)
    scores = own.scorer.metrics(perfect(own, examples, cased), own.targets(examples), np.ones(len(rows)))
    assert (scores["f1"], scores["token_accuracy"]) == (1.0, 1.0)


MARKED = [*SOME, "#\ufe0f\u20e3", "王\u3099", "!\u1df6", "🇩🇪🇫🇷", "👩\u200d👧👍🏽", "\u1112\u1161\u11ab", "क्षि", "\u06001", "-\u1df7\u200d", "\U00016fe4"]  # fmt: skip


@settings(max_examples=12)
@given(st.lists(st.lists(st.sampled_from(MARKED), max_size=6).map("".join), min_size=4, max_size=12), st.sampled_from(["bio", "plain"]), st.sampled_from(["punctuation", "whitespace"]), st.booleans(), st.randoms(use_true_random=False))  # fmt: skip
def test_answers_are_read_back(texts, scheme, words, cased, rng):
    """What the model answers can be written into a data file as it is."""
    own = task(most=60, scheme=scheme, words=words)
    tokens = encode(texts, cased=cased)
    random = np.random.default_rng(rng.randrange(2**32))
    logits = random.normal(0, 5, (*tokens["input_ids"].shape, len(own.tags))).astype(np.float32)
    found = answers_of(own, tokens, texts, logits)
    for number, text in enumerate(texts):
        count = found["count"][number]
        parts = zip(*(found[name][number, :count].tolist() for name in ("starts", "ends", "types")))
        entities = [[start, end, kind.decode()] for start, end, kind in parts]
        # A mark alone, which is no answer in a data file, is left out.
        entities = [
            one
            for one in entities
            if any(unicodedata.category(c)[0] not in "MCZ" for c in text[one[0] : one[1]])
        ]
        assert json.loads(row(text, entities).label)["spans"] == entities


def test_a_keycap_is_one_entity():
    """To a tokenizer that keeps accents, its marks are another word."""
    own = task(most=4)
    for cased in (False, True):
        tokens = encode(["#\ufe0f\u20e3 Rio"], cased=cased)
        assert tokens["word_starts"][0].sum() == 3
        logits = np.zeros((*tokens["input_ids"].shape, len(own.tags)), np.float32)
        logits[..., own.tags.index("B-LOC")] = 9
        found = answers_of(own, tokens, ["#\ufe0f\u20e3 Rio"], logits)
        assert found["texts"][0, :2].tolist() == ["#\ufe0f\u20e3".encode(), b"Rio"]
        assert found["count"].tolist() == [2]


def test_words_of_rows_of_entities():
    """None reaches over an entity's edge; white space, marks and what BERT drops are none."""
    text = (
        "Annaberg’s\u3000U.S._x 王\u3099小\ufffd e\u0301te\u0301 \ufeff1\ufe0f\u20e3 \u200bहिन्दी 😀👩\u200d👧"
    )
    own = task()
    (words,) = own.targets([row(text, [[0, 4, "PER"]])])["words"]
    assert [text[start:end] for start, end, _ in words] == [
        *("Anna", "berg", "’", "s", "U", ".", "S", ".", "_", "x", "王", "小"),
        *("e\u0301te\u0301 "[:-1], "1\ufe0f\u20e3", "हिन्दी", "😀", "👩", "👧"),
    ]
    assert [tag for *_, tag in words] == ["B-PER", *["O"] * 17]


def test_what_is_cut_off_is_missed():
    examples = [row("Anna Berg in Rio", [[0, 9, "PER"], [13, 16, "LOC"]])]
    own = task()
    answers = perfect(own, examples, max_length=6)  # [CLS] ann ##a berg in [SEP]
    scores = own.scorer.metrics(answers, own.targets(examples), np.ones(1))
    assert (scores["precision"], scores["recall"], scores["token_accuracy"]) == (1, 1 / 2, 3 / 4)
    assert (scores["f1/PER"], scores["f1/LOC"]) == (1, 0)
    assert own.scorer.mistakes(answers, own.targets(examples)) == [(0, "4:B-LOC", "4:O")]
    # In the middle of an entity: what is left of it is another one.
    scores = own.scorer.metrics(perfect(own, examples, max_length=4), own.targets(examples), np.ones(1))
    assert (scores["precision"], scores["recall"], scores["token_accuracy"]) == (0, 0, 2 / 4)


def test_a_tag_called_dash_is_not_what_is_answered_to_missed_words():
    options = {"scheme": "plain"}
    examples = [row("Rio - in -", ["N", "-", "P", "-"], **options)]
    own = task(("-", "N", "P"), **options)
    answers = perfect(own, examples, max_length=4)
    assert own.scorer.metrics(answers, own.targets(examples), np.ones(1))["token_accuracy"] == 2 / 4
    ((number, want, got),) = own.scorer.mistakes(answers, own.targets(examples))
    assert (number, want) == (0, "3:P 4:-")
    assert got != want


def test_scores_by_hand():
    """The answers: Anna for Anna Berg, Rio right, a type wrong; the last row does not count."""
    examples = [
        row("Anna Berg in Rio", [[0, 9, "PER"], [13, 16, "LOC"]]),
        row("good", [[0, 4, "PER"]]),
        row("x", []),
    ]
    answers = {
        "types": np.array([[b"PER", b"LOC"], [b"LOC", b""], [b"PER", b""]], object),
        "starts": np.array([[0, 13], [0, 0], [0, 0]], np.int32),
        "ends": np.array([[4, 16], [4, 0], [1, 0]], np.int32),
        "count": np.array([2, 1, 1], np.int32),
    }
    own = task()
    truth = own.targets(examples)
    assert truth["words"][0] == ((0, 4, "B-PER"), (5, 9, "I-PER"), (10, 12, "O"), (13, 16, "B-LOC"))
    scores = own.scorer.metrics(answers, truth, np.array([2.0, 1.0, 0.0]))
    assert scores["precision"] == scores["recall"] == 1 / 3
    assert scores["token_accuracy"] == 3 / 5
    assert scores["f1/LOC"] == pytest.approx(2 / 3)
    with_all = own.scorer.metrics(answers, truth, np.ones(3))
    assert with_all["precision"] == 1 / 4
    assert own.scorer.mistakes(answers, truth) == [
        (0, "2:I-PER", "2:O"),
        (1, "1:B-PER", "1:B-LOC"),
        (2, "1:O", "1:B-PER"),
    ]
    report = own.scorer.report(answers, truth, np.array([2.0, 1.0, 0.0]))
    assert re.search(r"PER +0.0000 +0.0000 +0.0000 +2", report)
    assert "token accuracy 0.6000" in report
    # More than there is room for: the others are not known.
    more = {**answers, "count": np.array([7, 1, 1], np.int32)}
    assert own.scorer.metrics(more, truth, np.ones(3)) == with_all


def test_targets_are_made_for_the_metrics_alone():
    examples = [row("Anna", [[0, 4, "PER"]])]
    assert task().targets(examples, training=True) == {}
    with pytest.raises(UserError) as caught:
        task(("LOC",)).targets(examples)
    assert str(caught.value).startswith('rows.csv:2: unknown label "PER", which no training row has')


def test_the_baseline_answers_in_the_same_form():
    rows = [
        row("Anna in rio", [[0, 4, "PER"], [8, 11, "LOC"]]),
        row("Anna Berg", [[0, 9, "PER"]]),
        row("in x", []),
    ]
    own = TaggingOptions().fit([*rows, *rows])
    asked = [row("Rio Anna Berg y Berg", [[0, 3, "LOC"], [4, 13, "PER"]]), row("", []), row("in", [])]
    name, answers = own.scorer.baseline(rows, asked)
    assert name == "the most frequent tag of each word"
    # "Rio" as rio, "y" as most words are; Berg is I-PER, so the last one is an entity that it begins.
    assert answers["types"].tolist() == [["LOC", "PER", "PER"], [""] * 3, [""] * 3]
    assert answers["starts"].tolist() == [[0, 4, 16], [0] * 3, [0] * 3]
    assert answers["ends"].tolist() == [[3, 13, 20], [0] * 3, [0] * 3]
    assert answers["count"].tolist() == [3, 0, 0]
    scores = own.scorer.metrics(answers, own.targets(asked), np.ones(3))
    assert (scores["precision"], scores["recall"]) == (2 / 3, 1)
    nothing = own.scorer.baseline(rows, [row("in in", [])])[1]
    assert nothing["starts"].shape == (1, 0)
    assert own.scorer.metrics(nothing, own.targets([row("in in", [])]), np.ones(1))["token_accuracy"] == 1
    options = {"scheme": "plain"}
    rows = [row("a b", "X Y", **options), row("b c", "Y X", **options)]
    plain = TaggingOptions(**options).fit([*rows, *rows])
    _, answers = plain.scorer.baseline(rows, [row("c b z", "X X X", **options)])
    assert answers["types"].tolist() == [["X", "Y", "X"]]


def test_close_calls_are_told_by_the_margin():
    answers = {"margin": np.array([0.3, 1e-6, 0, 1], np.float32)}
    assert task().scorer.near_ties(answers, 1e-5).tolist() == [False, True, True, False]


# What is learnt of the training rows.


def test_tags_and_room_are_learnt():
    rows = [row("a b c", [[0, 1, "PER"], [2, 3, "LOC"]]), row("a " * 20, [[2 * n, 2 * n + 1, "PER"] for n in range(20)]), row("a", [[0, 1, "LOC"]])]  # fmt: skip
    assert TaggingOptions().fit(rows).fitted == {
        "tags": ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"],
        "max_entities": 40,
    }
    options = TaggingOptions(scheme="bioes", labels=["PER", "LOC"])
    assert options.fit(rows[::2] * 2).fitted == {
        "tags": ["O", *(f"{prefix}-{kind}" for kind in ("PER", "LOC") for prefix in "BIES")],
        "max_entities": 16,
    }
    plain = TaggingOptions(scheme="plain", max_entities=5)
    rows = [row("a b", "V N", scheme="plain")] * 2
    assert plain.fit(rows).fitted == {"tags": ["N", "V"], "max_entities": 5}


def test_rows_with_more_entities_than_room_are_said(capfd):
    rows = [row("a b c", [[0, 1, "P"], [2, 3, "P"]])] * 2
    TaggingOptions(max_entities=1).fit(rows)
    said_ = " ".join(capfd.readouterr().err.split())
    assert (
        "warning: a training row has 2 entities, task.max_entities is 1: those behind are not answered"
        in said_
    )
    TaggingOptions(max_entities=2).fit(rows)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "label", "separator", "whitespace", "punctuation"),
    [
        ("a (Anna) b", [[3, 7, "PER"]], " ", 1, 0),
        ("(Anna b", [[1, 5, "PER"]], " ", 1, 0),
        ("Anna, b", [[0, 4, "PER"], [6, 7, "PER"]], " ", 1, 0),
        ("a Anna b", [[3, 6, "PER"]], " ", 1, 1),
        ("a Anna b", [[2, 5, "PER"], [7, 8, "PER"]], " ", 1, 1),
        ("é1", [[0, 1, "PER"]], " ", 1, 1),
        ("王小明", [[1, 2, "PER"]], " ", 1, 0),
        ("a_b", [[0, 1, "PER"]], " ", 1, 0),
        ("a Anna\u3000b\u00a0c", [[2, 6, "PER"], [7, 8, "PER"]], " ", 0, 0),
        (["a", "(", "Anna", ")"], ["B-X", "O", "B-PER", "O"], " ", 0, 0),
        (["a", "(", "Anna", ")"], ["B-X", "O", "B-PER", "O"], "", 2, 0),
        (["Anna", "Berg"], ["B-PER", "B-PER"], "", 2, 2),
    ],
)  # fmt: skip
def test_entities_within_words_are_said(capfd, text, label, separator, whitespace, punctuation):
    for words, count in (("whitespace", whitespace), ("punctuation", punctuation)):
        options = TaggingOptions(words=words, separator=separator)
        options.fit([row("b", "B-Y"), row(text, label, line=3, separator=separator)])
        found = " ".join(capfd.readouterr().err.split())
        warning = f"warning: {count} entities of the training rows begin or end within a word, the first of them in rows.csv:3"
        assert (warning in found) == (count > 0), found
        assert ("set task.words to punctuation" in found) == (count > 0 and words == "whitespace")


def test_transitions_keep_their_digits():
    """An export computes in float32; 16 bits in training would be other transitions."""
    with policy("mixed_bfloat16"):
        head = TaggingHead(2, crf=True)
        head.build({"sequence_output": (None, None, 4)})
    head.transitions.assign(np.full((4, 2), 1.2345678))
    found = head({"sequence_output": tf.zeros((1, 3, 4))}, tf.ones((1, 3), tf.int32))
    np.testing.assert_array_equal(found["transitions"], np.full((1, 4, 2), 1.2345678, np.float32))


@pytest.mark.parametrize("label", ["O", "B-PER", "I-PER", "S-x"])
def test_labels_are_types(label):
    with pytest.raises(ValueError, match=f"{label} is a tag; name the types of entities alone"):
        TaggingOptions(labels=["PER", label])
    assert TaggingOptions(labels=["N", label], scheme="plain").labels == ["N", label]


def test_types_that_do_not_occur_have_a_score():
    own, rows = task(("LOC", "PER")), [row("a", "B-PER")]
    answers = own.scorer.baseline(rows, rows)[1]
    scores = own.scorer.metrics(answers, own.targets(rows), np.ones(1))
    assert (scores["f1/PER"], scores["f1/LOC"], scores["macro_f1"]) == (1, 0, 1)


def test_the_report_says_what_there_was_no_room_for():
    entities, plain = task(most=2), task(("X",), most=2, scheme="plain")
    texts = ["a b c", "a"]
    tokens = encode(texts)
    for own, label, what in ((entities, "B-PER B-PER B-PER", "entities"), (plain, "X X X", "words")):
        rows = [row("a b c", label, **dict(own.options)), row("a", label.split()[0], **dict(own.options))]
        logits = np.zeros((*tokens["input_ids"].shape, len(own.tags)), np.float32)
        tag = "B-PER" if what == "entities" else "X"
        logits[..., own.tags.index(tag)] = 9
        answers, targets = answers_of(own, tokens, texts, logits), own.targets(rows)
        said_ = f"In 1 row the {what} after the first 2 are not predicted (task.max_entities)"
        assert own.scorer.report(answers, targets, np.ones(2)).splitlines()[-1] == said_
        assert said_ not in own.scorer.report(answers, targets, np.array([0, 1]))
        assert own.scorer.metrics(answers, targets, np.ones(2))["token_accuracy"] == 3 / 4


@pytest.mark.parametrize(
    ("options", "rows", "said_"),
    [
        ({}, [("a", [])], "the training rows have no entity; there is nothing to tell apart"),
        ({"scheme": "plain"}, [("a b", "X X")], 'the training rows have only the tag "X"; there is nothing'),
        ({"scheme": "plain"}, [("", [])], "the training rows have no tag; there is nothing to tell apart"),
        ({"labels": ["PER", "LOC"]}, [("a", "B-PER")], 'no training row has the label "LOC" of task.labels'),
        ({"labels": ["PER"]}, [("a b", "B-PER B-PERS")], 'rows.csv:2: unknown label "PERS"; did you mean "PER"'),
        ({"labels": ["PER", "PER"]}, [("a", "B-PER")], 'task.labels names "PER" twice'),
        ({}, [("a b", "B-PER B-per")], 'rows.csv:2: the label "per" differs from "PER" (rows.csv:2) only in case'),
        ({"scheme": "plain"}, [("a b", "1 1.0")], 'rows.csv:2: the label "1.0" is the same value as "1" (rows.csv:2)'),
        ({}, [("a b", "B-PER B-PE\u200bR")], 'rows.csv:2: the label "PE\\u200bR" differs from "PER" (rows.csv:2) only in characters that'),
        ({}, [("a b", ["B- PER", "O"])], "rows.csv:2: the label ' PER' is empty or has white space around it"),
        ({"scheme": "plain"}, [("a b", ["X", ""])], "rows.csv:2: the label '' is empty or has white space"),
    ],
)  # fmt: skip
def test_rows_that_train_nothing(options, rows, said_):
    with pytest.raises(UserError) as caught:
        TaggingOptions(**options).fit([row(*one, **options) for one in rows])
    assert str(caught.value).startswith(said_)


def foreign(*labels):
    checkpoint = types.SimpleNamespace(labels=labels, head_names=("token_classifier",))
    assert TaggingOptions.serves(checkpoint)
    return TaggingOptions.from_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        (["O", "B-PER", "I-PER"], "bio"),
        (["I-PER", "B-PER", "O"], "bio"),
        (["O", "B-PER", "I-PER", "E-PER", "S-PER"], "bioes"),
        (["O", "B-PER", "I-PER", "L-PER", "U-PER"], "bioes"),
        (["O", "B-x", "M-x", "E-x", "S-x"], "bioes"),
        (["O", "B", "I"], "bio"),
        (["NOUN", "VERB", "O"], "plain"),
        (["LABEL_0", "LABEL_1"], "plain"),
        # IOB1, as CoNLL 2003 came: no person directly follows another one.
        (["B-LOC", "I-LOC", "I-PER", "O"], "bio"),
        (["O", "B-PER", "I-PER", "S-PER"], "bioes"),
        (["O", "S-PER", "E-PER"], "bioes"),
        # Words of Chinese: no character is outside of one.
        (["B", "M", "E", "S"], "bioes"),
        (["B-NR", "M-NR", "E-NR", "S-NR", "S-VV"], "bioes"),
        (["S", "B"], "plain"),
        (["B", "M", "E", "S", "X"], "plain"),
    ],
)  # fmt: skip
def test_tags_of_a_checkpoint(labels, scheme):
    """Every tag of it can be answered."""
    own = foreign(*labels)
    assert own.tags == tuple(labels)
    assert (own.options.scheme, own.options.constrained) == (scheme, False)
    tokens = encode(["Anna Berg in"])
    positions = [1, 3, 4]  # of the three words
    answers = set()
    for number in range(len(labels)):
        for place in positions:
            logits = np.zeros((1, tokens["input_ids"].shape[1], len(labels)), np.float32)
            logits[0, place, number] = 30
            tags, *_ = own._decoded(
                tf.constant(logits), tf.constant(np.isin(np.arange(logits.shape[1]), positions)[None]), {}
            )
            answers.add(int(tags[0, place]) == number and number)
    assert answers - {False} | {0} == set(range(len(labels)))


def test_a_checkpoint_of_iob1_finds_what_has_no_b():
    own = foreign("B-LOC", "I-LOC", "I-PER", "O")
    tokens = encode(["Anna Berg in Rio"])
    logits = np.zeros((1, tokens["input_ids"].shape[1], 4), np.float32)
    for place, tag in zip((1, 3, 4, 5), ("I-PER", "I-PER", "O", "I-LOC")):
        logits[0, place, own.tags.index(tag)] = 9
    found = answers_of(own, tokens, ["Anna Berg in Rio"], logits)
    assert found["types"][0, :3].tolist() == [b"PER", b"LOC", b""]
    assert found["texts"][0, :2].tolist() == [b"Anna Berg", b"Rio"]


def test_a_checkpoint_that_cuts_chinese_into_words():
    own = foreign("B", "M", "E", "S")
    tokens = encode(["a b c d e"])
    logits = np.zeros((1, tokens["input_ids"].shape[1], 4), np.float32)
    for place, tag in enumerate("BMESS", 1):
        logits[0, place, own.tags.index(tag)] = 9
    found = answers_of(own, tokens, ["a b c d e"], logits)
    assert found["texts"][0, :4].tolist() == [b"a b c", b"d", b"e", b""]
    assert set(found["types"][0, :3]) == {b"_"}
    rows = [row("a b c d e", "B M E S S", **dict(own.options))]
    assert own.scorer.metrics(found, own.targets(rows), np.ones(1))["f1"] == 1


def test_room_of_a_checkpoint():
    """A tag for each word needs as many answers as are read; in windows, more than the model has positions."""
    for read in (100, 300, 4000):
        assert foreign("NOUN", "VERB").limit_length(read).fitted["max_entities"] == read
    assert foreign("B-PER", "I-PER", "O").limit_length(300).fitted["max_entities"] == 128
    assert foreign("B-PER", "I-PER", "O").limit_length(98).fitted["max_entities"] == 98


def test_no_more_room_than_words_are_read():
    book = row("a " * 5000, "X " * 4999 + "Y", scheme="plain")
    own = TaggingOptions(scheme="plain").fit([book])
    assert own.limit_length(126).fitted["max_entities"] == 126
    assert own.limit_length(128).tags == own.tags
    own = TaggingOptions(scheme="plain", max_entities=500).fit([book])
    assert own.limit_length(128).fitted["max_entities"] == 500
    assert TaggingOptions().fit([row("a", "B-X")]).limit_length(128).fitted["max_entities"] == 16


def test_other_options_for_a_checkpoint():
    own = foreign("O", "B-PER", "I-PER")
    assert own.fitted["max_entities"] == 128
    options = own.options.model_copy(update={"max_entities": 300, "words": "whitespace"})
    other = own.with_options(options)
    assert other.fitted == {"tags": ["O", "B-PER", "I-PER"], "max_entities": 300}
    assert other.options.words == "whitespace"
    assert own.with_options(own.options).fitted == own.fitted


def test_a_label_column_is_needed():
    settings_ = {
        "checkpoint": "c",
        "output": "o",
        "data": {"train": "t.csv", "label": None},
        "task": {"name": "tagging"},
    }
    with pytest.raises(
        UserError, match=r"data.label is null, but tagging learns from tags; name their column"
    ):
        config.resolve(settings_, RunConfig, source="run.yaml")


# As one of several tasks.

HEADS = {"mood": {"name": "classification"}, "slots": {"name": "tagging", "crf": True}}


def several(heads=HEADS, **more):
    settings_ = {
        "checkpoint": "c",
        "output": "o",
        "data": {"train": "t.csv"},
        "task": {"name": "multitask", "heads": heads, **more},
    }
    options = config.resolve(settings_, RunConfig, source="run.yaml").task
    cells = [
        ("Anna in Rio", "good", '[[0, 4, "PER"], [8, 11, "LOC"]]'),
        ("in x", "bad", "O O"),
        ("Rio", "good", ""),
        ("Berg x", "", "B-PER O"),
        ("in", "bad", "[]"),
        ("Rio", "", "B-LOC"),
    ]
    rows = [
        Example(text, columns={"mood": mood, "slots": slots}, file="rows.csv", line=line)
        for line, (text, mood, slots) in enumerate(cells, 2)
    ]
    rows = [options.preprocess(example) for example in rows]
    return options.fit(rows), rows


def test_a_head_among_others():
    own, rows = several()
    slots = own.parts["slots"]
    assert own.offsets == {"slots/starts": "text", "slots/ends": "text"}
    assert [list(own.options.strata(one)) for one in rows][::3] == [
        [("mood", "good"), ("slots", "PER"), ("slots", "LOC")],
        [("slots", "PER")],
    ]
    texts = [example.text for example in rows]
    tokens = encode(texts)
    targets = {**own.targets(rows), **own.token_targets(rows, tokens)}
    assert targets["slots/share"].tolist() == [1, 1, 0, 1, 1, 1]
    assert "slots/words" not in own.targets(rows, training=True)
    names = [shown(slots, numbers)[1:] for numbers in targets["slots/tags"]]
    assert names == [
        ["B-PER", "-", "O", "B-LOC", "-"],
        ["O", "O", "-", "-", "-"],
        ["-"] * 5,
        ["B-PER", "O", "-", "-", "-"],
        ["O", *["-"] * 4],
        ["B-LOC", *["-"] * 4],
    ]

    # The loss of a row is that of its heads, each as if it was alone.
    random = np.random.default_rng(0)
    logits = random.normal(0, 1, (*tokens["input_ids"].shape, 5)).astype(np.float32)
    transitions = np.repeat(random.normal(0, 1, (1, 7, 5)).astype(np.float32), len(rows), 0)
    mood = random.normal(0, 1, (len(rows), 2)).astype(np.float32)
    logits[2] = np.nan  # a gap
    outputs = {"mood/logits": mood, "slots/logits": logits, "slots/transitions": transitions}
    outputs = {name: tf.constant(array) for name, array in outputs.items()}
    numbers = {
        name: tf.constant(array) for name, array in {**targets, **tokens}.items() if array.dtype != object
    }
    losses = own.loss(outputs, numbers)
    alone = slots.loss(
        {"logits": outputs["slots/logits"], "transitions": outputs["slots/transitions"]},
        {"tags": numbers["slots/tags"]},
    )
    of_mood = [-np.log(softmax(one)[label]) for one, label in zip(mood, (1, 0, 1, 0, 0, 0))]
    share = targets["mood/share"]
    np.testing.assert_allclose(
        losses, np.where(targets["slots/share"] > 0, alone, 0) + share * of_mood, rtol=1e-5
    )

    # Perfect answers to the rows that have tags, and to the others anything.
    logits = np.where(targets["slots/tags"][..., None] > 0, 30 * np.eye(6)[targets["slots/tags"]][..., 1:], 0)
    outputs["slots/logits"] = tf.constant(logits, tf.float32)
    outputs["slots/transitions"] = tf.zeros_like(outputs["slots/transitions"])
    outputs["mood/logits"] = tf.constant(30 * np.eye(2)[[1, 0, 1, 0, 0, 0]], tf.float32)
    inputs = {**tokens, "text": np.array([text.encode() for text in texts], object)}
    found = own.predictions(outputs, {name: tf.constant(array) for name, array in inputs.items()})
    answers = {name: tensor.numpy() for name, tensor in found.items()}
    assert answers["slots/texts"][0, :3].tolist() == [b"Anna", b"Rio", b""]
    weights = read_targets(own, rows)[1]
    scores = own.scorer.metrics(answers, targets, weights)
    assert scores["slots/f1"] == scores["mood/accuracy"] == scores["mean"] == 1
    assert "slots (5 rows)" in own.scorer.report(answers, targets, weights)
    assert own.scorer.near_ties(answers, 1e-5).shape == (6,)
    name, answers = own.scorer.baseline(rows, rows)
    assert "the most frequent tag of each word" in name
    assert own.scorer.metrics(answers, targets, weights)["slots/token_accuracy"] == 1


@pytest.mark.parametrize(
    ("text", "slots", "said_"),
    [
        ("a b", "B-PER", 'head "slots": rows.csv:2: 1 tags for 2 words'),
        (
            '["a", "b"]',
            "O O",
            'head "slots": rows.csv:2: the text is a list of tokens, which the other heads',
        ),
        ("a", '[[0, 2, "X"]]', 'head "slots": rows.csv:2: entity 1 is from 0 to 2'),
    ],
)
def test_bad_rows_of_a_head(text, slots, said_):
    own, _ = several()
    example = Example(text, columns={"mood": "good", "slots": slots}, file="rows.csv", line=2)
    with pytest.raises(UserError) as caught:
        own.options.preprocess(example)
    assert str(caught.value).startswith(said_)


# Long texts.


def position_independent(folder):
    """A checkpoint that sees of each token itself alone: no attention, no positions."""
    tiny.write_checkpoint(folder, max_position_embeddings=400, num_hidden_layers=1)
    tensors = load_file(folder / "model.safetensors")
    for name in tensors:
        if "position_embeddings" in name or "attention.output.dense" in name:
            tensors[name] = np.zeros_like(tensors[name])
    save_file(tensors, folder / "model.safetensors")
    return checkpoints.load(folder)


@pytest.mark.parametrize(("pool", "crf"), [("mean", True), ("max", False)])
def test_windows_of_a_text_give_the_entities_of_the_whole(tmp_path, pool, crf):
    checkpoint = position_independent(tmp_path / "checkpoint")
    own = task(crf=crf, scheme="bioes", most=200)
    head = own.head(checkpoint.config, seed=1)
    encoder = checkpoint.encoder()
    cut = Truncation(12, "windows", overlap=3, max_windows=60, pool=pool)
    whole, windows = TextModel(encoder, head), TextModel(encoder, head, Windows(cut))
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(tiny.VOCABULARY[5:26], size)) + " é😀" for size in (3, 10, 30, 200)]
    texts = [re.sub(" ##", "", text) for text in texts]
    found = WordPieceTokenizer(tiny.VOCABULARY)(tf.constant(texts), truncation=cut, offsets=True)
    tokens = {name: tensor.numpy() for name, tensor in found.items()}
    assert tokens["input_ids"].shape[1] > 100
    whole(encoder_inputs(tokens))
    head.dense.kernel.assign(random.normal(0, 3, head.dense.kernel.shape))
    logits = whole(encoder_inputs(tokens))["logits"]
    head.dense.bias.assign(-np.mean(logits, axis=(0, 1)))  # so that no tag is always the best one
    if crf:
        head.transitions.assign(random.normal(0, 1, head.transitions.shape))
    answers = [
        answers_of(
            own, tokens, texts, outputs["logits"].numpy(), outputs["transitions"].numpy()[0] if crf else None
        )
        for outputs in (model(encoder_inputs(tokens)) for model in (whole, windows))
    ]
    kit.same(answers[1], answers[0])
    assert answers[0]["count"].max() > 20


# From rows to an export.

MOOD = [*tiny.GOOD, *tiny.BAD]


def learnable(count, seed):
    """Sentences in which the word gives its tag away: good B-MOOD, x B-THING, y I-THING."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        words = list(random.choice([*tiny.FILLER[:7], "!", "@", *MOOD], random.integers(1, 13)))
        tags = ["B-MOOD" if word in MOOD else "O" for word in words]
        if random.random() < 0.5:
            words += ["x", "y"]
            tags += ["B-THING", "I-THING"]
        rows.append({"words": [str(word) for word in words], "tags": tags})
    return rows


RUNS = {
    "bio in windows": {
        "task": {"crf": True},
        "text": {"max_length": 10, "long": "windows", "overlap": 2, "max_windows": 4},
    },
    "bioes": {"task": {"scheme": "bioes", "sub_words": "all"}, "text": {"max_length": 16}},
}


@pytest.fixture(scope="module", params=RUNS)
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    tiny.write_checkpoint(folder / "checkpoint", **still)
    for name, count, seed in (("train", 300, 1), ("test", 60, 2)):
        lines = map(json.dumps, learnable(count, seed))
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    data = {name: str(folder / f"{name}.jsonl") for name in ("train", "test")}
    chosen = RUNS[request.param]
    settings_ = {
        "checkpoint": str(folder / "checkpoint"),
        "output": str(folder / "run"),
        "data": {**data, "text": "words", "label": "tags"},
        "text": chosen["text"],
        "task": {"name": "tagging", **chosen["task"]},
        "training": {"epochs": 6, "batch_size": 8, "learning_rate": 0.01, "best_metric": "loss"},
    }
    return train(config.resolve(settings_, RunConfig, source="run.yaml"))


@pytest.fixture(scope="module")
def predictors(run, tmp_path_factory):
    """Who answers: the run, and an export of one of the two."""
    places = [run.path]
    if run.truncation.windows:
        places.append(export_run(run, tmp_path_factory.mktemp("models") / "tagger"))
    return [open_local(place) for place in places]


def test_what_can_be_learnt_is_learnt(run):
    assert run.store.state("best")["history"][-1]["f1"] == 1
    report = evaluate(run)
    assert run.task.scorer.best_metric == "f1"
    scores = report.entries[-1].scores
    assert scores["f1"] == scores["f1/MOOD"] == scores["f1/THING"] == scores["token_accuracy"] == 1
    assert "MOOD" in report.text()
    first = run.examples("test")[0]
    assert first.text == " ".join(learnable(1, 2)[0]["words"])


PREDICTED = [
    ("é😀 👩‍👩‍👧 e\u0301 Good! the x y!", [("MOOD", "Good"), ("THING", "x y")]),
    ("王Góod\u0301 x\u0301 y\u0301", [("MOOD", "Góod\u0301"), ("THING", "x\u0301 y\u0301")]),
    ("\ufeff\u200bbad\u00a0\u0000goodly", [("MOOD", "bad"), ("MOOD", "goodly")]),
    ("food", []),
    ("", []),
    ("  ", []),
]


def test_answers_are_in_the_callers_own_places(predictors):
    for predictor in predictors:
        for (text, want), answer in zip(PREDICTED, predictor.predict([text for text, _ in PREDICTED])):
            assert [(one.type, one.text) for one in answer.entities] == want
            assert all(text[one.start : one.end] == one.text for one in answer.entities)
            assert all(one.score > 0.5 for one in answer.entities)
            assert answer.count == len(want)


def test_long_texts_are_answered(run, predictors):
    """1 MB in one text, then in one word; words that only a later window reads; an entity that what is read ends within."""
    readable = run.truncation.longest(pair=False) - 2
    most = run.task.fitted["max_entities"]
    texts = ["good " * 200_000, "x" * 1_000_000, "the " * (readable - 1) + "bad x y"]
    if run.truncation.windows:
        texts.append("é the " * 8 + "bad")
    for predictor in predictors:
        first, second, *others = predictor.predict(texts)
        assert first.count == readable
        assert [one.start for one in first.entities] == [5 * n for n in range(min(readable, most))]
        assert second.count == 0
        for text, answer in zip(texts[2:], others):
            assert [(one.text, one.start) for one in answer.entities] == [("bad", text.index("bad"))]


def test_a_task_is_found_by_its_name():
    assert tasks.find("tagging") is TaggingOptions
