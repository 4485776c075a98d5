"""Checks at the start of each signature: what the model cannot read is refused with a clear message.

Servers pass tensors of any shape and with any ids to the graph, whatever the signature declares. Without
these checks such a request would fail deep inside the graph, with a message about an operation that the
caller does not know.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import tensorflow as tf

from tfpipeline.models.inputs import InputLimits
from tfpipeline.models.name_table import NameTable
from tfpipeline.tasks.signature import Input, Number

_IDS = "input_ids"
_LENGTHS = "lengths"
_TYPES = "token_type_ids"
_SHOWN, _LONGEST = 20, 100  # choices in a message, and bytes of what was given instead


class _Check(NamedTuple):
    """A condition, bool [], and the error message, which is built only if the condition is false."""

    holds: tf.Tensor
    sentence: Callable[[], list[tf.Tensor | str]]


def checked(
    inputs: Mapping[str, tf.Tensor], limits: InputLimits, declared: Mapping[str, Input] = MappingProxyType({})
) -> dict[str, tf.Tensor]:
    """The inputs of a signature, which are read only after they were checked.

    Every input must have its rank, and all inputs with rows the same number of them. ``lengths`` must be
    between 1 and the width of ``input_ids``, and ``token_type_ids`` must have the same width. Rows must have
    no more tokens than the model can read; padding beyond them is cut off. Ids and types, of padding too,
    must be known to the model.

    Args:
        inputs: the arguments of the signature's function: name -> tensor [B, ...] of a static rank.
        limits: the model's.
        declared: inputs whose numbers have limits, or whose strings are chosen from some.
    Returns:
        The tensors, with the checks as control dependencies.
    Raises:
        tf.errors.InvalidArgumentError: at run time, e.g. "text must be [B], got []: send a list of texts".
    """
    ranked = _after([_rank_check(name, tensor) for name, tensor in inputs.items()], inputs)
    ready = _after(
        [*_row_checks(ranked), *_token_checks(ranked, limits), *_declared_checks(ranked, declared)], ranked
    )
    for prefix, _ in _sequences(ready):
        for name in (prefix + _IDS, prefix + _TYPES):
            if name in ready:
                ready[name] = ready[name][:, : limits.width]
    return ready


def _rank_check(name: str, tensor: tf.Tensor) -> _Check:
    rank = tensor.shape.rank
    # Grappler trusts the static shape and would fold the rank into a constant. A placeholder with a default
    # is the only operation whose output has no static shape whatever its input has.
    arrived = tf.compat.v1.placeholder_with_default(tensor, shape=None)
    wanted = f"{name} must be [{', '.join('BTUV'[:rank])}], got "
    what = "text" if tensor.dtype == tf.string else "number"
    advice = (f"send one {what}", f"send a list of {what}s", "send a list of rows of one length")[rank]
    return _Check(tf.equal(tf.rank(arrived), rank), lambda: [wanted, _shape(arrived), f": {advice}"])


def _row_checks(inputs: Mapping[str, tf.Tensor]) -> list[_Check]:
    with_rows = {name: tensor for name, tensor in inputs.items() if tensor.shape.rank}
    if not with_rows:
        return []
    first = "text" if "text" in with_rows else next(iter(with_rows))
    reference = with_rows.pop(first)

    def check(name: str, tensor: tf.Tensor) -> _Check:
        wanted = f"{name} must have as many rows as {first}, got "
        return _Check(
            tf.equal(tf.shape(tensor)[0], tf.shape(reference)[0]),
            lambda: [wanted, _shape(tensor), " and ", _shape(reference)],
        )

    return [check(name, tensor) for name, tensor in with_rows.items()]


def _token_checks(inputs: Mapping[str, tf.Tensor], limits: InputLimits) -> list[_Check]:
    checks = []
    for prefix, ids in _sequences(inputs):
        name, types = prefix + _IDS, inputs.get(prefix + _TYPES)
        checks.append(_most_check(name, inputs[prefix + _LENGTHS], limits.width))
        checks.append(_length_check(name, ids, prefix + _LENGTHS, inputs[prefix + _LENGTHS]))
        advice = "make them with the tokenizer of this model, and pad with 0"
        checks.append(_range_check(name, ids, limits.vocabulary, advice))
        if types is not None:
            checks.append(_type_check(name, ids, prefix + _TYPES, types))
            advice = "0 is for the tokens of the first text and for padding, 1 for those of the second"
            checks.append(_range_check(prefix + _TYPES, types, limits.types, advice))
    return checks


def _declared_checks(inputs: Mapping[str, tf.Tensor], declared: Mapping[str, Input]) -> list[_Check]:
    """The checks of numbers that have limits, and of strings that must be known."""
    checks = []
    for name, spec in declared.items():
        if spec.choices:
            checks.append(_choice_check(name, inputs[name], spec.choices))
        for holds, limit, word in (
            (tf.greater_equal, spec.least, "at least"),
            (tf.less_equal, spec.most, "at most"),
        ):
            if limit is not None:
                checks.append(_limit_check(name, inputs[name], holds, limit, word, spec.unset))
    return checks


def _choice_check(name: str, given: tf.Tensor, choices: Sequence[str]) -> _Check:
    _, known = NameTable(choices)(given)

    def sentence() -> list[tf.Tensor | str]:
        row = tf.argmin(tf.cast(known, tf.int32))
        more = f" and {len(choices) - _SHOWN} others" if len(choices) > _SHOWN else ""
        return [
            f"{name} of row ",
            tf.strings.as_string(row),
            ' is "',
            tf.strings.substr(given[row], 0, _LONGEST),
            f'", which this model does not have; it has {", ".join(choices[:_SHOWN])}{more}',
        ]

    return _Check(tf.reduce_all(known), sentence)


def _limit_check(
    name: str,
    numbers: tf.Tensor,
    holds: Callable[..., tf.Tensor],
    limit: Number,
    word: str,
    unset: Number | None,
) -> _Check:
    reduce = tf.reduce_min if word == "at least" else tf.reduce_max
    given = (
        numbers
        if unset is None
        else tf.where(tf.equal(numbers, unset), tf.cast(limit, numbers.dtype), numbers)
    )
    otherwise = "" if unset is None else f" (or {unset:g} for the default)"

    def sentence() -> list[tf.Tensor | str]:
        found = tf.strings.as_string(reduce(given), shortest=numbers.dtype.is_floating)
        return [f"{name} must be {word} {limit:.10g}{otherwise}, got ", found]

    return _Check(tf.reduce_all(holds(given, limit)), sentence)


def _sequences(inputs: Mapping[str, tf.Tensor]) -> list[tuple[str, tf.Tensor]]:
    """The prefix of each sequence's names, and its ids."""
    prefixes = [name.removesuffix(_IDS) for name in inputs if name.endswith(_IDS)]
    return [(prefix, inputs[prefix + _IDS]) for prefix in prefixes if prefix + _LENGTHS in inputs]


