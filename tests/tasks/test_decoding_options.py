"""The ``decoding`` section: its defaults, and mistakes in it."""

from __future__ import annotations

import pydantic
import pytest

from tfpipeline.tasks.generation.decoding_options import DecodingOptions


def test_defaults_are_a_greedy_search():
    options = DecodingOptions()
    assert (options.num_beams, options.do_sample, options.temperature, options.top_k) == (1, False, 1.0, 0)
    assert (options.top_p, options.length_penalty, options.early_stopping) == (1.0, 1.0, True)
    assert (options.min_new_tokens, options.max_new_tokens, options.no_repeat_ngram_size) == (0, None, 0)
    assert (options.no_repeat_exempt, options.forced_tokens, options.banned_words) == ([], [], [])
    assert (options.repetition_penalty, options.num_return_sequences, options.seed) == (1.0, 1, 0)
    assert options.most_tokens(7) == 7


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_new_tokens", 0),
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("temperature", 1e-40),
        ("top_p", 0.0),
        ("top_p", 1e-40),
        ("top_p", 1.5),
        ("top_k", -1),
        ("num_beams", 0),
        ("length_penalty", -1.0),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", 1e-40),
        ("no_repeat_ngram_size", -1),
        ("seed", 2**31),
        ("do_sample", 1),
    ],
)
def test_values_out_of_range_are_refused(field, value):
    with pytest.raises(pydantic.ValidationError) as caught:
        DecodingOptions(**{field: value})
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"num_return_sequences": 3, "num_beams": 2},
            "num_return_sequences is 3, but a search of num_beams 2 finds no more texts",
        ),
        ({"do_sample": True, "num_beams": 2}, "do_sample is true, but num_beams is 2; draw several texts"),
        ({"min_new_tokens": 5, "max_new_tokens": 4}, "min_new_tokens is 5, but max_new_tokens is 4; lower"),
    ],
)
def test_values_that_contradict_each_other_are_refused(settings, says):
    with pytest.raises(pydantic.ValidationError, match=says):
        DecodingOptions(**settings)


def test_lengths_fit_the_model():
    with pytest.raises(ValueError, match="max_new_tokens is 9, but max_target_length is 8; lower the one"):
        DecodingOptions(max_new_tokens=9).most_tokens(8)
    with pytest.raises(ValueError, match="min_new_tokens is 9, but max_target_length is 8; lower min_new"):
        DecodingOptions(min_new_tokens=9).most_tokens(8)
    assert DecodingOptions(max_new_tokens=8, min_new_tokens=8).most_tokens(8) == 8
    assert DecodingOptions(do_sample=True, num_return_sequences=3).width == 3
