"""What decoding means for a model: words, choices of requests, texts."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.models.toy_decoding import SPREAD, ToyCall
from tfpipeline.errors import UserError
from tfpipeline.export.shape_checks import checked
from tfpipeline.models.inputs import InputLimits
from tfpipeline.tasks.generation.decoder import Decoder
from tfpipeline.tasks.generation.decoding_options import DecodingOptions
from tfpipeline.text import TokenizerOptions

VOCABULARY = [
    *("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "##s", "play", "##ing", ",", ".", ""),
    *("don", "'", "t", "[EN]"),
]  # fmt: skip
TOKENIZER = TokenizerOptions(special_tokens=("[EN]",))
ID = {token: number for number, token in enumerate(VOCABULARY)}
MOST = 6


def decoder(**options):
    return Decoder(DecodingOptions(**options), MOST, VOCABULARY, TOKENIZER)


def writing(*texts):
    """A model that writes these texts, one for each source."""
    table = np.zeros((len(texts), SPREAD, len(VOCABULARY)), np.float32)
    for source, text in enumerate(texts):
        state = 0
        for token in [*text.split(), "[SEP]"]:
            table[source, state, ID[token]] = 20
            state = (31 * state + 7 * ID[token] + 1) % SPREAD
    return ToyCall(table, list(range(len(texts))))


def test_predictions_are_texts():
    made = decoder()
    outputs = made.generate(writing("the dog ##s , the dog .", "don ' t play ##ing ,", "the"))
    assert outputs["tokens"].shape == (3, 1, MOST)
    found = made.predictions(outputs)
    assert found["text"].numpy().tolist() == [b"the dogs, the dog", b"don't playing,", b"the"]  # six tokens
    assert found["score"].dtype == tf.float32
    np.testing.assert_allclose(found["score"], 0, atol=1e-4)


def test_special_tokens_are_never_written():
    table = np.zeros((1, SPREAD, len(VOCABULARY)), np.float32)
    never = ["[PAD]", "[unused0]", "[CLS]", "[MASK]", ""]
    table[:, :, [ID[token] for token in [*never, "[UNK]"]]] = 5
    table[:, :, ID["dog"]] = 1
    outputs = decoder().generate(ToyCall(table, [0]))
    assert outputs["tokens"].numpy().tolist() == [[[ID["dog"]] * MOST]]
    found = decoder(allow_unknown=True)
    assert found.predictions(found.generate(ToyCall(table, [0])))["text"].numpy() == [
        b" ".join([b"[UNK]"] * MOST)
    ]


def test_words_become_tokens():
    made = decoder(
        forced_tokens=["[EN]", "Dogs", ","],
        banned_words=["the", "playing", "Don't"],
        no_repeat_exempt=[",", "The"],
        max_new_tokens=5,
        early_stopping=False,
    )
    rules = made._rules
    assert rules.forced == (ID["[EN]"], ID["dog"], ID["##s"], ID[","])
    assert rules.banned == ((ID["play"], ID["##ing"]), (ID["don"], ID["'"], ID["t"]))
    assert rules.exempt == (ID[","], ID["the"])
    assert rules.never == (ID["[PAD]"], 1, ID["[UNK]"], ID["[CLS]"], ID["[MASK]"], ID["the"], ID[""])
    assert (rules.end, rules.vocabulary, rules.most_tokens) == (ID["[SEP]"], len(VOCABULARY), 5)
    assert not rules.early_stopping
    text = made.predictions(made.generate(writing("play ##ing", "the")))["text"].numpy()
    assert all(one.startswith(b"[EN] dogs,") for one in text)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"banned_words": ["xyz"]},
            'task.decoding.banned_words has "xyz", which the checkpoint\'s vocabulary cannot',
        ),
        ({"forced_tokens": ["the"] * MOST}, "forced_tokens are 6 tokens, but a text has at most 6"),
        ({"forced_tokens": ["the", "[SEP]"]}, 'forced_tokens has "[SEP]", which no text may contain'),
        ({"forced_tokens": ["[MASK]"]}, 'forced_tokens has "[MASK]", which no text may contain'),
        ({"forced_tokens": ["the"], "banned_words": ["the"]}, 'forced_tokens has "the", which no text may'),
        (
            {"forced_tokens": ["the", "dogs"], "banned_words": ["dogs"]},
            'forced_tokens has "dog ##s", which banned_words bans',
        ),
        ({"forced_tokens": [" "]}, 'task.decoding.forced_tokens has " ", which'),
        (
            {"no_repeat_exempt": ["dogs"]},
            'no_repeat_exempt has "dogs", which is 2 tokens; only single tokens',
        ),
        ({"num_beams": 30}, "num_beams is 30, but the vocabulary has only 12 tokens that a text may contain"),
    ],
)
def test_what_the_vocabulary_cannot_do_is_refused(options, says):
    with pytest.raises(UserError) as caught:
        decoder(**options)
    assert says in str(caught.value)


def test_too_many_texts_for_a_large_vocabulary_are_refused():
    vocabulary = [*VOCABULARY, *(f"w{number}" for number in range(120_000))]
    with pytest.raises(
        UserError, match=r"asks for 64 beams or texts of each source; with this .* at most 34"
    ):
        Decoder(DecodingOptions(num_beams=64), MOST, vocabulary, TOKENIZER)


class Graph:
    """A graph whose model is the toy; a text is the number of its source."""

    def __init__(self, table):
        self._table = table

    def text_inputs(self, texts):
        return tf.strings.to_number(texts["text"], tf.int32)

    def call(self, sources):
        return ToyCall(self._table, sources)


def asked(**choices):
    """Two rows that leave everything to the run, but for some choices."""
    inputs = decoder().signatures()["generate"].inputs
    rows = {
        name: tf.constant(choices.get(name, [-1, -1]), spec.dtype)
        for name, spec in inputs.items()
        if name != "text"
    }
    return {"text": tf.constant(["0", "1"]), **rows}


TABLE = np.random.default_rng(0).normal(0, 1, (2, SPREAD, len(VOCABULARY))).astype(np.float32)


def asker(made):
    """Asks the signature of a decoder, compiled as it is served."""
    signature = made.signatures()["generate"]
    specs = {name: tf.TensorSpec([None], spec.dtype) for name, spec in signature.inputs.items()}
    function = tf.function(
        lambda rows: signature.function(Graph(TABLE), rows), input_signature=[specs], autograph=False
    )

    def ask(**choices):
        answer = function(asked(**choices))
        assert {name: (tensor.dtype.name, len(tensor.shape)) for name, tensor in answer.items()} == {
            "texts": ("string", 2), "scores": ("float32", 2), "count": ("int32", 1)
        }  # fmt: skip
        return {name: tensor.numpy().tolist() for name, tensor in answer.items()}

    return ask


def test_a_request_may_leave_everything_to_the_run():
    for options in (
        {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 0.5, "min_new_tokens": 3},
        {"do_sample": True, "num_return_sequences": 2, "seed": 5, "top_k": 4, "temperature": 2.0},
        {"no_repeat_ngram_size": 1, "repetition_penalty": 2.0, "max_new_tokens": 4, "min_new_tokens": 4},
    ):
        made = decoder(**options)
        outputs = made.generate(ToyCall(TABLE, [0, 1]))
        answer = made.signatures()["generate"].function(Graph(TABLE), asked())
        answer = {name: tensor.numpy().tolist() for name, tensor in answer.items()}
        assert answer["texts"] == made.texts(outputs).numpy().tolist()
        np.testing.assert_allclose(answer["scores"], outputs["scores"], atol=1e-6)
        assert answer["count"] == [made.options.num_return_sequences] * 2
        assert [row[0] for row in answer["texts"]] == made.predictions(outputs)["text"].numpy().tolist()


def test_each_row_chooses_for_itself():
    ask = asker(decoder(num_beams=3, num_return_sequences=3))
    own = ask()
    for name, value in {
        "num_beams": 1,
        "do_sample": 1,
        "max_new_tokens": 2,
        "min_new_tokens": 6,
        "length_penalty": 0,
        "no_repeat_ngram_size": 1,
        "repetition_penalty": 0.1,
    }.items():
        answer = ask(**{name: [-1, value]})
        assert (answer["texts"][0], answer["texts"][1]) != (own["texts"][0], own["texts"][1]), name
        assert answer["texts"][0] == own["texts"][0]
    assert ask(num_beams=[1, 2])["count"] == [1, 2]
    assert ask(num_beams=[1, 2])["texts"][0][1:] == [b"", b""]
    drawn = {"do_sample": [1, 1]}
    again = ask(**drawn, seed=[1, 2])
    assert ask(**drawn, seed=[1, 2]) == again
    assert ask(**drawn, seed=[1, 3])["texts"][0] == again["texts"][0]
    assert ask(**drawn, seed=[1, 3])["texts"][1] != again["texts"][1]
    for name, value in {"temperature": 9.0, "top_k": 1, "top_p": 0.01}.items():
        assert ask(**drawn, **{name: [-1, value]})["texts"][1] != ask(**drawn)["texts"][1], name


@functools.cache
def check():
    """Checks the inputs of the signature, as it is served."""
    inputs = decoder(num_beams=3).signatures()["generate"].inputs
    limits = InputLimits(vocabulary=len(VOCABULARY), types=2, width=8)
    specs = {name: tf.TensorSpec([None], spec.dtype) for name, spec in inputs.items()}
    return tf.function(lambda rows: checked(rows, limits, inputs), input_signature=[specs], autograph=False)


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        (
            {"temperature": [1.0, 0.0]},
            "temperature must be at least 0.001 (or -1 for the default), got 0",
        ),
        ({"top_p": [1.5, 1.0]}, "top_p must be at most 1 (or -1 for the default), got 1.5"),
        ({"max_new_tokens": [1, 0]}, "max_new_tokens must be at least 1 (or -1 for the default), got 0"),
        ({"max_new_tokens": [1, 7]}, "max_new_tokens must be at most 6 (or -1 for the default), got 7"),
        ({"num_beams": [1, 4]}, "num_beams must be at most 3 (or -1 for the default), got 4"),
        ({"seed": [-2, 4]}, "seed must be at least 0 (or -1 for the default), got -2"),
        ({"do_sample": [2, 0]}, "do_sample must be at most 1 (or -1 for the default), got 2"),
    ],
)
def test_choices_out_of_range_are_refused(choices, says):
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        check()(asked(**choices))
    assert says in str(caught.value)


def test_the_card_has_what_is_decoded_by_default():
    card = decoder(num_beams=2, banned_words=["the"]).card()["decoding"]
    assert (card["num_beams"], card["banned_words"], card["max_new_tokens"]) == (2, ["the"], MOST)
    assert card.keys() == DecodingOptions.model_fields.keys()


def test_examples_of_requests_are_in_range():
    inputs = decoder(num_beams=3).signatures()["generate"].inputs
    rows = {name: tf.constant(spec.example(12), spec.dtype) for name, spec in inputs.items()}
    assert check()(rows).keys() == rows.keys()
    assert {len(set(spec.example(12).tolist())) > 1 for name, spec in inputs.items() if name != "text"} == {
        True
    }


def test_near_ties_are_those_of_the_rows_choices():
    made = decoder(num_beams=2)
    table = np.zeros((2, SPREAD, len(VOCABULARY)), np.float32)
    table[0] = TABLE[0]
    table[1, 0, [ID["the"], ID["dog"]]] = 9  # two first tokens of the same probability
    signature = made.signatures()["generate"]
    given = {name: tensor.numpy() for name, tensor in asked(num_beams=[1, 1], max_new_tokens=[-1, 1]).items()}
    assert signature.near_ties(Graph(table), given, None, 1e-5).tolist() == [False, True]
