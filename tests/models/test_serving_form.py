"""The form in which encoders are served: the trained encoder's answers from real tokens alone."""

from __future__ import annotations

from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.pre_norm import PreNormConfig
from tfpipeline.errors import UserError
from tfpipeline.models import ACTIVATIONS, BertConfig, BertEncoder, TextModel
from tfpipeline.models.architectures import serving_form
from tfpipeline.models.architectures.bert import serving_form as bert_serving_form
from tfpipeline.models.padded_tokens import PaddedTokens
from tfpipeline.models.real_tokens import RealTokens

HIDDEN, HEADS = 24, 3
SIZES = {
    "vocab_size": 50,
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.3,
    "pooler": True,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}


def encoder(config=BertConfig, hidden_act="gelu_erf", **changed):
    """A small encoder, all of whose weights matter."""
    made = BertEncoder(config(**{**SIZES, "hidden_act": hidden_act, **changed}))
    random = np.random.default_rng(0)
    made.assign(
        {
            name: value + random.normal(0, 0.1, value.shape).astype(np.float32)
            for name, value in made.tensors().items()
        }
    )
    return made


def batch(mask):
    """A batch of random tokens with a mask."""
    random, mask = np.random.default_rng(1), np.asarray(mask, np.int32)
    ids, types = random.integers(0, 50, mask.shape), random.integers(0, 2, mask.shape)
    named = {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}
    return {name: tf.constant(value, tf.int32) for name, value in named.items()}


def ragged(lengths, width):
    return (np.arange(width) < np.asarray(lengths)[:, None]).astype(np.int32)


MASKS = {
    "one text": ragged([9], 9),
    "one token": ragged([1], 1),
    "of every group": ragged([1, 37, 4, 12, 9, 10, 18, 19, 20, 2, 36, 5, 30], 37),
    "all padded": ragged([3, 5, 2], 64),
    "holes": np.concatenate([np.ones((5, 1), int), np.random.default_rng(2).integers(0, 2, (5, 13))], 1),
}


def compiled(form):
    spec = {name: tf.TensorSpec([None, None], tf.int32) for name in batch(MASKS["one token"])}
    return tf.function(form, input_signature=[spec], autograph=False)


def largest_difference(want, got, mask):
    assert want.keys() == got.keys()
    gaps = [(want["sequence_output"] - got["sequence_output"]).numpy()[mask > 0]]
    gaps += [(want[name] - got[name]).numpy() for name in want if name != "sequence_output"]
    return max(float(np.abs(gap).max()) for gap in gaps)


@pytest.fixture(params=["few tokens", "many tokens"])
def layout(request, monkeypatch):
    """Both ways of computing a batch, whatever its size."""
    limit = 0 if request.param == "many tokens" else 10_000
    monkeypatch.setattr(bert_serving_form, "_FEW_TOKENS", limit)


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("config", [BertConfig, PreNormConfig])
def test_answers_are_the_encoders(config):
    own = encoder(config)
    forms = {precision: compiled(serving_form(own, precision)) for precision in ("float32", "bfloat16")}
    for name, mask in MASKS.items():
        inputs = batch(mask)
        want = own(inputs)
        got = {precision: form(inputs) for precision, form in forms.items()}
        assert largest_difference(want, got["float32"], mask) < 1e-5, name
        # Eight bits of a number are kept in bfloat16; another model would be off by 1.
        assert 1e-4 < largest_difference(want, got["bfloat16"], mask) < 0.3, name
        assert all(output.dtype == tf.float32 for outputs in got.values() for output in outputs.values())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation):
    own = encoder(hidden_act=activation)
    mask = MASKS["of every group"]
    got = compiled(serving_form(own))(batch(mask))
    assert largest_difference(own(batch(mask)), got, mask) < 1e-5
    other = encoder(hidden_act="relu" if activation != "relu" else "tanh")
    assert largest_difference(other(batch(mask)), got, mask) > 1e-2


def test_inputs_that_may_be_absent():
    own = encoder()
    inputs = {"input_ids": batch(MASKS["one text"])["input_ids"]}
    assert largest_difference(own(inputs), serving_form(own)(inputs), MASKS["one text"]) < 1e-5