def _range_check(name: str, numbers: tf.Tensor, count: int, advice: str) -> _Check:
    def sentence() -> list[tf.Tensor | str]:
        least, most = (tf.strings.as_string(reduce(numbers)) for reduce in (tf.reduce_min, tf.reduce_max))
        return [f"{name} must be between 0 and {count - 1}, got ", least, " to ", most, f": {advice}"]

    return _Check(tf.reduce_all((numbers >= 0) & (numbers < count)), sentence)


def _most_check(name: str, lengths: tf.Tensor, most: int) -> _Check:
    longest = tf.reduce_max(lengths)
    return _Check(
        longest <= most,
        lambda: [
            f"{name} must have at most {most} tokens per row, got ",
            tf.strings.as_string(longest),
            ": truncate the texts",
        ],
    )


def _length_check(name: str, ids: tf.Tensor, lengths_name: str, lengths: tf.Tensor) -> _Check:
    def sentence() -> list[tf.Tensor | str]:
        least, most = (tf.strings.as_string(reduce(lengths)) for reduce in (tf.reduce_min, tf.reduce_max))
        return [
            f"{lengths_name} must be between 1 and the width of {name}, got ",
            *(least, " to ", most, " for ", _shape(ids), ": count the real tokens of each row"),
        ]

    return _Check(tf.reduce_all((lengths >= 1) & (lengths <= tf.shape(ids)[1])), sentence)


def _type_check(name: str, ids: tf.Tensor, types_name: str, types: tf.Tensor) -> _Check:
    wanted = f"{types_name} must have the shape of {name}, got "
    return _Check(
        tf.equal(tf.shape(types)[1], tf.shape(ids)[1]),
        lambda: [wanted, _shape(types), " and ", _shape(ids)],
    )


def _after(checks: Sequence[_Check], inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The inputs, available once all checks have passed."""
    if not checks:
        return dict(inputs)
    # One branch for all of them, because a valid request should pass few operations.
    holds = tf.reduce_all([check.holds for check in checks])
    with tf.control_dependencies([tf.cond(holds, lambda: tf.constant(True), lambda: _fail(checks))]):
        return {name: tf.identity(tensor) for name, tensor in inputs.items()}


def _fail(checks: Sequence[_Check]) -> tf.Tensor:
    """Fail with the message of the first check that does not hold."""

    def fail(check: _Check) -> tf.Tensor:
        # TensorFlow puts "assertion failed: " before the message.
        with tf.control_dependencies(
            [tf.raw_ops.Assert(condition=False, data=[tf.strings.join(check.sentence())])]
        ):
            return tf.constant(False)

    # Not a chain of conditions, each of which would pass on all tensors of those behind it.
    first = tf.argmin(tf.cast(tf.stack([check.holds for check in checks]), tf.int32), output_type=tf.int32)
    return tf.switch_case(first, [functools.partial(fail, check) for check in checks])


def _shape(tensor: tf.Tensor) -> tf.Tensor:
    """The shape in the usual notation: [2,16]."""
    sizes = tf.strings.reduce_join(tf.strings.as_string(tf.shape(tensor)), separator=",")
    return tf.strings.join(["[", sizes, "]"])
