"""What every format keeps to, whichever it is: a new one is tested by being there."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import tiny
from tests.models.strategies import configs, random_weights
from tfpipeline import checkpoints
from tfpipeline.checkpoints import formats
from tfpipeline.errors import UserError
from tfpipeline.models import ACTIVATIONS, BertConfig, neutral
from tfpipeline.text import TokenizerOptions

BERT = BertConfig(
    vocab_size=4,
    hidden_size=6,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=5,
    max_position_embeddings=3,
    type_vocab_size=2,
    hidden_act="relu",
    layer_norm_eps=1e-12,
)
FORMATS = formats.names()
WRITTEN = formats.written()
# What the classes of transformers have; a checkpoint holds these together.
HEADS = [(), ("mlm",), ("nsp",), ("mlm", "nsp"), ("sequence_classifier",), ("token_classifier",), ("span",)]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[X]")

# What a line of a vocabulary can be, U+2028 and U+0085 included.
lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=5)
options = st.builds(
    TokenizerOptions,
    lowercase=st.booleans(),
    strip_accents=st.sampled_from([None, True, False]),
    tokenize_chinese_chars=st.booleans(),
    mask_token=st.sampled_from([None, "[MASK]"]),
    special_tokens=st.sampled_from([(), ("[X]",)]),
)


@st.composite
def models(draw):
    """A checkpoint in memory."""
    words = draw(st.lists(lines, max_size=12))  # some stand twice, some are empty: so it is in real ones
    vocabulary = tuple(draw(st.permutations([*SPECIAL, *words])))
    config = draw(
        configs(
            vocab_size=len(vocabulary),
            hidden_act=draw(st.sampled_from(ACTIVATIONS)),
            hidden_dropout_prob=draw(st.sampled_from([0, 0.1, 0.3])),
            attention_probs_dropout_prob=draw(st.sampled_from([0.0, 0.1, 0.2])),
            initializer_range=draw(st.sampled_from([0.02, 0.3])),
        )
    )
    heads = draw(st.sampled_from(HEADS))
    labels = (
        tuple(draw(st.lists(lines, min_size=1, max_size=4, unique=True)))
        if "classifier" in str(heads)
        else ()
    )
    return model_of(
        config, vocabulary, draw(st.integers(0, 2**32 - 1)), heads, labels, tokenizer=draw(options)
    )


def model_of(config, vocabulary, seed=0, heads=(), labels=(), **values):
    """A checkpoint in memory, of random weights."""
    weights = random_weights(config, seed, heads=heads, labels=len(labels))
    return checkpoints.Checkpoint(
        Path("memory"),
        "none",
        config,
        tuple(vocabulary),
        tensors={name: array for name, array in weights.items() if neutral.head_of(name) is None},
        heads={name: array for name, array in weights.items() if neutral.head_of(name) is not None},
        labels=labels,
        **{"tokenizer": TokenizerOptions(), **values},
    )


def test_the_folder_is_walked():
    assert {"google", "huggingface"} <= set(FORMATS)
    assert "google" in WRITTEN


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_format_has(name):
    module = formats.find(name)
    assert isinstance(module.FILES, str)
    assert module.FILES
    assert callable(module.recognise)
    assert callable(module.owns)
    assert callable(module.read)


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_recognised_in_other_folders(name, tmp_path):
    assert not formats.find(name).recognise(tmp_path)
    (tmp_path / "thesis.txt").write_text("mine")
    assert not formats.find(name).recognise(tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_every_neutral_name_stands_once(name):
    table = formats.find(name).TABLE
    wanted = neutral.templates(BERT, table.heads())
    assert sorted(row.ours for row in table.tensors) == sorted(wanted)
    # Two kinds of classifier may go by the same names; a model has one of them.
    theirs = [row.theirs for row in table.tensors if neutral.head_of(row.ours) != "token_classifier"]
    assert len(set(theirs)) == len(theirs)
    for row in table.tensors:
        assert ("{i}" in row.theirs) == ("{i}" in row.ours), row
        letters = sorted(row.axes.replace("(", " ").replace(")", " ").split())
        assert letters == sorted(wanted[row.ours].split()), row


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_ignored_has_a_reason_and_is_no_weight(name):
    table = formats.find(name).TABLE
    assert all(entry.why for entry in table.ignored)
    for row in table.tensors:
        why = table.why_ignored(row.theirs.replace("{i}", "0"))
        assert why == (neutral.head_of(row.ours) and "a head that the configuration's class does not have")


@pytest.mark.parametrize("name", FORMATS)
@given(config=configs(), seed=st.integers(0, 2**32 - 1), data=st.data())
@settings(max_examples=50)
def test_the_two_directions_are_inverse(name, config, seed, data):
    table = formats.find(name).TABLE
    heads = data.draw(st.sampled_from([heads for heads in HEADS if set(heads) <= set(table.heads())]))
    weights = random_weights(config, seed, heads=heads, labels=3)
    placed = table.place(config, heads, 3)
    assert {tensor.ours: tensor.our_shape for tensor in placed} == neutral.shapes(config, heads, 3)
    assert len({tensor.theirs for tensor in placed}) == len(placed) == len(weights)
    for tensor in placed:
        ours = weights[tensor.ours]
        theirs = tensor.to_theirs(ours)
        assert theirs.shape == tensor.their_shape
        assert sorted(theirs.ravel()) == sorted(ours.ravel())  # nothing lost, nothing made up
        np.testing.assert_array_equal(tensor.to_ours(theirs), ours, strict=True)
        np.testing.assert_array_equal(tensor.to_theirs(tensor.to_ours(theirs)), theirs, strict=True)


@pytest.mark.parametrize("name", FORMATS)
@given(config=configs(), data=st.data())
@settings(max_examples=30)
def test_every_misfit_is_listed(name, config, data):
    table = formats.find(name).TABLE
    found = {tensor.theirs: tensor.their_shape for tensor in table.place(config)}
    assert table.match(config, found, "file")[1] == {}
    missing, misshapen = data.draw(st.permutations(sorted(found)))[:2]
    found.pop(missing)
    found |= {misshapen: (*found[misshapen], 7), "what/is.this": (1,)}
    with pytest.raises(UserError) as caught:
        table.match(config, found, "the file does not fit")
    first, *rest = str(caught.value).splitlines()
    assert first == "the file does not fit (1 missing, 1 unknown, 1 misshapen): use its own configuration"
    assert [line.split()[:2] for line in rest] == [
        ["missing", missing],
        ["unknown", "what/is.this"],
        ["shape", f"{misshapen}:"],
    ]


@pytest.mark.parametrize("name", WRITTEN)
@given(model=models())
@settings(max_examples=40)
def test_what_is_written_is_read_back_bit_for_bit(name, model):
    module = formats.find(name)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        try:
            module.write(model, directory)
        except UserError as error:  # never a wrong word: see the format's own test for which these are
            assert model.config.hidden_act in str(error)  # noqa: PT017 - both outcomes are right
            return
        assert [other for other in FORMATS if formats.find(other).recognise(directory)] == [name]
        found = checkpoints.load(directory)
        assert (found.format, found.source) == (name, directory)
        assert found.config == model.config
        assert found.vocabulary == model.vocabulary
        assert found.tokenizer == model.tokenizer
        assert dict(found.left_out) == {}
        assert found.tensors.shapes == neutral.shapes(model.config)
        assert found.tensors.keys() == model.tensors.keys()
        for tensor, weights in model.tensors.items():
            np.testing.assert_array_equal(found.tensors[tensor], weights, strict=True)
        assert found.head_names == model.head_names
        assert found.heads.keys() == model.heads.keys()
        for tensor, weights in model.heads.items():
            np.testing.assert_array_equal(found.heads[tensor], weights, strict=True)
        assert found.labels == model.labels
        assert found.equals(model)
        assert model.equals(found)


def plain_model(hidden_act="relu", vocabulary=(*SPECIAL, "word")):
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=6,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=5,
        max_position_embeddings=4,
        type_vocab_size=2,
        hidden_act=hidden_act,
        layer_norm_eps=1e-12,
    )
    return model_of(config, vocabulary)


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("hidden_act", ["gelu_erf", "gelu_tanh", "relu", "tanh"])
def test_the_activations_that_every_format_can_say(name, hidden_act, tmp_path):
    """Keeps the property above from passing because everything is refused."""
    formats.find(name).write(plain_model(hidden_act), tmp_path)
    assert checkpoints.load(tmp_path).config.hidden_act == hidden_act


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("token", ["a\nb", "\r", "\ud800"])
def test_a_token_that_is_no_line_is_refused(name, token, tmp_path):
    """Such tokens come from a tokenizer.json; in a vocab.txt they would shift all ids behind them."""
    model = plain_model(vocabulary=(*SPECIAL, token, "word"))
    with pytest.raises(UserError, match=f"^token {len(SPECIAL)} of the vocabulary is .* cannot be a line of"):
        formats.find(name).write(model, tmp_path)


def test_equals_sees_every_part(tmp_path):
    model = plain_model()

    def changed(**values):
        return dataclasses.replace(model, **values)

    assert model.equals(changed(source=tmp_path, format="other", notes=["x"]))
    assert not model.equals(changed(config=dataclasses.replace(model.config, layer_norm_eps=0.5)))
    assert not model.equals(changed(vocabulary=model.vocabulary[::-1]))
    assert not model.equals(changed(tokenizer=TokenizerOptions(lowercase=False)))
    for name, array in model.tensors.items():
        other = array.copy()
        other.flat[-1] = np.nextafter(other.flat[-1], np.float32(9))
        assert not model.equals(changed(tensors={**model.tensors, name: other}))
    assert not model.equals(changed(heads={"nsp/bias": np.zeros(2, np.float32)}))
    assert not model.equals(changed(labels=("a", "b")))
    assert not model.equals(changed(problem_type="regression"))
    fewer = dict(list(model.tensors.items())[1:])
    assert not model.equals(changed(tensors=fewer))
    assert not changed(tensors=fewer).equals(model)


def test_a_format_of_somebody_elses_has_a_dotted_path(tmp_path):
    own = "tests.training.own_format.neutral_npz"
    assert formats.name_of(formats.find(own)) == own
    assert formats.name_of(formats.find("google")) == "google"
    source = tiny.write_checkpoint(tmp_path / "source")
    done = checkpoints.convert(source, tmp_path / "out", to=own)
    assert str(done).endswith(f"left out\nwrote {tmp_path / 'out'} ({own})")
    found = checkpoints.load(tmp_path / "out", format=own)
    assert found.format == own
    assert found.equals(checkpoints.load(source))
    assert checkpoints.convert(source, tmp_path / "out", to=own).reused
    with pytest.raises(UserError, match=f"holds no known checkpoint; required files by format: {own}: enc"):
        checkpoints.load(source, format=own)
    with pytest.raises(UserError, match="holds no known checkpoint; required files by format: google"):
        checkpoints.load(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("our_company.format", "there is no module our_company; install it"),
        (
            "tests.tiny",
            "the module tests.tiny holds no checkpoint format; it has no FILES, recognise, owns, read",
        ),
        ("goggle", 'format "goggle" can\'t be written; did you mean "google"'),
        ("keras_hub", 'format "keras_hub" can\'t be written'),
        ("tests..tiny", 'unknown checkpoint format "tests..tiny": not the name of a module'),
    ],
)
def test_formats_that_cannot_be_written(tmp_path, name, sentence):
    source = tiny.write_checkpoint(tmp_path / "source")
    with pytest.raises(UserError, match=sentence):
        checkpoints.convert(source, tmp_path / "out", to=name)
    assert not (tmp_path / "out").exists()


def test_a_format_that_nobody_knows_is_not_read():
    with pytest.raises(UserError, match='unknown checkpoint format "goggle"; did you mean "google"'):
        checkpoints.load("somewhere", format="goggle")