@pytest.mark.usefixtures("layout")
def test_an_answer_does_not_depend_on_its_company():
    """Nor do rows without a token fail, alone or among others: servers are sent everything."""
    form = compiled(serving_form(encoder()))
    inputs = batch(MASKS["of every group"])
    together = form(inputs)["pooled_output"].numpy()
    for row in (0, 1, 4):
        alone = form({name: value[row : row + 1] for name, value in inputs.items()})
        np.testing.assert_allclose(alone["pooled_output"][0], together[row], rtol=0, atol=1e-5)
    empty = form(batch(ragged([0, 7, 0], 7)))["pooled_output"].numpy()
    assert np.isfinite(empty).all()
    nobody = form(batch(np.zeros((0, 5))))
    assert nobody["pooled_output"].shape == (0, HIDDEN)
    assert nobody["sequence_output"].shape == (0, 5, HIDDEN)


@pytest.mark.parametrize("width", [32, 33])
def test_small_requests_are_computed_with_their_padding(width, monkeypatch):
    """At most 128 positions, padding included; the layout of the branch that is not taken computes nothing."""
    chosen = []
    for layout in (PaddedTokens, RealTokens):

        class Noted(layout):
            def padded(self, x, of=layout):
                tf.py_function(lambda: chosen.append(of), [], [])
                return super().padded(x)

        monkeypatch.setattr(bert_serving_form, layout.__name__, Noted)
    compiled(serving_form(encoder()))(batch(ragged([3, 5, 2, 32], width)))
    assert chosen == [PaddedTokens if width == 32 else RealTokens]


@pytest.mark.parametrize(
    ("layout", "fused"),
    [(PaddedTokens, False), (RealTokens, True)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_each_layout_normalises_in_its_own_form(layout, fused):
    random = np.random.default_rng(3)
    x, scale, bias = (random.normal(2, 3, size).astype(np.float32) for size in ([5, 7], 7, 7))
    tokens = layout(tf.constant(ragged([2, 3], 4)), HEADS)
    norm = tf.function(lambda x: tokens.layer_norm(x, tf.constant(scale), tf.constant(bias), 1e-3))
    traced = norm.get_concrete_function(tf.TensorSpec([None, 7]))
    kinds = {operation.type for operation in traced.graph.get_operations()}
    assert ("FusedBatchNormV3" in kinds) == fused
    assert "Mean" not in kinds
    want = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-3) * scale + bias
    np.testing.assert_allclose(norm(x), want, rtol=0, atol=1e-5)


def test_texts_that_are_too_long_are_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="which has 64; truncate"):
        compiled(serving_form(encoder()))(batch(np.ones((2, 65))))


def test_only_real_tokens_are_computed():
    """The rows that dense parts read, and what attention reads of them, by hand."""
    tokens = RealTokens(tf.constant(ragged([2, 8, 1, 3], 8)), HEADS)
    # At most 2 of the 8 tokens of the longest row: rows 0 and 2; at most 4: row 3; then row 1.
    assert tokens.places.numpy().tolist() == [0, 1, 16, 24, 25, 26, *range(8, 16)]
    assert tokens.columns.numpy().tolist() == [0, 1, 0, 0, 1, 2, *range(8)]
    assert [group.heads.shape.as_list() for group in tokens._groups] == [
        [3, 2, HEADS, 2],
        [3, 1, HEADS, 3],
        [3, 1, HEADS, 8],
    ]
    x = tf.random.normal([14, 5])
    padded = tokens.padded(x).numpy()
    np.testing.assert_array_equal(padded[2, 0], x[2])
    np.testing.assert_array_equal(padded[1, 7], x[13])
    assert (padded[ragged([2, 8, 1, 3], 8) == 0] == 0).all()
    np.testing.assert_array_equal(tokens.first(x), padded[:, 0])


def test_weights_are_the_encoders_own_where_they_need_no_change():
    own = encoder()
    trained = {id(variable.value) for variable in own.weights}
    float32, bfloat16 = serving_form(own), serving_form(own, "bfloat16")
    new = [variable for variable in float32.variables if id(variable) not in trained]
    assert {tuple(variable.shape) for variable in new} == {(HIDDEN, 3 * HIDDEN), (3 * HIDDEN,)}
    assert len(float32.variables) == len(own.weights)
    size = {
        precision: sum(np.prod(variable.shape) * variable.dtype.size for variable in form.variables)
        for precision, form in {"float32": float32, "bfloat16": bfloat16}.items()
    }
    assert size["bfloat16"] < 0.55 * size["float32"]


@pytest.mark.parametrize("config", [BertConfig, PreNormConfig])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_encoder_answers_with_weights_made_of_the_forms(config, precision):
    """Those it does not read are given, none of the encoder's own is needed: they are zeroed here."""
    own = encoder(config)
    form = serving_form(own, precision)
    inputs = batch(MASKS["of every group"])
    want = own(inputs)
    read = {id(variable) for variable in form.variables}
    trained = {id(variable): variable.numpy() for variable in own.weights}
    for variable in own.weights:
        if id(variable.value) not in read:
            variable.assign(np.zeros(variable.shape))
    given = {id(variable): np.asarray(value) for variable, value in form.trained_weights()}
    assert given.keys() == {id(variable) for variable in own.weights if id(variable.value) not in read}
    kept = 1e-6 if precision == "float32" else 2.0**-8  # bfloat16 keeps eight bits, the last one rounded
    for variable, value in given.items():
        if value.ndim == 2:
            np.testing.assert_allclose(value, trained[variable], rtol=kept)
            assert (precision == "float32") == np.allclose(value, trained[variable], rtol=1e-4)
    with keras.StatelessScope(state_mapping=form.trained_weights()):
        got = own(inputs)
    gap = largest_difference(want, got, MASKS["of every group"])
    # The rounded weights are all that differs: the computation is the encoder's own, in float32.
    assert gap < 1e-5 if precision == "float32" else 1e-4 < gap < 0.06


def test_operations_that_tensorflow_fuses():
    """Kept in the patterns: what follows a product is its bias, and of float32 nothing stands between."""
    form = serving_form(encoder())
    graph = compiled(form).get_concrete_function().graph.as_graph_def()
    [many] = [
        function.node_def for function in graph.library.function if "cond_false" in function.signature.name
    ]
    types = {node.name: node.op for node in many}
    counts = Counter(types.values())
    assert counts["FusedBatchNormV3"] == 5
    assert counts["MatMul"] == counts["BiasAdd"] == 4 * 2 + 1
    assert counts["Erf"] == 2
    for node in many:
        if node.op == "BiasAdd":
            assert types[node.input[0].split(":")[0]] == "MatMul"


class Plain:
    """An encoder without a serving form."""

    def __init__(self):
        self._own = encoder()
        self.config, self.weights = self._own.config, self._own.weights

    def __call__(self, inputs, **options):
        return self._own(inputs)


def test_an_encoder_without_the_form_is_served_as_it_is():
    plain = Plain()
    form = serving_form(plain)
    inputs = batch(MASKS["one text"])
    np.testing.assert_array_equal(form(inputs)["pooled_output"], plain(inputs)["pooled_output"])
    assert len(form.variables) == len(plain.weights)
    assert form.trained_weights() == ()
    with pytest.raises(UserError, match=r"bert can be served in float32 only"):
        serving_form(plain, "bfloat16")


def test_a_served_model_has_each_weight_once_and_cannot_be_trained():
    model = TextModel(encoder())
    served = model.for_serving()
    assert len({id(variable) for variable in served.variables}) == len(served.variables) == len(model.weights)
    with pytest.raises(ValueError, match="cannot be trained"):
        served(batch(MASKS["one text"]), training=True)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_variable_is_gathered_from(precision):
    """ResourceGather makes every later read of a variable copy all of it, as a tied head's."""
    form = serving_form(encoder(), precision)
    specs = {name: tf.TensorSpec([None, None], tf.int32) for name in batch(ragged([3], 3))}
    graph = tf.function(form, input_signature=[specs], autograph=False).get_concrete_function().graph
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for part in definition.library.function for node in part.node_def)]
    operations = Counter(node.op for node in nodes)
    assert operations["GatherV2"] >= 3
    assert not operations["ResourceGather"]
